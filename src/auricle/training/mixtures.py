"""Conversations made of single speakers' recordings: who speaks when is known to 10 ms.

Turns follow each other with pauses and overlaps as people's do, some are short backchannels in the middle of another's
turn; each speaker has a place in a room and a loudness, and noise lies under all.

Dimension key: K speakers, S samples at 16 kHz, N activity frames of 10 ms.

Source: simulated conversations as in Landini et al. 2022 (arXiv 2204.00890), with a simpler model of turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from auricle.training.augment import add_noise, change_speed, made_up_room, place_in_room
from auricle.training.data import Sounds
from auricle.training.voices import FRAME_SAMPLES, SAMPLE_RATE, Voice, VoiceStore

FADE = 80  # samples over which a cut recording rises and falls, 5 ms


@dataclass(frozen=True)
class Manners:
    """How people take turns, as probabilities and seconds."""

    stays: float = 0.3  # the same speaker goes on after a pause
    backchannel: float = 0.15  # somebody says a short thing in the middle of a turn
    gap_mean: float = 0.25  # between turns; below zero they overlap
    gap_spread: float = 0.6
    longest_gap: float = 3.0
    lull: float = 0.0  # how often nobody speaks for long after a turn
    lull_seconds: tuple[float, float] = (3.0, 12.0)
    shortest_turn: float = 0.5
    longest_turn: float = 8.0
    quietest_db: float = -6.0  # of a speaker beside another
    room: float = 0.5  # how often there is one
    noise: float = 0.7
    least_snr_db: float = 5.0
    most_snr_db: float = 30.0


@dataclass
class _Tracks:
    """What each speaker says, before rooms: samples (K, S) and activity (K, N)."""

    samples: np.ndarray
    activity: np.ndarray

    def place(self, speaker: int, start: int, said: np.ndarray, active: np.ndarray) -> int:
        """Put a turn at a frame, cut off at the end; return the frame after it."""
        end = min(start + len(active), self.activity.shape[1])
        n_frames = end - start
        if n_frames <= 0:
            return start
        first = start * FRAME_SAMPLES
        n_samples = n_frames * FRAME_SAMPLES
        self.samples[speaker, first : first + n_samples] += said[:n_samples]
        self.activity[speaker, start:end] |= active[:n_frames]
        return end


def conversation(
    store: VoiceStore,
    speakers: Sequence[Sequence[Voice]],
    seconds: float,
    sounds: Sounds,
    rng: np.random.Generator,
    manners: Manners = Manners(),
    speeds: Sequence[float] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the sound of a conversation, (S,) float32, and who speaks in it, (K, N) booleans.

    `speakers` gives the recordings of each, `speeds` how fast they are played, up to a tenth slower or faster if None.
    It begins in the middle: before its first frame people already talked.
    """
    n_frames = round(seconds * SAMPLE_RATE / FRAME_SAMPLES)
    before = round(2.0 * SAMPLE_RATE / FRAME_SAMPLES)
    n_speakers = len(speakers)
    whole = before + n_frames
    tracks = _Tracks(np.zeros((n_speakers, whole * FRAME_SAMPLES), np.float32), np.zeros((n_speakers, whole), bool))
    if speeds is None:
        speeds = rng.uniform(0.9, 1.1, n_speakers).tolist()
    frame, current = 0, int(rng.integers(n_speakers))
    while frame < whole:
        said, active = _turn(store, speakers[current], speeds[current], manners.longest_turn, rng, manners)
        end = tracks.place(current, frame, said, active)
        if n_speakers > 1 and rng.random() < manners.backchannel and end - frame > 100:
            other = _another(current, n_speakers, rng)
            said, active = _turn(store, speakers[other], speeds[other], 0.9, rng, manners)
            tracks.place(other, int(rng.integers(frame, end)), said, active)
        gap = float(np.clip(rng.normal(manners.gap_mean, manners.gap_spread), -1.5, manners.longest_gap))
        if n_speakers == 1 or rng.random() < manners.stays:
            gap = abs(gap)  # nobody overlaps with themselves
        else:
            current = _another(current, n_speakers, rng)
        if manners.lull and rng.random() < manners.lull:
            gap = float(rng.uniform(*manners.lull_seconds))
        frame = max(frame + 1, end + round(gap * SAMPLE_RATE / FRAME_SAMPLES))
    mixed = _mixed(tracks.samples[:, before * FRAME_SAMPLES :], sounds, rng, manners)
    return mixed, tracks.activity[:, before:]


def _another(current: int, n_speakers: int, rng: np.random.Generator) -> int:
    return (current + 1 + int(rng.integers(n_speakers - 1))) % n_speakers


def _turn(
    store: VoiceStore,
    voices: Sequence[Voice],
    speed: float,
    longest: float,
    rng: np.random.Generator,
    manners: Manners,
) -> tuple[np.ndarray, np.ndarray]:
    """Return a stretch of one of the recordings that begins and ends with voice, and its activity."""
    voice = voices[int(rng.integers(len(voices)))]
    samples, active = store.samples(voice), store.activity(voice)
    longest = min(longest, float(rng.exponential(3.0)) + manners.shortest_turn)
    n_wanted = round(longest * SAMPLE_RATE / FRAME_SAMPLES)
    heard = np.flatnonzero(active)
    first = int(heard[int(rng.integers(max(1, len(heard) - n_wanted)))])
    last = int(heard[heard < first + n_wanted][-1]) + 1
    said = samples[first * FRAME_SAMPLES : last * FRAME_SAMPLES].copy()
    n_fade = min(FADE, len(said) // 2)
    said[:n_fade] *= np.linspace(0, 1, n_fade, dtype=np.float32)
    said[len(said) - n_fade :] *= np.linspace(1, 0, n_fade, dtype=np.float32)
    active = active[first:last]
    if abs(speed - 1) < 0.02:
        return said, active
    said = change_speed(said, speed, SAMPLE_RATE)
    n_frames = len(said) // FRAME_SAMPLES
    places = np.minimum((np.arange(n_frames) * speed).astype(int), len(active) - 1)
    return said[: n_frames * FRAME_SAMPLES], active[places]


def _mixed(tracks: np.ndarray, sounds: Sounds, rng: np.random.Generator, manners: Manners) -> np.ndarray:
    """Return (S,): all speakers of (K, S) in one room, each from another place, with noise under them."""
    mixed = np.zeros(tracks.shape[1], np.float32)
    in_room = rng.random() < manners.room
    for track in tracks:
        gain = 10 ** (rng.uniform(manners.quietest_db, 0.0) / 20)
        if in_room and track.any():
            is_measured = sounds.rooms and rng.random() < 0.3
            room = sounds.rooms[int(rng.integers(len(sounds.rooms)))] if is_measured else made_up_room(rng, SAMPLE_RATE)
            track = place_in_room(track, room)
        mixed += gain * track
    if sounds.noises and rng.random() < manners.noise and mixed.any():
        noise = sounds.noises[int(rng.integers(len(sounds.noises)))]
        mixed = add_noise(mixed, noise, rng.uniform(manners.least_snr_db, manners.most_snr_db), rng)
    mixed *= 10 ** (rng.uniform(-12.0, 6.0) / 20)
    return np.clip(mixed, -1.0, 1.0)
