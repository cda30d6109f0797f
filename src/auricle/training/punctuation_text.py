"""Written English as the words that are heard, each with the mark behind it and whether it is a name's.

What punctuation is learned from: a word as a recogniser writes it, and what an author wrote around it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from auricle.errors import ConfigError
from auricle.text.spoken import spoken
from auricle.training.language_model import is_tested, tested_runs, untested_books

# A full stop after these, and after a single letter, ends no sentence.
_ABBREVIATIONS = frozenset("mr mrs ms dr st messrs gen col capt lt no hon".split())
_AROUND = re.compile(r"^[\"'(\[`*_]*(.*?)([\"')\],.;:!?*_-]*)$")
_FEW_WORDS = 12  # a line of fewer, without a mark at its end, is a title


@dataclass(frozen=True)
class Said:
    """One word as it is heard, and how it was written."""

    word: str  # lower-case letters, apostrophes inside
    mark: int  # its place in MARKS: none, comma, full stop, question mark
    capital: bool


def said(line: str) -> list[Said]:
    """Return the words of a written line; numbers and signs as they are spoken.

    Semicolons, colons and dashes are commas here, exclamation marks full stops: what is heard of them is the same.
    """
    plain = line.replace("’", "'").replace("“", '"').replace("”", '"')
    plain = re.sub(r"—|--+", " -- ", plain)
    plain = re.sub(r"(?<=[a-zA-Z])-(?=[a-zA-Z])", " ", plain)
    written: list[tuple[str, int]] = []
    for raw in plain.split():
        match = _AROUND.match(raw)
        core, tail = match.groups() if match else (raw, "")
        if core:
            written.append((core + "." if _is_abbreviation(core, tail) else core, _mark_of(core, tail)))
        elif written and "-" in raw and not written[-1][1]:
            written[-1] = (written[-1][0], 1)
    if not written:
        return []
    # "Well, I never!" said he: no sentence ends there.
    written = [
        (core, 1 if mark == 2 and after[:1].islower() else mark)
        for (core, mark), after in zip(written, [*(core for core, _ in written[1:]), ""], strict=True)
    ]
    found: list[Said] = []
    for (core, mark), readings in zip(written, spoken([core for core, _ in written]), strict=True):
        words = [word.strip("'") for word in re.sub(r"[^a-z' ]+", " ", readings[0].lower() if readings else "").split()]
        words = [word for word in words if word]
        if not words and found:
            # What nobody says, as a sign: its mark belongs to the word before.
            found[-1] = Said(found[-1].word, max(found[-1].mark, mark), found[-1].capital)
        found += [Said(word, 0, core[0].isupper()) for word in words[:-1]]
        found += [Said(word, mark, core[0].isupper()) for word in words[-1:]]
    return found


def documents(texts: Path, manifest: Path) -> Iterator[tuple[str, list[Said]]]:
    """Yield the name and the words of each text file, without what the manifest's test split quotes.

    Raises: ConfigError where there are none.
    """
    tested, n_found = tested_runs(manifest), 0
    for path, lines in untested_books(texts, tested):
        words: list[Said] = []
        for line in lines:
            one = said(line)
            is_title = bool(one) and ((one[-1].mark == 0 and len(one) < _FEW_WORDS) or all(w.capital for w in one))
            if not is_title and not is_tested([each.word for each in one], tested):
                words += one
        if words:
            n_found += 1
            yield path.name, words
    if not n_found:
        raise ConfigError(f"{texts} holds no sentence that is not tested; give a folder of .txt files")


def recordings(speech: Path) -> Iterator[tuple[str, Path, list[Said]]]:
    """Yield corpus, place and words of the English training recordings whose transcripts have marks or capitals."""
    for line in (speech / "manifest.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        text = row.get("text") or ""
        is_written = text != text.upper() and text != text.lower()
        if row["split"] == "train" and row.get("language") == "en" and is_written and (words := said(text)):
            yield row["corpus"], speech / row["path"], words


def _is_abbreviation(core: str, tail: str) -> bool:
    return "." in tail and core.lower() in _ABBREVIATIONS


def _mark_of(core: str, tail: str) -> int:
    if "?" in tail:
        return 3
    if "!" in tail or "." in tail:
        ends = not (_is_abbreviation(core, tail) or re.fullmatch(r"[A-Z]", core))
        return 2 if ends else 0
    return 1 if re.search(r"[,;:]|-", tail) else 0


def text_of(words: Sequence[Said]) -> str:
    """Return what is heard."""
    return " ".join(one.word for one in words)
