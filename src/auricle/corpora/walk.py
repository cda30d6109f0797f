"""Folders of recordings, in the order of names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# What is a recording by its name, where nothing else names it.
_AUDIO = "wav flac mp3 mp2 ogg oga opus m4a m4b aac wma aif aiff au caf amr ac3 mka spx w64 wv"
_VIDEO = "mp4 m4v mkv webm mov avi mpg mpeg ts mts m2ts 3gp 3g2 ogv flv wmv"
SUFFIXES = frozenset(f".{ending}" for ending in f"{_AUDIO} {_VIDEO}".split())

# What lies in a folder that `auricle transcribe --out` writes: its shards are no part of a dataset around it.
RUN_PLAN = "auricle-bulk.json"
_SHOWN = 3  # links that are told by name


def folders_of(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Give every folder within and the names of its files, sorted; hidden ones are passed over."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield Path(parent), sorted(name for name in files if not name.startswith("."))


def linked_folders(folder: Path) -> list[str]:
    """Say which folders within are links, which are not followed: what they hold is no part of the dataset."""
    found = [
        os.path.relpath(os.path.join(parent, name), folder)
        for parent, folders, _ in os.walk(folder)
        for name in sorted(folders)
        if not name.startswith(".") and os.path.islink(os.path.join(parent, name))
    ]
    if not found:
        return []
    names = ", ".join(sorted(found)[:_SHOWN]) + (", …" if len(found) > _SHOWN else "")
    return [f"not read: {names}, a link to a folder; give the folder itself, or a manifest with its paths"]


def is_own_output(path: Path) -> bool:
    """Whether a file lies in a folder that a run writes to, as part of it."""
    is_named_so = path.name.startswith("shard-") or path.stem == "failures"
    return is_named_so and (path.parent / RUN_PLAN).is_file()
