"""faster-whisper and the library below it, CTranslate2, with 8-bit weights: their fastest on a CPU."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measure import Measured, n_threads

RATE = 16000


def convert(model: str, quantization: str = "int8") -> Path:
    """The checkpoint in CTranslate2's format, beside the checkpoint."""
    source = Path(model)
    folder = source.with_name(f"{source.name}-ct2-{quantization}")
    if not (folder / "model.bin").is_file():
        from ctranslate2.converters import TransformersConverter

        unfinished = folder.with_name(folder.name + ".part")
        shutil.rmtree(unfinished, ignore_errors=True)
        files = ["tokenizer.json", "preprocessor_config.json"]
        TransformersConverter(model, copy_files=files, load_as_float16=False).convert(
            str(unfinished), quantization=quantization
        )
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    return folder


def _model(model: str, device: str, compute_type: str) -> Any:
    from faster_whisper import WhisperModel

    quantization = "int8" if device == "cpu" else "float16"
    return WhisperModel(
        str(convert(model, quantization)), device=device, compute_type=compute_type, cpu_threads=n_threads()
    )


def transcriber(
    model: str, recording: str, parameters: dict[str, Any], device: str = "cpu", compute_type: str = "int8"
) -> Callable[[], str]:
    """One window after the other."""
    whisper = _model(model, device, compute_type)
    samples = np.load(recording)

    def transcribe(heard: np.ndarray = samples) -> str:
        segments, _ = whisper.transcribe(heard, language="en", **parameters)
        return "".join(segment.text for segment in segments)

    transcribe(samples[: 30 * RATE])
    return transcribe


def batched(
    model: str,
    recording: str,
    parameters: dict[str, Any],
    window_s: float | None = None,
    device: str = "cpu",
    compute_type: str = "int8",
) -> Callable[[], str]:
    """Several windows at once; with `window_s` cut there, else where its voice detection says."""
    from faster_whisper import BatchedInferencePipeline

    pipe = BatchedInferencePipeline(_model(model, device, compute_type))
    samples = np.load(recording)

    def transcribe(heard: np.ndarray = samples) -> str:
        cut: dict[str, Any] = {}
        if window_s is not None:
            starts = np.arange(0, len(heard) / RATE, window_s).tolist()
            clips = [{"start": start, "end": min(start + window_s, len(heard) / RATE)} for start in starts]
            cut = {"vad_filter": False, "clip_timestamps": clips}
        segments, _ = pipe.transcribe(heard, language="en", **parameters, **cut)
        return "".join(segment.text for segment in segments)

    transcribe(samples[: 30 * RATE])
    return transcribe


def _features(model: str, recording: str, batch: int) -> Any:
    import ctranslate2
    from transformers import WhisperFeatureExtractor

    extract = WhisperFeatureExtractor.from_pretrained(model)
    mel = extract(np.load(recording)[: 30 * RATE], sampling_rate=RATE, return_tensors="np").input_features
    return ctranslate2.StorageView.from_array(np.ascontiguousarray(np.repeat(mel, batch, 0), dtype=np.float32))


def _network(model: str) -> Any:
    import ctranslate2

    return ctranslate2.models.Whisper(
        str(convert(model)), device="cpu", compute_type="int8", intra_threads=n_threads(), inter_threads=1
    )


def encoder(model: str, recording: str, batch: int = 1) -> Callable[[], None]:
    """The encoder's states of windows of 30 s, from their features."""
    network, features = _network(model), _features(model, recording, batch)

    def encode() -> None:
        network.encode(features, to_cpu=True)

    return encode


def greedy_tokens(model: str, recording: str, batch: int, n_tokens: tuple[int, int]) -> Callable[[], Measured]:
    """Greedy generation: the longer text's time less the shorter one's, for one token of every row."""
    from tokenizers import Tokenizer

    network = _network(model)
    states = network.encode(_features(model, recording, batch))
    vocabulary = Tokenizer.from_file(str(Path(model) / "tokenizer.json"))
    prompt = [vocabulary.token_to_id(name) for name in ("<|startoftranscript|>", "<|en|>", "<|transcribe|>")]

    def seconds(n: int) -> float:
        started = time.perf_counter()
        # It writes half of max_length at most.
        found = network.generate(states, [prompt] * batch, beam_size=1, max_length=2 * n)
        took = time.perf_counter() - started
        assert all(len(one.sequences_ids[0]) == n for one in found), [len(one.sequences_ids[0]) for one in found]
        return took

    return lambda: Measured((seconds(n_tokens[1]) - seconds(n_tokens[0])) / (n_tokens[1] - n_tokens[0]))
