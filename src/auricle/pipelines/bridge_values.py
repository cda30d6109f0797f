"""What goes over the bridge: inputs as transformers takes them, and results as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from auricle.audio.decode import load_audio
from auricle.audio.limits import AudioLimits
from auricle.errors import OptionError
from auricle.pipelines.bridge_tasks import BridgedTask
from auricle.pipelines.images import picture_of
from auricle.pipelines.inputs import recording_of
from auricle.vision.sources import ImageLimits

# transformers holds a recording whole.
AUDIO_LIMITS = AudioLimits(max_read_duration=3600.0)
_PICTURES = ("image", "images")
_PAIR = 2


def is_chat(value: Any) -> bool:
    """Say whether a value is messages, which are one input."""
    return isinstance(value, list | tuple) and bool(value) and isinstance(value[0], Mapping) and "role" in value[0]


def is_one(value: Any, task: BridgedTask) -> bool:
    """Say whether a list is one input: messages, or the two images of a pair."""
    if is_chat(value):
        return True
    return task.takes == "images" and len(value) == _PAIR and not isinstance(value[0], list | tuple)


def read_limits(limits: Any, task: BridgedTask) -> Any:
    """Check the `limits` of a pipeline: AudioLimits where the task takes recordings, ImageLimits elsewhere.

    Raises: OptionError
    """
    usual = AUDIO_LIMITS if task.takes == "audio" else ImageLimits()
    if not isinstance(limits, type(usual) | None):
        raise OptionError(f"limits is {limits!r}; it must be an {type(usual).__name__}, or None for the default ones")
    if isinstance(limits, AudioLimits):
        return replace(limits, max_read_duration=min(limits.max_read_duration, AUDIO_LIMITS.max_read_duration))
    return limits or usual


def prepared(item: Any, task: BridgedTask, sample_rate: int, limits: Any) -> Any:
    """Return an input as transformers takes it: text as it is, samples at a rate, pictures.

    Raises:
        AudioError, ImageError: it cannot be used. OptionError: it is of another kind.
    """
    takes = task.takes
    if takes == "audio":
        return {"raw": _samples(item, sample_rate, limits), "sampling_rate": sample_rate}
    if takes == "image":
        return picture_of(item, limits)
    if takes == "images":
        if not isinstance(item, Sequence) or isinstance(item, str | bytes) or len(item) != _PAIR:
            raise OptionError(f"{type(item).__name__} arrived; give two images as a list")
        return [picture_of(one, limits) for one in item]
    if takes == "video":
        return _video(item)
    if isinstance(item, Mapping):
        return {key: _part(key, value, sample_rate, limits) for key, value in item.items()}
    if takes == "chat" and is_chat(item):
        return [_message(message, sample_rate, limits) for message in item]
    if takes == "fields":
        raise OptionError(
            f"{type(item).__name__} arrived; give {', '.join(map(repr, task.fields))} by name, or a dictionary of them"
        )
    if not isinstance(item, str):
        raise OptionError(f"{type(item).__name__} arrived where a text was expected; give a str, or a list of them")
    return item


def _samples(item: Any, sample_rate: int, limits: AudioLimits) -> Any:
    return load_audio(recording_of(item) if isinstance(item, Mapping) else item, sample_rate, limits=limits)


def _part(key: str, value: Any, sample_rate: int, limits: ImageLimits) -> Any:
    if key == "audio":
        bounds = replace(AUDIO_LIMITS, url_timeout=limits.url_timeout, allow_private_urls=limits.allow_private_urls)
        several = isinstance(value, list | tuple)
        samples = [_samples(one, sample_rate, bounds) for one in (value if several else [value])]
        return samples if several else samples[0]
    if key not in _PICTURES:
        return value
    return [picture_of(one, limits) for one in value] if isinstance(value, list | tuple) else picture_of(value, limits)


def _message(message: Mapping[str, Any], sample_rate: int, limits: ImageLimits) -> dict[str, Any]:
    """Return a message whose pictures and recordings are opened."""
    content = message.get("content")
    if not isinstance(content, list | tuple):
        return dict(message)
    parts = []
    for part in content:
        if not isinstance(part, Mapping):
            raise OptionError(f"a message has the part {part!r:.100}; expected an object such as {{'type': 'text', …}}")
        kind = str(part.get("type"))
        source = next((part[key] for key in (kind, "url", "path", "base64") if key in part), None)
        is_opened = kind in ("image", "audio") and source is not None
        parts.append({"type": kind, kind: _part(kind, source, sample_rate, limits)} if is_opened else dict(part))
    return {**message, "content": parts}


def _video(item: Any) -> str:
    if isinstance(item, Mapping):
        item = item.get("path")
    if not isinstance(item, str | Path) or not Path(item).is_file():
        raise OptionError(f"{str(item)[:200]!r} is no file on this machine; give the path of a video")
    return str(item)


def plain(value: Any) -> Any:
    """Return a result of transformers with numbers of Python; arrays are NumPy's, pictures stay pictures."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if hasattr(value, "detach"):
        tensor = value.detach().cpu()
        value = (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()
    if hasattr(value, "ndim") and hasattr(value, "tolist"):
        return value if value.ndim else value.item()
    return value


def named(given: dict[str, Any], inputs: Any, task: BridgedTask) -> Any:
    """Take the parts of an input that were given by name out of `given`, and return the whole input.

    Raises: OptionError
    """
    parts = {name: given.pop(name) for name in task.fields if name in given}
    if inputs is None and "inputs" in given:
        inputs = given.pop("inputs")
    if not parts:
        if inputs is None:
            raise OptionError(f"no input arrived; give one: {', '.join(task.fields)}")
        return inputs
    if task.takes in ("fields", "chat"):
        if inputs is None:
            only_text = list(parts) in (["text"], ["text_inputs"])
            return next(iter(parts.values())) if only_text and task.takes == "chat" else parts
        first = "text" if isinstance(inputs, str) and "text" in task.fields and "text" not in parts else task.fields[0]
        return {**(inputs if isinstance(inputs, Mapping) else {first: inputs}), **parts}
    if inputs is not None or len(parts) > 1:
        raise OptionError(f"{', '.join(parts)} and another input arrived; give one of them")
    return next(iter(parts.values()))


__all__ = ["is_chat", "is_one", "named", "plain", "prepared", "read_limits"]
