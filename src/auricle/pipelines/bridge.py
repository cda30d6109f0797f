"""Every other architecture and task: models that transformers runs, behind the same pipeline, errors and server."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from auricle.audio.limits import AudioLimits
from auricle.errors import AuricleError, MissingExtraError, OptionError, TaskError
from auricle.hub import commit_of, locate, locate_config
from auricle.loading import DTYPES
from auricle.pipelines.base import ModelSettings, Pipeline, unknown_parameter
from auricle.pipelines.bridge_library import library, open_runner, said, sibling
from auricle.pipelines.bridge_runners import Runner
from auricle.pipelines.bridge_tasks import ALIASES, TASKS, task_of_config
from auricle.pipelines.bridge_values import is_one, named, plain, prepared, read_limits
from auricle.vision.sources import ImageLimits

ENGINES = ("auto", "transformers")
# What transformers can compute together without a word on which of the inputs went wrong.
_IN_BATCHES = ("text", "audio", "image")


class BridgedPipeline(Pipeline):
    """Do a task with a model that auricle has no mathematics for, by transformers.

    Inputs, errors, lists and generators are those of every pipeline here; parameters are those that transformers'
    pipeline of the task takes. A result is as transformers gives it, with plain numbers: pictures are PIL images,
    sound and other arrays NumPy's.

    Example:
        >>> fill = pipeline(model="answerdotai/ModernBERT-base")
        >>> fill("Paris is the [MASK] of France.", top_k=1)
        [{'score': 0.94, 'token': 5347, 'token_str': ' capital', 'sequence': 'Paris is the capital of France.'}]
    """

    is_bridged = True

    def __init__(
        self,
        runner: Runner,
        task: str,
        *,
        name: str = "",
        device: str = "cpu",
        revision: str | None = None,
        limits: AudioLimits | ImageLimits | None = None,
        batch_size: int | None = None,
        on_error: str = "raise",
        **parameters: Any,
    ) -> None:
        self.runner = runner
        self.task = task  # type: ignore[misc]  # of this pipeline, not of the class
        self.name, self.device, self.revision = name, device, revision
        self.limits = read_limits(limits, TASKS[task])
        self.takes, self.fields = TASKS[task].takes, TASKS[task].fields
        self._siblings: dict[str, BridgedPipeline] = {}
        self._lock = threading.Lock()
        super().__init__(batch_size=batch_size, on_error=on_error, **parameters)

    @classmethod
    def load(
        cls, model: str | Path | None, settings: ModelSettings, *, task: str | None = None, **parameters: Any
    ) -> Self:
        """Load a model for a task, or for the one that its configuration tells; says so on stderr."""
        if model is None:
            raise TaskError(f"the task {task!r} has no default model here; name one")
        config, where = read_config(model, settings)
        wanted = ALIASES.get(task or "", task) or task_of_config(config)
        if wanted not in TASKS:
            raise TaskError(
                f"{where}: architectures is {config.get('architectures')!r}, which tells no task; name one of "
                f"{', '.join(sorted(TASKS))}"
            )
        what = f"{(config.get('architectures') or ['?'])[0]} (model_type {config.get('model_type')!r})"
        if settings.engine not in ENGINES:
            raise OptionError(
                f"engine={settings.engine!r} does not run {what}, which is not native to auricle; leave it out, or "
                f"pass {' or '.join(map(repr, ENGINES))}"
            )
        try:
            version = library().__version__
        except MissingExtraError as error:
            raise MissingExtraError(
                f"{model}: {what} is not native to auricle, and transformers, which may run it, is not installed: "
                "pip install 'auricle[transformers]'"
            ) from error
        dtype = _dtype(settings)
        folder = locate(model, revision=settings.revision, token=settings.token)
        runner = open_runner(folder, wanted, settings.device, dtype)
        print(f"auricle: {what} is run by transformers {version}, as {wanted}", file=sys.stderr)
        revision = commit_of(folder)
        return cls(runner, wanted, name=str(model), device=settings.device, revision=revision, **parameters)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}: {self.task} by transformers on {self.device}>"

    def __call__(self, inputs: Any = None, *more: Any, **parameters: Any) -> Any:
        """Do the task with one input, a list of them, or anything that gives them one by one.

        Parts of an input may be given by name (image=, question=, …). A second positional argument is what transformers
        takes there: the labels of zero-shot tasks, the question of a document or table.

        Raises:
            OptionError: a parameter has an unknown name or comes twice, or transformers refuses a value.
            AuricleError: an input fails and `on_error` is "raise".
        """
        if more:
            names = {"document-question-answering": "question", "table-question-answering": "query"}
            name = names.get(self.task, "candidate_labels")
            if len(more) > 1:
                raise OptionError(f"{1 + len(more)} inputs arrived without a name; give several as a list")
            if name in parameters:
                raise OptionError(f"{name!r} arrived twice: by its name and without; give it once")
            parameters[name] = more[0]
        whole = named(parameters, inputs, TASKS[self.task])
        if isinstance(whole, list | tuple) and is_one(whole, TASKS[self.task]):
            return super().__call__([whole], **parameters)[0]
        return super().__call__(whole, **parameters)

    def write(self, *inputs: Any, **parameters: Any) -> Any:
        """Refuse to tell a text while it is written.

        Raises: TaskError
        """
        raise TaskError(
            f"{self.name!r} is run by transformers, whose results come whole; call the pipeline itself, or take a "
            "model of a native family to read a text while it is written"
        )

    stream = write

    def sibling(self, task: str) -> BridgedPipeline:
        """Return a pipeline for another task of the same model, which is not loaded again."""
        with self._lock:
            if task not in self._siblings:
                runner = sibling(self.runner, task, self.device)
                self._siblings[task] = BridgedPipeline(runner, task, name=self.name, device=self.device)
            return self._siblings[task]

    def read_parameters(self, parameters: Mapping[str, Any], batch_size: int | None) -> dict[str, Any]:
        """Check the names of call parameters; what their values may be is for transformers to say."""
        for name in parameters:
            if name not in self.runner.names:
                raise unknown_parameter(name, self.runner.names, f"the task {self.task!r}")
        given = dict(parameters)
        if isinstance(given.get("candidate_labels"), str):  # of which some tasks there would take each letter
            given["candidate_labels"] = [one.strip() for one in given["candidate_labels"].split(",") if one.strip()]
        return given

    def preprocess(self, item: Any, request: dict[str, Any]) -> Any:
        """Return an input as transformers takes it."""
        return prepared(item, TASKS[self.task], self.runner.sample_rate, self.limits)

    def forward(self, batch: list[Any], request: dict[str, Any]) -> list[Any]:
        """Compute a batch; where transformers fails on it, one by one, to tell which input is to blame."""
        if len(batch) > 1 and self.takes in _IN_BATCHES:
            try:
                with said(self.task):
                    return self.runner.run_batch([_copy(item) for item in batch], request)
            except AuricleError:
                pass  # told below, of the input that it is about
        return [self._one(item, request) for item in batch]

    def _one(self, item: Any, request: dict[str, Any]) -> Any:
        try:
            with said(self.task):
                return self.runner.run(_copy(item), request)
        except AuricleError as error:
            return error

    def postprocess(self, item: Any, output: Any, request: dict[str, Any]) -> Any:
        """Return the result with plain numbers."""
        return plain(output)


def read_config(model: str | Path, settings: ModelSettings) -> tuple[dict[str, Any], str]:
    """Return a model's config.json, and where it lies.

    Raises: CheckpointError
    """
    from auricle.checkpoints.config import read_json

    folder = locate_config(model, revision=settings.revision, token=settings.token)
    return read_json(folder, "config.json", required=True), str(folder / "config.json")


def _copy(item: Any) -> Any:
    """transformers takes dictionaries apart."""
    return dict(item) if isinstance(item, dict) else item


def _dtype(settings: ModelSettings) -> Any:
    """float32 on the CPU, which has no other fast arithmetic there; elsewhere what the checkpoint was stored in."""
    if settings.dtype in ("auto", None):
        return "float32" if settings.device == "cpu" else "auto"
    name = str(settings.dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise OptionError(f"dtype {settings.dtype!r} is not supported; expected 'auto', {', '.join(DTYPES)}")
    return name
