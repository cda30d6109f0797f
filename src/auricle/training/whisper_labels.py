"""What a Whisper is to write for one clip, and for several clips that follow one another in a window.

A clip's labels are kept with its times: timestamp, text, timestamp, and so on. From these a sequence is drawn with
times or without, alone or joined to others, whose times are then true ones, and after text that was said before.
Fine-tuning on text alone makes a model forget its timestamps.

Source: arXiv 2212.04356, figure 1 and section 2.3 (the format of sequences).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch

from auricle.errors import OptionError
from auricle.speech.whisper_tokens import WhisperTokens
from auricle.text.tokenizer import N_TIMESTAMPS

STEP_S = 0.02  # seconds that a timestamp token counts
PAUSE_S = 0.6  # a longer one between words ends a segment
SENTENCE_ENDS = tuple(".?!。？！।؟…")
IGNORED = -100  # a place from which nothing is learned

Times = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Drawing:
    """How sequences are drawn from clips; each is a share or a probability."""

    timed: float = 0.5  # windows with timestamps
    joined: float = 0.7  # that a clip follows the one before in the same window, where there is room
    told: float = 0.2  # windows that are told the text of another clip
    longest_gap: float = 1.0  # seconds of silence before a clip, at most

    def __post_init__(self) -> None:
        for name in ("timed", "joined", "told"):
            if not 0 <= getattr(self, name) <= 1:
                raise OptionError(f"{name} is {getattr(self, name)!r}; expected a share from 0 to 1")
        if not 0 <= self.longest_gap <= 5:
            raise OptionError(f"longest_gap is {self.longest_gap!r}; expected 0 to 5 seconds")


PLAIN = Drawing(timed=0.0, joined=0.0, told=0.0, longest_gap=0.0)


@dataclass(frozen=True)
class Piece:
    """A clip within a window."""

    place: int  # of the clip among those of the batch
    first: int  # step of the window at which its sound begins


def word_times(extra: Mapping[str, Any], n_words: int) -> list[tuple[float, float]] | None:
    """The times of a row's words in seconds, as `word_times` or `words` states them; None where there are none.

    Each is a pair, a triple that begins with the word, or an object with `start` and `end`. Times of another number of
    words than the text has belong to another text, and are not used.
    """
    given = extra.get("word_times") or extra.get("words")
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) != n_words or not given:
        return None
    found = []
    for one in given:
        if isinstance(one, Mapping):
            pair = (one.get("start"), one.get("end"))
        elif isinstance(one, Sequence) and not isinstance(one, str) and len(one) >= 2:
            pair = (one[-2], one[-1])
        else:
            return None
        if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in pair):
            return None
        found.append((float(pair[0]), float(pair[1])))  # type: ignore[arg-type]  # both are numbers
    ordered = all(0 <= start <= end for start, end in found)
    rising = all(one[0] <= other[0] for one, other in pairwise(found))
    return found if ordered and rising else None


def segments_of(text: str, times: Times | None, spoken: tuple[float, float]) -> list[tuple[str, float, float]]:
    """Text with start and end in seconds: cut at sentences and pauses where words have times, else one segment."""
    words = text.split()
    if times is None or len(times) != len(words):
        return [(" ".join(words), *spoken)]
    found: list[tuple[str, float, float]] = []
    first = 0
    for place, word in enumerate(words):
        last = place + 1 == len(words)
        if last or word.endswith(SENTENCE_ENDS) or times[place + 1][0] - times[place][1] > PAUSE_S:
            found.append((" ".join(words[first : place + 1]), times[first][0], times[place][1]))
            first = place + 1
    return found


def timed_labels(
    segments: Sequence[tuple[str, float, float]], n_steps: int, encode: Callable[[str], list[int]], begin: int
) -> list[int]:
    """Ids of segments between their timestamps, which count from `begin`; none is later than `n_steps`."""
    labels: list[int] = []
    latest = 0
    for text, start, end in segments:
        first = min(max(latest, round(start / STEP_S)), max(0, n_steps - 1))
        latest = min(max(first + 1, round(end / STEP_S)), n_steps)
        labels += [begin + first, *encode(" " + text), begin + latest]
    return labels


def shifted(labels: Sequence[int], begin: int, steps: int, speed: float = 1.0) -> list[int]:
    """The same labels of a clip that is played `speed` times as fast from step `steps` of a window on."""
    return [begin + steps + round((id - begin) / speed) if _is_time(id, begin) else id for id in labels]


def draw_windows(
    sizes: Sequence[tuple[int, int]],
    languages: Sequence[str | None],
    room: tuple[int, int],
    options: Drawing,
    generator: torch.Generator,
) -> list[list[Piece]]:
    """Divide clips of (steps, labels) among windows that have `room` for so many of both, each of one language."""
    order = torch.randperm(len(sizes), generator=generator).tolist()
    windows: list[list[Piece]] = []
    latest: dict[str | None, tuple[list[Piece], int, int]] = {}  # by language: a window, its end and its labels
    for place in order:
        n_steps, n_labels = sizes[place]
        chance, gap = torch.rand(2, generator=generator).tolist()
        silence = int(gap * options.longest_gap / STEP_S)
        window, end, labels = latest.get(languages[place], ([], 0, 0))
        fits = end + silence + n_steps <= room[0] and labels + n_labels <= room[1]
        if not (window and fits and chance < options.joined):
            silence = min(silence, max(0, room[0] - n_steps))
            window, end, labels = [], 0, 0
            windows.append(window)
        window.append(Piece(place, end + silence))
        latest[languages[place]] = window, end + silence + n_steps, labels + n_labels
    return windows


def sequence(
    tokens: WhisperTokens, start: Sequence[int], labels: Sequence[int], timed: bool, before: Sequence[int] = ()
) -> tuple[list[int], list[int]]:
    """What the decoder is given and what is to follow each token, equally long.

    `start` is the start token with language and task, `labels` text between timestamps. Nothing is learned from what
    was said before, nor that a start follows it.
    """
    begin = tokens.timestamp_begin
    body = list(labels) if timed else [tokens.no_timestamps, *(id for id in labels if not _is_time(id, begin))]
    told = [tokens.previous, *before] if before else []
    whole = [*told, *start, *body, tokens.eos]
    targets = [IGNORED] * len(told) + whole[len(told) + 1 :]
    return whole[:-1], targets


def history(labels: Sequence[int], begin: int, most: int) -> list[int]:
    """The text of another clip as it is told to a window: without times, its last `most` tokens."""
    text = [id for id in labels if not _is_time(id, begin)]
    return text[len(text) - most :] if len(text) > most else text


def _is_time(id: int, begin: int) -> bool:
    """Whether a token is a timestamp; what a checkpoint has behind them is text."""
    return begin <= id < begin + N_TIMESTAMPS
