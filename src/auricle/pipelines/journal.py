"""A file that remembers the finished steps of one recording, so that an interrupted run can go on.

The first line says what is transcribed, with what and how; every further line is one finished step of one channel.
Each is on disk before the next step begins, and a last line that was cut off by a crash is passed over.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

from auricle.errors import OptionError
from auricle.speech.journal import ENDING

FORMAT = 1
MAX_TOLD = 4  # differences that a message names; another kind of model has fifty other options
_BEGINNING = b'{"auricle_journal":'
# How many windows are computed together decides how fast it goes, and not what comes out; a model's name is only
# told: its revision says which one it is.
_MAY_DIFFER = frozenset({"batch_size", "name"})


class FileJournal:
    """The journal of one recording; the file is made with the first step, so that short ones leave none."""

    def __init__(self, path: str | Path, header: Mapping[str, Any]) -> None:
        """Read what an interrupted run left at `path`, if anything.

        `header` is of JSON values: what must be the same for the steps to be of use.

        Raises:
            OptionError: the file is no journal, belongs to something else, or cannot be read.
        """
        self.path = Path(path)
        self._header = {"auricle_journal": FORMAT, **json.loads(json.dumps(header))}
        self._file: BinaryIO | None = None
        self._n_bytes = 0  # of the lines that are whole
        self.n_steps = 0  # of all channels
        for line in self._lines():
            if not self._n_bytes:
                self._compare(line.value)
            else:
                self.n_steps += 1
            self._n_bytes = line.end
        if not self._n_bytes:
            self._refuse_other_content()

    def channel(self, channel: int) -> ChannelJournal:
        """Return the part that belongs to one channel; 0 where channels are mixed."""
        return ChannelJournal(self, channel)

    def entries(self, channel: int) -> list[dict[str, Any]]:
        """Return the finished steps of a channel, in order; read from the file, which holds them for us."""
        steps = itertools.islice(self._lines(), 1, 1 + self.n_steps)
        return [step.value["entry"] for step in steps if step.value["channel"] == channel]

    def append(self, channel: int, entry: dict[str, Any]) -> None:
        """Add a finished step; it is on disk when this returns.

        Raises:
            OptionError: the file cannot be written.
        """
        try:
            file = self._file or self._open()
            file.write(_line({"channel": channel, "entry": entry}))
            file.flush()
            os.fsync(file.fileno())
        except OSError as error:
            raise self._unusable(error) from None
        self.n_steps += 1

    def close(self) -> None:
        """Close the file; what it holds stays."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def remove(self) -> None:
        """Remove the file: the result is safe elsewhere."""
        self.close()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _lines(self) -> Iterator[_Line]:
        """Read lines up to the first that is not whole: what comes after it is decoded again."""
        try:
            with self.path.open("rb") as file:
                end = 0
                for line in file:
                    end += len(line)
                    value = _value(line)
                    if not isinstance(value, dict) or (end > len(line) and not {"channel", "entry"} <= value.keys()):
                        return
                    yield _Line(value, end)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._unusable(error) from None

    def _open(self) -> BinaryIO:
        """Open the file behind its last whole line, with the header if it is new."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("r+b" if self._n_bytes else "wb")
        self._file.truncate(self._n_bytes)
        self._file.seek(self._n_bytes)
        if not self._n_bytes:
            self._file.write(_line(self._header))
        return self._file

    def _compare(self, found: Mapping[str, Any]) -> None:
        if found.get("auricle_journal") != FORMAT:
            raise self._no_journal()
        differing = differences(found, self._header)
        if differing:
            more = f"; and {len(differing) - MAX_TOLD} more" if len(differing) > MAX_TOLD else ""
            raise OptionError(
                f"{self.path} is the journal of another run: {'; '.join(differing[:MAX_TOLD])}{more}. Run with what it "
                "was begun with, or remove it to begin anew"
            )

    def _refuse_other_content(self) -> None:
        """Refuse a file that is not even the beginning of a journal: it would be written over."""
        if self.path.exists():
            with self.path.open("rb") as file:
                begins = file.read(len(_BEGINNING))
            if begins != _BEGINNING[: len(begins)]:
                raise self._no_journal()

    def _no_journal(self) -> OptionError:
        return OptionError(
            f"{self.path} is no journal of this version of auricle; give another place, or remove the file"
        )

    def _unusable(self, error: OSError) -> OptionError:
        return OptionError(f"the journal {self.path} cannot be used: {error.strerror or error}; give another place")


class JournalPlaces:
    """Where the journals of a call's recordings are; a place is claimed once for each recording, in order."""

    def __init__(self, resume: str | os.PathLike[str] | Sequence[str | os.PathLike[str] | None]) -> None:
        """Take a folder, or a file that ends in .jsonl for one recording, or one file for each in a list.

        Raises:
            OptionError: it is neither.
        """
        self._folder: Path | None = None
        self._files: Iterator[Path | None] = iter(())
        self._names: Counter[str] = Counter()
        if isinstance(resume, str | os.PathLike):
            path = Path(resume).expanduser()
            if path.suffix == ".jsonl":
                self._files = iter([path])
            else:
                self._folder = path
        elif isinstance(resume, Sequence) and all(isinstance(one, str | os.PathLike | None) for one in resume):
            self._files = iter([None if one is None else Path(one).expanduser() for one in resume])
        else:
            raise OptionError(f"resume is {resume!r}; give a folder, a file ending in .jsonl, or a list of such files")

    def claim(self) -> Path | None:
        """Take the next recording's place, also where that recording then cannot be opened: the others keep theirs.

        Raises:
            OptionError: there is no place left.
        """
        if self._folder is not None:
            return self._folder
        try:
            return next(self._files)
        except StopIteration:
            raise OptionError("resume names fewer journals than there are recordings; give a folder") from None

    def open(self, place: Path | None, header: Mapping[str, Any]) -> FileJournal | None:
        """Open the journal at a place that was claimed; None where that is None.

        In a folder the name comes from the header, so that recordings, models and options keep apart.

        Raises:
            OptionError: the journal there belongs to something else.
        """
        if place is None or self._folder is None:
            return None if place is None else FileJournal(place, header)
        told = {key: value for key, value in header.items() if key not in _MAY_DIFFER}
        told["options"] = {key: value for key, value in header["options"].items() if key not in _MAY_DIFFER}
        name = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]
        self._names[name] += 1
        again = f"-{self._names[name]}" if self._names[name] > 1 else ""
        return FileJournal(place / f"{name}{again}{ENDING}", header)


class ChannelJournal:
    """The steps of one channel: what a recognizer is given."""

    def __init__(self, journal: FileJournal, channel: int) -> None:
        self._journal, self._channel = journal, channel

    def entries(self) -> list[dict[str, Any]]:
        """Return the finished steps, in order."""
        return self._journal.entries(self._channel)

    def append(self, entry: dict[str, Any]) -> None:
        """Add a finished step."""
        self._journal.append(self._channel, entry)


@dataclass(frozen=True)
class _Line:
    value: dict[str, Any]
    end: int  # bytes from the start of the file


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass") + b"\n"


def _value(line: bytes) -> Any:
    try:
        return json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any], within: str = "") -> list[str]:
    """Say which values differ, and how; dictionaries by their keys, without those that may differ."""
    differing = []
    for key in {**found, **wanted}:
        before, now = found.get(key), wanted.get(key)
        if before == now or key in _MAY_DIFFER:
            continue
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            differing += differences(before, now, f"{within}{key}.")
        else:
            differing.append(f"{within}{key} was {_shown(before)} and is {_shown(now)}")
    return differing


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
