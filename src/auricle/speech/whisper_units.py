"""A recording as what is decoded in one go: stretches of voice, or all of it.

The seek loop runs within a unit; units are decoded one after the other, or together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from auricle.speech.rolling import Reader, RollingSamples
from auricle.speech.stretches import AUTOMATIC_S, Gap, Stretch, longer_than, stretches, voice_regions
from auricle.speech.voice import Region, VoiceOptions
from auricle.speech.whisper_options import WhisperOptions

Span = tuple[float, float]  # seconds from the recording's start


class Voice:
    """Where voice is in a unit."""

    def __init__(self, spans: list[Span] | None) -> None:
        self.spans = spans  # None: not known when decoding begins

    def look(self) -> list[Span] | None:
        """The spans of voice, an empty list if there is none; None if voice detection is off."""
        return self.spans


class UnheardVoice(Voice):
    """The voice of a short recording: decoded whatever it is, and detected when it first matters."""

    def __init__(self, samples: np.ndarray, start: int, sample_rate: int, options: VoiceOptions) -> None:
        super().__init__(None)
        self._given = samples, start, sample_rate, options
        self._found: list[Span] | None = None

    def look(self) -> list[Span] | None:
        """The spans of voice."""
        if self._found is None:
            samples, start, sample_rate, options = self._given
            self._found = _seconds(voice_regions(samples, sample_rate, options), start, sample_rate)
        return self._found


@dataclass
class Unit:
    """Samples to decode, and where voice is in them."""

    samples: RollingSamples
    voice: Voice
    is_endless: bool = False  # a recording of any length, in which window follows window
    states: tuple[Tensor, Tensor] | None = None  # what the encoder gave for the next window, where it is known

    def __post_init__(self) -> None:
        self.start = self.samples.start


class Source:
    """The units and the gaps of one recording, in order, read as they are taken."""

    def __init__(self, blocks: Iterable[np.ndarray], sample_rate: int, options: WhisperOptions) -> None:
        self.reader = Reader(iter(blocks))
        self.sample_rate = sample_rate
        self.options = options

    def __iter__(self) -> Iterator[Unit | Gap]:
        """All of them. A clip is a recording of its own, at its place."""
        for start_s, end_s in self.options.clips:
            start = round(start_s * self.sample_rate)
            end = None if end_s is None else round(end_s * self.sample_rate)
            yield from self._clip(self.reader.span(start, end), start)

    def _clip(self, blocks: Iterator[np.ndarray], start: int) -> Iterator[Unit | Gap]:
        rate, options = self.sample_rate, self.options
        detects = options.vad
        if detects is None:
            detects, blocks = longer_than(blocks, round(min(AUTOMATIC_S, options.longest_s) * rate))
            if not detects:
                held = list(blocks)
                samples = np.concatenate(held) if held else np.zeros(0, dtype=np.float32)
                voice = UnheardVoice(samples, start, rate, options.voice())
                yield Unit(RollingSamples(iter([samples]), start), voice)
                return
        if not detects and not options.is_batched:
            yield Unit(RollingSamples(blocks, start), Voice(None), is_endless=True)
            return
        for one in stretches(blocks, rate, options.voice() if detects else None, options.longest_s):
            if isinstance(one, Stretch):
                spans = _seconds(one.regions, start, rate) if detects else None
                yield Unit(RollingSamples(iter([one.samples]), one.start + start), Voice(spans))
            else:
                yield Gap(one.start + start, one.end + start)


def _seconds(regions: Iterable[Region], later: int, sample_rate: int) -> list[Span]:
    return [((one.start + later) / sample_rate, (one.end + later) / sample_rate) for one in regions]
