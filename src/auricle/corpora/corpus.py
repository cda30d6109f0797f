"""A dataset that was opened: its rows, as often as they are asked for, and its report."""

from __future__ import annotations

import hashlib
import os
import stat
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

from auricle.corpora.report import DUPLICATE, EMPTY, MISSING, NO_FILE, Report, Tally
from auricle.corpora.utterance import Sound, Utterance
from auricle.errors import AuricleError, OptionError, nearest

Told = Callable[[str, str], None]  # where, and why it is left out
_MAX_SPLITS = 255  # a row's split is one byte


@dataclass(slots=True)
class Row:
    """What a layout reads: an utterance, its split, where it stands, and how its sound is had if that takes reading."""

    split: str
    utterance: Utterance
    where: str
    load: Callable[[], Sound] | None = None


class Layout(Protocol):
    """One way in which datasets lie on disk."""

    name: str
    columns: dict[str, str]  # "audio", "text": what the dataset calls it
    notes: list[str]

    @property
    def kind(self) -> str:
        """The layout's name, such as "common_voice"."""
        ...

    @property
    def splits(self) -> tuple[str, ...] | None:
        """Its splits; None where only the rows say."""
        ...

    @property
    def default(self) -> tuple[str, ...] | None:
        """The splits that are read where none is asked for; None: all."""
        ...

    @property
    def is_streamed(self) -> bool:
        """Whether it is read over a network, or only once, so that it is not read before it is used."""
        ...

    def rows(self, wanted: Sequence[str] | None, told: Told) -> Iterator[Row]:
        """Give the rows in a fixed order, at least those of the splits that are `wanted`."""
        ...


class Corpus:
    """The rows of a dataset, or of one split of it, in an order that does not change.

    Rows are read while they are asked for. Before the first one the dataset is read through once, without opening
    any sound: for the report, and to leave out what cannot be used. Of each row it keeps one byte, and eight meanwhile.

    Example:
        >>> corpus = open_corpus("cv-corpus/en", split="train")
        >>> print(corpus.report)
        >>> for row in corpus:
        ...     print(row.id, row.text)
    """

    def __init__(
        self, layout: Layout, splits: Sequence[str] | None = None, needs_text: bool = False, scan: _Scan | None = None
    ) -> None:
        self._layout = layout
        self._wanted = tuple(splits) if splits is not None else None
        self._needs_text = needs_text
        self._shared = scan
        self._streamed = Tally()

    @property
    def name(self) -> str:
        """The dataset's folder, file or Hub name, and its split if it is one of several."""
        return self._layout.name if self._wanted is None else f"{self._layout.name} [{', '.join(self._wanted)}]"

    @property
    def layout(self) -> str:
        """How the dataset lies on disk: "common_voice", "kaldi", "manifest", ..."""
        return self._layout.kind

    @property
    def is_streamed(self) -> bool:
        """Whether rows are only read as they are asked for, so that nobody knows how many there are."""
        return self._layout.is_streamed

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that the dataset has, whichever are read."""
        return self._layout.splits if self._layout.splits is not None else tuple(self._scan.splits)

    @property
    def report(self) -> Report:
        """What was found and left out; of a streamed dataset, so far."""
        layout = self._layout
        tally = self._streamed if layout.is_streamed else self._scan.tally
        wanted = None if self._wanted is None else frozenset(self._wanted)
        complete = not layout.is_streamed
        return tally.report(self.name, layout.kind, layout.columns, layout.notes, splits=wanted, is_complete=complete)

    @property
    def fingerprint(self) -> str:
        """A digest of every row's id, text, times and size of its file, in order; of a streamed one, of its name.

        Sound is not read for it.
        """
        return self._digest(None if self._layout.is_streamed else self._scan.digest)

    @property
    def outline(self) -> str:
        """The fingerprint without the sizes of files: it stays when a broken one is mended."""
        return self._digest(None if self._layout.is_streamed else self._scan.outline)

    def select(self, split: str) -> Corpus:
        """Return one split.

        Raises:
            OptionError: there is none of this name.
        """
        if split not in self.splits:
            has = ", ".join(self.splits) or "none"
            raise OptionError(
                f"{self._layout.name} has no split {split!r}{nearest(split, self.splits)}; its splits are: {has}"
            )
        scan = self._scan if self._layout.splits is None else None
        return Corpus(self._layout, [split], self._needs_text, scan)

    def __len__(self) -> int:
        if self._layout.is_streamed:
            raise TypeError(f"{self.name} is streamed, so that nobody knows how many rows it has; iterate over it")
        return self.report.rows

    def __iter__(self) -> Iterator[Utterance]:
        return self.rows()

    def __repr__(self) -> str:
        return f"<Corpus {self.name!r}: {self.layout}>"

    def rows(self, start: int = 0, stop: int | None = None) -> Iterator[Utterance]:
        """Give the rows from number `start` up to `stop`; the sound of those before is not read.

        Raises:
            AuricleError: the dataset is another one than it was when its report was made.
        """
        if stop is None or stop > start:
            for number, row in self.numbered(lambda number: number >= start):
                yield row
                if number + 1 == stop:
                    return

    def numbered(self, is_wanted: Callable[[int], bool]) -> Iterator[tuple[int, Utterance]]:
        """Give the rows whose numbers are wanted, with these; the sound of others is not read."""
        for number, row in enumerate(self._streamed_rows() if self._layout.is_streamed else self._kept_rows()):
            if is_wanted(number):
                yield number, row.utterance if row.load is None else replace(row.utterance, audio=row.load())

    def _kept_rows(self) -> Iterator[Row]:
        scan = self._scan
        wanted = list(range(1, len(scan.splits) + 1))
        if self._wanted is not None:
            wanted = [1 + scan.splits.index(split) for split in self._wanted if split in scan.splits]
        n_rows = 0
        for row in self._layout.rows(self._wanted_files, untold):
            if n_rows >= len(scan.marks):
                raise self._changed()
            if scan.marks[n_rows] in wanted:
                if scan.splits[scan.marks[n_rows] - 1] != row.split:
                    raise self._changed()
                yield row
            n_rows += 1
        if n_rows != len(scan.marks):
            raise self._changed()

    def _streamed_rows(self) -> Iterator[Row]:
        self._streamed = Tally()
        for row in self._layout.rows(self._wanted_files, self._streamed.leave_out):
            if self._wanted is not None and row.split not in self._wanted:
                continue
            reason = _fault(row, self._needs_text)[0]
            if reason:
                self._streamed.leave_out(row.where, reason)
                continue
            self._streamed.add(row.split, row.utterance.text is not None, row.utterance.duration)
            yield row

    @property
    def _wanted_files(self) -> Sequence[str] | None:
        """What the layout is asked for; of splits that only the rows tell, all."""
        if self._layout.splits is None:
            return None
        return self._wanted if self._wanted is not None else self._layout.default

    @cached_property
    def _scan(self) -> _Scan:
        return self._shared or _Scan.of(self._layout, self._wanted_files, self._needs_text)

    def _digest(self, of_rows: str | None) -> str:
        told = f"{self.layout}\0{self.name}" if of_rows is None else f"{self._wanted}\0{of_rows}"
        return f"sha256:{hashlib.sha256(told.encode('utf-8', 'surrogatepass')).hexdigest()}"

    def _changed(self) -> AuricleError:
        return AuricleError(f"{self.name} was changed while it was read; open it again")


class _Scan:
    """What one reading of a dataset without its sound tells."""

    def __init__(self) -> None:
        self.marks = bytearray()  # of each row: 0, it is left out; else 1 and the number of its split
        self.splits: list[str] = []
        self.tally = Tally()
        self.digest = ""  # of the rows and the sizes of their files
        self.outline = ""  # of the rows

    @classmethod
    def of(cls, layout: Layout, wanted: Sequence[str] | None, needs_text: bool) -> _Scan:
        """Read the dataset through; once more where ids seem to come more than once."""
        scan, repeated = cls._read(layout, wanted, needs_text, set())
        return cls._read(layout, wanted, needs_text, repeated)[0] if repeated else scan

    @classmethod
    def _read(
        cls, layout: Layout, wanted: Sequence[str] | None, needs_text: bool, suspects: set[int]
    ) -> tuple[_Scan, set[int]]:
        """Read it, and return the hashes of ids that came more than once; those of `suspects` are kept once."""
        scan, hashes, seen = cls(), array("q"), set[str]()
        digest, outline = hashlib.sha256(), hashlib.sha256()
        for row in layout.rows(wanted, scan.tally.leave_out):
            one = row.utterance
            reason, n_bytes = _fault(row, needs_text)
            if not reason and hash(one.id) in suspects:
                reason = DUPLICATE if one.id in seen else ""
                seen.add(one.id)
            if reason:
                scan.marks.append(0)
                scan.tally.leave_out(row.where, reason)
                continue
            hashes.append(hash(one.id))
            if row.split not in scan.splits:
                scan._add_split(row.split, layout.name)
            scan.marks.append(1 + scan.splits.index(row.split))
            scan.tally.add(row.split, one.text is not None, one.duration)
            told = f"{one.id}\0{one.text}\0{one.start}\0{one.end}".encode("utf-8", "surrogatepass")
            digest.update(b"%b\0%d\n" % (told, n_bytes))
            outline.update(told + b"\n")
        scan.digest, scan.outline = digest.hexdigest(), outline.hexdigest()
        return scan, set() if suspects else _repeated(hashes)

    def _add_split(self, split: str, name: str) -> None:
        if len(self.splits) == _MAX_SPLITS:
            raise OptionError(f"{name} has more than {_MAX_SPLITS} splits; the column 'split' is meant for a few names")
        self.splits.append(split)


def _repeated(hashes: array[int]) -> set[int]:
    """Return the numbers that come more than once."""
    import numpy as np

    ordered = np.sort(np.frombuffer(hashes, np.int64)) if hashes else np.zeros(0, np.int64)
    return set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())


def _fault(row: Row, needs_text: bool) -> tuple[str, int]:
    """Say why a row cannot be used, or nothing; and the bytes of its file, where it has one of its own."""
    one, n_bytes = row.utterance, 0
    if isinstance(one.audio, str) and "://" not in one.audio and row.load is None:
        try:
            found = os.stat(one.audio)
        except (OSError, ValueError):
            return MISSING, 0
        if not stat.S_ISREG(found.st_mode):
            return NO_FILE, 0
        n_bytes = found.st_size
    return (EMPTY if needs_text and one.text is None else ""), n_bytes


def untold(where: str, reason: str) -> None:
    """Tell nobody: what is left out is told by another reading."""
