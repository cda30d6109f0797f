"""From manifests to stored features: which recordings teach, which only score, and what is done to them first."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch

from auricle.audio.decode import load_audio
from auricle.audio.parakeet_mel import ParakeetFeatures
from auricle.errors import ConfigError
from auricle.training.augment import change_speed, disturb
from auricle.training.store import write_store
from auricle.training.synthesize import HELD_OUT_VOICES
from auricle.training.text import spoken_form

SAMPLE_RATE = 16000
# Longer ones would make batches of few rows; shorter ones have fewer frames than letters.
MAX_SECONDS, MIN_SECONDS = 20.0, 0.6
# Left out of training: single digits by six speakers, kept for fine-tuning with one speaker held out.
LEFT_OUT = frozenset({"fsdd_digits"})
# The speaker whose recordings choose between checkpoints.
DEV_SPEAKER = "ls-1867"
# The corpus that recordings in other languages are stored as: voices without letters, of which a teacher's states alone
# are learned.
UNWRITTEN = "unwritten"


@dataclass(frozen=True)
class Row:
    """One recording of a manifest."""

    path: Path
    text: str  # spoken form
    corpus: str
    speaker: str
    split: str


@dataclass(frozen=True)
class Sounds:
    """Noises and room responses for `disturb`."""

    noises: list[np.ndarray] = field(default_factory=list)
    rooms: list[np.ndarray] = field(default_factory=list)


def read_manifest(path: Path, corpora_of_test: frozenset[str]) -> list[Row]:
    """English rows with text: the training split, and of the test split the corpora that are named.

    Raises:
        ConfigError: if the file is no manifest.
    """
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        raw = json.loads(line)
        if "path" not in raw or "split" not in raw:
            raise ConfigError(f"{path}, line {number}: expected the keys path and split, got {sorted(raw)}")
        corpus = raw.get("corpus", path.parent.name)
        wanted = corpus in corpora_of_test if raw["split"] == "test" else corpus not in LEFT_OUT
        text = spoken_form(raw.get("text") or "")
        if not wanted or raw.get("language", "en") != "en" or not text:
            continue
        speaker = str(raw.get("speaker", corpus))
        split = "dev" if speaker == DEV_SPEAKER else raw["split"]
        rows.append(Row(path.parent / raw["path"], text, corpus, speaker, split))
    return rows


def read_unwritten(path: Path) -> list[Row]:
    """A manifest's training rows of a person speaking another language than English: text is empty."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        raw = json.loads(line)
        if raw["split"] == "train" and raw.get("language", "en") != "en":
            rows.append(Row(path.parent / raw["path"], "", UNWRITTEN, str(raw.get("speaker", raw["path"])), "train"))
    return rows


def _variants(row: Row, synthetic: bool) -> list[str]:
    if row.split != "train":
        return ["clean"]
    if synthetic:
        return ["disturbed"] if hash_of(row) % 2 else ["clean"]
    return ["clean", "slow, disturbed", "fast, disturbed", "disturbed"]


def hash_of(row: Row) -> int:
    """A number that depends on the row alone, so that a rerun makes the same data."""
    return zlib.crc32(f"{row.path.name} {row.text}".encode())


def source_of(row: Row) -> str:
    """The name of a recording in stores."""
    return f"{row.corpus}/{hash_of(row):08x}"


def taught_rows(speech: Path, synthetic: Path | None) -> Iterator[Row]:
    """The training rows that `prepare` stores, in its order."""
    manifests = [speech / "manifest.jsonl"] + ([synthetic / "manifest.jsonl"] if synthetic is not None else [])
    for manifest in manifests:
        yield from (row for row in read_manifest(manifest, frozenset()) if row.split == "train")
    yield from read_unwritten(speech / "manifest.jsonl")


def _features(
    row: Row, sounds: Sounds, extractor: ParakeetFeatures, synthetic: bool
) -> list[tuple[np.ndarray, dict[str, str]]]:
    torch.set_num_threads(1)
    waveform = load_audio(row.path, SAMPLE_RATE)
    if not MIN_SECONDS <= len(waveform) / SAMPLE_RATE <= MAX_SECONDS and row.split == "train":
        return []
    rng = np.random.default_rng(hash_of(row))
    made = []
    for variant in _variants(row, synthetic):
        changed = waveform
        if variant.startswith(("slow", "fast")):
            changed = change_speed(waveform, 0.9 if variant.startswith("slow") else 1.1, SAMPLE_RATE)
        if variant.endswith("disturbed"):
            changed = disturb(changed, sounds.noises, sounds.rooms, rng)
        fields = {"text": row.text, "corpus": row.corpus, "speaker": row.speaker, "split": row.split}
        fields["source"] = source_of(row)
        features = extractor.log_mel(torch.from_numpy(changed)).numpy().astype(np.float16)
        made.append((features, {**fields, "variant": variant}))
    return made


def load_sounds(speech: Path) -> Sounds:
    """Read the noises and room responses beside a speech manifest; none where the folders are absent."""
    noises = [load_audio(path, SAMPLE_RATE) for path in sorted((speech / "noise").glob("*.wav"))]
    rooms = [load_audio(path, SAMPLE_RATE) for path in sorted((speech / "rir").glob("*.wav"))]
    return Sounds(noises, rooms)


def prepare(speech: Path, synthetic: Path | None, folder: Path, n_mels: int, n_workers: int = 2) -> None:
    """Write a `FeatureStore` of a speech manifest and, where given, a synthetic one; other languages come last.

    Shapes: each stored utterance is (frames of 10 ms, n_mels) log energies, not normalised.
    """
    sounds, extractor = load_sounds(speech), ParakeetFeatures(feature_size=n_mels)
    sources = [(read_manifest(speech / "manifest.jsonl", frozenset({"librispeech_test_clean"})), False)]
    if synthetic is not None:
        sources.append((read_manifest(synthetic / "manifest.jsonl", frozenset(HELD_OUT_VOICES)), True))

    sources.append((read_unwritten(speech / "manifest.jsonl"), False))

    def items() -> Iterator[tuple[np.ndarray, dict[str, str]]]:
        with ProcessPoolExecutor(n_workers) as pool:
            for rows, made_up in sources:
                work = partial(_features, sounds=sounds, extractor=extractor, synthetic=made_up)
                for batch in pool.map(work, rows, chunksize=8):
                    yield from batch

    write_store(folder, items(), n_mels)
