"""What Common Voice, audiofolder and manifests share: files in which each row names a recording."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from auricle.corpora.corpus import Row, Told, untold
from auricle.corpora.fields import Base, Fields, Unusable, split_in, utterance
from auricle.corpora.lines import columns_of, line_name, records, table
from auricle.corpora.utterance import Utterance
from auricle.errors import OptionError

TABLES = frozenset({".csv", ".tsv"})
JSON_LINES = frozenset({".jsonl", ".json", ".ndjson"})
_SPLIT_KEY = "split"
_LOOKED_AT = 100  # rows whose keys are taken for the columns of JSON lines


@dataclass(frozen=True)
class RowFile:
    """A file of rows: JSON lines, or a table whose first line names its columns."""

    path: Path
    base: Base  # where its paths begin
    prefix: str = ""  # of ids that its rows do not give

    def records(self, told: Told) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Give its rows with the number of their line."""
        return (table if self.path.suffix.lower() in TABLES else records)(self.path, told)

    def names(self) -> list[str]:
        """Return its columns; of JSON lines the keys of the first rows."""
        if self.path.suffix.lower() in TABLES:
            return columns_of(self.path)
        first = islice(records(self.path, untold), _LOOKED_AT)
        return list(dict.fromkeys(key for _, record in first for key in record))


class RowsLayout:
    """Files of rows, one for each split; where there is one alone, `splits_in_rows` says that its rows tell theirs.

    Raises:
        OptionError: a column that a caller named is not there.
    """

    is_streamed = False

    def __init__(
        self,
        name: str,
        kind: str,
        files: Mapping[str, RowFile],
        fields: Fields,
        *,
        default: tuple[str, ...] | None = None,
        splits_in_rows: bool = False,
        duration_of: Callable[[Utterance], float | None] | None = None,
    ) -> None:
        self.name, self.kind, self.default = name, kind, default
        self.notes: list[str] = []
        self._files, self._fields, self._duration_of = dict(files), fields, duration_of
        names = list(dict.fromkeys(name for one in files.values() for name in one.names()))
        fields.check(names, name)
        self.columns = fields.used(names)
        self.splits = None if splits_in_rows else tuple(files)

    def rows(self, wanted: Sequence[str] | None, told: Told) -> Iterator[Row]:
        """Give the rows of the files, in their order."""
        for split, file in self._files.items():
            if self.splits is None or wanted is None or split in wanted:
                yield from self._rows_of(split, file, told)

    def _rows_of(self, split: str, file: RowFile, told: Told) -> Iterator[Row]:
        for number, record in file.records(told):
            where = line_name(file.path, number)
            try:
                one = utterance(record, self._fields, file.base, file.prefix)
            except Unusable as reason:
                told(where, str(reason))
                continue
            if one.duration is None and self._duration_of is not None:
                one = replace(one, duration=self._duration_of(one))
            yield Row(split if self.splits is not None else self._said_split(record, split), one, where)

    def _said_split(self, record: Mapping[str, Any], split: str) -> str:
        """Return a row's own split, or that of the folder its path begins with."""
        said = record.get(_SPLIT_KEY)
        if isinstance(said, str) and said:
            return said
        path = next((record[key] for key in self._fields.audio if isinstance(record.get(key), str)), "")
        return split_in(Path(path).parts[:1], split)


def only_kind(path: Path) -> None:
    """Refuse a JSON file that is one array.

    Raises:
        OptionError: it is.
    """
    if path.suffix.lower() == ".json":
        with path.open("rb") as file:
            if file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
                raise OptionError(
                    f"{path} is one JSON array, which must be in memory whole; write one object in each line: "
                    f"jq -c '.[]' {path.name} > {path.stem}.jsonl"
                )
