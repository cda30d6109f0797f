"""Which layout a dataset has: by what lies in it, never by what it is called."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from auricle.corpora.audiofolder import audiofolder
from auricle.corpora.common_voice import common_voice, languages_apart
from auricle.corpora.corpus import Corpus, Layout
from auricle.corpora.fields import Fields
from auricle.corpora.files import parallel, recordings
from auricle.corpora.huggingface import hub_dataset, is_dataset, of_object, saved
from auricle.corpora.kaldi import kaldi
from auricle.corpora.librispeech import librispeech
from auricle.corpora.manifests import manifest, manifests, unread_tables
from auricle.corpora.parquet import Parquet, parquet
from auricle.corpora.records import Records
from auricle.corpora.row_files import JSON_LINES, TABLES
from auricle.corpora.walk import RUN_PLAN, linked_folders
from auricle.errors import OptionError

# Asked in this order; the first that finds what it looks for reads the folder.
FOLDERS: tuple[Callable[[Path, Fields], Layout | None], ...] = (
    saved,
    kaldi,
    common_voice,
    audiofolder,
    librispeech,
    manifests,
    parquet,
    languages_apart,
    parallel,
    recordings,
)
_WITHOUT_COLUMNS = (kaldi, librispeech, parallel)
_BY_NAMES = (librispeech, parallel, recordings)  # what the folders hold is the dataset


def open_corpus(
    source: str | os.PathLike[str] | Iterable[Any],
    *,
    split: str | None = None,
    text_column: str | None = None,
    audio_column: str | None = None,
    needs_text: bool = False,
) -> Corpus:
    """Open a dataset: a folder, a manifest, a table, a Parquet file, a Hub name, rows in memory, or one that is open.

    What it holds is told by looking. `split` takes one part of it; None takes all, of Common Voice those of `train`,
    `dev` and `test`. `text_column` and `audio_column` name columns that are not found by themselves. With
    `needs_text` rows without a text are left out, and told.

    >>> print(open_corpus("cv-corpus/en", split="test").report)

    Raises:
        OptionError: nothing there is a dataset, or has no such split or column. MissingExtraError: it needs a
            package that is not installed. AuricleError: the Hub does not give it.
    """
    if isinstance(source, Corpus) and not (text_column or audio_column or needs_text):
        return source if split is None else source.select(split)  # with its splits, which its rows alone do not say
    fields = Fields.named(audio_column, text_column)
    corpus = Corpus(_layout(source, fields), needs_text=needs_text)
    if isinstance(source, str | os.PathLike) and split is None:
        split = _split_of_table(Path(source).expanduser(), corpus)
    return corpus if split is None else corpus.select(split)


def _layout(source: Any, fields: Fields) -> Layout:
    if is_dataset(source):
        return of_object(source, f"<{type(source).__name__}>", fields)
    if isinstance(source, Iterable) and not isinstance(source, str | os.PathLike):
        return Records(source, fields)
    if not isinstance(source, str | os.PathLike):
        raise OptionError(f"{type(source).__name__} is no dataset; give a folder, a file, a Hub name, or rows")
    path = Path(source).expanduser()
    if path.is_dir():
        return _folder(path, fields)
    if path.is_file():
        return _file(path, fields)
    if isinstance(source, os.PathLike) or source.startswith((".", "/", "~")) or path.suffix in _FILES:
        raise OptionError(f"there is no dataset {str(source)!r}; give a folder or a file, or a name on the Hub")
    return hub_dataset(source, fields)


def _folder(folder: Path, fields: Fields) -> Layout:
    for look in FOLDERS:
        found = look(folder, fields)
        if found is not None:
            if look in _WITHOUT_COLUMNS and fields != Fields():
                found.notes.append("text_column and audio_column are not used: this layout has no columns")
            if look is recordings:
                found.notes += unread_tables(folder)
            if look in _BY_NAMES:
                found.notes += linked_folders(folder)
            return found
    if (folder / RUN_PLAN).is_file():
        raise OptionError(f"{folder} is what `auricle transcribe --out` wrote, and no dataset; give the one it is of")
    unread = "".join(f"; {told}" for told in (*unread_tables(folder), *linked_folders(folder)))
    raise OptionError(
        f"{folder} holds no dataset: looked for wav.scp (Kaldi), clips and *.tsv (Common Voice), metadata.csv or "
        ".jsonl with file_name (audiofolder), *.trans.txt (LibriSpeech), *.jsonl with a path in each line, "
        f"*.parquet, and recordings{unread}"
    )


def _file(path: Path, fields: Fields) -> Layout:
    ending = path.suffix.lower()
    if ending == ".parquet":
        return Parquet(str(path), {path.stem: path}, fields)
    if path.name == "wav.scp":
        return _folder(path.parent, fields)
    if ending == ".tsv" and (layout := common_voice(path.parent, fields)) is not None:
        return layout
    found = manifest(path, fields) if ending in JSON_LINES | TABLES else None
    if found is None and not path.stat().st_size:
        raise OptionError(f"{path} is empty (0 bytes); a dataset was expected: write it anew")
    if found is None:
        wanted = ", ".join(fields.audio)
        raise OptionError(
            f"{path} is no dataset: expected JSON lines (.jsonl, .json), a table (.csv, .tsv) or Parquet, whose rows "
            f"name a recording as one of {wanted}; name another column with audio_column"
        )
    return found


def _split_of_table(path: Path, corpus: Corpus) -> str | None:
    """Return the split that one table of Common Voice is."""
    return path.stem if path.is_file() and corpus.layout == "common_voice" else None


_FILES = JSON_LINES | TABLES | {".parquet", ".scp"}
