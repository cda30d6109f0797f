"""From probabilities of voice to regions of voice; pure, and the same however the probabilities arrive.

A region begins where the probability reaches `threshold` and ends where it stays below `negative_threshold` for
`min_silence_s`; it is widened by `pad_s` on both sides. Regions that would touch are one.

Source: the hysteresis is that of Silero's get_speech_timestamps (https://github.com/snakers4/silero-vad).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields

from auricle.errors import OptionError

FRAME_S = 0.032  # of a probability
FRAMES = 125, 4  # so many in so many seconds: the same, without rounding
CUT_FRAMES = 3  # a cut in a long region is where so many frames have the least voice
WEAK_VOICE = 0.7  # a region of no higher probability proves nothing: of speech, one in 100 is so weak
WEAK_S = 1.0  # so weak and so short a region is none: hum and chords begin like that
NAMES = {
    "threshold": "vad_threshold",
    "pad_s": "speech_pad_s",
    "longest_s": "chunk_length_s",
}  # of the recognizers' options, for messages
SMALLEST_S = {"longest_s": 1.0, "longest_pause_s": 0.0, "min_speech_s": 0.0, "min_silence_s": 0.032, "pad_s": 0.0}


@dataclass(frozen=True)
class VoiceOptions:
    """How to find voice and how to pack it into stretches."""

    threshold: float = 0.5  # probability from which on a voice begins
    negative_threshold: float | None = None  # below it a voice may end; None: threshold - 0.15, at least 0.01
    min_speech_s: float = 0.1  # what is shorter is no voice
    min_silence_s: float = 0.4  # a shorter pause ends no region
    pad_s: float = 0.2  # kept before and after a region: soft beginnings and ends are easily missed
    longest_pause_s: float = 4.0  # a longer pause is no part of a stretch
    longest_s: float = 30.0  # a longer region is cut where it has least voice; no stretch is longer

    def __post_init__(self) -> None:
        for one in fields(self):
            value, name = getattr(self, one.name), NAMES.get(one.name, one.name)
            if one.name == "negative_threshold" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise OptionError(f"{name}={value!r}; expected a finite number")
            if value < SMALLEST_S.get(one.name, value):
                raise OptionError(f"{name}={value!r}; expected at least {SMALLEST_S[one.name]:g} seconds")
        low = self.lower_threshold
        if not 0.0 < low <= self.threshold < 1.0:
            raise OptionError(
                f"vad_threshold={self.threshold!r}, negative_threshold={self.negative_threshold!r}; expected "
                "probabilities between 0 and 1, the negative one not above the other"
            )
        if self.pad_s > self.longest_s / 4:
            raise OptionError(
                f"speech_pad_s={self.pad_s!r}; expected at most a quarter of longest_s={self.longest_s!r}"
            )

    @property
    def lower_threshold(self) -> float:
        """`negative_threshold` with its default resolved."""
        if self.negative_threshold is None:
            return max(0.01, self.threshold - 0.15)
        return self.negative_threshold


@dataclass(frozen=True)
class Region:
    """Where voice was detected: absolute samples, [start, end)."""

    start: int
    end: int
    peak: float = field(default=1.0, compare=False)  # the highest probability in it


class RegionFinder:
    """Probabilities in, one frame after the other; finished regions out, in order and apart or touching.

    A region longer than `longest_s` comes in pieces that touch, cut at the least voiced point of each piece's
    last third.
    """

    def __init__(self, options: VoiceOptions, sample_rate: int) -> None:
        self.options = options
        self.sample_rate = sample_rate
        self.n_frames = 0
        self._last_end = 0  # of the last region given out
        self._start: int | None = None  # sample where the open region begins
        self._begun = 0  # frame of its first voice
        self._silent: int | None = None  # frame from which on the open region has had no voice
        self._continues = False  # whether the open region is the rest of a cut one
        self._held: list[float] = []  # probabilities since `_begun`, of the open region
        self._pad = round(options.pad_s * sample_rate)
        self._longest = round(options.longest_s * sample_rate)
        # Two regions that touch when they are padded are one.
        self._silence_frames = math.ceil(max(options.min_silence_s, 2 * options.pad_s) / FRAME_S - 1e-6)

    def sample(self, frame: int) -> int:
        """Return the sample at which a frame begins."""
        return frame * FRAMES[1] * self.sample_rate // FRAMES[0]

    @property
    def open_region(self) -> Region | None:
        """What is known of a region that has begun and is sure to be given out; it can only grow."""
        stop = self.n_frames if self._silent is None else self._silent
        if self._start is None or not self._is_voice(stop):
            return None
        return Region(self._start, self.sample(stop) + self._pad, max(self._held))

    @property
    def settled(self) -> int:
        """The sample before which no further region can begin."""
        if self._start is not None:
            return self._start
        return max(self._last_end, self.sample(self.n_frames) - self._pad)

    def __call__(self, probabilities: Iterable[float]) -> list[Region]:
        """Take the next frames; return the regions that are now finished."""
        found: list[Region] = []
        for probability in probabilities:
            self._step(float(probability), found)
        return found

    def end(self, n_samples: int) -> list[Region]:
        """Return what is open at the recording's end, after `n_samples`."""
        found: list[Region] = []
        if self._start is not None:
            stop = self.n_frames if self._silent is None else self._silent
            self._close(stop, found, n_samples)
        return found

    def _step(self, probability: float, found: list[Region]) -> None:
        frame = self.n_frames
        self.n_frames += 1
        if self._start is None:
            if probability < self.options.threshold:
                return
            self._start = max(self._last_end, self.sample(frame) - self._pad)
            self._begun, self._silent, self._continues, self._held = frame, None, False, []
        self._held.append(probability)
        if probability >= self.options.threshold:
            self._silent = None
        elif probability < self.options.lower_threshold and self._silent is None:
            self._silent = frame
        if self._silent is not None and self.n_frames - self._silent >= self._silence_frames:
            self._close(self._silent, found, None)
        elif self._silent is None and self.sample(self.n_frames) + self._pad - self._start > self._longest:
            self._cut(found)

    def _close(self, stop: int, found: list[Region], n_samples: int | None) -> None:
        """End the open region before frame `stop`; it is given out if it is long enough."""
        assert self._start is not None, "only an open region is closed"
        end = self.sample(stop) + self._pad
        end = end if n_samples is None else min(end, n_samples)
        if self._is_voice(stop) and end > self._start:
            found.append(Region(self._start, end, max(self._held)))
            self._last_end = end
        self._start = None

    def _is_voice(self, stop: int) -> bool:
        """Whether the open region, up to frame `stop`, is long and sure enough."""
        if self._continues:
            return stop > self._begun
        # A lower threshold wants weaker voices, too.
        weak = max(self._held) < min(WEAK_VOICE, self.options.threshold + 0.2)
        least = max(self.options.min_speech_s, WEAK_S if weak else FRAME_S)
        return (stop - self._begun) * FRAME_S >= least

    def _at(self, place: int) -> int:
        """How many samples of the open region lie before a held frame."""
        assert self._start is not None, "only an open region holds frames"
        return self.sample(self._begun + place) - self._start

    def _cut(self, found: list[Region]) -> None:
        """Give out the open region up to its least voiced point, and begin the rest there."""
        assert self._start is not None, "only an open region is cut"
        # Silence at the end of what is held may have let it grow beyond a piece.
        last = min(len(self._held) - 2, self._longest * FRAMES[0] // (FRAMES[1] * self.sample_rate) - 1)
        while self._at(last + 1) > self._longest:
            last -= 1
        first = next(at for at in range(1, last + 1) if self._at(at) >= self._longest * 2 // 3 or at == last)

        def voiced(at: int) -> tuple[float, float, int]:
            # Of equally voiced points the last one, so that pieces stay long.
            return sum(self._held[at - 1 : at + CUT_FRAMES - 1]), self._held[at], -at

        at = min(range(first, last + 1), key=voiced)
        cut = (self.sample(self._begun + at) + self.sample(self._begun + at + 1)) // 2
        found.append(Region(self._start, cut, max(self._held[:at])))
        rest, frame = self._held[at:], self._begun + at
        self._start, self._begun, self._last_end = cut, frame, cut
        self._silent, self._continues, self._held, self.n_frames = None, True, [], frame
        for probability in rest:
            self._step(probability, found)


def regions(
    probabilities: Iterable[float], options: VoiceOptions, sample_rate: int, n_samples: int
) -> tuple[Region, ...]:
    """Return all regions of a recording of `n_samples` from the probabilities of its frames."""
    finder = RegionFinder(options, sample_rate)
    return (*finder(probabilities), *finder.end(n_samples))
