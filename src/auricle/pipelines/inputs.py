"""Rows of a dataset: one column of them, and what of a row is to be heard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from auricle.errors import AudioInputError

# The keys of a dictionary that say what is heard; every other key is the caller's own and comes back.
AUDIO_KEYS = frozenset({"audio", "array", "raw", "sampling_rate", "path", "bytes"})


class KeyDataset:
    """A view of one column of a dataset: `KeyDataset(dataset, "audio")[i]` is `dataset[i]["audio"]`."""

    def __init__(self, dataset: Any, key: str) -> None:
        self.dataset = dataset
        self.key = key

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index][self.key]

    def __iter__(self) -> Iterator[Any]:
        for index in range(len(self)):
            yield self[index]


def recording_of(item: Any) -> Any:
    """Return what is to be heard: the "audio" of a dataset's row, else the item without its other keys.

    The caller's dictionary is left as it is.
    """
    if isinstance(item, Mapping):
        if "audio" in item:
            return recording_of(item["audio"])
        if "stride" in item:
            raise AudioInputError(
                "a dictionary with 'stride' arrived: samples that are context only; give the samples to be "
                "transcribed, or the whole recording with chunk_length_s and stride_length_s"
            )
        return {key: value for key, value in item.items() if key in AUDIO_KEYS} or dict(item)
    return item


def extra_keys(item: Any) -> dict[str, list[Any]]:
    """Return the caller's own keys of a dictionary, each value in a list of one as in the Hub's format."""
    if not isinstance(item, Mapping):
        return {}
    return {key: [value] for key, value in item.items() if key not in AUDIO_KEYS}
