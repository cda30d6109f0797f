"""Manifests: JSON lines, or a table, with a path in each row; NeMo's are those with `audio_filepath`.

Source: docs.nvidia.com/nemo-framework, ASR datasets (`audio_filepath`, `duration`, `text`, `offset`).
"""

from __future__ import annotations

from pathlib import Path

from auricle.corpora.fields import Base, Fields, split_of_name
from auricle.corpora.row_files import JSON_LINES, TABLES, RowFile, RowsLayout, only_kind


def manifest(path: Path, fields: Fields) -> RowsLayout | None:
    """Open one file; None where its rows name no recordings.

    Paths are relative to the file and may lead anywhere: whoever wrote it has the recordings.

    Raises:
        OptionError: it is one JSON array.
    """
    only_kind(path)
    file = _named(path, fields)
    if file is None:
        return None
    return RowsLayout(str(path), _kind(file), {split_of_name(path.stem): file}, fields, splits_in_rows=True)


def manifests(folder: Path, fields: Fields) -> RowsLayout | None:
    """Open the manifests of a folder: one, or several that are a split each, such as train.jsonl and test.jsonl."""
    found = [_named(path, fields) for path in sorted(folder.iterdir()) if path.suffix.lower() in JSON_LINES | TABLES]
    files = [file for file in found if file is not None]
    if not files:
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


def _named(path: Path, fields: Fields) -> RowFile | None:
    file = RowFile(path, Base(path.parent, is_closed=False))
    return file if path.is_file() and not set(fields.audio).isdisjoint(file.names()) else None


def _kind(file: RowFile) -> str:
    return "nemo" if "audio_filepath" in file.names() else "manifest"
