"""Tiny checkpoints and a few made-up recordings to fine-tune them with."""

from __future__ import annotations

import json
import os
import wave
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

# What a run imports when it first needs it: processes that are forked of this one have it already.
import av  # noqa: F401
import jiwer  # noqa: F401
import numpy as np
import torch
import torch._dynamo

from auricle.checkpoints.tensors import write_checkpoint
from auricle.models.hubert import HubertCTC
from auricle.models.parakeet import ParakeetCTC
from auricle.models.wav2vec2 import Wav2Vec2CTC
from auricle.models.wavlm import WavLMCTC
from auricle.models.whisper import Whisper
from auricle.training.finetuning import finetune
from auricle.training.options import FinetuneOptions

RATE = 16000
LETTERS = {"a": 300.0, "b": 500.0, "c": 800.0, "d": 1200.0, "e": 1700.0}
# Dropout and layer drop of a whole run would hide what is compared.
STILL = {
    "hidden_dropout": 0.0,
    "activation_dropout": 0.0,
    "attention_dropout": 0.0,
    "feat_proj_dropout": 0.0,
    "final_dropout": 0.0,
    "layerdrop": 0.0,
}
FAMILIES: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "wav2vec2": (Wav2Vec2CTC, "Wav2Vec2ForCTC", STILL),
    "hubert": (HubertCTC, "HubertForCTC", STILL),
    "wavlm": (WavLMCTC, "WavLMForCTC", STILL),
    "parakeet_ctc": (
        ParakeetCTC,
        "ParakeetForCTC",
        {"dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0, "subsampling_factor": 4},
    ),
    "whisper": (Whisper, "WhisperForConditionalGeneration", {}),
}


@dataclass(frozen=True)
class Row:
    """What training reads of a row."""

    id: str
    audio: Any
    text: str | None
    start: float | None = None
    end: float | None = None
    duration: float | None = None
    language: str | None = None
    speaker: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def source(self) -> Any:
        return self.audio


def spoken(text: str, seed: int = 0, seconds_a_letter: float = 0.12) -> np.ndarray:
    """A tone for each letter, silence for a space, a little noise over all."""
    rng = np.random.default_rng(seed)
    pieces = []
    for letter in f" {text} ":
        time = np.arange(int(seconds_a_letter * RATE)) / RATE
        tone = np.sin(2 * np.pi * LETTERS.get(letter, 0.0) * time) * 0.3
        pieces.append(tone * np.hanning(len(time)))
    wave = np.concatenate(pieces)
    return (wave + rng.normal(0, 0.01, len(wave))).astype(np.float32)


def toy_rows(n_rows: int = 12, seed: int = 0) -> list[Row]:
    """Short words of five letters, by three speakers."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(n_rows):
        words = ["".join(rng.choice(list(LETTERS), rng.integers(1, 4))) for _ in range(2)]
        text = " ".join(words)
        audio = {"array": spoken(text, number), "sampling_rate": RATE}
        rows.append(Row(f"row-{number}", audio, text, speaker=f"speaker {number % 3}"))
    return rows


def toy_checkpoint(folder: Path, family: str, **changes: Any) -> Path:
    """A random checkpoint without a tokenizer, so that fine-tuning makes a new vocabulary."""
    model_class, architecture, still = FAMILIES[family]
    torch.manual_seed(0)
    config = model_class.tiny(**{**still, **changes})
    model = model_class(config)
    raw = {key: value for key, value in asdict(config).items() if value is not None}
    if family == "whisper":
        raw.pop("tie_word_embeddings")
    raw |= {"architectures": [architecture], "model_type": family}
    if family in ("wav2vec2", "hubert", "wavlm"):
        raw |= {"mask_time_prob": 0.0}
    write_checkpoint(folder, raw, model.state_dict())
    return folder


def write_corpus(folder: Path, n_rows: int = 12) -> Path:
    """A manifest of WAV files with `toy_rows`."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for row in toy_rows(n_rows):
        path = folder / f"{row.id}.wav"
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes((row.audio["array"] * 32000).astype("<i2").tobytes())
        lines.append(json.dumps({"path": path.name, "text": row.text, "speaker": row.speaker}))
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "rows.jsonl"


def finetune_toy(
    start: str, data: str, out: str, options: dict[str, Any], world: tuple[int, int, int] = (0, 1, 0)
) -> None:
    """What a process of its own does: rank, number of processes and port are what a launcher would say."""
    rank, size, port = world
    torch.set_num_threads(1)
    if size > 1:
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    finetune(start, data, out, FinetuneOptions(**options))
