"""What every family in MODELS promises, whatever its mathematics."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
import torch

from auricle.audio.features import Features, open_features
from auricle.models import MODELS

# float32 sums in another order, over two layers of width 32.
TOLERANCE = 1e-4

SEQ2SEQ = ["whisper", "moonshine"]
CAUSAL = ["llama", "qwen2", "qwen3", "mistral", "smollm3", "gemma2", "gemma3_text", "gpt2"]
IMAGE = ["vit", "deit", "dinov2", "convnext", "resnet"]
VQA = ["vilt", "blip"]
AUDIO = ["wav2vec2_classifier", "hubert_classifier", "wavlm_classifier", "whisper_classifier"]
CTC = [name for name in MODELS if name not in (*SEQ2SEQ, *CAUSAL, *IMAGE, *VQA, *AUDIO)]


def build(model_type: str) -> Any:
    module, _, name = MODELS[model_type].partition(":")
    model_class = getattr(importlib.import_module(module), name)
    torch.manual_seed(0)
    model = model_class(model_class.tiny()).eval()
    if hasattr(model, "finish"):
        model.finish()
    return model


def features_of(model_type: str, model: Any, *seconds: float) -> Features:
    rng = np.random.default_rng(0)
    waveforms = [rng.standard_normal(int(16000 * s)).astype(np.float32) * 0.1 for s in seconds]
    if model_type in ("whisper", "whisper_classifier"):
        # The tiny model's window is shorter than 30 s of features.
        n_frames = 2 * model.config.max_source_positions
        values = torch.randn(len(seconds), model.config.num_mel_bins, n_frames)
        return Features(values, torch.full((len(seconds),), n_frames))
    return open_features({}, model_type)(waveforms)


def test_every_family_says_its_kind() -> None:
    assert {name: build(name).kind for name in MODELS} == {
        **dict.fromkeys(CTC, "ctc"),
        **dict.fromkeys(SEQ2SEQ, "seq2seq"),
        **dict.fromkeys(CAUSAL, "causal"),
        **dict.fromkeys(IMAGE, "image"),
        **dict.fromkeys(VQA, "vqa"),
        **dict.fromkeys(AUDIO, "audio"),
    }


@pytest.mark.parametrize("model_type", MODELS)
def test_builds_without_memory(model_type: str) -> None:
    model_class = type(build(model_type))
    with torch.device("meta"):
        model = model_class(model_class.tiny())
    assert all(parameter.is_meta for parameter in model.parameters())


@pytest.mark.parametrize("model_type", CTC)
@torch.inference_mode()
def test_ctc_shapes(model_type: str) -> None:
    model = build(model_type)
    features = features_of(model_type, model, 1.0, 0.4)
    states, frames = model.encode(features.values, features.lengths)
    logits, again = model(features.values, features.lengths)
    assert logits.shape == (2, states.shape[1], model.config.vocab_size)
    assert torch.equal(frames, again)
    assert abs(int(frames[0]) - 16000 / model.samples_per_frame) <= 1
    assert frames[0] > frames[1] > 0


@pytest.mark.parametrize("model_type", CTC)
@torch.inference_mode()
def test_batch_equals_singles(model_type: str) -> None:
    model = build(model_type)
    seconds = (1.0, 0.4, 0.73)
    rng = np.random.default_rng(0)
    waveforms = [rng.standard_normal(int(16000 * s)).astype(np.float32) * 0.1 for s in seconds]
    extract = open_features({}, model_type)
    batch = extract(waveforms)
    logits, frames = model(batch.values, batch.lengths)
    for row, waveform in enumerate(waveforms):
        alone = extract([waveform])
        expected, n = model(alone.values, alone.lengths)
        assert frames[row] == n[0]
        torch.testing.assert_close(logits[row, : n[0]], expected[0, : n[0]], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("model_type", SEQ2SEQ)
@torch.inference_mode()
def test_cache_equals_no_cache(model_type: str) -> None:
    model = build(model_type)
    features = features_of(model_type, model, 1.0, 0.6)
    states, lengths = model.encode(features.values, features.lengths)
    tokens = torch.randint(0, model.config.vocab_size, (2, 6))
    whole = model.decode(tokens, model.new_cache(states, lengths), n_last=6)
    cache = model.new_cache(states, lengths)
    steps = [model.decode(tokens[:, place : place + 1], cache) for place in range(6)]
    torch.testing.assert_close(torch.cat(steps, dim=1), whole, atol=TOLERANCE, rtol=0)
    assert whole.shape == (2, 6, model.config.vocab_size)


@pytest.mark.parametrize("model_type", CAUSAL)
@torch.inference_mode()
def test_text_in_parts_equals_text_at_once(model_type: str) -> None:
    model = build(model_type)
    tokens = torch.randint(0, model.config.vocab_size, (2, 12))
    cache = model.new_cache(torch.zeros(2, dtype=torch.long))
    steps = [model.logits(model.hidden_states(tokens[:, place : place + 1], cache)) for place in range(12)]
    torch.testing.assert_close(torch.cat(steps, dim=1), model(tokens), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("model_type", CAUSAL)
@torch.inference_mode()
def test_text_runs_in_bfloat16(model_type: str) -> None:
    model = build(model_type)
    tokens = torch.randint(0, model.config.vocab_size, (2, 12))
    pads = torch.zeros(2, dtype=torch.long)
    states = model.hidden_states(tokens, model.new_cache(pads))
    half = model.bfloat16().hidden_states(tokens, model.new_cache(pads))
    assert half.dtype == torch.bfloat16
    assert (half.float() - states).norm() < 0.1 * states.norm()


@pytest.mark.parametrize("model_type", IMAGE)
@torch.inference_mode()
def test_images_depend_on_no_neighbours(model_type: str) -> None:
    model = build(model_type)
    pixels = torch.randn(3, 3, 32, 32)
    logits = model(pixels)
    assert logits.shape == (3, len(model.config.labels))
    torch.testing.assert_close(torch.cat([model(one[None]) for one in pixels]), logits, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("model_type", IMAGE)
@torch.inference_mode()
def test_images_run_in_bfloat16(model_type: str) -> None:
    model = build(model_type)
    pixels = torch.randn(1, 3, 32, 32)
    states = model.states(pixels)
    half = model.bfloat16().states(pixels.bfloat16())
    assert half.dtype == torch.bfloat16
    # bfloat16 keeps 8 bits: a few percent after two layers.
    assert (half.float() - states).norm() < 0.1 * states.norm()


def states_of_questions(model: Any, words: torch.Tensor, lengths: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    return model.read(words, lengths, model.see(pixels)) if model.writes else model.states(words, lengths, pixels)


@pytest.mark.parametrize("model_type", VQA)
@torch.inference_mode()
def test_questions_depend_on_no_pads(model_type: str) -> None:
    model = build(model_type)
    words, pixels, lengths = torch.randint(0, 120, (2, 9)), torch.randn(2, 3, 32, 32), torch.tensor([9, 4])
    states = states_of_questions(model, words, lengths, pixels)
    alone = states_of_questions(model, words[1:, :4], lengths[1:], pixels[1:])
    torch.testing.assert_close(states[1:, :4], alone[:, :4], atol=TOLERANCE, rtol=0)
    if not model.writes:
        torch.testing.assert_close(
            model(words, lengths, pixels)[1:], model(words[1:, :4], lengths[1:], pixels[1:]), atol=TOLERANCE, rtol=0
        )


@pytest.mark.parametrize("model_type", VQA)
@torch.inference_mode()
def test_questions_run_in_bfloat16(model_type: str) -> None:
    model = build(model_type)
    words, pixels, lengths = torch.randint(0, 120, (1, 9)), torch.randn(1, 3, 32, 32), torch.tensor([9])
    states = states_of_questions(model, words, lengths, pixels)
    half = states_of_questions(model.bfloat16(), words, lengths, pixels.bfloat16())
    assert half.dtype == torch.bfloat16
    # bfloat16 keeps 8 bits: a few percent after two layers.
    assert (half.float() - states).norm() < 0.1 * states.norm()


@torch.inference_mode()
def test_an_answer_in_parts_equals_one_at_once() -> None:
    model = build("blip")
    states, lengths, tokens = torch.randn(2, 5, 32), torch.tensor([5, 3]), torch.randint(0, 120, (2, 6))
    whole = model.logits(model.hidden_states(tokens, model.new_cache(states, lengths)))
    cache = model.new_cache(states, lengths)
    steps = [model.logits(model.hidden_states(tokens[:, place : place + 1], cache)) for place in range(6)]
    torch.testing.assert_close(torch.cat(steps, dim=1), whole, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("model_type", CTC + SEQ2SEQ + AUDIO)
@torch.inference_mode()
def test_runs_in_bfloat16(model_type: str) -> None:
    model = build(model_type)
    features = features_of(model_type, model, 0.5)
    states, _ = model.encode(features.values, features.lengths)
    half, _ = model.bfloat16().encode(features.values.bfloat16(), features.lengths)
    assert half.dtype == torch.bfloat16
    # bfloat16 keeps 8 bits: a few percent after two layers.
    assert (half.float() - states).norm() < 0.1 * states.norm()
