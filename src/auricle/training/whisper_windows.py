"""Windows of at most 30 s joined from clips, cut as the long-form loop of Whisper cuts recordings.

Clips of a speaker follow each other with pauses between them. A window ends where 30 s are full, often within a clip;
the next one begins with that clip again, as the loop does, or within a sentence. Some windows are shorter, and some
hold no speech.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from auricle.training.augment import add_noise, change_speed, made_up_room, place_in_room
from auricle.training.whisper_clips import SAMPLE_RATE, Clip

WINDOW_SECONDS = 30.0
HISTORY_WORDS = 120  # about half of the decoder's positions
LEAST_ROOM = 0.4  # seconds: with less left at the end no further clip begins in a window


@dataclass(frozen=True)
class Spoken:
    """A sentence within a window: its words and their (start, end), seconds from the window's start."""

    words: tuple[str, ...]
    times: tuple[tuple[float, float], ...]
    is_cut: bool = False  # whether the window ends before the sentence does


@dataclass(frozen=True)
class Part:
    """A stretch of a clip, [start, end) seconds in it, placed at a second of the window."""

    clip: Clip
    start: float
    end: float
    at: float

    @property
    def is_cut(self) -> bool:
        """Whether words of the clip end after the part."""
        return self.end < min(self.clip.times[-1][1], self.clip.duration) - 1e-3

    def spoken(self) -> Spoken:
        """The words that lie wholly in the part, in the window's time."""
        inside = [
            (word, (start - self.start + self.at, end - self.start + self.at))
            for word, (start, end) in zip(self.clip.words, self.clip.times, strict=True)
            if start >= self.start - 1e-6 and end <= self.end + 1e-6
        ]
        return Spoken(tuple(word for word, _ in inside), tuple(times for _, times in inside), self.is_cut)


@dataclass(frozen=True)
class Plan:
    """What a window is made of; no parts: nobody speaks."""

    parts: tuple[Part, ...] = ()
    history: tuple[str, ...] = ()  # the words before, in one recording with it
    seconds: float = WINDOW_SECONDS


@dataclass(frozen=True)
class Mixture:
    """How windows are drawn."""

    single: float = 0.15  # share that holds one clip
    short: float = 0.25  # share that ends in a pause before 30 s are full
    silent: float = 0.07  # windows without speech, as a share of the others
    within: float = 0.25  # share of cut clips that go on within the sentence
    disturbed: float = 0.4  # share with noise or a room
    speeds: tuple[float, ...] = (1.0,)
    pause: tuple[float, float] = field(default=(0.2, 1.5))  # seconds between clips


def plan_windows(clips: Sequence[Clip], mixture: Mixture, rng: np.random.Generator) -> list[Plan]:
    """Every clip heard once or, where a window's end cuts it, twice; speakers in turn; silent windows among them."""
    by_speaker: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        by_speaker[clip.speaker].append(clip)
    plans: list[Plan] = []
    for members in by_speaker.values():
        first = int(rng.integers(len(members)))
        plans += _stream(members[first:] + members[:first], mixture, rng)
    plans += [Plan(seconds=float(rng.uniform(1, 30))) for _ in range(round(mixture.silent * len(plans)))]
    return [plans[index] for index in rng.permutation(len(plans))]


def _stream(clips: Sequence[Clip], mixture: Mixture, rng: np.random.Generator) -> Iterator[Plan]:
    at, start = 0, 0.0  # the clip that comes next, and where in it
    history: list[str] = []
    while at < len(clips):
        kind = rng.random()
        limit = WINDOW_SECONDS
        if kind < mixture.single:
            limit = 0.0
        elif kind < mixture.single + mixture.short:
            limit = float(rng.uniform(4, 28))
        parts = _fill(clips[at:], start, limit, mixture, rng)
        whole = [part for part in parts if not part.is_cut]
        end = min(WINDOW_SECONDS, parts[-1].at + parts[-1].end - parts[-1].start)
        yield Plan(tuple(parts), tuple(history[-HISTORY_WORDS:]), end)
        for part in whole:
            history += part.spoken().words
        at += len(whole)
        start = 0.0
        if parts[-1].is_cut:
            last = parts[-1]
            clip = last.clip
            # A window that held nothing whole must not come again.
            if not whole or rng.random() < mixture.within:
                start = _pause_near(clip, last.end, rng)
                said = [word for word, (begin, _) in zip(clip.words, clip.times, strict=True) if begin < start]
                history += said
            else:
                start = max(0.0, clip.times[0][0] - float(rng.uniform(0, 0.3)))


def _fill(clips: Sequence[Clip], start: float, limit: float, mixture: Mixture, rng: np.random.Generator) -> list[Part]:
    """Parts of one window; the first clip from `start` on. A limit under 30 s takes whole clips alone."""
    at = float(rng.uniform(0, 0.4))
    parts: list[Part] = []
    for clip in clips:
        room, need = WINDOW_SECONDS - at, clip.duration - start
        if parts and (at + need > limit if limit < WINDOW_SECONDS else room < LEAST_ROOM):
            break
        parts.append(Part(clip, start, start + min(need, room), at))
        if need > room:
            break
        at += need + float(rng.uniform(*mixture.pause))
        start = 0.0
    return parts


def _pause_near(clip: Clip, moment: float, rng: np.random.Generator) -> float:
    """A moment between two words, one to six words before `moment`."""
    before = [index for index, (_, end) in enumerate(clip.times) if end <= moment]
    index = max(1, len(before) - int(rng.integers(0, 6)))
    if index >= len(clip.times):
        return clip.times[-1][0]
    low, high = clip.times[index - 1][1], clip.times[index][0]
    return float(rng.uniform(min(low, high), high))


def speed_up(plan: Plan, factor: float) -> Plan:
    """The plan in the time of a window that is played `factor` times as fast; words past its end are cut."""
    if factor == 1.0:
        return plan
    parts = []
    for part in plan.parts:
        times = tuple((start / factor, end / factor) for start, end in part.clip.times)
        clip = replace(part.clip, times=times, duration=part.clip.duration / factor)
        at = part.at / factor
        end = min(part.end / factor, part.start / factor + WINDOW_SECONDS - at)
        if end - part.start / factor > 0:
            parts.append(Part(clip, part.start / factor, end, at))
    return replace(plan, parts=tuple(parts), seconds=min(WINDOW_SECONDS, plan.seconds / factor))


def sound(
    plan: Plan,
    read: Callable[[Clip], np.ndarray],
    noises: Sequence[np.ndarray],
    disturbed: bool,
    speed: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """The window's samples, (at most 30 s,) float32: the parts at `speed`, faint noise between them.

    `plan` has been through `speed_up` with the same `speed`.
    """
    if not plan.parts:
        return silence(plan.seconds, noises, rng)
    waveform = np.zeros(round(plan.seconds * SAMPLE_RATE), np.float32)
    for part in plan.parts:
        whole = read(part.clip)
        if speed != 1.0:
            whole = change_speed(whole, speed, SAMPLE_RATE)
        piece = whole[round(part.start * SAMPLE_RATE) : round(part.end * SAMPLE_RATE)]
        first = round(part.at * SAMPLE_RATE)
        piece = piece[: max(0, len(waveform) - first)]
        waveform[first : first + len(piece)] = piece
    if rng.random() < 0.7:
        frames = waveform[: len(waveform) // 400 * 400].reshape(-1, 400)
        loudness = np.sqrt(np.mean(frames**2, 1))
        floor = float(np.quantile(loudness[loudness > 0], 0.05)) if (loudness > 0).any() else 1e-4
        hush = rng.standard_normal(len(waveform)).astype(np.float32) * min(floor, 0.01)
        waveform = np.where(waveform == 0, hush, waveform)
    if disturbed and rng.random() < 0.4:
        waveform = place_in_room(waveform, made_up_room(rng, SAMPLE_RATE))
    elif disturbed:
        noise = noises[int(rng.integers(len(noises)))] if noises and rng.random() < 0.7 else _coloured(rng)
        waveform = add_noise(waveform, noise, rng.uniform(8.0, 30.0), rng)
    gain = 10 ** (rng.uniform(-12, 6) / 20)
    return np.clip(waveform * gain, -1, 1).astype(np.float32)


def silence(seconds: float, noises: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Samples in which nobody speaks: nothing, a recorded or a coloured noise, a hum, or clicks; at any loudness."""
    n_samples = round(seconds * SAMPLE_RATE)
    kind, level = int(rng.integers(6)), 10 ** rng.uniform(-4.5, -0.7)
    if kind == 0:
        return np.zeros(n_samples, np.float32)
    if kind in (1, 2) and noises:
        noise = noises[int(rng.integers(len(noises)))]
        shape = np.resize(np.roll(noise, -int(rng.integers(len(noise)))), n_samples)
    elif kind == 3:
        time = np.arange(n_samples) / SAMPLE_RATE
        tones = [np.sin(2 * np.pi * rng.uniform(40, 1200) * time) / n for n in range(1, 4)]
        shape = np.sum(tones, axis=0)
    elif kind == 4:
        shape = (rng.random(n_samples) < rng.uniform(1, 8) / SAMPLE_RATE) * rng.standard_normal(n_samples) * 10
        shape = np.convolve(shape, np.exp(-np.arange(400) / 60), "same") + 0.01 * rng.standard_normal(n_samples)
    else:
        shape = np.resize(_coloured(rng), n_samples)
    shape = shape / (np.sqrt(np.mean(shape**2)) + 1e-9)
    return np.clip(level * shape, -1, 1).astype(np.float32)


def _coloured(rng: np.random.Generator) -> np.ndarray:
    """Ten seconds of noise whose power falls as a random power of the frequency."""
    spectrum = np.fft.rfft(rng.standard_normal(10 * SAMPLE_RATE))
    spectrum[1:] *= np.arange(1, len(spectrum)) ** -rng.uniform(0, 1.2)
    noise = np.fft.irfft(spectrum)
    return (noise / np.sqrt(np.mean(noise**2)) * 0.05).astype(np.float32)
