"""Kaldi: wav.scp, and where there are: segments, text, utt2spk, utt2dur, utt2lang.

Source: kaldi-asr.org/doc/data_prep.html. A wav.scp that is a command ("sph2pipe … |") is never run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from auricle.corpora.corpus import Row, Told
from auricle.corpora.fields import ALL, Base, Fields, seconds, text_of
from auricle.corpora.keyed_lines import KeyedLines
from auricle.corpora.lines import line_name, lines
from auricle.corpora.report import ARCHIVE, BAD_TIMES, COMMAND, NO_RECORDING, UNREADABLE
from auricle.corpora.utterance import Utterance

_LIST = "wav.scp"
_REST = ("-1", "-1.0")  # as the end of a segment


class Kaldi:
    """One folder with a wav.scp, or several within one, each of which is a split."""

    kind = "kaldi"
    is_streamed = False
    default = None

    def __init__(self, name: str, folders: dict[str, Path]) -> None:
        self.name, self._folders = name, folders
        self.splits: tuple[str, ...] | None = tuple(folders)
        self.notes: list[str] = []
        files = {"audio": _LIST, "times": "segments", "text": "text", "speaker": "utt2spk", "duration": "utt2dur"}
        self.columns = {
            role: file for role, file in files.items() if any((folder / file).is_file() for folder in folders.values())
        }

    def rows(self, wanted: Sequence[str] | None, told: Told) -> Iterator[Row]:
        """Give the rows of segments, where there is such a file, else of wav.scp."""
        for split, folder in self._folders.items():
            if wanted is None or split in wanted:
                yield from _rows(split, folder, told)


def kaldi(folder: Path, fields: Fields) -> Kaldi | None:
    """Open a folder with wav.scp, or one whose folders have such; None for another."""
    if (folder / _LIST).is_file():
        return Kaldi(str(folder), {ALL: folder})
    inner = {path.name: path for path in sorted(folder.iterdir()) if (path / _LIST).is_file()}
    return Kaldi(str(folder), inner) if inner else None


def _rows(split: str, folder: Path, told: Told) -> Iterator[Row]:
    """Give the rows of one folder."""
    base = Base(folder, is_closed=False)
    side = {name: KeyedLines(folder / name, told) for name in ("text", "utt2spk", "utt2dur", "utt2lang")}
    for where, key, place, start, end in _recordings(folder, told):
        path = _path(place)
        if path is None:
            told(f"{key}, {where}", COMMAND if place.endswith("|") else ARCHIVE)
            continue
        duration = seconds(side["utt2dur"].get(key)) if start is None or end is None else end - start
        one = Utterance(
            id=key,
            audio=base.path(path),
            text=text_of(side["text"].get(key)),
            start=start,
            end=end,
            duration=duration,
            language=text_of(side["utt2lang"].get(key)),
            speaker=text_of(side["utt2spk"].get(key)),
        )
        yield Row(split, one, where)


def _recordings(folder: Path, told: Told) -> Iterator[tuple[str, str, str, float | None, float | None]]:
    """Give line, id, place, start and end of every row, of segments where there is such a file, else of wav.scp.

    Kaldi's end of -1 is that of the recording: None.
    """
    if not (folder / "segments").is_file():
        for number, line in lines(folder / _LIST, told):
            key, *rest = line.split(None, 1)
            where = line_name(folder / _LIST, number)
            if rest:
                yield where, key, rest[0].strip(), None, None
            else:
                told(where, UNREADABLE)
        return
    places = KeyedLines(folder / _LIST, told)
    for number, line in lines(folder / "segments", told):
        where, parts = line_name(folder / "segments", number), line.split()
        if len(parts) != 4:
            told(where, UNREADABLE)
            continue
        key, recording, *times = parts
        start, end, is_rest = seconds(times[0]), seconds(times[1]), times[1] in _REST
        place = places.get(recording)
        if start is None or (end is None and not is_rest) or (end is not None and end <= start):
            told(f"{key}, {where}", BAD_TIMES)
        elif not place:
            told(f"{key}, {where}", NO_RECORDING)
        else:
            yield where, key, place, start, end


def _path(place: str) -> str | None:
    """Return the path in a line of wav.scp; None for a command, and for a place within an archive (x.ark:123)."""
    if place.endswith("|") or place.startswith("|"):
        return None
    archive, colon, offset = place.rpartition(":")
    return None if colon and offset.isdecimal() and archive.endswith(".ark") else place
