"""Where the results of a run lie, and what models and data sets are called there."""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Sequence
from pathlib import Path

from auricle.errors import OptionError

UNNAMED = "predictions"  # a data set of which no name is known
_NOT_IN_NAMES = re.compile(r"[^\w.-]+")
_LABEL = re.compile(r"(?P<label>[^=/\\]+)=(?P<rest>.+)")


def labelled(given: str) -> tuple[str, str]:
    """Divide NAME=WHAT; where no name is given, or a file is called so, the name is what was given.

    A folder's name is its last part.

    >>> labelled("greedy=bundled"), labelled("openai/whisper-tiny"), labelled("runs/best/")
    (('greedy', 'bundled'), ('openai/whisper-tiny', 'openai/whisper-tiny'), ('runs/best/', 'runs/best/'))
    """
    match = None if os.path.exists(given) else _LABEL.fullmatch(given)
    if match is not None:
        return match["label"], match["rest"]
    return (Path(given).resolve().name if os.path.isdir(given) else given), given


def unique(given: Sequence[tuple[str, str]], flag: str) -> list[tuple[str, str]]:
    """Return labels and what they stand for.

    Raises:
        OptionError: two have the same label, or labels that make the same file name.
    """
    seen: dict[str, str] = {}
    for label, what in given:
        if slug(label) in seen:
            raise OptionError(
                f"{flag} {what} and {flag} {seen[slug(label)]} are both called {label!r}; name one: {flag} NAME={what}"
            )
        seen[slug(label)] = what
    return list(given)


def data_sets(wished: Sequence[tuple[str | None, Hashable]]) -> list[str]:
    """Name the data sets of predictions, of each of which a name is known or not, and what its references are.

    Those with the same references are one data set, which models are compared on: where their names differ, neither
    says what it is.

    >>> data_sets([("clean", 1), ("other", 2)]), data_sets([("ours", 1), ("theirs", 1)]), data_sets([(None, 1)])
    (['clean', 'other'], ['predictions', 'predictions'], ['predictions'])
    """
    names: dict[Hashable, set[str | None]] = {}
    for name, references in wished:
        names.setdefault(references, set()).add(name)
    return [name if name and len(names[references]) == 1 else UNNAMED for name, references in wished]


def slug(name: str) -> str:
    """Return a name as part of a path: letters, digits, dots, dashes and underscores."""
    return _NOT_IN_NAMES.sub("_", name).strip("._") or "unnamed"


def place(out: Path, model: str, dataset: str) -> Path:
    """Return the path of the predictions; the row of results lies beside it as .json."""
    return out / slug(model) / f"{slug(dataset)}.jsonl"
