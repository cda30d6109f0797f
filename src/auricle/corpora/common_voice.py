"""Common Voice: the folder `clips`, and tables with the columns `path` and `sentence`.

Source: github.com/common-voice/cv-dataset, datasets/scripted-speech/README.md.
"""

from __future__ import annotations

from array import array
from pathlib import Path

from auricle.corpora.fields import TEXT, Base, Fields
from auricle.corpora.lines import table
from auricle.corpora.row_files import RowFile, RowsLayout
from auricle.corpora.utterance import Utterance
from auricle.errors import OptionError

_PARTS = ("train", "dev", "test")
_WHOLE = "validated"  # holds the rows of the three, and more
_SHOWN = 5  # languages that a message names


def common_voice(folder: Path, fields: Fields) -> RowsLayout | None:
    """Open the release of one language; None where the folder is something else.

    Each table is a split. Where none is asked for these are read: train, dev and test, else validated, else all.
    """
    clips = folder / "clips"
    if not clips.is_dir():
        return None
    base = Base(clips, is_closed=True)
    tables = {path.stem: RowFile(path, base) for path in sorted(folder.glob("*.tsv"))}
    files = {split: file for split, file in tables.items() if {"path", "sentence"} <= set(file.names())}
    if not files:
        return None
    ordered = {split: files[split] for split in (*_PARTS, _WHOLE, *files) if split in files}
    default = tuple(split for split in _PARTS if split in files) or ((_WHOLE,) if _WHOLE in files else None)
    text = ("sentence",) if fields.text is TEXT else fields.text
    durations = _Durations(folder / "clip_durations.tsv")
    return RowsLayout(
        str(folder), "common_voice", ordered, Fields(("path",), text), default=default, duration_of=durations.of
    )


def languages_apart(folder: Path, fields: Fields) -> None:
    """Refuse the folder around the releases of several languages, whose texts would not be found.

    Raises: OptionError
    """
    found = sorted(clips.parent for clips in folder.glob("*/clips") if common_voice(clips.parent, fields) is not None)
    if found:
        names = ", ".join(language.name for language in found[:_SHOWN])
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise OptionError(
            f"{folder} holds Common Voice by languages: {names}{more}; each is a dataset of its own: give one, such as "
            f"{found[0]}"
        )


class _Durations:
    """The table of the clips' durations, 12 bytes each, read when the first is asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_read = False
        self._hashes, self._seconds = array("q"), array("f")

    def of(self, row: Utterance) -> float | None:
        """Return the seconds of a clip; None where they are not known."""
        import numpy as np

        if not self._is_read:
            self._read()
        if not self._hashes:
            return None
        known = np.frombuffer(self._hashes, np.int64)
        place = int(np.searchsorted(known, hash(row.id)))
        return self._seconds[place] if place < len(known) and known[place] == hash(row.id) else None

    def _read(self) -> None:
        import numpy as np

        self._is_read = True
        if not self._path.is_file():
            return
        for _, record in table(self._path, lambda where, reason: None):
            milliseconds = record.get("duration[ms]", "")
            if milliseconds.isdecimal():
                self._hashes.append(hash(record.get("clip", "")))
                self._seconds.append(int(milliseconds) / 1000)
        order = np.argsort(np.frombuffer(self._hashes, np.int64), kind="stable")
        self._seconds = array("f", np.frombuffer(self._seconds, np.float32)[order].tobytes())
        self._hashes = array("q", np.frombuffer(self._hashes, np.int64)[order].tobytes())
