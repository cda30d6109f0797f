"""How many distinct functions of the library run, in how many files, to do one simple thing."""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
import torch

import auricle
from auricle import pipeline
from auricle.audio.features import Features
from auricle.audio.whisper_mel import WhisperFeatures
from auricle.checkpoints.tensors import write_checkpoint
from auricle.decoding.generate import GenerateOptions, generate
from auricle.engines import make_engine
from auricle.loading import load
from auricle.models.wav2vec2 import Wav2Vec2CTC
from auricle.models.whisper import Whisper
from auricle.speech.whisper import WhisperOptions, WhisperRecognizer

# With the separator: the folder that the repository lies in may have the same name.
PACKAGE = str(Path(auricle.__file__).parent) + os.sep

# docs/architecture.md: files, functions.
CTC_LOAD = (12, 50)
CTC_CALL = {"reference": (26, 104), "auto": (33, 123)}
WHISPER_CALL = {"reference": (21, 118), "auto": (27, 152)}
GREEDY_TEXT = (8, 35)


@contextmanager
def functions_called() -> Iterator[set[tuple[str, int]]]:
    """Collect (file, first line) of every distinct function of auricle that runs inside the block."""
    called: set[tuple[str, int]] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(PACKAGE) and not code.co_name.startswith("<"):
            called.add((code.co_filename, code.co_firstlineno))

    # What earlier tests left behind is let go of before, and not by functions that run in the middle.
    gc.collect()
    gc.disable()
    sys.setprofile(note)
    try:
        yield called
    finally:
        sys.setprofile(None)
        gc.enable()


def within(called: set[tuple[str, int]], budget: tuple[int, int]) -> bool:
    files = {name for name, _ in called}
    print(f"{len(files)} files, {len(called)} functions; budget {budget}")
    return len(files) <= budget[0] and len(called) <= budget[1]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A tiny random wav2vec2 CTC checkpoint in the Hub's format."""
    torch.manual_seed(0)
    letters = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"]
    config = Wav2Vec2CTC.tiny(vocab_size=len(letters))
    raw = {
        "architectures": ["Wav2Vec2ForCTC"],
        "model_type": "wav2vec2",
        **{key: value for key, value in vars(config).items() if not isinstance(value, tuple)},
        **{key: list(value) for key, value in vars(config).items() if isinstance(value, tuple)},
    }
    write_checkpoint(tmp_path, raw, Wav2Vec2CTC(config).state_dict())
    vocabulary = {letter: index for index, letter in enumerate(letters)}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    settings = {"tokenizer_class": "Wav2Vec2CTCTokenizer", "pad_token": "<pad>", "word_delimiter_token": "|"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    extractor = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "do_normalize": True}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(extractor))
    return tmp_path


def test_loading_a_ctc_model_is_short_to_read(checkpoint: Path) -> None:
    load(checkpoint)  # what imports and caches once is not what a reader follows
    with functions_called() as called:
        load(checkpoint)
    assert within(called, CTC_LOAD)


@pytest.mark.parametrize(("engine", "budget"), CTC_CALL.items())
def test_transcribing_with_a_ctc_model_is_short_to_read(engine: str, budget: tuple[int, int], checkpoint: Path) -> None:
    pipe = pipeline("automatic-speech-recognition", model=checkpoint, engine=engine)
    recording = np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    pipe(recording)
    with functions_called() as called:
        pipe(recording)
    assert within(called, budget)


class FakeTokenizer:
    """64 words and the special tokens that Whisper needs."""

    vocab_size = 64 + 8 + 1501
    timestamp_begin = 64 + 8
    names = ("<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|translate|>", "<|transcribe|>",
             "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>")  # fmt: skip

    def special(self, token: str) -> int:
        return 64 + self.names.index(token)

    def has_special(self, token: str) -> bool:
        return token in self.names

    def decode(self, ids: list[int]) -> str:
        return "".join(f" {id}" for id in ids if id < 64)

    def encode(self, text: str) -> list[int]:
        return [int(word) for word in text.split() if word.isdigit()]

    def piece(self, id: int) -> str:
        return f" {id}"


class FakeAudio:
    """Noise in one block."""

    sample_rate, duration, name = 16000, 2.0, "noise"

    def blocks(self) -> Iterator[np.ndarray]:
        yield np.random.default_rng(0).standard_normal(32000).astype(np.float32)


@pytest.mark.parametrize(("name", "budget"), WHISPER_CALL.items())
def test_whisper_from_features_to_segments_is_short_to_read(name: str, budget: tuple[int, int]) -> None:
    torch.manual_seed(0)
    config = Whisper.tiny(
        vocab_size=FakeTokenizer.vocab_size,
        d_model=128,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        max_source_positions=1500,
    )
    engine = make_engine(Whisper(config), dtype="auto", name=name)
    recognizer: Any = WhisperRecognizer(
        engine, WhisperFeatures(config.num_mel_bins), FakeTokenizer(), config, {"is_multilingual": False}
    )
    options = WhisperOptions(max_new_tokens=8, vad=False)
    recognizer.transcribe([FakeAudio()], options)
    with functions_called() as called:
        recognizer.transcribe([FakeAudio()], options)
    assert within(called, budget)


def test_greedy_text_is_short_to_read() -> None:
    torch.manual_seed(0)
    config = Whisper.tiny()
    engine = make_engine(Whisper(config), name="reference")
    mel = torch.randn(1, config.num_mel_bins, 2 * config.max_source_positions)
    states, lengths = engine.encode(Features(mel, torch.tensor([mel.shape[2]])))
    prompt = torch.tensor([[1, 2]])
    options = GenerateOptions(eos=0, max_new_tokens=4)
    generate(engine.decoder(states, lengths), prompt, options)
    with functions_called() as called:
        generate(engine.decoder(states, lengths), prompt, options)
    assert within(called, GREEDY_TEXT)
