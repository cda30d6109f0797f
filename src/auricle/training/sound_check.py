"""The sound of a training's recordings: level, clipping, sample rates, and whether a recording is there twice."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from auricle.audio.decode import open_audio
from auricle.audio.limits import DEFAULT_LIMITS
from auricle.audio.sources import open_source
from auricle.errors import AudioError
from auricle.training.findings import Finding, counted, listed, some

if TYPE_CHECKING:
    from auricle.corpora import Utterance

SAMPLED = 200  # recordings that are listened to, spread over all
SILENT_DB = -60.0  # level of the loudest tenth of a second, below which nobody speaks
QUIET_DB = -45.0
CLIPPED_SHARE = 0.001  # of the samples at full scale
FULL_SCALE = 0.999
LOW_RATE = 16000  # hertz: telephone speech lacks what the models listen to


@dataclass(frozen=True)
class Heard:
    """One recording."""

    id: str
    rate: int  # hertz, as it is stored
    level_db: float  # of its loudest tenth of a second, 0 is full scale
    clipped: float  # share of the samples


def listen(row: Utterance) -> Heard:
    """Decode one recording, or the part of it up to a row's end.

    Raises:
        AudioError: it cannot be read.
    """
    source: Any = row.source() if row.start is not None or row.end is not None else row.audio
    recording = open_source(source, LOW_RATE, DEFAULT_LIMITS)
    rates: Counter[int] = Counter()
    loudest, n_clipped = 0.0, 0
    try:
        for block, rate in recording.blocks():
            rates[rate] += len(block)
            n_clipped += int((np.abs(block) >= FULL_SCALE).sum())
            size = max(1, rate // 10)
            for first in range(0, len(block), size):
                part = block[first : first + size]
                if len(part) * 4 >= size:  # a rest of a few samples says nothing
                    loudest = max(loudest, float(np.mean(np.square(part, dtype=np.float64))))
    finally:
        recording.close()
    n_samples = sum(rates.values())
    level = 10 * np.log10(loudest) if loudest > 0 else -np.inf
    return Heard(row.id, max(rates, key=lambda rate: rates[rate]) if rates else 0, level, n_clipped / max(1, n_samples))


def check_sounds(rows: Sequence[Utterance], most: int = SAMPLED) -> tuple[list[Finding], str]:
    """Listen to some recordings of all: what is wrong with them, and a line that says what they are."""
    heard: list[Heard] = []
    for row in rows[:: max(1, len(rows) // most)][:most]:
        try:
            heard.append(listen(row))
        except AudioError:
            continue  # rows that cannot be read are left out, and reported so
    rates = Counter(one.rate for one in heard)
    said = ", ".join(f"{n} at {rate} Hz" for rate, n in rates.most_common())
    return list(_faults(heard, rates)), f"{len(heard)} of {len(rows)} recordings were listened to: {said or 'none'}"


def _faults(heard: Sequence[Heard], rates: Counter[int]) -> Iterator[Finding]:
    silent = [one for one in heard if one.level_db < SILENT_DB]
    quiet = [one for one in heard if SILENT_DB <= one.level_db < QUIET_DB]
    clipped = [one for one in heard if one.clipped > CLIPPED_SHARE]
    low = [one for one in heard if 0 < one.rate < LOW_RATE]
    much = "error" if len(silent) > 0.5 * len(heard) else "warning"
    converted = "They are converted, and lack everything above half of their rate, as telephones do"
    for severity, kind, rows, what, advice in (
        (much, "silence", silent, "are silent", "Remove them: silence with a text teaches invention"),
        ("note", "quiet", quiet, "are very quiet", "Look whether a microphone was off"),
        ("warning", "clipping", clipped, "are clipped", "Record them at a lower level if that can be"),
        ("warning", "low rate", low, f"have less than {LOW_RATE} Hz", converted),
    ):
        if rows:
            message = f"{counted(len(rows), len(heard))} of those listened to {what}"
            told = [f"{one.id}: {one.level_db:.0f} dB, {one.clipped:.2%} clipped, {one.rate} Hz" for one in rows]
            yield Finding(severity, kind, message, advice, len(rows), some(told))
    if len(rates) > 1:
        pairs = [(f"{rate} Hz", n) for rate, n in rates.most_common()]
        yield Finding("note", "rates", f"sample rates differ: {listed(pairs)}", "All are converted", len(rates))


def duplicated_sounds(training: Sequence[Utterance], validation: Sequence[Utterance]) -> list[Finding]:
    """Recordings that are in both splits, and those that are in training more than once, by their bytes."""
    known: dict[str, str] = {}  # digests of files that several rows share
    taught: dict[str, list[str]] = defaultdict(list)
    for row in training:
        digest = _digest(row, known)
        if digest is not None:
            taught[digest].append(row.id)
    both = []
    for row in validation:
        digest = _digest(row, known)
        if digest in taught:
            both.append(f"{row.id} is {taught[digest][0]}")
    found = []
    if both:
        message = f"{counted(len(both), len(validation))} of validation are recordings of training, byte for byte"
        advice = "Remove them from one of the two splits: nothing is learned about a model from what it was taught"
        found.append(Finding("error", "duplicates", message, advice, len(both), some(both)))
    twice = [ids for ids in taught.values() if len(ids) > 1]
    if twice:
        n_more = sum(len(ids) - 1 for ids in twice)
        message = f"{counted(n_more, len(training))} of training are there more than once, byte for byte"
        found.append(Finding("note", "repeated", message, "", n_more, some([", ".join(ids[:3]) for ids in twice])))
    return found


def _digest(row: Utterance, known: dict[str, str]) -> str | None:
    """The sound's name by its bytes and by the stretch of it that is meant; None where it cannot be read."""
    key = row.audio if isinstance(row.audio, str) else None
    content = known.get(key) if key is not None else None
    if content is None:
        try:
            with open_audio(row.audio, LOW_RATE) as audio:
                content = audio.sha256()
        except (AudioError, OSError):
            return None
        if key is not None:
            known[key] = content
    return hashlib.sha256(f"{content} {row.start} {row.end}".encode()).hexdigest()
