"""Which rows teach and which are held out to choose the best checkpoint."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from auricle.errors import OptionError

if TYPE_CHECKING:
    from auricle.corpora import Utterance

TRAINING_SPLITS = ("train", "training", "validated")
TRAINING_BEGINS = ("train-", "train_", "train.")  # train-clean-100 and train-clean-360 are learned together
VALIDATION_SPLITS = ("validation", "dev", "valid", "eval", "dev-clean", "dev_clean")
MIN_SPEAKERS = 3  # of whom one can be held out


Columns = tuple[str | None, str | None]  # of the text, of the sound


@dataclass(frozen=True)
class Chosen:
    """Rows for learning and for validation, and what was found."""

    training: list[Utterance]
    validation: list[Utterance]
    said: dict[str, Any] = field(default_factory=dict)  # of the model card
    reports: tuple[str, ...] = ()  # of what was found in each collection and left out, in a few lines


def choose_rows(
    source: Any,
    validation_source: Any = None,
    *,
    split: str | None = None,
    share: float = 0.05,
    language: str | None = None,
    seed: int = 1,
    columns: Columns = (None, None),
) -> Chosen:
    """Read a collection, and find or make its validation split.

    Validation rows come from `validation_source`, or from the split of that name or of a usual one, or they are a share
    of the training rows: whole speakers where they are known. A split called "test" is never used. `columns` are
    those of the text and of the sound, where they are not found by themselves.

    Raises:
        OptionError: no such split or column, no row is left, or none has a text.
    """
    from auricle.corpora import no_text, open_corpus

    text_column, audio_column = columns
    if isinstance(source, Iterator):  # which is read once, and a dataset is looked at before it is learned
        source = list(source)
    corpus = open_corpus(source, text_column=text_column, audio_column=audio_column)
    names = tuple(corpus.splits)
    if split is not None and split not in names:
        raise OptionError(f"{source} has no split {split!r}; it has {', '.join(names) or 'none'}")
    taught = _training_splits(names, split)
    if not taught and names:
        raise OptionError(
            f"{source} has the splits {', '.join(names)} and none is called {' or '.join(TRAINING_SPLITS)}, or begins "
            "with train; give the folder or file of the training rows"
        )
    parts = [corpus.select(name) for name in taught] or [corpus]
    rows = [row for part in parts for row in _of_language(part, language)]
    read = parts if corpus.is_streamed else [corpus]  # what is streamed tells only what was read of it
    left_out = dict(sum((Counter(one.report.reasons) for one in read), Counter[str]()))
    if rows and not any(row.text for row in rows):
        raise no_text(corpus, rows)
    said = {
        "source": str(source),
        "layout": corpus.layout,
        "split": ", ".join(taught) or None,
        **({"left_out": left_out} if left_out else {}),
    }
    held = split or next((name for name in VALIDATION_SPLITS if name in names), None)
    reports = [str(one.report) for one in read]
    if validation_source is not None:
        other = open_corpus(validation_source, text_column=text_column, audio_column=audio_column)
        chosen = split if split in other.splits else None
        validation = _of_language(other.select(chosen) if chosen else other, language)
        said["validation"] = str(validation_source)
        reports.append(str(other.report))
    elif held is not None and held not in taught:
        validation, said["validation"] = _of_language(corpus.select(held), language), f"the split {held!r}"
    else:
        rows, validation, said["validation"] = hold_out(rows, share, seed)
    if not rows:
        left = "".join(f"; left out: {n} {reason}" for reason, n in left_out.items())
        others = Counter(row.language for part in parts for row in part if row.language) if language else Counter()
        left += f"; its rows are in {', '.join(sorted(others))}: give one of these as the language" if others else ""
        raise OptionError(f"{source} has no rows to train on{f' in {language!r}' if language else ''}{left}")
    return Chosen(
        rows, validation, {**said, "speakers": len({row.speaker for row in rows if row.speaker})}, tuple(reports)
    )


def _training_splits(names: Sequence[str], held: str | None) -> list[str]:
    """The splits to learn from: one of a usual name, else all that begin so (LibriSpeech's), else the only one."""
    usual = next((name for name in TRAINING_SPLITS if name in names), None)
    if usual is not None:
        return [usual]
    begun = [name for name in names if name.startswith(TRAINING_BEGINS) and name != held]
    return begun or [name for name in names if len(names) == 1 and name != held]


def hold_out(rows: Sequence[Utterance], share: float, seed: int) -> tuple[list[Utterance], list[Utterance], str]:
    """Divide rows into those that teach and a share that does not, whole speakers where they are known.

    Who is held out depends on the names and the seed alone, not on the order of the rows. Rows without a text tell
    nothing of a checkpoint: they stay with those that teach, where they are counted as left out.
    """
    written = [row for row in rows if row.text and row.text.strip()]
    if len(written) < len(rows):
        training, held_out, said = hold_out(written, share, seed)
        chosen_ids = {id(row) for row in held_out}
        return [row for row in rows if id(row) not in chosen_ids], held_out, said
    counts = Counter(row.speaker for row in rows if row.speaker)
    wanted = share * len(rows)
    if not share or len(rows) < 2:
        return list(rows), [], "none"
    if len(counts) >= MIN_SPEAKERS and sum(counts.values()) == len(rows):
        held: set[str] = set()
        n_held = 0
        for speaker in sorted(counts, key=lambda name: _drawn(f"{seed} {name}")):
            # The first is held out whatever he has said; more only while that brings the share nearer.
            if not held or abs(n_held + counts[speaker] - wanted) < abs(n_held - wanted):
                held.add(speaker)
                n_held += counts[speaker]
            if n_held >= wanted:
                break
        training = [row for row in rows if row.speaker not in held]
        return training, [row for row in rows if row.speaker in held], f"{len(held)} of {len(counts)} speakers"
    order = sorted(range(len(rows)), key=lambda place: _drawn(f"{seed} {rows[place].id}"))
    chosen = set(order[: max(1, round(wanted))])
    training = [row for place, row in enumerate(rows) if place not in chosen]
    return training, [rows[place] for place in sorted(chosen)], f"{len(chosen)} of {len(rows)} rows, speakers not known"


def _drawn(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def _of_language(rows: Any, language: str | None) -> list[Utterance]:
    """Rows in a language, and those that do not say theirs."""
    wanted = _code(language)
    return [row for row in rows if wanted is None or row.language is None or _code(row.language) == wanted]


def _code(language: str | None) -> str | None:
    return language.lower().replace("_", "-").split("-")[0] if language else None
