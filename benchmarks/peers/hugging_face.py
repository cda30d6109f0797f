"""transformers: its pipelines, and its networks alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from measure import Measured, n_threads

RATE = 16000
TASK = "automatic-speech-recognition"


def _pipe(model: str, dtype: str, device: str = "cpu", **settings: Any) -> Any:
    import transformers

    transformers.logging.set_verbosity_error()
    torch.set_num_threads(n_threads())
    return transformers.pipeline(TASK, model=model, dtype=getattr(torch, dtype), device=device, **settings)


def transcriber(
    model: str,
    recording: str,
    dtype: str = "float32",
    call: dict[str, Any] | None = None,
    generate: dict[str, Any] | None = None,
    device: str = "cpu",
    settings: dict[str, Any] | None = None,
) -> Callable[[], str]:
    """One recording of any length: its own long form, or windows if `call` has chunk_length_s.

    Whisper searches with 5 beams unless told otherwise: the pipeline's `_default_generation_config`, for what the
    checkpoint's own generation_config.json does not say.
    """
    pipe = _pipe(model, dtype, device, **(settings or {}))
    samples = np.load(recording)

    def transcribe(heard: np.ndarray = samples, **changed: Any) -> str:
        given = {"raw": heard.copy(), "sampling_rate": RATE}
        searched = {"language": "en", **(generate or {}), **changed}
        return pipe(given, **(call or {}), generate_kwargs=searched)["text"]

    transcribe(samples[: 30 * RATE], max_new_tokens=8)
    return transcribe


def ctc_transcriber(
    model: str, recording: str, dtype: str = "float32", call: dict[str, Any] | None = None
) -> Callable[[], str]:
    """One recording with a CTC model."""
    pipe = _pipe(model, dtype)
    samples = np.load(recording)
    pipe({"raw": samples[: 15 * RATE].copy(), "sampling_rate": RATE}, **(call or {}))
    return lambda: pipe({"raw": samples.copy(), "sampling_rate": RATE}, **(call or {}))["text"]


def recognizer(
    model: str, clips: list[str], batch_size: int, dtype: str = "float32", by_length: bool = True
) -> Callable[[], list[str]]:
    """Many short recordings; sorted by their length first, which saves it padding."""
    pipe = _pipe(model, dtype)
    samples = [np.load(clip) for clip in clips]
    order = sorted(range(len(clips)), key=lambda at: len(samples[at])) if by_length else list(range(len(clips)))

    def recognize(wanted: list[int] = order) -> list[str]:
        sources = [{"raw": samples[at].copy(), "sampling_rate": RATE} for at in wanted]
        found = dict(zip(wanted, pipe(sources, batch_size=batch_size), strict=True))
        return [found[at]["text"] for at in sorted(wanted)]

    recognize(order[:batch_size])
    return recognize


def _whisper(model: str, recording: str, batch: int, dtype: str, device: str) -> tuple[Any, torch.Tensor]:
    import transformers

    transformers.logging.set_verbosity_error()
    torch.set_num_threads(n_threads())
    kind = getattr(torch, dtype)
    network = transformers.WhisperForConditionalGeneration.from_pretrained(model, dtype=kind).to(device).eval()
    extract = transformers.WhisperFeatureExtractor.from_pretrained(model)
    mel = extract(np.load(recording)[: 30 * RATE], sampling_rate=RATE, return_tensors="pt").input_features
    return network, mel.to(device, kind).repeat(batch, 1, 1)


def encoder(
    model: str, recording: str, dtype: str = "float32", batch: int = 1, device: str = "cpu"
) -> Callable[[], None]:
    """The encoder's states of windows of 30 s, from their features."""
    network, mel = _whisper(model, recording, batch, dtype, device)

    @torch.inference_mode()
    def encode() -> None:
        network.model.encoder(mel)
        _wait(device)

    return encode


def decode_steps(
    model: str,
    recording: str,
    batch: int,
    n_tokens: tuple[int, int],
    dtype: str = "float32",
    device: str = "cpu",
) -> Callable[[], Measured]:
    """Its decoder with its cache, without its loop of generation; seconds of one step."""
    from transformers.modeling_outputs import BaseModelOutput

    network, mel = _whisper(model, recording, batch, dtype, device)
    first, last = n_tokens
    with torch.inference_mode():
        states = BaseModelOutput(last_hidden_state=network.model.encoder(mel).last_hidden_state)

    @torch.inference_mode()
    def decode() -> Measured:
        token = torch.full((batch, 1), 100, device=device)
        prompt = torch.full((batch, first), 100, device=device)
        cache = network(encoder_outputs=states, decoder_input_ids=prompt, use_cache=True).past_key_values
        _wait(device)
        started = time.perf_counter()
        for _ in range(last - first):
            out = network(encoder_outputs=states, decoder_input_ids=token, past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            out.logits[:, -1].argmax(-1)
        _wait(device)
        return Measured((time.perf_counter() - started) / (last - first))

    return decode


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
