"""The sound of a clip changed at random before its features are computed: speed, rooms, noise, loudness.

Everything is drawn from the generator of the batch, so that a run that goes on draws what it would have drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from auricle.audio.decode import load_audio
from auricle.errors import AudioError, OptionError
from auricle.training.augment import add_noise, change_speed, place_in_room

SOUND_FILES = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a"})
HELD = 256  # recordings of noises and rooms in memory


@dataclass(frozen=True)
class DisturbanceOptions:
    """How clips are changed; chances are of each clip, each time that it is heard."""

    noise: Path | None = None  # a folder of recordings of noise
    rir: Path | None = None  # a folder of room impulse responses
    speed: float = 0.1  # played up to this share slower or faster, pitch included
    gain_db: float = 6.0  # louder or softer by up to this
    noise_chance: float = 0.5
    rir_chance: float = 0.3
    least_ratio_db: float = 5.0  # of the speech over the noise
    most_ratio_db: float = 30.0

    def __post_init__(self) -> None:
        if not 0 <= self.speed < 0.5:
            raise OptionError(f"speed is {self.speed!r}; expected a share from 0 up to 0.5, such as 0.1")
        for name in ("noise_chance", "rir_chance"):
            if not 0 <= getattr(self, name) <= 1:
                raise OptionError(f"{name} is {getattr(self, name)!r}; expected a chance from 0 to 1")
        if self.least_ratio_db > self.most_ratio_db:
            raise OptionError(
                f"least_ratio_db is {self.least_ratio_db!r}, above most_ratio_db, which is {self.most_ratio_db!r}"
            )

    @property
    def changes_sound(self) -> bool:
        """Whether anything is changed at all."""
        return bool(self.noise or self.rir or self.speed or self.gain_db)


class Disturbance:
    """Changes waveforms, each by what the generator draws next."""

    def __init__(self, options: DisturbanceOptions, sample_rate: int) -> None:
        """List the folders.

        Raises:
            OptionError: a folder is not there, or holds no recording.
        """
        self.options, self.sample_rate = options, sample_rate
        self.noises = _recordings(options.noise, "noise")
        self.rooms = _recordings(options.rir, "room responses")
        self._read: Callable[[Path], np.ndarray] = lru_cache(HELD)(self._load)

    def __call__(self, waveform: np.ndarray, generator: torch.Generator) -> tuple[np.ndarray, float]:
        """The changed waveform, and how many times as fast it is: times of words are to be divided by it."""
        # The same number of draws whatever is chosen, so that one clip's choices do not move the next one's.
        speed, gain, room, noise, ratio, which_room, which_noise = torch.rand(7, generator=generator).tolist()
        rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
        options = self.options
        factor = 1.0
        if options.speed:
            # Whole samples tell the true factor.
            changed = change_speed(waveform, 1 + options.speed * (2 * speed - 1), self.sample_rate)
            factor, waveform = len(waveform) / max(1, len(changed)), changed
        if self.rooms and room < options.rir_chance:
            waveform = place_in_room(waveform, self._read(self.rooms[int(which_room * len(self.rooms))]))
        if self.noises and noise < options.noise_chance:
            decibels = options.least_ratio_db + ratio * (options.most_ratio_db - options.least_ratio_db)
            sound = self._read(self.noises[int(which_noise * len(self.noises))])
            waveform = add_noise(waveform, sound, decibels, rng)
        if options.gain_db:
            waveform = waveform * np.float32(10 ** (options.gain_db * (2 * gain - 1) / 20))
        peak = float(np.abs(waveform).max(initial=0.0))
        return (waveform / peak if peak > 1 else waveform).astype(np.float32), factor

    def _load(self, path: Path) -> np.ndarray:
        try:
            waveform = load_audio(str(path), self.sample_rate)
        except (AudioError, OSError) as error:
            raise OptionError(f"{path}, which is to be added to the training, cannot be read: {error}") from error
        if not len(waveform):
            raise OptionError(f"{path}, which is to be added to the training, is empty; remove it")
        return waveform


def _recordings(folder: Path | None, what: str) -> list[Path]:
    if folder is None:
        return []
    if not folder.is_dir():
        raise OptionError(f"{folder} is no folder; expected one with recordings of {what}")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SOUND_FILES)
    if not found:
        raise OptionError(f"{folder} has no recordings of {what} (expected {', '.join(sorted(SOUND_FILES))})")
    return found
