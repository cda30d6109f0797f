"""Finds samples that are cut off at the top, as an overloaded microphone or converter leaves them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from auricle.results import Warning

FULL_SCALE = 0.999  # of samples between -1 and 1
LEAST_RUN = 3  # equal samples, one after the other, at the top
LEAST_BLOCK = 8  # samples: shorter ones are not worth a look at them as a whole
JOIN_S = 1.0  # spans closer than this are told as one

# A recording that was turned down after it was cut off is flat at its own peak. The rounded top of a loud hum is
# flat in 16 bits, too, but it has no edge; and a few equal samples at the peak are chance.
LEAST_PEAK = 0.05
EDGE = 0.01  # how far below the peak, as a part of it, the sample before or after a flat top lies
LEAST_FLAT_TOPS = 10


@dataclass
class _Span:
    start: int
    end: int  # samples
    n_runs: int


class ClippingDetector:
    """Takes a recording's blocks as they are read; memory grows with the seconds that are clipped, no faster."""

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self._n_samples = 0
        self._before = 0.0  # the sample before the open run
        self._open: tuple[int, float] | None = None  # start and value of the run that may go on
        self._full: list[_Span] = []
        self._peak: list[_Span] = []  # at the loudest sample so far
        self._level = 0.0

    def __call__(self, block: np.ndarray) -> None:
        """Look at the next samples, mono float32, in blocks of any length."""
        if not len(block):
            return
        # Converters of the sample rate swing beyond full scale where a recording was cut off.
        samples = np.clip(np.nan_to_num(block), -1.0, 1.0)
        level = float(np.abs(samples).max())
        if level > self._level:
            self._level, self._peak = level, []
        repeats = samples[1:] == samples[:-1]
        going_on = 0  # samples of the run before this block, with those that go on here
        if self._open is not None:
            going_on = self._n_samples - self._open[0] + (1 + repeats[:1].sum() if samples[0] == self._open[1] else 0)
        if len(samples) >= LEAST_BLOCK and going_on < LEAST_RUN and not (repeats[1:] & repeats[:-1]).any():
            # No run is long enough for anything: the block at once.
            length = 2 if repeats[-1] else 1  # of the last run
            self._n_samples += len(samples)
            self._before = float(samples[-1 - length])
            self._open = self._n_samples - length, float(samples[-1])
            return
        starts = np.append(0, np.flatnonzero(~repeats) + 1) + self._n_samples
        values = samples[starts - self._n_samples]
        if self._open is not None and values[0] == self._open[1]:
            starts[0] = self._open[0]
        elif self._open is not None:
            starts, values = np.append(self._open[0], starts), np.append(self._open[1], values)
        self._n_samples += len(samples)
        self._scan(starts, values)
        self._before = float(values[-2]) if len(values) > 1 else self._before
        self._open = int(starts[-1]), float(values[-1])

    def warnings(self) -> tuple[Warning, ...]:
        """Return a warning for every clipped span, in order; to be asked at the recording's end."""
        if self._open is not None:
            start, value = self._open
            self._scan(np.array([start, self._n_samples]), np.array([value, 0.0]))
            self._open = None
        spans, where = self._full, "full scale"
        if not spans and sum(span.n_runs for span in self._peak) >= LEAST_FLAT_TOPS:
            spans, where = self._peak, f"{self._level:.3f} of full scale, the recording's peak"
        return tuple(
            Warning(
                "clipped",
                f"{span.n_runs} times samples are cut off at {where}; the recording was too loud for what recorded it",
                span.start / self.sample_rate,
                span.end / self.sample_rate,
            )
            for span in spans
        )

    def _scan(self, starts: np.ndarray, values: np.ndarray) -> None:
        """Note all runs but the last, which may go on."""
        if len(starts) < 2:
            return
        before = np.append(self._before, values[:-2])
        levels = np.abs(values[:-1])
        long = np.diff(starts) >= LEAST_RUN
        edge = np.minimum(np.sign(values[:-1]) * before, np.sign(values[:-1]) * values[1:]) < levels * (1 - EDGE)
        for place in np.flatnonzero(long & (levels >= FULL_SCALE)):
            self._note(self._full, int(starts[place]), int(starts[place + 1]))
        if FULL_SCALE > self._level >= LEAST_PEAK:
            for place in np.flatnonzero(long & edge & (levels == self._level)):
                self._note(self._peak, int(starts[place]), int(starts[place + 1]))

    def _note(self, spans: list[_Span], start: int, end: int) -> None:
        if spans and start - spans[-1].end < JOIN_S * self.sample_rate:
            spans[-1].end, spans[-1].n_runs = end, spans[-1].n_runs + 1
        else:
            spans.append(_Span(start, end, 1))
