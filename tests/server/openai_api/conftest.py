"""Clients of OpenAI's API, recordings for it, and a tiny random Whisper that knows two languages."""

from __future__ import annotations

import importlib.util
import json
import sys
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from auricle import pipeline
from auricle.audio.decode import load_audio
from auricle.results import Transcript

# What lies beside the tests becomes importable by its name.
if "realtime_talk" not in sys.modules:
    spec = importlib.util.spec_from_file_location("realtime_talk", Path(__file__).with_name("realtime_talk.py"))
    assert spec is not None
    assert spec.loader is not None
    sys.modules["realtime_talk"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["realtime_talk"])

READ_ALOUD = Path(__file__).parents[3] / "samples" / "librispeech-1320-122612-0008.ogg"
RATE = 16000
CONTROL = ("endoftext", "startoftranscript", "en", "de", "translate", "transcribe", "startoflm", "startofprev",
           "nospeech", "notimestamps")  # fmt: skip


def samples_of(path: Path, rate: int = RATE) -> np.ndarray:
    """Return a recording as mono float32."""
    found: Any = load_audio(path, rate)
    return np.asarray(getattr(found, "samples", found), np.float32)


def write_wav(path: Path, samples: np.ndarray) -> Path:
    """Write mono samples at 16 kHz."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return path


@pytest.fixture(scope="session")
def read_aloud() -> Path:
    """Some seconds of a book, read aloud, as Ogg."""
    return READ_ALOUD


@pytest.fixture(scope="session")
def pcm() -> Any:
    """Return a function that gives a recording as mono float32 at a rate."""
    return samples_of


@pytest.fixture(scope="session")
def long_recording(tmp_path_factory: pytest.TempPathFactory, recording: Path) -> Path:
    """Speech with pauses, longer than what is decoded in one go."""
    speech, pause = samples_of(recording), np.zeros(2 * RATE, np.float32)
    parts = [speech, pause, samples_of(READ_ALOUD), pause, speech, pause, samples_of(READ_ALOUD)]
    return write_wav(tmp_path_factory.mktemp("long") / "long.wav", np.concatenate(parts))


@pytest.fixture(scope="session")
def silent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of nothing."""
    return write_wav(tmp_path_factory.mktemp("silent") / "silent.wav", np.zeros(2 * RATE, np.float32))


@pytest.fixture(scope="session")
def heard(recording: Path) -> Transcript:
    """What the bundled model makes of the recording in Python."""
    (found,) = pipeline("automatic-speech-recognition", "bundled").transcripts(str(recording), return_timestamps="word")
    assert isinstance(found, Transcript)
    return found


@pytest.fixture
def client(live_server: Any) -> Iterator[openai.OpenAI]:
    """OpenAI's client, which asks once."""
    with openai.OpenAI(base_url=f"{live_server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture(scope="session")
def whisper_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Whisper over single bytes that knows English and German, and writes printable ASCII."""
    folder = tmp_path_factory.mktemp("whisper")
    alphabet = {letter: id for id, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    names = [f"<|{name}|>" for name in CONTROL]
    backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    times = [f"<|{number * 0.02:.2f}|>" for number in range(1501)]
    backend.add_tokens([AddedToken(time, special=False, normalized=False) for time in times])
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "WhisperTokenizer"}))
    _save_whisper(folder, {name: backend.token_to_id(name) for name in names}, len(alphabet) + len(names) + len(times))
    return folder


def _save_whisper(folder: Path, ids: dict[str, int], n_tokens: int) -> None:
    torch.manual_seed(10)
    end, start = ids["<|endoftext|>"], ids["<|startoftranscript|>"]
    special = {"pad_token_id": end, "bos_token_id": end, "eos_token_id": end, "decoder_start_token_id": start}
    config = transformers.WhisperConfig(
        vocab_size=n_tokens, d_model=32, encoder_layers=2, encoder_attention_heads=2, decoder_layers=2,
        decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64, max_source_positions=1500,
        max_target_positions=64, num_mel_bins=80, **special,
    )  # fmt: skip
    model = transformers.WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():
        model.model.decoder.embed_tokens.weight.mul_(4)
    model.generation_config = transformers.GenerationConfig(
        max_length=64, no_timestamps_token_id=ids["<|notimestamps|>"], prev_sot_token_id=ids["<|startofprev|>"],
        is_multilingual=True, max_initial_timestamp_index=50,
        lang_to_id={"<|en|>": ids["<|en|>"], "<|de|>": ids["<|de|>"]},
        task_to_id={"transcribe": ids["<|transcribe|>"], "translate": ids["<|translate|>"]},
        begin_suppress_tokens=[end],
        suppress_tokens=[*range(94, 256), *range(start, ids["<|notimestamps|>"] + 1)], **special,
    )  # fmt: skip
    model.save_pretrained(folder)
    transformers.WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)


@pytest.fixture
def two_models(start_server: Any, whisper_folder: Path) -> Any:
    """A server of the bundled model and of the random Whisper, "org/whisper"."""
    return start_server(models=("bundled", f"org/whisper={whisper_folder}"))


@pytest.fixture
def whisper(two_models: Any) -> Iterator[openai.OpenAI]:
    """OpenAI's client of the server with two models."""
    with openai.OpenAI(base_url=f"{two_models.url}/v1", api_key="none", max_retries=0, timeout=120) as made:
        yield made
