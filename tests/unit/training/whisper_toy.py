"""A tokenizer of bytes with two merges, an untrained tiny encoder and three spoken clips, in the true formats."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from auricle.models.whisper import Whisper, WhisperConfig
from auricle.training.whisper_clips import SAMPLE_RATE, Clip

MERGES = [("Ġ", "a"), ("Ġa", "b")]
CONTROL = ("startoftranscript", "en", "de", "translate", "transcribe", "startoflm", "startofprev", "nospeech")
N_TEXT = 256 + len(MERGES)
EOS, START = N_TEXT, N_TEXT + 1
NO_TIMESTAMPS = START + len(CONTROL)
VOCABULARY = NO_TIMESTAMPS + 1 + 1501
CONFIG = Whisper.tiny(
    vocab_size=VOCABULARY,
    decoder_layers=3,
    decoder_start_token_id=START,
    bos_token_id=EOS,
    eos_token_id=EOS,
    pad_token_id=EOS,
)


def write_tokenizer(folder: Path) -> Path:
    """A tokenizer folder as checkpoints have it."""
    folder.mkdir()
    pieces = sorted(pre_tokenizers.ByteLevel.alphabet()) + [one + other for one, other in MERGES]
    tokenizer = Tokenizer(models.BPE(vocab={piece: id for id, piece in enumerate(pieces)}, merges=MERGES))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    names = ["endoftext", *CONTROL, "notimestamps"]
    tokenizer.add_special_tokens([AddedToken(f"<|{name}|>", special=True) for name in names])
    tokenizer.add_tokens([AddedToken(f"<|{step * 0.02:.2f}|>", special=False) for step in range(1501)])
    assert tokenizer.get_vocab_size() == VOCABULARY
    tokenizer.save(str(folder / "tokenizer.json"))
    names_of = {name: START + index for index, name in enumerate(CONTROL)}
    generation = {
        "eos_token_id": EOS,
        "bos_token_id": EOS,
        "pad_token_id": EOS,
        "decoder_start_token_id": START,
        "no_timestamps_token_id": NO_TIMESTAMPS,
        "prev_sot_token_id": names_of["startofprev"],
        "is_multilingual": True,
        "lang_to_id": {f"<|{code}|>": names_of[code] for code in ("en", "de")},
        "task_to_id": {name: names_of[name] for name in ("transcribe", "translate")},
        "max_initial_timestamp_index": 50,
        "begin_suppress_tokens": [EOS],
        "max_length": 448,
    }
    features = {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 80, "sampling_rate": 16000}
    for name, content in (
        ("generation_config.json", generation),
        ("preprocessor_config.json", features),
        ("tokenizer_config.json", {"tokenizer_class": "WhisperTokenizer", "eos_token": "<|endoftext|>"}),
    ):
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


def write_encoder(folder: Path, config: WhisperConfig = CONFIG) -> Path:
    """The tensors of an untrained encoder, one .npy each."""
    folder.mkdir()
    torch.manual_seed(3)
    for name, tensor in Whisper(config).model.encoder.state_dict().items():
        np.save(folder / f"{name.replace('.', '_')}_fp16.npy", tensor.numpy().astype(np.float16))
    return folder


def tone(frequency: float, seconds: float) -> np.ndarray:
    """A sine of half amplitude, (samples,) float32."""
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE)).astype("f4")


def clip(
    words: str, *times: tuple[float, float], duration: float, path: str = "clip.wav", speaker: str = "one"
) -> Clip:
    """A clip of the words of a sentence."""
    return Clip(path, tuple(words.split()), times, "toy", speaker, duration)
