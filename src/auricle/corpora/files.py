"""Recordings that lie in folders, with a text file beside each (x.wav, x.txt), or without any text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from auricle.corpora.corpus import Row, Told
from auricle.corpora.fields import Fields, split_in, text_of
from auricle.corpora.report import NOT_UTF8
from auricle.corpora.utterance import Utterance
from auricle.corpora.walk import SUFFIXES, folders_of

_TEXT = (".txt", ".lab")  # .lab: LJSpeech's aligners and VITS
_LONGEST = 1 << 24  # bytes of a text file


class Files:
    """Every recording in a folder and those within; an id is its path there, without the ending if that is unique."""

    is_streamed = False
    splits = None
    default = None

    def __init__(self, folder: Path, has_texts: bool) -> None:
        self.name, self._folder = str(folder), folder
        self.kind = "parallel" if has_texts else "folder"
        self.columns = {"audio": "x.wav and others", "text": "x.txt"} if has_texts else {"audio": "x.wav and others"}
        self.notes: list[str] = []

    def rows(self, wanted: Sequence[str] | None, told: Told) -> Iterator[Row]:
        """Give the recordings in the order of folders and names."""
        for folder, names in folders_of(self._folder):
            within = folder.relative_to(self._folder)
            recordings = [name for name in names if Path(name).suffix.lower() in SUFFIXES]
            stems, there = Counter(Path(name).stem for name in recordings), set(names)
            for name in recordings:
                stem = Path(name).stem
                key = (within / (stem if stems[stem] == 1 else name)).as_posix()
                text = None
                if self.kind == "parallel":
                    beside = next((f"{stem}{ending}" for ending in _TEXT if f"{stem}{ending}" in there), None)
                    try:
                        text = _text(folder / beside) if beside else None
                    except UnicodeDecodeError:
                        told((within / (beside or name)).as_posix(), NOT_UTF8)
                        continue
                yield Row(split_in(within.parts[:1]), Utterance(key, str(folder / name), text), key)


def parallel(folder: Path, fields: Fields) -> Files | None:
    """Open a folder where some recording has a text file beside it; None for another."""
    return Files(folder, True) if any(_has_pair(names) for _, names in folders_of(folder)) else None


def recordings(folder: Path, fields: Fields) -> Files | None:
    """Open a folder that holds recordings; None for another."""
    found = (Path(name).suffix.lower() in SUFFIXES for _, names in folders_of(folder) for name in names)
    return Files(folder, False) if any(found) else None


def _has_pair(names: Sequence[str]) -> bool:
    there = set(names)
    stems = (Path(name).stem for name in names if Path(name).suffix.lower() in SUFFIXES)
    return any(f"{stem}{ending}" in there for stem in stems for ending in _TEXT)


def _text(path: Path) -> str | None:
    with path.open("rb") as file:
        return text_of(file.read(_LONGEST).decode("utf-8-sig").strip())
