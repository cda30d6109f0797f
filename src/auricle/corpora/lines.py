"""Text files of datasets, line by line: UTF-8, whatever their line ends, and told where they are not."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from auricle.corpora.corpus import Told, untold
from auricle.corpora.report import NOT_UTF8, UNREADABLE
from auricle.errors import OptionError

_BOM = b"\xef\xbb\xbf"
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_WIDE_BOMS = (b"\xff\xfe", b"\xfe\xff")


def lines(path: Path, told: Told) -> Iterator[tuple[int, str]]:
    """Give the number, from 1, and the text of every line that is not blank; a byte order mark is taken off.

    Lines end with LF or CRLF and nothing else: transcripts may hold other separators.

    Raises:
        OptionError: the file cannot be read, or is UTF-16.
    """
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                if number == 1:
                    if raw.startswith(_WIDE_BOMS):
                        raise OptionError(f"{path} is UTF-16; save it as UTF-8 (iconv -f UTF-16 -t UTF-8)")
                    raw = raw.removeprefix(_BOM)
                try:
                    text = raw.decode("utf-8").removesuffix("\n").removesuffix("\r")
                except UnicodeDecodeError:
                    told(line_name(path, number), NOT_UTF8)
                    continue
                if text.strip():
                    yield number, text
    except OSError as error:
        raise OptionError(f"{path} cannot be read: {error.strerror or error}; check its name and its mode") from None


def records(path: Path, told: Told) -> Iterator[tuple[int, dict[str, Any]]]:
    """Give the JSON objects of a file that has one in each line.

    Raises:
        OptionError: the file cannot be read.
    """
    for number, line in lines(path, told):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            yield number, value
        else:
            told(line_name(path, number), UNREADABLE)


def table(path: Path, told: Told) -> Iterator[tuple[int, dict[str, str]]]:
    """Give the rows of a table whose first line names its columns, as dictionaries.

    .csv has fields in quotes, which may hold commas and line ends; .tsv has no quotes: a quotation mark there is text,
    as Common Voice writes it. A row with more fields than there are columns, or fewer, is told.

    Raises:
        OptionError: the file cannot be read.
    """
    names: list[str] | None = None
    for number, fields in _csv_rows(path, told) if path.suffix.lower() == ".csv" else _tsv_rows(path, told):
        if names is None:
            names = [name.strip() for name in fields]
        elif len(fields) != len(names):
            told(f"{line_name(path, number)}, {len(fields)} fields for {len(names)} columns", UNREADABLE)
        else:
            yield number, dict(zip(names, fields, strict=True))


def columns_of(path: Path) -> list[str]:
    """Return the names of a table's columns; nothing where it has none that can be read."""
    found = _csv_rows(path, untold) if path.suffix.lower() == ".csv" else _tsv_rows(path, untold)
    return [name.strip() for name in next(found, (0, []))[1]]


def refuse_other_separator(path: Path, names: list[str], wanted: Collection[str]) -> None:
    """Refuse a table whose one column is several in truth, a wanted one among them.

    Raises:
        OptionError: it is divided by something else than its name says.
    """
    if len(names) != 1 or path.suffix.lower() not in _SEPARATORS:
        return
    own = _SEPARATORS[path.suffix.lower()]
    for other in (";", ",", "\t"):
        if not {part.strip().strip('"') for part in names[0].split(other)}.isdisjoint(wanted) and other in names[0]:
            raise OptionError(
                f"the columns of {path} are divided by {other!r}: {names[0]!r}; expected {own!r}, as of a "
                f"{path.suffix} file. Save it so, or rename it"
            )


def line_name(path: Path, number: int) -> str:
    """Return how a line is named in reports."""
    return f"line {number} of {path.name}"


def _tsv_rows(path: Path, told: Told) -> Iterator[tuple[int, list[str]]]:
    for number, line in lines(path, told):
        yield number, line.split("\t")


def _csv_rows(path: Path, told: Told) -> Iterator[tuple[int, list[str]]]:
    place = [0]

    def counted() -> Iterator[str]:
        for number, line in lines(path, told):
            place[0] = number
            yield line + "\n"

    reader = csv.reader(counted(), strict=True)
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error:
            told(line_name(path, place[0]), UNREADABLE)
            continue
        yield place[0], fields
