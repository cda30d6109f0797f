"""auricle: pipelines as users call them, and the engine below them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import Measured, n_threads

RATE = 16000
TASK = "automatic-speech-recognition"


def _pipe(model: str, device: str = "cpu", **settings: Any) -> Any:
    from auricle import pipeline

    torch.set_num_threads(n_threads())
    return pipeline(TASK, model=model, device=device, **settings)


def transcriber(
    model: str, recording: str, parameters: dict[str, Any], window_s: float | None = None, device: str = "cpu",
    **settings: Any,
) -> Callable[[], str]:  # fmt: skip
    """One recording; with `window_s` it is cut there, as the other libraries cut it."""
    pipe = _pipe(model, device, **settings)
    samples = np.load(recording)
    parameters = {**parameters, **_clips(len(samples), window_s)}

    def transcribe(heard: np.ndarray = samples, **changed: Any) -> str:
        return pipe({"array": heard, "sampling_rate": RATE}, **{**parameters, **changed})["text"]

    transcribe(samples[: 30 * RATE], **_clips(min(len(samples), 30 * RATE), window_s))
    return transcribe


def _clips(n_samples: int, window_s: float | None) -> dict[str, Any]:
    if window_s is None:
        return {}
    ends = [*np.arange(window_s, n_samples / RATE, window_s).tolist(), n_samples / RATE]
    return {"clip_timestamps": [time for start, end in zip([0.0, *ends], ends, strict=False) for time in (start, end)]}


def recognizer(model: str, clips: list[str], batch_size: int, **settings: Any) -> Callable[[], list[str]]:
    """Many short recordings, given as a list."""
    pipe = _pipe(model, **settings)
    sources = [{"array": np.load(clip), "sampling_rate": RATE} for clip in clips]
    pipe([dict(one) for one in sources[:batch_size]], batch_size=batch_size)
    return lambda: [one["text"] for one in pipe([dict(one) for one in sources], batch_size=batch_size)]


def _whisper(model: str, recording: str, batch: int, device: str, dtype: str) -> tuple[Any, Any, Any]:
    """The engine, the features of one window in `batch` rows, and everything that was loaded."""
    from auricle.engines import make_engine
    from auricle.loading import load

    torch.set_num_threads(n_threads())
    loaded = load(model, dtype=dtype)
    engine = make_engine(loaded.model, device=device, dtype=dtype)
    samples = np.load(recording)[: 30 * RATE]
    return engine, loaded.features([samples] * batch), loaded


def encoder(model: str, recording: str, batch: int = 1, device: str = "cpu", dtype: str = "auto") -> Callable[[], None]:
    """The encoder's states of windows of 30 s, from their features."""
    engine, features, _ = _whisper(model, recording, batch, device, dtype)

    def encode() -> None:
        engine.encode(features)
        _wait(device)

    return encode


def decode_steps(
    model: str, recording: str, batch: int, n_tokens: tuple[int, int], device: str = "cpu", dtype: str = "auto"
) -> Callable[[], Measured]:
    """The engine's own step, from `n_tokens[0]` to `n_tokens[1]` tokens; seconds of one."""
    engine, features, _ = _whisper(model, recording, batch, device, dtype)
    states, lengths = engine.encode(features)
    first, last = n_tokens

    def decode() -> Measured:
        step = engine.decoder(states, lengths)
        step.advance(torch.full((batch, first), 100))
        token = torch.full((batch, 1), 100)
        _wait(device)
        started = time.perf_counter()
        for _ in range(last - first):
            step.advance(token)
        _wait(device)
        return Measured((time.perf_counter() - started) / (last - first))

    return decode


def greedy_tokens(
    model: str, recording: str, batch: int, n_tokens: tuple[int, int], device: str = "cpu", dtype: str = "auto"
) -> Callable[[], Measured]:
    """As a recording is transcribed, with all rules on the logits: the longer text's time less the shorter one's."""
    from auricle.speech.whisper import WhisperOptions, WhisperRecognizer
    from auricle.speech.whisper_decoder import Ask

    engine, features, loaded = _whisper(model, recording, batch, device, dtype)
    decoder = WhisperRecognizer(engine, loaded.features, loaded.tokenizer, loaded.config, loaded.generation).decoder
    states, lengths = engine.encode(features)
    ask = Ask(decoder.start("en", "transcribe"), 0)

    def seconds(n: int) -> float:
        options = WhisperOptions(language="en", max_new_tokens=n, temperature=0.0)
        started = time.perf_counter()
        found = decoder.decode(states, lengths, [ask] * batch, options)
        took = time.perf_counter() - started
        assert all(len(one.generated.tokens) == n for one in found)
        return took

    return lambda: Measured((seconds(n_tokens[1]) - seconds(n_tokens[0])) / (n_tokens[1] - n_tokens[0]))


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def memory(model: str, seconds: float, speech: str, parameters: dict[str, Any]) -> Callable[[], int]:
    """A recording of any length that is made while it is read; the process's peak is what is looked at."""
    from memory import EndlessSpeech, longform_pieces, sample_pieces

    pipe = _pipe(model)
    folder = Path(speech)
    there = (folder / "longform.jsonl").is_file()
    pieces = list(longform_pieces(folder) if there else sample_pieces(Path(__file__).parents[2] / "samples"))

    def transcribe() -> int:
        (transcript,) = pipe.transcripts([EndlessSpeech(pieces, seconds)], **parameters)
        return len(transcript.text.split())

    return transcribe


def diarizer(model: str, recording: str, engine: str = "auto") -> Callable[[], list[list[Any]]]:
    """Turns of one recording, as [speaker, start, end]; speakers are numbered by first speech."""
    from auricle import pipeline

    torch.set_num_threads(n_threads())
    pipe: Any = pipeline("speaker-diarization", model=model, device="cpu", engine=engine)
    samples = np.load(recording)

    def diarize() -> list[list[Any]]:
        found = next(pipe.diarizations({"array": samples, "sampling_rate": RATE}))
        turns = [[found.speakers.index(one.speaker), round(one.start, 6), round(one.end, 6)] for one in found.turns]
        return sorted(turns, key=lambda turn: turn[1:])

    return diarize
