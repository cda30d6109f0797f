"""audiofolder, as Hugging Face's `datasets` reads it: recordings, and metadata whose `file_name` names each.

Source: github.com/huggingface/datasets, docs/source/audio_dataset.mdx.
"""

from __future__ import annotations

from pathlib import Path

from auricle.corpora.fields import ALL, Base, Fields
from auricle.corpora.lines import refuse_other_separator
from auricle.corpora.row_files import RowFile, RowsLayout

_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.tsv")
_KEY = "file_name"


def audiofolder(folder: Path, fields: Fields) -> RowsLayout | None:
    """Open a folder with metadata, or with metadata in folders of its own that are its splits; None for another.

    Of one metadata file the splits are the folders in which the recordings lie, where these are named train,
    validation, test and the like.
    """
    own = _metadata(folder, "")
    files = {ALL: own} if own is not None else {}
    if own is None:
        inner = sorted(path for path in folder.iterdir() if path.is_dir())
        files = {path.name: one for path in inner if (one := _metadata(path, f"{path.name}/")) is not None}
    if not files:
        return None
    return RowsLayout(str(folder), "audiofolder", files, Fields((_KEY,), fields.text), splits_in_rows=own is not None)


def _metadata(folder: Path, prefix: str) -> RowFile | None:
    """Return the metadata of a folder, if it has such."""
    for name in _METADATA:
        file = RowFile(folder / name, Base(folder, is_closed=True), prefix)
        names = file.names() if file.path.is_file() else []
        if _KEY in names:
            return file
        refuse_other_separator(file.path, names, {_KEY})
    return None
