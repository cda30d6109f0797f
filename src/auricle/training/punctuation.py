"""Train the network that puts marks and capitals into transcripts: from texts, and from how long readers pause.

Texts have no pauses, so that they are drawn: from how long people paused at such a mark in recordings whose transcripts
have marks. Some stretches have none, for words without times.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from auricle.checkpoints.tensors import write_checkpoint
from auricle.errors import AuricleError, ConfigError
from auricle.loading_punctuation import WORDS, load_punctuation
from auricle.models.punctuation import (
    ENDS,
    MARKS,
    N_FEATURES,
    N_PAUSES,
    N_SPECIAL,
    PAUSES_S,
    UNKNOWN,
    UNMEASURED,
    PunctuationConfig,
    PunctuationTagger,
    features_of,
    pause_of,
)
from auricle.pipelines.align import Aligner
from auricle.speech.punctuation import Punctuator
from auricle.training.punctuation_text import Said, documents, recordings, text_of

RARE = 3  # words that the texts have less often have no place of their own
BLOCK, HELD_OUT = 1000, 25  # words; every so many-th block of a text is measured on
LENGTH, ROWS = 100, 32  # words of a stretch, stretches of a step
RATE, WARM_UP = 3e-3, 100
QUESTION = 2.0  # what a question mark weighs: there are few
IGNORED = -1
# Of stretches: as long as can be; from the beginning of a sentence; to the end of one; with pauses.
WHOLE, FROM_SENTENCE, TO_SENTENCE, WITH_PAUSES = 0.7, 0.7, 0.8, 0.7
# Of words: taken for unknown; another word of the text instead, as a recogniser's mistakes are.
HIDDEN, WRONG = 0.04, 0.05
# Recordings with several sentences are few: so many more full stops, and how long people pause there.
MORE_STOPS = 20.0 * np.array([0.0, 0.05, 0.05, 0.1, 0.2, 0.3, 0.2, 0.1])
LEAST = 0.002  # of each length of pause, at any mark


@dataclass
class Taught:
    """One text as arrays: (T, 3) features without pauses, (T,) marks and (T,) capitals."""

    features: np.ndarray
    marks: np.ndarray
    capitals: np.ndarray


def pauses_at_marks(speech: Path, model: Path | None = None) -> tuple[np.ndarray, int]:
    """Return how often (marks, lengths) each length of pause stands at each mark, and the recordings they are from.

    `speech` is a folder with manifest.jsonl; `model` the CTC model that finds the words, the bundled one if none is
    named.
    """
    align, counts, n_found = Aligner(model), np.zeros((len(MARKS), N_PAUSES)), 0
    for _, path, words in recordings(speech):
        try:
            found = align(path, text_of(words)).words
        except AuricleError:
            continue  # too short, or nothing of the text in it
        if len(found) != len(words):
            continue
        n_found += 1
        for (word, after), one in zip(pairwise(found), words, strict=False):
            counts[one.mark, pause_of(max(0.0, after.start - word.end))] += 1
    if not n_found:
        raise ConfigError(f"{speech} has no English training recording whose transcript has marks")
    return counts, n_found


def shares_of(counts: np.ndarray) -> np.ndarray:
    """Return how probable each length of pause is at each mark, (marks, lengths), of what was counted."""
    shares = counts.copy()
    shares[ENDS[0]] += shares[ENDS[1]] + MORE_STOPS
    shares[ENDS[1]] = shares[ENDS[0]]
    shares[:, UNMEASURED + 1 :] += LEAST * shares.sum(1, keepdims=True)
    return shares / shares.sum(1, keepdims=True)


def divided(texts: Sequence[tuple[str, list[Said]]]) -> tuple[list[list[Said]], list[list[Said]]]:
    """Return stretches to train on, and those to measure on."""
    taught, held_out = [], []
    n_blocks = 0
    for _, words in texts:
        run: list[Said] = []
        for start in range(0, len(words), BLOCK):
            n_blocks += 1
            if n_blocks % HELD_OUT:
                run += words[start : start + BLOCK]
                continue
            held_out.append(words[start : start + BLOCK])
            taught += [run] if run else []
            run = []
        taught += [run] if run else []
    return taught, held_out


def vocabulary(texts: Sequence[Sequence[Said]]) -> list[str]:
    """Return the words that are not rare, the most frequent first."""
    counts = Counter(one.word for words in texts for one in words)
    return [word for word, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if count >= RARE]


class Stretches:
    """Draws stretches of the texts, with pauses."""

    def __init__(
        self,
        texts: Sequence[Sequence[Said]],
        words: Sequence[str],
        config: PunctuationConfig,
        shares: np.ndarray,
        n_rows: int = ROWS,
    ) -> None:
        self.n_rows = n_rows
        places = {word: place for place, word in enumerate(words, start=N_SPECIAL)}
        self.texts = [_taught(words, places, config) for words in texts]
        self.ends = np.cumsum([len(one.marks) for one in self.texts])
        self.bounds = np.cumsum(shares, axis=1)
        self.random, self.numbers = random.Random(0), np.random.default_rng(0)

    def draw(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return features (B, LENGTH, 4), marks and capitals (B, LENGTH) of `n_rows` stretches.

        Both are -1 where nothing is to be learned. Words that begin a sentence teach nothing about capitals.
        """
        features = np.zeros((self.n_rows, LENGTH, N_FEATURES), dtype=np.int64)
        marks, capitals = (np.full((self.n_rows, LENGTH), IGNORED, dtype=np.int64) for _ in range(2))
        for row in range(self.n_rows):
            one = self.texts[int(np.searchsorted(self.ends, self.random.randrange(self.ends[-1]), side="right"))]
            start, end = self._bounds(one.marks)
            n, here = end - start, slice(start, end)
            features[row, :n, :-1] = self._mistaken(one.features, here)
            if self.random.random() < WITH_PAUSES:
                features[row, : n - 1, -1] = self.pauses(one.marks[here])[:-1]
            marks[row, :n], capitals[row, :n] = one.marks[here], one.capitals[here]
            begins = np.concatenate([[start == 0 or one.marks[start - 1] in ENDS], np.isin(one.marks[here][:-1], ENDS)])
            capitals[row, :n][begins] = IGNORED
        return torch.from_numpy(features), torch.from_numpy(marks), torch.from_numpy(capitals)

    def pauses(self, marks: np.ndarray) -> np.ndarray:
        """Draw the length of the pause at each of (T,) marks."""
        return _drawn(self.bounds, marks, self.numbers)

    def _bounds(self, marks: np.ndarray) -> tuple[int, int]:
        longest = LENGTH if self.random.random() < WHOLE else self.random.randint(5, LENGTH)
        n = min(len(marks), longest)
        start = self.random.randrange(len(marks) - n + 1)
        if self.random.random() < FROM_SENTENCE:
            while start > 0 and marks[start - 1] not in ENDS:
                start -= 1
        end = start + n
        if self.random.random() < TO_SENTENCE:
            while end > start + 1 and marks[end - 1] not in ENDS:
                end -= 1
        return start, end if end > start + 1 else start + n

    def _mistaken(self, features: np.ndarray, here: slice) -> np.ndarray:
        """Return the features of some words with a recogniser's mistakes among them."""
        found = features[here].copy()
        chance = self.numbers.random(len(found))
        found[chance < HIDDEN, 0] = UNKNOWN
        wrong = chance > 1 - WRONG
        found[wrong] = features[self.numbers.integers(0, len(features), int(wrong.sum()))]
        return found


def train(stretches: Stretches, config: PunctuationConfig, epochs: float) -> PunctuationTagger:
    """Return a trained network, in evaluation mode; `epochs` count the words of the texts."""
    torch.manual_seed(0)
    tagger = PunctuationTagger(config)
    for table in (tagger.words, tagger.endings, tagger.beginnings):
        torch.nn.init.normal_(table.weight, std=0.15)
    weights = torch.tensor([QUESTION if mark == "?" else 1.0 for mark in MARKS])
    optimizer = torch.optim.AdamW(tagger.parameters(), RATE, weight_decay=0.01)
    n_steps = max(1, int(epochs * stretches.ends[-1] / (LENGTH * stretches.n_rows)))
    losses, started = 0.0, time.monotonic()
    for step in range(n_steps):
        optimizer.param_groups[0]["lr"] = (
            RATE * min(1.0, (step + 1) / min(WARM_UP, n_steps)) * (0.5 + 0.5 * math.cos(math.pi * step / n_steps))
        )
        features, marks, capitals = stretches.draw()
        of_marks, of_capitals = tagger(features)
        taught = capitals != IGNORED
        loss = F.cross_entropy(of_marks.flatten(0, 1), marks.flatten(), weights, ignore_index=IGNORED)
        loss = loss + 0.5 * F.binary_cross_entropy_with_logits(of_capitals[taught], capitals[taught].float())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tagger.parameters(), 1.0)
        optimizer.step()
        losses += loss.item()
        if step % 100 == 99:
            print(
                f"{step + 1} of {n_steps} steps, loss {losses / 100:.4f}, {time.monotonic() - started:.0f} s",
                flush=True,
            )
            losses = 0.0
    return tagger.eval()


def make(texts: Path, speech: Path, out: Path, epochs: float) -> None:
    """Train a network, write its folder and print how well it does on what it did not see."""
    taught, held_out = divided(list(documents(texts, speech / "manifest.jsonl")))
    # What was written of recordings teaches, too: newer words than the texts'.
    spoken = [words for _, _, words in recordings(speech)]
    counts, n_recordings = pauses_at_marks(speech)
    shares = shares_of(counts)
    words = vocabulary([*taught, *spoken])
    config = PunctuationConfig(vocab_size=len(words) + N_SPECIAL)
    stretches = Stretches([*taught, [one for words in spoken for one in words]], words, config, shares)
    print(f"{stretches.ends[-1]} words, {len(words)} of them known; pauses of {n_recordings} recordings", flush=True)
    tagger = train(stretches, config, epochs)
    write_checkpoint(out, {"model_type": "punctuation", **asdict(config)}, tagger.state_dict(), torch.float16)
    (out / WORDS).write_text("\n".join(words) + "\n", encoding="utf-8")
    print(json.dumps(on_held_out(Punctuator(*load_punctuation(out)), held_out, shares), indent=1))


def on_held_out(punctuator: Punctuator, held_out: Sequence[Sequence[Said]], shares: np.ndarray) -> dict[str, object]:
    """Return how well it does on stretches that were held out, with pauses drawn and without any."""
    flat = [one for words in held_out for one in words]
    bounds, numbers = np.cumsum(shares, axis=1), np.random.default_rng(0)
    drawn = _drawn(bounds, np.array([one.mark for one in flat]), numbers)
    return {
        "pauses": {mark or "none": shares[place].round(3).tolist() for place, mark in enumerate(MARKS)},
        "without pauses": measured(punctuator, flat, [None] * len(flat)),
        "pauses drawn": measured(punctuator, flat, [_seconds(int(one)) for one in drawn]),
    }


def measured(punctuator: Punctuator, words: Sequence[Said], pauses: Sequence[float | None]) -> dict[str, object]:
    """Return precision, recall and F1 in per cent of each mark, of ends of sentences, and of capitals within them."""
    written = punctuator.written([one.word for one in words], pauses)
    marks = np.array([MARKS.index(one.mark) for one in written])
    truth = np.array([one.mark for one in words])
    inside = np.concatenate([[False], ~np.isin(truth[:-1], ENDS) & ~np.isin(marks[:-1], ENDS)])
    capitals = np.array([one.capital for one in written]), np.array([one.capital for one in words])
    return {
        "words": len(words),
        **{name: scores_of(marks == place, truth == place) for place, name in enumerate(MARKS) if name},
        "any mark": scores_of(marks > 0, truth > 0),
        "end of a sentence": scores_of(np.isin(marks, ENDS), np.isin(truth, ENDS)),
        "capital within a sentence": scores_of(capitals[0] & inside, capitals[1] & inside),
    }


def scores_of(found: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Return precision, recall and F1, in per cent, of places found among places that are so."""
    both = int((found & truth).sum())
    precision, recall = both / max(1, int(found.sum())), both / max(1, int(truth.sum()))
    f1 = 2 * both / max(1, int(found.sum() + truth.sum()))
    return {"precision": round(100 * precision, 1), "recall": round(100 * recall, 1), "f1": round(100 * f1, 1)}


def _drawn(bounds: np.ndarray, marks: np.ndarray, numbers: np.random.Generator) -> np.ndarray:
    drawn = (bounds[marks] < numbers.random(len(marks))[:, None]).sum(1)
    return np.clip(drawn, UNMEASURED + 1, N_PAUSES - 1)


def _seconds(length: int) -> float | None:
    """Return a pause of one of the lengths that the network tells apart."""
    return None if length == UNMEASURED else (0.0, *PAUSES_S)[length - 1]


def _taught(words: Sequence[Said], places: dict[str, int], config: PunctuationConfig) -> Taught:
    features = features_of([one.word for one in words], [None] * len(words), places, config)
    return Taught(
        np.array(features, dtype=np.int64)[:, :-1],
        np.array([one.mark for one in words]),
        np.array([int(one.capital) for one in words]),
    )
