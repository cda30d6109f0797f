"""Divide a recording of any length into stretches that a model can hear whole and gaps without voice.

Regions of voice that are close together share a stretch, so that a model hears sentences in their context.
Stretches and gaps cover the recording exactly once, in order, and are the same however its samples arrive.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np

from auricle.engines.cpu.voice import FastVoiceProbabilities as VoiceProbabilities
from auricle.results import Warning
from auricle.speech.rolling import RollingSamples
from auricle.speech.voice import Region, RegionFinder, VoiceOptions

AUTOMATIC_S = 30.0  # recordings above this are divided by voice unless an option says otherwise
SKIPPED_S = 1.0  # shorter gaps are pauses, of which nobody needs to be told
STEP_FRAMES = 64  # detector frames in one call, always counted from the recording's start
PAUSE_S = 0.2  # without a detector: the span of quiet that a cut looks for
QUIET_STEP_S = 0.02  # how finely it looks


@dataclass(frozen=True)
class Stretch:
    """A part of a recording to be decoded."""

    samples: np.ndarray  # mono float32, contiguous in the recording
    start: int  # absolute sample of samples[0]
    regions: tuple[Region, ...]  # where voice was detected inside; absolute; without a detector one, of everything

    @property
    def end(self) -> int:
        """The absolute sample after the last."""
        return self.start + len(self.samples)


@dataclass(frozen=True)
class Gap:
    """A part of a recording, in absolute samples, in which no voice was detected and nothing is decoded."""

    start: int
    end: int


def stretches(
    blocks: Iterable[np.ndarray], sample_rate: int, options: VoiceOptions | None, longest_s: float = AUTOMATIC_S
) -> Iterator[Stretch | Gap]:
    """Divide mono float32 blocks by where voice is; with `options` None, where it is quiet, every `longest_s` at most.

    A stretch is at most `options.longest_s` long. Memory is that of one stretch, its successor's first region
    and one block. A recording without samples has neither stretches nor gaps.

    Raises: MissingExtraError where the detector is not installed.
    """
    if options is None:
        return quiet_stretches(blocks, round(longest_s * sample_rate), sample_rate)
    return _Packer(blocks, sample_rate, options).divide()


def quiet_stretches(blocks: Iterable[np.ndarray], longest: int, sample_rate: int) -> Iterator[Stretch]:
    """Divide a recording into stretches of at most `longest` samples, cut where it is quiet."""
    samples = RollingSamples(iter(blocks))
    while True:
        waiting = samples.window(longest + 1)
        taken = waiting[: quietest(waiting, longest, sample_rate)] if len(waiting) > longest else waiting
        if not len(taken):
            return
        start = samples.start
        yield Stretch(taken, start, (Region(start, start + len(taken)),))
        samples.skip(len(taken))


def quietest(samples: np.ndarray, longest: int, sample_rate: int) -> int:
    """Where to cut: the middle of the quietest 0.2 s within the last third of what may be kept."""
    step, n_steps = round(QUIET_STEP_S * sample_rate), round(PAUSE_S / QUIET_STEP_S)
    first = longest * 2 // 3
    n_frames = (longest - first) // step
    if n_frames < n_steps:
        return longest
    energy = np.square(samples[first : first + n_frames * step], dtype=np.float64).reshape(-1, step).sum(1)
    pauses = np.convolve(energy, np.ones(n_steps), mode="valid")
    # Of equally quiet pauses the last one, so that stretches stay long.
    at = len(pauses) - 1 - int(pauses[::-1].argmin())
    return first + at * step + n_steps * step // 2


def longer_than(blocks: Iterable[np.ndarray], n_samples: int) -> tuple[bool, Iterator[np.ndarray]]:
    """Whether a recording has more than `n_samples`, by reading it, and its blocks from the start.

    Holds what it has read until it is asked for: at most `n_samples` and one block.
    """
    left = iter(blocks)
    read: list[np.ndarray] = []
    n_read = 0
    for block in left:
        read.append(block)
        n_read += len(block)
        if n_read > n_samples:
            break
    return n_read > n_samples, chain(_handed_out(read), left)


def skipped(gaps: Iterable[Gap], sample_rate: int) -> tuple[Warning, ...]:
    """Return a warning for every second or more without voice; gaps that touch are one."""
    spans: list[list[int]] = []
    for gap in gaps:
        if spans and gap.start <= spans[-1][1]:
            spans[-1][1] = gap.end
        else:
            spans.append([gap.start, gap.end])
    return tuple(
        Warning(
            "skipped",
            "no voice was detected, so nothing was decoded; vad=False (--no-vad) decodes everything",
            start / sample_rate,
            end / sample_rate,
        )
        for start, end in spans
        if end - start > SKIPPED_S * sample_rate
    )


def voice_regions(samples: np.ndarray, sample_rate: int, options: VoiceOptions) -> tuple[Region, ...]:
    """Return where voice is in samples that are all in memory."""
    probabilities, finder = VoiceProbabilities(sample_rate), RegionFinder(options, sample_rate)
    found = [finder(probabilities(step)) for step in _steps(iter([samples]), finder)]
    return (*chain(*found), *finder(probabilities.end()), *finder.end(len(samples)))


class _Packer:
    """Reads a recording once, and lets go of what is given out or silent."""

    def __init__(self, blocks: Iterable[np.ndarray], sample_rate: int, options: VoiceOptions) -> None:
        self.options = options
        self.longest = round(options.longest_s * sample_rate)
        self.longest_pause = round(options.longest_pause_s * sample_rate)
        self.finder = RegionFinder(options, sample_rate)
        self.probabilities = VoiceProbabilities(sample_rate)
        self.blocks = blocks
        self.packed: list[Region] = []  # of the stretch that is being filled
        self.done = 0  # sample up to which stretches and gaps were given out
        self.held: list[np.ndarray] = []
        self.held_start = 0

    def divide(self) -> Iterator[Stretch | Gap]:
        n_samples = 0
        for step in _steps(iter(self.blocks), self.finder):
            self.held.append(step)
            n_samples += len(step)
            yield from self._pack(self.finder(self.probabilities(step)))
            yield from self._give_out_what_cannot_grow()
            self._let_go(self.packed[0].start if self.packed else self.finder.settled)
        yield from self._pack([*self.finder(self.probabilities.end()), *self.finder.end(n_samples)])
        while self.packed:
            yield from self._give_out(len(self.packed))
        if self.done < n_samples:
            yield Gap(self.done, n_samples)

    def _pack(self, found: Iterable[Region]) -> Iterator[Stretch | Gap]:
        for region in found:
            while self.packed and not self._fits(region.start, region.end):
                yield from self._give_out(self._best_cut(region))
            self.packed.append(region)

    def _give_out_what_cannot_grow(self) -> Iterator[Stretch | Gap]:
        """Give out what the region to come cannot join, before that region's end is known."""
        region = self.finder.open_region
        start = self.finder.settled
        if self.packed and start - self.packed[-1].end > self.longest_pause:
            yield from self._give_out(len(self.packed))
        while region is not None and self.packed and not self._fits(region.start, region.end):
            yield from self._give_out(self._best_cut(region))

    def _fits(self, start: int, end: int) -> bool:
        pause = start - self.packed[-1].end
        return end - self.packed[0].start <= self.longest and pause <= self.longest_pause

    def _best_cut(self, after: Region) -> int:
        """How many of the packed regions to give out: up to the widest pause that leaves a long stretch."""
        if after.start - self.packed[-1].end > self.longest_pause:
            return len(self.packed)
        following = [*self.packed[1:], after]
        pauses = [
            (right.start - left.end, count)
            for count, (left, right) in enumerate(zip(self.packed, following, strict=True), start=1)
            if left.end - self.packed[0].start >= self.longest * 2 // 3
        ]
        return max(pauses)[1] if pauses else len(self.packed)

    def _give_out(self, count: int) -> Iterator[Stretch | Gap]:
        regions, self.packed = tuple(self.packed[:count]), self.packed[count:]
        start, end = regions[0].start, regions[-1].end
        if start > self.done:
            yield Gap(self.done, start)
        self.done = end
        self._let_go(start)
        n_steps = next(count for count in range(1, len(self.held) + 1) if self._held_end(count) >= end)
        held = np.concatenate(self.held[:n_steps])
        yield Stretch(held[start - self.held_start : end - self.held_start], start, regions)

    def _held_end(self, n_steps: int) -> int:
        return self.held_start + sum(map(len, self.held[:n_steps]))

    def _let_go(self, before: int) -> None:
        """Forget the held steps that lie before a sample."""
        while self.held and self.held_start + len(self.held[0]) <= before:
            self.held_start += len(self.held.pop(0))


def _steps(blocks: Iterator[np.ndarray], finder: RegionFinder) -> Iterator[np.ndarray]:
    """Cut blocks anew, at the same samples whatever the blocks: what the detector gives depends on its calls."""
    samples = RollingSamples(blocks)
    n_steps = 0
    while True:
        n_steps += 1
        length = finder.sample(n_steps * STEP_FRAMES) - samples.start
        step = samples.window(length).copy()
        if not len(step):
            return
        yield step
        samples.skip(len(step))


def _handed_out(read: list[np.ndarray]) -> Iterator[np.ndarray]:
    while read:
        yield read.pop(0)
