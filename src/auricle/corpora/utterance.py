"""One row of a dataset: a recording or a stretch of one, and what is known about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from auricle.audio.limits import DEFAULT_LIMITS, AudioLimits
from auricle.errors import AudioFormatError

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
        return {"array": stretch(self, sample_rate, limits), "sampling_rate": sample_rate}


def stretch(row: Utterance, sample_rate: int, limits: AudioLimits = DEFAULT_LIMITS) -> Any:
    """Return the samples from `row.start` to `row.end`, float32; of a recording that ends before, what there is.

    Nothing beyond the stretch is read, and nothing before it is kept.

    Raises:
        AudioError: the recording cannot be read, or ends before the stretch begins.
    """
    import numpy as np

    from auricle.audio.decode import open_audio

    first = round((row.start or 0.0) * sample_rate)
    last = None if row.end is None else round(row.end * sample_rate)
    kept, n_read = [], 0
    with open_audio(row.audio, sample_rate, limits=limits) as audio:
        for block in audio.blocks():
            kept.append(block[max(0, first - n_read) : None if last is None else max(0, last - n_read)])
            n_read += block.size
            if last is not None and n_read >= last:
                break
        name = audio.name
    samples = np.concatenate(kept) if kept else np.zeros(0, np.float32)
    if not samples.size:
        raise AudioFormatError(
            f"{row.id}: {name} lasts {n_read / sample_rate:.2f} s, and the stretch from {row.start or 0.0:g} s to "
            f"{'its end' if row.end is None else f'{row.end:g} s'} was asked for; correct the dataset's times"
        )
    return samples
