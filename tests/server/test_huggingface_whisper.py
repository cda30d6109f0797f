"""The Inference API in front of a random Whisper over bytes: its parameters do what they say, or are refused.

No text of it means anything; what counts is that every combination is answered with 200 or 400 and in words.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from auricle.audio.whisper_mel import WhisperFeatures
from auricle.engines import make_engine
from auricle.models.whisper import Whisper
from auricle.pipelines.automatic_speech_recognition import AutomaticSpeechRecognitionPipeline
from auricle.pipelines.dialects import WHISPER
from auricle.speech.whisper import WhisperRecognizer

LONG_S = 120.0
MODEL = "/models/org/whisper"
NAMES = ("<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>", "<|transcribe|>",
         "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>")  # fmt: skip
SPECIAL = {name: 256 + at for at, name in enumerate(NAMES)}
END, START = SPECIAL["<|endoftext|>"], SPECIAL["<|startoftranscript|>"]
ROOM = 64


class ByteTokenizer:
    """One token per byte, and Whisper's special tokens."""

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: Any) -> str:
        return bytes(id for id in ids if id < 256).decode(errors="replace")

    def special(self, token: str) -> int:
        return SPECIAL[token]

    def has_special(self, token: str) -> bool:
        return token in SPECIAL


@pytest.fixture(scope="module")
def whisper() -> Any:
    torch.manual_seed(0)
    sizes = {"vocab_size": 266 + 1501, "max_source_positions": 1500, "max_target_positions": ROOM}
    tokens = {"decoder_start_token_id": START, "bos_token_id": END, "eos_token_id": END, "pad_token_id": END}
    model = Whisper(Whisper.tiny(**sizes, **tokens)).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" not in name and "encoder.embed_positions" not in name:
                weight.copy_(torch.randn(weight.shape) * 0.3)
    letters = {32, *b"etaoinsh"}
    generation = {
        "lang_to_id": {"<|en|>": SPECIAL["<|en|>"], "<|de|>": SPECIAL["<|de|>"]},
        "is_multilingual": True,
        "suppress_tokens": [
            *(token for token in range(256) if token not in letters),
            *range(START, START + len(NAMES) - 1),
        ],
    }
    features = WhisperFeatures(model.config.num_mel_bins)
    recognizer = WhisperRecognizer(make_engine(model), features, ByteTokenizer(), model.config, generation)
    return AutomaticSpeechRecognitionPipeline(recognizer, WHISPER, name="org/whisper")


@pytest.fixture(scope="module")
def http(whisper: Any, live_serving: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("whisper")
    with (
        live_serving(lambda place, _: whisper, models=("org/whisper=somewhere",), data_dir=folder) as server,
        httpx.Client(base_url=server.url, timeout=LONG_S) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def speech(recording: Path) -> bytes:
    return recording.read_bytes()


# What the thresholds would refuse in random text is not tried again, and it does not end at once.
OFF = dict.fromkeys(("compression_ratio_threshold", "no_speech_threshold", "logprob_threshold"), "null")
PLAIN = {**OFF, "temperature": 0, "min_new_tokens": 12}


def test_true_means_segments_with_both_names_of_their_times(http: httpx.Client, speech: bytes) -> None:
    found = http.post(MODEL, content=speech, params={**PLAIN, "return_timestamps": "true"}).json()
    assert len(found["chunks"]) > 1
    assert [chunk["timestamp"] for chunk in found["chunks"]] == [chunk["timestamps"] for chunk in found["chunks"]]
    assert "".join(chunk["text"] for chunk in found["chunks"]) == found["text"]
    plain = http.post(MODEL, content=speech, params=PLAIN).json()
    assert plain["text"] == found["text"]
    assert "chunks" not in plain


def test_parameters_of_generation_have_their_effect(http: httpx.Client, speech: bytes) -> None:
    plain = {**PLAIN, "language": "en", "min_new_tokens": 16, "max_new_tokens": 24}

    def text(**given: Any) -> str:
        response = http.post(MODEL, content=speech, params={**plain, **given})
        assert response.status_code == 200, response.text
        assert "x-hf-warning" not in response.headers
        return str(response.json()["text"])

    whole = text()
    assert len(whole) > 4
    assert len(text(min_new_tokens=2, max_new_tokens=6)) <= 6 / 2
    assert text(use_cache="false") == whole
    sampled = {"temperature": 0.9, "do_sample": "true"}
    assert text(**sampled, seed=1) != text(**sampled, seed=2)
    assert text(**sampled, seed=1, top_k=1) == text(**sampled, seed=2, top_k=1) == whole
    others = [
        {"num_beams": 4},
        {"num_beams": 2, "num_beam_groups": 2},
        {"penalty_alpha": 0.9},
        {"no_repeat_ngram_size": 1},
        {"repetition_penalty": 5},
    ]
    for given in others:
        assert text(**given) != whole, given


def test_samples_without_a_seed_are_drawn_anew(http: httpx.Client, speech: bytes) -> None:
    drawn = {**PLAIN, "temperature": 0.9, "do_sample": "true"}
    assert [http.post(MODEL, content=speech, params=drawn).headers["x-cache"] for _ in range(2)] == ["bypass"] * 2
    seeded = {**drawn, "seed": 3}
    assert [http.post(MODEL, content=speech, params=seeded).headers["x-cache"] for _ in range(2)] == ["miss", "hit"]


def test_lengths_beyond_a_window_are_told(http: httpx.Client, speech: bytes) -> None:
    response = http.post(MODEL, content=speech, params={**PLAIN, "max_new_tokens": 5000})
    assert response.status_code == 200
    assert f"{ROOM} is used" in response.headers["x-hf-warning"]


def test_languages_come_with_the_chunks_that_ask_for_them(http: httpx.Client, speech: bytes) -> None:
    asked = {**PLAIN, "return_language": "true", "language": "de"}
    found = http.post(MODEL, content=speech, params=asked).json()
    assert {chunk["language"] for chunk in found["chunks"]} == {"german"}


VALUES: dict[str, list[Any]] = {
    "temperature": [0, 0.5, 1.0, 1e9, 1e-9, [0, 0.4], [], [-1], "0.5", None, -1, {}],
    "top_k": [0, 1, 50, 10**30, "3", 2.5],
    "top_p": [0, 1e-9, 0.9, 1, 1.1, "0.5"],
    "typical_p": [1e-9, 0.5, 1, 0],
    "epsilon_cutoff": [0, 0.5, 0.999999, 1],
    "eta_cutoff": [0, 0.5, 0.999999, -1],
    "max_length": [1, 5, 448, 10**18, 0],
    "max_new_tokens": [1, 3, 448, 10**18, None],
    "min_length": [0, 3, 500, 10**18],
    "min_new_tokens": [0, 3, 500, 10**18],
    "do_sample": [True, False, None, "true", 1],
    "early_stopping": [True, False, "never", "true", "no"],
    "num_beams": [1, 2, 4, 257, 10**12],
    "num_beam_groups": [1, 2, 3],
    "penalty_alpha": [0, 0.6, 1, 2],
    "use_cache": [True, False],
    "repetition_penalty": [1e-9, 1.5, 1e9, 0],
    "no_repeat_ngram_size": [0, 1, 2, 10**12],
    "length_penalty": [-1e300, 0, 2.0],
    "seed": [0, -1, 10**30],
    "language": ["en", "german", "xx", "", 5],
    "task": ["transcribe", "translate", "dance"],
    "initial_prompt": ["", "the tea", "x" * 5000, 5],
    "hotwords": [["tea"], "tea", "", [5]],
    "chunk_length_s": [0, 30, 5, "30"],
    "return_timestamps": [True, False, "word", "segment", "char", 7],
    "suppress_tokens": [[], [-1], "1,2", [10**9], [5.5]],
    "clip_timestamps": ["0,1", [0, 2, 3], "x", [10**9]],
    "vad": [True, False, "true"],
    "channels": ["mix", "split", 0, 5, -1],
    "without_timestamps": [True, "false"],
    "max_initial_timestamp": [0, 1e9, None],
    "prefix": ["a", "a" * 1000],
}


def combinations(n: int, seed: int) -> Iterator[dict[str, Any]]:
    """Give parameters alone, all values of each, and then several at once."""
    for name, values in VALUES.items():
        yield from ({name: value} for value in values)
    generator = random.Random(seed)
    for _ in range(n):
        names = generator.sample(sorted(VALUES), generator.randrange(2, 7))
        yield {name: generator.choice(VALUES[name]) for name in names}


def test_no_combination_of_parameters_is_an_unknown_error(http: httpx.Client, recording: Path) -> None:
    speech = base64.b64encode(recording.read_bytes()[:40_000]).decode()
    seen: dict[int, int] = {}
    for given in combinations(20, seed=1):
        body = {"inputs": speech, "parameters": {"max_new_tokens": 4, "temperature": 0, **given}}
        response = http.post(MODEL, json=body, headers={"x-use-cache": "false"})
        assert response.status_code in (200, 400), (given, response.text)
        seen[response.status_code] = seen.get(response.status_code, 0) + 1
    assert seen[200] > 60
    assert seen[400] > 30
