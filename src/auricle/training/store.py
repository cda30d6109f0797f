"""Log-mel features computed once: one float16 file and one index, read by memory mapping.

Features are stored before normalisation, so that stretching and warping can come first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from auricle.errors import CheckpointError


@dataclass(frozen=True)
class Utterance:
    """One stored utterance."""

    offset: int  # first frame in the file
    n_frames: int
    text: str  # spoken form
    corpus: str
    speaker: str
    split: str  # "train", "dev" or "test"
    variant: str  # "clean" or what was done to the waveform
    source: str = ""  # which recording it was made from


class FeatureStore:
    """Utterances and their features; `features(utterance)` is (n_frames, n_mels) float16, read-only."""

    def __init__(self, folder: Path) -> None:
        index = folder / "index.json"
        if not index.exists():
            raise CheckpointError(f"{folder} holds no features: expected index.json; prepare the data first")
        raw = json.loads(index.read_text(encoding="utf-8"))
        self.n_mels: int = raw["n_mels"]
        self.utterances = [Utterance(**row) for row in raw["utterances"]]
        n_frames = max((u.offset + u.n_frames for u in self.utterances), default=0)
        self._frames = np.memmap(folder / "features.f16", np.float16, "r", shape=(n_frames, self.n_mels))

    def features(self, utterance: Utterance) -> np.ndarray:
        """The features of one utterance, (n_frames, n_mels) float16."""
        return self._frames[utterance.offset : utterance.offset + utterance.n_frames]

    def select(self, split: str) -> list[Utterance]:
        """The utterances of one split, in stored order."""
        return [utterance for utterance in self.utterances if utterance.split == split]


def write_store(folder: Path, items: Iterable[tuple[np.ndarray, dict[str, str]]], n_mels: int) -> None:
    """Write (features, fields of `Utterance` but offset and n_frames) pairs; the index comes last, so it is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = []
    with (folder / "features.f16").open("wb") as file:
        for utterance, features in _place(items):
            file.write(np.ascontiguousarray(features, np.float16).tobytes())
            rows.append(asdict(utterance))
    index = json.dumps({"n_mels": n_mels, "utterances": rows})
    (folder / "index.json.part").write_text(index, encoding="utf-8")
    (folder / "index.json.part").replace(folder / "index.json")


def _place(items: Iterable[tuple[np.ndarray, dict[str, str]]]) -> Iterator[tuple[Utterance, np.ndarray]]:
    offset = 0
    for features, fields in items:
        yield Utterance(offset=offset, n_frames=len(features), **fields), features
        offset += len(features)
