"""The one module that imports transformers: it loads a model there, and says its errors in ours.

Code that comes with a checkpoint is never run, and nothing is fetched: a folder goes in.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from auricle.errors import (
    AuricleError,
    BridgeError,
    CheckpointError,
    ConfigError,
    MissingExtraError,
    OptionError,
    TaskError,
    TensorError,
)
from auricle.pipelines import bridge_runners
from auricle.pipelines.bridge_tasks import TASKS, task_of_config

_PARTS = {
    "tokenizer": "AutoTokenizer",
    "feature_extractor": "AutoFeatureExtractor",
    "image_processor": "AutoImageProcessor",
    "video_processor": "AutoVideoProcessor",
    "processor": "AutoProcessor",
}
_LONGEST = 400  # letters of their messages


def library() -> Any:
    """Return transformers.

    Raises: MissingExtraError
    """
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError(
            "this needs transformers, which is not installed: pip install 'auricle[transformers]'"
        ) from error
    return transformers


def open_runner(folder: Path, task: str, device: str, dtype: Any) -> bridge_runners.Runner:
    """Load the model of a folder for a task.

    Raises:
        TaskError: transformers has no such task, or its model is for another one.
        CheckpointError: it cannot be loaded, or weights are missing. MissingExtraError: a package is.
    """
    theirs = library()
    with _quiet(theirs), _said(f"{folder} cannot be loaded", CheckpointError):
        config = theirs.AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        own = bridge_runners.RUNNERS.get(task)
        if own is None:
            pipeline_class, autos = _theirs(theirs, task)
        else:
            pipeline_class, autos = None, [getattr(theirs, name) for name in own.autos]
        model = _model(theirs, folder, task, config, autos, dtype)
        model = model.eval().to(device)
        loaded = {}
        for name in _PARTS:
            wanted = getattr(pipeline_class or own, f"_load_{name}", False)  # None: if there is one
            part = None if wanted is False else _part(theirs, folder, name, bool(wanted))
            if part is not None:
                loaded[name] = part
        if own is not None:
            return own(model, **loaded)
        assert pipeline_class is not None, "there is no own runner"
        pipe = pipeline_class(model=model, task=task, device=device, **loaded)
    return Theirs(pipe, task, _names(theirs, pipe, task))


def sibling(runner: bridge_runners.Runner, task: str, device: str) -> bridge_runners.Runner:
    """Return what does another task with the model and tokenizer of a runner.

    Raises: BridgeError
    """
    theirs = library()
    pipe: Any = getattr(runner, "pipe", None)
    with said(task):
        made = _theirs(theirs, task)[0](model=runner.model, task=task, device=device, tokenizer=pipe.tokenizer)
        return Theirs(made, task, _names(theirs, made, task))


class Theirs(bridge_runners.Runner):
    """A pipeline of transformers."""

    def __init__(self, pipe: Any, task: str, names: frozenset[str]) -> None:
        self.pipe, self.task, self.names = pipe, task, names
        self.model = pipe.model
        if pipe.model.can_generate():
            own = pipe.model.generation_config.to_dict()
            self.generation = frozenset(name for name in own if not name.startswith("_"))
        extractor = pipe.feature_extractor or getattr(pipe.processor, "feature_extractor", None)
        self.sample_rate = int(getattr(extractor, "sampling_rate", 16000))

    def run(self, item: Any, parameters: Mapping[str, Any]) -> Any:
        """Compute one prepared input."""
        if self.task in ("image-text-to-text", "any-to-any"):
            if isinstance(item, Mapping):
                item = {{"image": "images"}.get(key, key): value for key, value in item.items()}
                return self.pipe(**item, **parameters)
            return self.pipe(text=item, **parameters)
        return self.pipe(self._samples(item), **parameters)

    def run_batch(self, items: list[Any], parameters: Mapping[str, Any]) -> list[Any]:
        """Compute prepared inputs together."""
        results = list(self.pipe([self._samples(item) for item in items], batch_size=len(items), **parameters))
        # Of several texts each has its label without the list that a single one has around it.
        is_bare = self.task == "text-classification" and isinstance(results[0], Mapping)
        return [[one] for one in results] if is_bare else results

    def _samples(self, item: Any) -> Any:
        """One task takes samples without their rate."""
        return item["raw"] if self.task == "zero-shot-audio-classification" else item


def theirs_own() -> type[Exception]:
    """The error by which pipelines of transformers refuse an input."""
    from transformers.pipelines.base import PipelineException

    refused: type[Exception] = PipelineException
    return refused


@contextmanager
def said(task: str) -> Iterator[None]:
    """Say what goes wrong in a call in our errors: their words, after what was being done."""
    with _said(f"transformers could not do {task}", BridgeError):
        yield


def _theirs(theirs: Any, task: str) -> tuple[Any, list[Any]]:
    """Return the class of a task's pipeline, and the auto classes of its models."""
    import importlib

    from transformers.pipelines import PIPELINE_REGISTRY

    known = PIPELINE_REGISTRY.get_supported_tasks()
    if task not in known:
        raise TaskError(f"transformers {theirs.__version__} has no task {task!r}; it has {', '.join(sorted(known))}")
    found = PIPELINE_REGISTRY.supported_tasks[task]
    implementation = found["impl"]
    if isinstance(implementation, str):
        module, _, name = implementation.rpartition(".")
        implementation = getattr(importlib.import_module(module), name)
    return implementation, list(found["pt"])


def _model(theirs: Any, folder: Path, task: str, config: Any, autos: list[Any], dtype: Any) -> Any:
    fitting = [auto for auto in autos if type(config) in auto._model_mapping]
    # Some architectures are in no table of their task.
    named = getattr(theirs, (config.architectures or [""])[0], None)
    if not fitting and named is not None and task_of_config(config.to_dict()) == task:
        fitting = [named]
    if not fitting:
        raise TaskError(
            f"{folder} is a {config.model_type} ({', '.join(config.architectures or ['no architecture named'])}), with "
            f"which transformers {theirs.__version__} does not do {task}; leave the task out, or name another one"
        )
    # A class of their own knows no trust_remote_code: nothing remote is asked of it.
    own = {} if fitting[0] is named else {"trust_remote_code": False}
    model, told = fitting[0].from_pretrained(
        folder, config=config, dtype=dtype, local_files_only=True, output_loading_info=True, **own
    )
    # What a file lacks is drawn at random there, with a warning.
    lacking = sorted(map(str, [*told["missing_keys"], *told["mismatched_keys"]]))
    if lacking:
        raise TensorError(
            f"{folder} lacks {len(lacking)} tensors that {type(model).__name__} needs for {task}, "
            f"such as {lacking[0]}; choose a checkpoint that was trained for this task"
        )
    return model


def _part(theirs: Any, folder: Path, name: str, is_needed: bool) -> Any:
    """Load what stands before or behind the model; None where there is none and none is needed."""
    try:
        return getattr(theirs, _PARTS[name]).from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError, ImportError, AttributeError, TypeError):
        if is_needed:
            raise
        return None


def _names(theirs: Any, pipe: Any, task: str) -> frozenset[str]:
    """Return the names of a pipeline's call parameters, as far as they are told."""
    signature = inspect.signature(pipe._sanitize_parameters)
    told = {name for name, one in signature.parameters.items() if one.kind is not one.VAR_KEYWORD}
    names = told | set(TASKS[task].parameters)
    if pipe.model.can_generate() and any(one.kind is one.VAR_KEYWORD for one in signature.parameters.values()):
        names |= {name for name in theirs.GenerationConfig().to_dict() if not name.startswith("_")}
    return frozenset(names - {"parameters"})


@contextmanager
def _quiet(theirs: Any) -> Iterator[None]:
    """Keep their bars and advice from stderr while a model is loaded; errors come as exceptions."""
    logging = theirs.logging
    before, had_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if had_bars:
            logging.enable_progress_bar()


@contextmanager
def _said(what: str, kind: type[AuricleError]) -> Iterator[None]:
    try:
        yield
    except AuricleError:
        raise
    except ImportError as error:
        raise MissingExtraError(f"{what}: {_short(error)}") from error
    except (ValueError, TypeError, KeyError, OSError) as error:
        wrong = ConfigError if kind is CheckpointError else OptionError
        raise wrong(f"{what} ({type(error).__name__}): {_short(error)}") from error
    except theirs_own() as error:
        raise OptionError(f"{what}: {_short(error)}") from error
    # A library of a thousand models raises anything; whatever it is, it is theirs, and is told as such.
    except Exception as error:
        raise kind(f"{what} ({type(error).__name__}): {_short(error)}") from error


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split()) or "no message"
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
