"""A pipeline without a model: the text of a recording is its length in samples and its first one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from auricle.audio.decode import load_audio
from auricle.audio.limits import AudioLimits
from auricle.errors import AudioError, AuricleError
from auricle.pipelines.provenance import ModelIdentity
from auricle.pipelines.speech_parameters import Request
from auricle.results import Segment, Transcript, Warning, Word


class Toy:
    """Says what it hears, and remembers how many it heard together."""

    sample_rate = 16000

    def __init__(self, name: str = "toy", breaks_at: int | None = None, bug_at: int | None = None) -> None:
        self.identity = ModelIdentity(name, commit=f"{name}-1", engine="toy", dtype="float32")
        self.limits = AudioLimits()
        self.breaks_at, self.bug_at = breaks_at, bug_at  # lengths in samples that it fails at
        self.batches: list[list[int]] = []
        self.asked: dict[str, Any] = {}

    def read_call(self, parameters: Any, batch_size: Any, on_error: Any) -> tuple[Request, int, str]:
        return Request(dict(parameters)), 1, "return"

    def transcripts(
        self, sources: list[Any], *, batch_size: int | None, on_error: str, **parameters: Any
    ) -> Iterator[Transcript | AuricleError]:
        self.asked = parameters
        samples = [one["array"] if isinstance(one, dict) and "array" in one else load_audio(one) for one in sources]
        self.batches.append([len(one) for one in samples])
        return iter([self.heard(one) for one in samples])

    def heard(self, samples: np.ndarray) -> Transcript | AuricleError:
        if len(samples) == self.bug_at:
            raise ZeroDivisionError("a bug")
        if len(samples) == self.breaks_at:
            return AudioError("this length is not heard")
        text = f" {len(samples)} {round(float(samples[0]) * 32768)}"
        duration = len(samples) / self.sample_rate
        words = (Word(text, 0.0, duration, 0.5),)
        doubt = (Warning("doubtful", "hm", 0.0, duration),)
        return Transcript(text, (Segment(text, 0.0, duration, words),), "en", duration=duration, warnings=doubt)
