"""LibriSpeech and its relatives: recordings beside *.trans.txt, whose lines are an id and its text.

Source: openslr.org/12; the recordings may be of any kind (Multilingual LibriSpeech: Opus).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from auricle.corpora.corpus import Row, Told
from auricle.corpora.fields import ALL, Fields, text_of
from auricle.corpora.lines import line_name, lines
from auricle.corpora.report import MISSING
from auricle.corpora.utterance import Utterance
from auricle.corpora.walk import SUFFIXES, folders_of

_ENDING = ".trans.txt"
_DEPTH = 3  # of a transcript within a split: reader, chapter, file


class LibriSpeech:
    """A folder of readers, or one of splits, each of which holds readers."""

    kind = "librispeech"
    is_streamed = False
    default = None
    columns = {"audio": "ID.flac and others", "text": f"*{_ENDING}", "speaker": "the id's first part"}  # noqa: RUF012

    def __init__(self, folder: Path, splits: tuple[str, ...]) -> None:
        self.name, self._folder = str(folder), folder
        self._is_divided = bool(splits)
        self.splits: tuple[str, ...] | None = splits or (ALL,)
        self.notes: list[str] = []

    def rows(self, wanted: Sequence[str] | None, told: Told) -> Iterator[Row]:
        """Give the rows of every transcript, in the order of folders and of lines."""
        for split in self.splits or ():
            if wanted is not None and split not in wanted:
                continue
            for folder, names in folders_of(self._folder / split if self._is_divided else self._folder):
                recordings = {Path(name).stem: name for name in names if Path(name).suffix.lower() in SUFFIXES}
                for name in names:
                    if name.endswith(_ENDING):
                        yield from _rows(split, folder / name, recordings, told)


def _rows(split: str, transcript: Path, recordings: dict[str, str], told: Told) -> Iterator[Row]:
    for number, line in lines(transcript, told):
        key, *rest = line.split(None, 1)
        if key not in recordings:
            told(f"{key}, {line_name(transcript, number)}", MISSING)
            continue
        reader = key.partition("-")[0]
        text = text_of(rest[0] if rest else None)
        one = Utterance(key, str(transcript.parent / recordings[key]), text, speaker=reader)
        yield Row(split, one, line_name(transcript, number))


def librispeech(folder: Path, fields: Fields) -> LibriSpeech | None:
    """Open a folder in which some transcript lies; None for another."""
    first = next((path for path, names in folders_of(folder) if any(name.endswith(_ENDING) for name in names)), None)
    if first is None:
        return None
    depth = len(first.relative_to(folder).parts) + 1
    splits = sorted(path for path in folder.iterdir() if path.is_dir()) if depth > _DEPTH else []
    return LibriSpeech(folder, tuple(path.name for path in splits))
