"""A recording and its text in, the times of each word out: alignment with a CTC model.

Memory does not grow with the length of the recording, but for the text: frames are searched as they come, and what
is found is what is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

import numpy as np
from torch import Tensor

from auricle.audio.features import FeatureExtractor, Features
from auricle.decoding.forced import ForcedAligner, ForcedOptions, FoundWord
from auricle.errors import OptionError
from auricle.results import Transcript
from auricle.speech.aligned import Placed, make_transcript
from auricle.speech.languages import text_language
from auricle.speech.spelling import Speller, Spelling
from auricle.speech.windows import SHORTEST_S, cut, kept_frames, plan_windows
from auricle.text import Tokenizer
from auricle.text.passages import split_text
from auricle.text.spoken import spoken

# A CTC model writes a letter while it hears it, and the first of a word late. Measured by benchmarks/alignment.py
# on the bundled model: between words that no pause divides the border lies 85 ms before the first letter's frame;
# beside a pause a word begins and ends 30 ms outside of its letters' frames.
JOINED_S = 0.17  # letters of neighbours that are no further apart belong to words without a pause between
LEAD_S = 0.085
EDGE_S = 0.03


class Engine(Protocol):
    """What alignment needs of an engine."""

    def ctc(self, features: Features) -> tuple[Tensor, Tensor]:
        """Return (B, T, V) float log-probabilities and (B,) valid frames, both on the CPU."""
        ...


@dataclass(frozen=True)
class AlignOptions:
    """How to read and search; `by` is checked when the text is split."""

    language: str = "en"  # of the text, a code or a name: how its numbers and signs are said
    by: str = "sentence"  # what a segment is: "sentence", "line" or "paragraph"
    search: ForcedOptions = field(default_factory=ForcedOptions)

    def __post_init__(self) -> None:
        object.__setattr__(self, "language", text_language(self.language))


class Recording(Protocol):
    """Where the sound comes from, in blocks of mono float32 samples."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    def blocks(self) -> Iterator[np.ndarray]:
        """Give the samples, at the rate of the model."""
        ...


class CTCAligner:
    """Finds given texts in recordings with an engine, its front end and its vocabulary."""

    def __init__(
        self, engine: Engine, features: FeatureExtractor, tokenizer: Tokenizer, samples_per_frame: int
    ) -> None:
        self.engine = engine
        self.features = features
        self.tokenizer = tokenizer
        self.samples_per_frame = samples_per_frame

    def align(
        self, audio: Recording, text: str, options: AlignOptions, progress: Callable[[float], None] | None = None
    ) -> Transcript:
        """Return the text with the times of its passages, words and characters.

        Words that are not found have times between those of their neighbours, confidence 0, and a warning.
        `progress` is called with the seconds of audio that are done.

        Raises: OptionError for a text without a word that the vocabulary can write, and where the model gives no
            numbers; AudioError as reading the recording does.
        """
        passages = split_text(text, options.by)
        words = [word for passage in passages for word in passage.words]
        speller = Speller(self.tokenizer)
        spellings = [
            [spelling for reading in readings if (spelling := speller(reading)) is not None]
            for readings in spoken(words, options.language)
        ]
        said = [place for place, found in enumerate(spellings) if found]
        if not said and not speller.missing:
            raise OptionError(f"the text has no word that is spoken: {text.strip()[:40]!r}; give the recording's words")
        if not said:
            raise OptionError(
                f"nothing of the text can be written with the model's vocabulary, which lacks "
                f"{''.join(sorted(speller.missing))[:40]!r}; choose a model of the text's language"
            )
        search = ForcedAligner(
            [[spelling.parts for spelling in spellings[place]] for place in said],
            self.tokenizer.blank,
            speller.space,
            self.tokenizer.vocab_size,
            options.search,
        )
        duration = 0.0
        for log_probs, duration in self._frames(audio):
            search.add(log_probs)
            if progress is not None:
                progress(duration)
        placed = self._placed(words, said, spellings, search.finish(), speller, duration)
        return make_transcript(passages, placed, options.language, duration, speller.missing)

    def _frames(self, audio: Recording) -> Iterator[tuple[np.ndarray, float]]:
        """Give the log-probabilities (T, V) of each window's own frames, and the seconds read so far."""
        rate = self.features.sample_rate
        for window in cut(audio.blocks(), plan_windows(0.0, None, rate, self.samples_per_frame)):
            duration = (window.start + len(window.samples)) / rate
            log_probs = np.zeros((0, self.tokenizer.vocab_size), np.float32)
            if len(window.samples) >= SHORTEST_S * rate:
                rows, lengths = self.engine.ctc(self.features([window.samples]).in_few_shapes(rate))
                log_probs = rows[0, kept_frames(window, int(lengths[0]))].float().numpy()
            if np.isnan(log_probs).any():
                raise OptionError(
                    f"the model gave no numbers for {audio.name}, as half precision does when it overflows; "
                    "load it with dtype='float32'"
                )
            yield log_probs, duration

    def _placed(
        self,
        words: Sequence[str],
        said: Sequence[int],
        spellings: Sequence[Sequence[Spelling]],
        found: Sequence[FoundWord | None],
        speller: Speller,
        duration: float,
    ) -> list[Placed | None]:
        """Frames to seconds: each word that was found, with the times of its characters."""
        seconds = self.samples_per_frame / self.features.sample_rate
        borders = word_borders(found, seconds, duration)
        placed: list[Placed | None] = [None] * len(words)
        for place, one, border in zip(said, found, borders, strict=True):
            if one is None or border is None:
                continue
            spelling = spellings[place][one.reading]
            log_probs = [span.log_prob for span in one.spans]
            confidence = float(np.exp(np.mean(log_probs)))
            edges = _letter_edges(one, spelling, seconds, *border)
            shown = speller.letters_of(words[place])
            is_spelled_out = "".join(letters or "" for letters in shown) == spelling.text
            sizes = [len(letters or "") for letters in shown] if is_spelled_out else None
            placed[place] = Placed(*border, confidence, tuple(character_edges(len(words[place]), sizes, edges)))
        return placed


def word_borders(
    found: Sequence[FoundWord | None], seconds: float, duration: float
) -> list[tuple[float, float] | None]:
    """Start and end of each word that was found, in seconds, from the frames of its letters."""
    borders: list[tuple[float, float] | None] = [None] * len(found)
    known = [place for place, one in enumerate(found) if one is not None]
    starts, ends = {}, {}
    for place in known:
        spans = found[place].spans  # type: ignore[union-attr]  # those that are None were left out
        starts[place] = max(0.0, spans[0].start * seconds - EDGE_S)
        ends[place] = spans[-1].end * seconds + EDGE_S
    for before, after in pairwise(known):
        last = found[before].spans[-1]  # type: ignore[union-attr]
        first = found[after].spans[0]  # type: ignore[union-attr]
        if after == before + 1 and (first.start - last.end) * seconds <= JOINED_S:
            ends[before] = starts[after] = max(first.start * seconds - LEAD_S, last.start * seconds)
        elif ends[before] > starts[after]:
            ends[before] = starts[after] = last.end * seconds
    for place in known:
        start = min(starts[place], duration)
        borders[place] = (start, min(max(start, ends[place]), duration))
    return borders


def _letter_edges(one: FoundWord, spelling: Spelling, seconds: float, start: float, end: float) -> list[float]:
    """The times between the letters of a word, its own start and end included; the time of an id is shared evenly."""
    edges: list[float] = []
    for span, size in zip(one.spans, spelling.letters, strict=True):
        edges += [(span.start + (span.end - span.start) * (part + 0.5) / size) * seconds for part in range(size)]
    between = [(one + other) / 2 for one, other in pairwise(edges)]
    return [start, *(min(max(edge, start), end) for edge in between), end]


def character_edges(n_characters: int, sizes: Sequence[int] | None, edges: Sequence[float]) -> Iterator[float]:
    """The times between the written characters of a word; each takes `sizes` letters, or all the same time."""
    if sizes is None:
        for place in range(n_characters + 1):
            yield edges[0] + (edges[-1] - edges[0]) * place / n_characters
        return
    at = 0
    yield edges[0]
    for size in sizes:
        at += size
        yield edges[at]
