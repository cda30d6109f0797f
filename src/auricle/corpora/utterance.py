"""One row of a dataset: a recording or a stretch of one, and what is known about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from auricle.audio.limits import DEFAULT_LIMITS, AudioLimits
from auricle.corpora.stretches import Stretches

Sound = str | bytes | dict[str, Any]
SAMPLE_RATE = 16000  # hertz, of a stretch that was cut


@dataclass(frozen=True, slots=True)
class Utterance:
    """A recording, or the stretch of one from `start` to `end`, in seconds.

    `audio` is a path, a URL, the bytes of a file, or ``{"array", "sampling_rate"}``. `text` is as the dataset writes
    it, None where it says none. `duration` is what the dataset states, in seconds; the sound is not opened for it.
    `extra` holds the other columns.
    """

    id: str
    audio: Sound
    text: str | None = None
    start: float | None = None
    end: float | None = None
    duration: float | None = None
    language: str | None = None
    speaker: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def source(self, sample_rate: int = SAMPLE_RATE, limits: AudioLimits = DEFAULT_LIMITS) -> Any:
        """Return what ``pipeline("automatic-speech-recognition")`` takes: the recording, or the samples of a stretch.

        Raises:
            AudioError: a stretch cannot be read, or the recording ends before it begins.
        """
        if self.start is None and self.end is None:
            return self.audio
        stretches = Stretches(sample_rate, limits)
        try:
            return {"array": stretches.read(self.audio, self.start, self.end), "sampling_rate": sample_rate}
        finally:
            stretches.close()
