"""One file per task; `pipeline()` finds the one to use."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auricle.engines import resolve_device
from auricle.errors import OptionError, TaskError, nearest
from auricle.pipelines import bridge_tasks
from auricle.pipelines.base import ModelSettings, Pipeline
from auricle.pipelines.inputs import KeyDataset

__all__ = ["KeyDataset", "ModelSettings", "Pipeline", "pipeline", "register_task", "supported_tasks"]


@dataclass(frozen=True)
class Task:
    """Where a task's pipeline is, and the model it uses when none is named."""

    pipeline: str | type[Pipeline]  # "module:Class", or the class itself
    default_model: str | None = None
    other_model: str | None = None  # that is named as an example where the default is used


TASKS: dict[str, Task] = {
    "automatic-speech-recognition": Task(
        "auricle.pipelines.automatic_speech_recognition:AutomaticSpeechRecognitionPipeline",
        "bundled",
        "openai/whisper-small",
    ),
    "text-generation": Task(
        "auricle.pipelines.text_generation:TextGenerationPipeline", "HuggingFaceTB/SmolLM2-135M-Instruct"
    ),
    "image-classification": Task(
        "auricle.pipelines.image_classification:ImageClassificationPipeline", "google/vit-base-patch16-224"
    ),
    "audio-classification": Task(
        "auricle.pipelines.audio_classification:AudioClassificationPipeline", "superb/wav2vec2-base-superb-ks"
    ),
    "speaker-diarization": Task(
        "auricle.pipelines.speaker_diarization:SpeakerDiarizationPipeline",
        "bundled-diarization",
        "pyannote/speaker-diarization-3.1",
    ),
    "visual-question-answering": Task(
        "auricle.pipelines.visual_question_answering:VisualQuestionAnsweringPipeline", "dandelin/vilt-b32-finetuned-vqa"
    ),
}

# Other names of tasks, as transformers has them.
ALIASES = {"vqa": "visual-question-answering"}

# What stands before and behind a model; transformers' callers give the model's own folder or name for each.
PARTS = ("config", "tokenizer", "feature_extractor", "image_processor", "video_processor", "processor")
# transformers' constructor parameters with one meaning here: the values that ask for it, and why no others.
_ONE_MEANING: dict[str, tuple[tuple[Any, ...], str]] = {
    "trust_remote_code": ((None, False), "auricle never runs code that comes with a checkpoint"),
    "use_fast": ((None, True), "the `tokenizers` library is the only tokenizer here"),
    "num_workers": ((None, 0), "inputs are read in the calling thread; use batch_size"),
    "ignore_warning": ((None, False, True), ""),
    "config": ((None,), "the configuration is read from the model's folder"),
    "tokenizer": ((None,), "the tokenizer is read from the model's folder"),
    "feature_extractor": ((None,), "the feature extractor is read from the model's folder"),
    "image_processor": ((None,), "the image processor is read from the model's folder"),
    "video_processor": ((None,), "no task here reads video frames; a video's sound is read as any recording"),
    "processor": ((None,), "the processor's parts are read from the model's folder"),
    "decoder": ((None,), "give the language model itself as decoder_kwargs={'lm': path}"),
    "framework": ((None, "pt"), "PyTorch is the only framework"),
    "model_kwargs": ((None, {}), "give dtype, device, revision and token by their own names"),
    "pipeline_class": ((None,), "register the class with register_task() and name its task"),
}


def pipeline(
    task: str | None = None,
    model: str | Path | None = None,
    *,
    device: Any = None,
    device_map: Any = None,
    dtype: Any = None,
    torch_dtype: Any = None,
    revision: str | None = None,
    token: str | bool | None = None,
    engine: str = "auto",
    **parameters: Any,
) -> Pipeline:
    """Make the pipeline for a task, a model, or both.

    `model` is a checkpoint's folder, its name on the Hub, or "bundled"; without it the task's default is
    used, and says so on stderr. Without `task` the model's configuration says what it is for; no network is
    needed. `device` is "cpu", "cuda", "cuda:1", "mps", a number (-1: the CPU), or None: the first accelerator
    that is there, else the CPU. `device_map` is taken for the same: "auto" is None, a device is itself.
    `dtype` is "auto", a torch dtype or its name; `torch_dtype` is its older name, and `model_kwargs` may hold it.
    `engine` is "auto", the fastest for the device, "reference", the plain one that all are compared with, or
    "transformers" (an extra), which is chosen by itself for architectures that are not native. `tokenizer` and other
    parts may be named as the model is. The other parameters are the task's: `batch_size`, `on_error`, those of loading
    (such as `target_lang`) and call parameters, which become the defaults of every call.

    Raises:
        TaskError: no such task, or the model is for another one.
        OptionError: a parameter has an unknown name, a wrong value, or conflicts with another.
        CheckpointError: the model is not there or cannot be read.
    """
    dtype = _one_of("dtype", dtype, "model_kwargs", _nested_dtype(parameters))
    for name in PARTS:
        if isinstance(parameters.get(name), str | Path) and str(parameters[name]) == str(model):
            del parameters[name]  # the model's own, which is the one that is read
    for name, (values, reason) in _ONE_MEANING.items():
        if not any(parameters.get(name) is value or parameters.get(name) == value for value in values):
            raise OptionError(f"{name}={parameters[name]!r} is refused: {reason}")
        parameters.pop(name, None)
    if isinstance(device_map, dict):
        if list(device_map) != [""]:
            raise OptionError(f"device_map={device_map!r} places modules; a model runs on one device here: name it")
        device_map = device_map[""]
    settings = ModelSettings(
        device=str(resolve_device(_one_of("device", device, "device_map", device_map))),
        dtype=_one_of("dtype", dtype, "torch_dtype", torch_dtype),
        revision=revision,
        token=token,
        engine=engine,
    )
    task = ALIASES.get(task or "", task)
    if _is_bridged(task, model, settings):
        from auricle.pipelines.bridge import BridgedPipeline

        return BridgedPipeline.load(model, settings, task=task, **parameters)
    if task is None:
        task = _task_of(model, revision, token)
    if task not in TASKS:
        known = sorted({*TASKS, *bridge_tasks.TASKS})
        hint = nearest(str(task), known) or ";"
        raise TaskError(f"unknown task {task!r}{hint} auricle has {', '.join(known)}")
    found = TASKS[task]
    if model is None and found.default_model is not None:
        model = found.default_model
        announce(model, found.other_model)
    pipeline_class = found.pipeline
    if isinstance(pipeline_class, str):
        module, _, name = pipeline_class.partition(":")
        pipeline_class = getattr(importlib.import_module(module), name)
    return pipeline_class.load(model, settings, **parameters)


def register_task(name: str, pipeline_class: type[Pipeline], default_model: str | None = None) -> None:
    """Make `pipeline(name)` give `pipeline_class`; a task of the same name is replaced.

    >>> class Loudness(Pipeline):
    ...     task = "loudness"
    ...     def preprocess(self, item, request): return load_audio(item)
    ...     def forward(self, batch, request): return [float((one**2).mean() ** 0.5) for one in batch]
    ...     def postprocess(self, item, output, request): return {"rms": output}
    >>> register_task("loudness", Loudness)
    >>> pipeline("loudness")(["a.wav", "b.wav"])
    [{'rms': 0.11}, {'rms': 0.07}]

    Raises:
        TaskError: `name` is no text, or the class is no `Pipeline`.
    """
    if not isinstance(name, str) or not name.strip():
        raise TaskError(f"a task needs a name; {name!r} arrived")
    if not (isinstance(pipeline_class, type) and issubclass(pipeline_class, Pipeline)):
        raise TaskError(f"the task {name!r} needs a subclass of auricle.pipelines.Pipeline; {pipeline_class!r} arrived")
    TASKS[name] = Task(pipeline_class, default_model)


def supported_tasks() -> list[str]:
    """Return the names that `pipeline()` knows, sorted."""
    return sorted(TASKS)


def _is_bridged(task: str | None, model: str | Path | None, settings: ModelSettings) -> bool:
    """Say whether transformers is to run a model: it was asked for, or auricle has neither the task nor the family."""
    if settings.engine == "transformers":
        return True
    name = bridge_tasks.ALIASES.get(task or "", task)
    own = TASKS.get(task or "")
    if own is None and task is not None:
        return name in bridge_tasks.TASKS
    if name == "visual-question-answering" and model is not None and isinstance(own and own.pipeline, str):
        _refuse_unless_native(str(task), model, settings)
    if task is not None and name not in bridge_tasks.TASKS:
        return False
    if model is None or (own is not None and not isinstance(own.pipeline, str)):
        return False
    from auricle.loading import runs_natively

    return not runs_natively(model, revision=settings.revision, token=settings.token)


def _refuse_unless_native(task: str, model: str | Path, settings: ModelSettings) -> None:
    """Refuse a model that transformers may run, but not for a task that it has dropped.

    Raises: TaskError naming the task that it does.
    """
    from auricle.loading import runs_natively

    if runs_natively(model, revision=settings.revision, token=settings.token):
        return
    from auricle.pipelines.bridge import read_config

    config, where = read_config(model, settings)
    does = bridge_tasks.task_of_config(config)
    raise TaskError(
        f"{where}: {(config.get('architectures') or ['?'])[0]} does not do {task} natively, and transformers has no "
        "such task; " + (f"it does {does}: name that, or no task" if does else "BLIP and ViLT do")
    )


def _nested_dtype(parameters: dict[str, Any]) -> Any:
    """Take the dtype out of `model_kwargs`, where transformers' callers may give it by either name."""
    nested = parameters.get("model_kwargs")
    if not isinstance(nested, Mapping):
        return None
    parameters["model_kwargs"] = {name: value for name, value in nested.items() if name not in ("dtype", "torch_dtype")}
    return _one_of("model_kwargs' dtype", nested.get("dtype"), "torch_dtype", nested.get("torch_dtype"))


def _one_of(name: str, value: Any, alias: str, alias_value: Any) -> Any:
    """Return the value of a parameter that has two names, "auto" when neither is given."""
    if value is not None and alias_value is not None and "auto" not in (value, alias_value) and value != alias_value:
        raise OptionError(f"{name}={value!r} and {alias}={alias_value!r} are both given; give one of them")
    given = [one for one in (value, alias_value) if one is not None and one != "auto"]
    return given[0] if given else "auto"


def _task_of(model: str | Path | None, revision: str | None, token: str | bool | None) -> str:
    if model is None:
        raise OptionError(
            "neither a task nor a model arrived; give one, such as pipeline('automatic-speech-recognition') "
            "or pipeline(model='openai/whisper-tiny')"
        )
    from auricle.checkpoints.diarization import CONFIG
    from auricle.hub import BUNDLED_DIARIZATION
    from auricle.loading import task_of

    folder = Path(model).expanduser()
    if model == BUNDLED_DIARIZATION or ((folder / CONFIG).is_file() and not (folder / "config.json").is_file()):
        return "speaker-diarization"
    return task_of(model, revision=revision, token=token)


def announce(model: str, other: str | None = None) -> None:
    """Say on stderr, in one line, which model is used when none was named, how good it is, and how to name `other`."""
    from auricle.hub import locate

    about = locate(model) / "auricle.json"
    card = json.loads(about.read_text(encoding="utf-8")) if about.is_file() else {"name": model}
    summary = f" ({card['summary']})" if "summary" in card else ""
    example = f'"{other}"' if other is not None else "NAME"
    print(
        f"auricle: no model was named, so the {model} one is used: {card['name']}{summary}; "
        f"choose another with model={example} (on the command line: --model) or any folder",
        file=sys.stderr,
    )
