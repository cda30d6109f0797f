"""Datasets of the Hugging Face Hub, and folders that `datasets` saved; needs the extra `datasets`.

Sound stays as it is stored (`Audio(decode=False)`), and no code of a dataset is run: `datasets` itself runs none since
4.0, and older ones are not asked to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from auricle.corpora.corpus import Row, Told
from auricle.corpora.fields import ALL, Base, Fields, Unusable, utterance
from auricle.corpora.report import OUTSIDE
from auricle.errors import AudioError, AuricleError, MissingExtraError, OptionError

# OWNER/NAME, and what may follow: a configuration ("en") and a revision.
_ID = re.compile(r"(?P<name>[\w.-]+(/[\w.-]+)?)(:(?P<config>[\w.+-]+))?(@(?P<revision>[\w./-]+))?")
_REMOTE = ("hf://", "zip://", "tar://", "gzip://")
_SAVED = ("dataset_dict.json", "state.json")


class HuggingFace:
    """A dataset by split, each of which is an object of `datasets`; rows are known by split and number."""

    kind = "huggingface"
    default = None

    def __init__(
        self, name: str, parts: Mapping[str, Any], fields: Fields, is_streamed: bool, is_fetched: bool = False
    ) -> None:
        """Take the splits; rows of one that is fetched name no file of this machine."""
        self.is_fetched = is_fetched
        self.name, self._fields, self.is_streamed = name, fields, is_streamed
        self._parts = dict(parts)
        self.splits: tuple[str, ...] | None = tuple(parts)
        self.notes: list[str] = []
        names = next(iter(parts.values())).column_names
        # Of some that are streamed the columns are only known with the first row.
        if names is not None:
            fields.check(names, name)
        self.columns = fields.used(names or ())

    def rows(self, wanted: Sequence[str] | None, told: Told) -> Iterator[Row]:
        """Give the rows of every split."""
        base = Base(Path.cwd(), is_closed=False)
        for split, part in self._parts.items():
            if wanted is not None and split not in wanted:
                continue
            for number, record in enumerate(part):
                where = f"{split}:{number}"
                try:
                    one = utterance({"id": where, **record}, self._fields, base)
                except Unusable as reason:
                    told(where, str(reason))
                    continue
                place = one.audio if isinstance(one.audio, str) else None
                if self.is_fetched and place is not None and "://" not in place:
                    told(where, OUTSIDE)
                else:
                    is_remote = place is not None and place.startswith(_REMOTE)
                    yield Row(split, one, where, partial(_fetched, str(place)) if is_remote else None)


def saved(folder: Path, fields: Fields) -> HuggingFace | None:
    """Open a folder that `save_to_disk` wrote; None for another."""
    if not any((folder / name).is_file() for name in _SAVED):
        return None
    datasets = _datasets(str(folder))
    try:
        loaded = datasets.load_from_disk(str(folder))
    except (OSError, ValueError) as error:
        raise OptionError(f"{folder} was saved by `datasets` and cannot be loaded: {error}") from None
    return of_object(loaded, str(folder), fields)


def hub_dataset(name: str, fields: Fields) -> HuggingFace:
    """Open a dataset of the Hub, to be read as it is fetched.

    Raises:
        MissingExtraError: `datasets` is not installed. OptionError: this is no name of one.
        AuricleError: it cannot be had.
    """
    parsed = _ID.fullmatch(name)
    if parsed is None:
        raise OptionError(
            f"{name!r} is no folder or file here, and no name on the Hub (OWNER/NAME, OWNER/NAME:CONFIG, …@REVISION)"
        )
    datasets = _datasets(name)
    try:
        loaded = datasets.load_dataset(parsed["name"], parsed["config"], revision=parsed["revision"], streaming=True)
    except Exception as error:  # `datasets` raises its own, those of the Hub's client, of HTTP and of each format
        raise AuricleError(
            f"{name!r} is no folder or file here, and the Hub's dataset cannot be had: {type(error).__name__}: {error}"
        ) from error
    return of_object(loaded, name, fields, is_fetched=True)


def of_object(loaded: Any, name: str, fields: Fields, is_fetched: bool = False) -> HuggingFace:
    """Take what `datasets` has loaded: one dataset, or several by split."""
    parts = dict(loaded) if isinstance(loaded, Mapping) else {str(loaded.split or ALL): loaded}
    parts = {split: _undecoded(part) for split, part in parts.items()}
    is_streamed = not all(hasattr(part, "__len__") for part in parts.values())
    return HuggingFace(name, parts, fields, is_streamed, is_fetched)


def is_dataset(source: Any) -> bool:
    """Whether something is an object of `datasets`, without importing it."""
    return type(source).__module__.split(".")[0] == "datasets"


def _fetched(place: str) -> bytes:
    """Read a file of the Hub, or one in an archive there."""
    import fsspec

    try:
        with fsspec.open(place, "rb") as file:
            content: bytes = file.read()
            return content
    except (OSError, ValueError) as error:
        raise AudioError(f"{place} cannot be fetched: {error}; try again") from error


def _undecoded(part: Any) -> Any:
    """Leave sound as it is stored: decoding is ours."""
    datasets = _datasets("")
    features = part.features or {}
    for column, feature in features.items():
        if isinstance(feature, datasets.Audio):
            part = part.cast_column(column, datasets.Audio(decode=False))
    return part


def _datasets(name: str) -> Any:
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{name!r} is read with {error.name}, which is not installed; run: pip install 'auricle[datasets]'"
        ) from None
    return datasets
