"""Results of every other task as the Inference API has them: JSON, with pictures in base64, or a WAV."""

from __future__ import annotations

import base64
import io
import math
import wave
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# A model that rewrites texts does what it was trained for: clients read the result by the name of the task.
_REWRITTEN = ("generated_text", "summary_text", "translation_text")
_LOUDEST = 32767


def content_of(task: str, result: Any) -> tuple[Any, str | None]:
    """Return what is answered, and its media type; None: it is JSON."""
    if task == "text-to-audio":
        return wav(result["audio"], int(result["sampling_rate"])), "audio/wav"
    if task in ("text2text-generation", "summarization", "translation"):
        texts = [next(iter(one.values())) for one in result]
        return [dict.fromkeys(_REWRITTEN, text) for text in texts], None
    if task == "text-classification":
        result = [result]  # a list of labels for each text, of which there is one
    elif task == "zero-shot-classification":
        pairs = zip(result["labels"], result["scores"], strict=True)
        result = [{"label": label, "score": score} for label, score in pairs]
    elif task == "table-question-answering":
        result = {**result, "aggregator": result.get("aggregator", "NONE")}
    elif task in ("token-classification", "document-question-answering", "object-detection"):
        result = [result] if isinstance(result, Mapping) else result
    return encoded(result), None


def encoded(value: Any) -> Any:
    """Return a value as JSON has it."""
    if isinstance(value, Mapping):
        return {name: encoded(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [encoded(one) for one in value]
    if isinstance(value, np.ndarray | np.generic):
        return encoded(value.tolist())
    if hasattr(value, "save") and hasattr(value, "getbands"):
        with io.BytesIO() as file:
            value.save(file, "PNG")
            return base64.b64encode(file.getvalue()).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no such number
    return value


def wav(samples: Any, sample_rate: int) -> bytes:
    """Return samples (S,) or (channels, S) from -1 to 1 as a WAV of 16 bits."""
    sound = np.atleast_2d(np.asarray(samples, dtype=np.float32))
    if sound.ndim > 2:
        sound = sound.reshape(-1, sound.shape[-1])
    levels = np.rint(np.clip(np.nan_to_num(sound), -1, 1) * _LOUDEST).astype("<i2")
    with io.BytesIO() as file:
        with wave.open(file, "wb") as made:
            made.setnchannels(len(levels))
            made.setsampwidth(2)
            made.setframerate(sample_rate)
            made.writeframes(levels.T.tobytes())
        return file.getvalue()


def similarities(vectors: Sequence[Any]) -> list[float]:
    """Return the cosine of the first text and each other one, of the means of their states (1, S, D)."""
    first, *others = (np.asarray(one, dtype=np.float64).reshape(-1, np.shape(one)[-1]).mean(0) for one in vectors)
    return [float(first @ one / max(np.linalg.norm(first) * np.linalg.norm(one), 1e-12)) for one in others]
