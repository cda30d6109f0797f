"""Manifests: JSON lines, or a table, with a path in each row; NeMo's are those with `audio_filepath`.

Source: docs.nvidia.com/nemo-framework, ASR datasets (`audio_filepath`, `duration`, `text`, `offset`).
"""

from __future__ import annotations

from pathlib import Path

from auricle.corpora.fields import Base, Fields, split_of_name
from auricle.corpora.lines import refuse_other_separator
from auricle.corpora.row_files import JSON_LINES, TABLES, RowFile, RowsLayout, only_kind
from auricle.corpora.walk import is_own_output

_SHOWN = 3  # tables that are told of


def manifest(path: Path, fields: Fields) -> RowsLayout | None:
    """Open one file; None where its rows name no recordings.

    Paths are relative to the file and may lead anywhere: whoever wrote it has the recordings.

    Raises:
        OptionError: it is one JSON array.
    """
    only_kind(path)
    file = _named(path, fields)
    if file is None:
        refuse_other_separator(path, RowFile(path, Base(path.parent)).names(), fields.audio)
        return None
    return RowsLayout(str(path), _kind(file), {split_of_name(path.stem): file}, fields, splits_in_rows=True)


def manifests(folder: Path, fields: Fields) -> RowsLayout | None:
    """Open the manifests of a folder: one, or several that are a split each, such as train.jsonl and test.jsonl."""
    tables = tables_in(folder)
    files = [file for file in (_named(path, fields) for path in tables) if file is not None]
    if not files:
        for path in tables:
            refuse_other_separator(path, RowFile(path, Base(folder)).names(), fields.audio)
        return None
    if len(files) == 1:
        one = files[0]
        return RowsLayout(str(folder), _kind(one), {split_of_name(one.path.stem): one}, fields, splits_in_rows=True)
    kind = "nemo" if all(_kind(file) == "nemo" for file in files) else "manifest"
    names = [split_of_name(file.path.stem, file.path.stem) for file in files]
    # train.jsonl and train_more.jsonl would be one split: then each goes by its whole name.
    if len(set(names)) < len(names):
        names = [file.path.stem for file in files]
    return RowsLayout(str(folder), kind, dict(zip(names, files, strict=True)), fields)


def tables_in(folder: Path) -> list[Path]:
    """The files of a folder that may be manifests, by their names."""
    found = (path for path in folder.iterdir() if path.suffix.lower() in JSON_LINES | TABLES and path.is_file())
    return sorted(path for path in found if not is_own_output(path))


def unread_tables(folder: Path) -> list[str]:
    """What is said of tables that are no manifests, since no column of theirs is known to be of recordings."""
    found = [(path, RowFile(path, Base(folder)).names()) for path in tables_in(folder)[:_SHOWN]]
    return [
        f"{path.name} is not read: no column is known to be of recordings (audio_column), and it has {', '.join(names)}"
        for path, names in found
        if names
    ]


def _named(path: Path, fields: Fields) -> RowFile | None:
    file = RowFile(path, Base(path.parent, is_closed=False))
    return file if path.is_file() and not set(fields.audio).isdisjoint(file.names()) else None


def _kind(file: RowFile) -> str:
    return "nemo" if "audio_filepath" in file.names() else "manifest"
