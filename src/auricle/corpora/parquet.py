"""Parquet files, as the Hub stores datasets: sound as a path, as bytes, or as both in one column.

Read in pieces: of a file with gigabytes of sound a few rows are in memory. Needs the extra `data`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from auricle.corpora.corpus import Row, Told
from auricle.corpora.fields import Base, Fields, Unusable, split_of_name, utterance
from auricle.corpora.utterance import Sound
from auricle.corpora.walk import folders_of, is_own_output
from auricle.errors import MissingExtraError, OptionError

_AT_ONCE = 16  # rows whose sound is in memory
_PLAIN_AT_ONCE = 4096  # rows without it
_BUFFER_BYTES = 1 << 20


class Parquet:
    """Files that are read one after another; a file's name says its split: train-00000-of-00004.parquet."""

    kind = "parquet"
    is_streamed = False
    default = None

    def __init__(self, name: str, files: dict[str, Path], fields: Fields) -> None:
        """Take the files by the names that ids begin with.

        Raises:
            MissingExtraError: pyarrow is not installed. OptionError: a file is no Parquet, or has no sound.
        """
        self.name, self._files, self._fields = name, files, fields
        self.splits: tuple[str, ...] | None = tuple(dict.fromkeys(split_of_name(stem) for stem in files))
        self.notes: list[str] = []
        first = next(iter(files.values()))
        names = opened(first).schema_arrow.names
        fields.check(names, str(first))
        self.columns = fields.used(names)
        if "audio" not in self.columns:
            raise OptionError(
                f"{first} has no column of recordings: it has {', '.join(names)}; name it with audio_column"
            )

    def rows(self, wanted: Sequence[str] | None, told: Told) -> Iterator[Row]:
        """Give the rows of every file; sound that is stored in it is read when it is used."""
        for stem, path in self._files.items():
            split = split_of_name(stem)
            if wanted is not None and split not in wanted:
                continue
            columns = _Columns(path, self.columns["audio"])
            number = 0
            for group in range(columns.file.num_row_groups):
                for record, load in columns.records(group):
                    where = f"{stem}:{number}"
                    number += 1
                    try:
                        one = utterance({"id": where, **record}, self._fields, Base(path.parent))
                    except Unusable as reason:
                        told(where, str(reason))
                    else:
                        yield Row(split, one, where, load)


class _Columns:
    """The columns of one file: those that are read with every row, and the one that holds sound."""

    def __init__(self, path: Path, audio: str) -> None:
        import pyarrow as pa

        self.file, self._audio = opened(path), audio
        kinds = pa.types
        schema = self.file.schema_arrow
        if audio not in schema.names:
            raise OptionError(f"{path} has no column {audio!r}, which other files of the dataset have")
        kind = schema.field(audio).type
        inner = [kind.field(place).name for place in range(kind.num_fields)] if kinds.is_struct(kind) else []
        is_stored = kinds.is_binary(kind) or kinds.is_large_binary(kind)
        self._stored = audio if is_stored else f"{audio}.bytes" if "bytes" in inner else None
        self._plain = [
            field.name
            for field in schema
            if field.name != audio and not (kinds.is_nested(field.type) or kinds.is_binary(field.type))
        ]
        if "path" in inner or self._stored is None:
            self._plain.append(f"{audio}.path" if "path" in inner else audio)
        self._cursor = _Cursor(path, self._stored or "", audio)

    def records(self, group: int) -> Iterator[tuple[dict[str, Any], Callable[[], Sound] | None]]:
        """Give the rows of a row group, and what reads the sound that is stored in them."""
        missing = self._without_sound(group)
        for place, record in enumerate(self._plain_records(group)):
            if self._stored is None or place in missing:
                yield record, None
                continue
            # Named here, so that the row counts as one with sound; the sound itself is read when it is used.
            held = record.get(self._audio)
            path = held.get("path") if isinstance(held, dict) else None
            yield (
                {**record, self._audio: {"bytes": b"", "path": path}},
                partial(self._cursor.read, group, place),
            )

    def _plain_records(self, group: int) -> Iterator[dict[str, Any]]:
        if not self._plain:
            yield from ({} for _ in range(self.file.metadata.row_group(group).num_rows))
            return
        for batch in self.file.iter_batches(_PLAIN_AT_ONCE, row_groups=[group], columns=self._plain):
            yield from batch.to_pylist()

    def _without_sound(self, group: int) -> frozenset[int]:
        """Return the rows that hold no sound; read only where the file says that there are any."""
        if self._stored is None:
            return frozenset()
        about = self.file.metadata.row_group(group)
        chunks = (about.column(place) for place in range(about.num_columns))
        counts = next((chunk.statistics for chunk in chunks if chunk.path_in_schema == self._stored), None)
        if counts is not None and counts.has_null_count and counts.null_count == 0:
            return frozenset()
        batches = self.file.iter_batches(_AT_ONCE, row_groups=[group], columns=[self._stored])
        sounds = (record[self._audio] for batch in batches for record in batch.to_pylist())
        return frozenset(place for place, sound in enumerate(sounds) if not _content(sound))


class _Cursor:
    """Reads the sound of rows that are asked for in their order, a few rows at a time."""

    def __init__(self, path: Path, column: str, audio: str) -> None:
        self._path, self._column, self._audio = path, column, audio
        self._group, self._start = -1, 0
        self._held: list[Any] = []
        self._batches: Iterator[Any] = iter(())

    def read(self, group: int, place: int) -> bytes:
        """Return the bytes of a row's sound."""
        if group != self._group or place < self._start:
            file = opened(self._path)
            self._batches = file.iter_batches(_AT_ONCE, row_groups=[group], columns=[self._column])
            self._group, self._start, self._held = group, 0, []
        while place >= self._start + len(self._held):
            self._start += len(self._held)
            self._held = next(self._batches).column(0).to_pylist()
        return _content(self._held[place - self._start])


def parquet(folder: Path, fields: Fields) -> Parquet | None:
    """Open a folder that holds Parquet files, at any depth; None for another."""
    within = (parent / name for parent, names in folders_of(folder) for name in names if name.endswith(".parquet"))
    found = sorted(path for path in within if not is_own_output(path))
    files = {path.relative_to(folder).with_suffix("").as_posix(): path for path in found}
    return Parquet(str(folder), files, fields) if files else None


def opened(path: Path) -> Any:
    """Open a Parquet file.

    Raises:
        MissingExtraError: pyarrow is not installed. OptionError: the file is no Parquet, or is cut off.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{path}: Parquet needs {error.name}, which is not installed; run: pip install 'auricle[data]'"
        ) from None
    try:
        return pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise OptionError(f"{path} is no Parquet file that can be read: {error}; fetch it again") from None


def _content(sound: Any) -> bytes:
    """Return the bytes in what a column holds: they themselves, or a struct with them."""
    return (sound.get("bytes") if isinstance(sound, dict) else sound) or b""
