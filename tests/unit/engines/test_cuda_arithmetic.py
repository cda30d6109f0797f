"""In which arithmetic the CUDA engine computes: exact float32, or half-precision products around float32 streams."""

from __future__ import annotations

import copy
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from auricle.audio.decode import load_audio
from auricle.audio.features import DEFAULT_FEATURES, Features, open_features
from auricle.engines.cuda import CudaEngine, fastest_dtype
from auricle.engines.reference import ReferenceEngine
from auricle.errors import OptionError
from auricle.loading import load
from auricle.models import MODELS, moonshine, parakeet, speech_encoder, whisper

# float32 sums in another order, over two layers of width 32.
TOLERANCE = 1e-4
# bfloat16 keeps 8 bits: after two layers of random weights, a few hundredths of logits of order one.
HALF_PRECISION = 0.1
CPU = torch.device("cpu")
SAMPLES = Path(__file__).parents[3] / "samples"
SEQ2SEQ = ["whisper", "moonshine"]
SPEECH = [name for name in MODELS if name in DEFAULT_FEATURES]
CLASSIFIERS = [name for name in SPEECH if name.endswith("_classifier")]
CTC = [name for name in SPEECH if name not in SEQ2SEQ and name not in CLASSIFIERS]
HALF = [torch.bfloat16, torch.float16]
LAYERS = (
    whisper.EncoderLayer,
    whisper.DecoderLayer,
    moonshine.EncoderLayer,
    moonshine.DecoderLayer,
    parakeet.ConformerBlock,
    speech_encoder.EncoderLayer,
)


def small(model_type: str, **changes: Any) -> tuple[Any, Features]:
    """A tiny random model, and two recordings of which one is padded."""
    module, _, name = MODELS[model_type].partition(":")
    model_class = getattr(importlib.import_module(module), name)
    torch.manual_seed(0)
    if model_type == "whisper":
        features = Features(torch.randn(2, 80, 100), torch.tensor([100, 60]))
        return model_class(model_class.tiny(max_source_positions=50, **changes)).eval(), features
    rng = np.random.default_rng(0)
    waveforms = [rng.standard_normal(n).astype(np.float32) * 0.1 for n in (9000, 5000)]
    return model_class(model_class.tiny(**changes)).eval(), open_features({}, model_type)(waveforms)


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.float() - expected).norm() / expected.norm())


@pytest.mark.parametrize("model_type", CTC)
@pytest.mark.parametrize("padded", [True, False])
def test_ctc_in_float32_equals_the_reference(model_type: str, padded: bool) -> None:
    model, features = small(model_type)
    if not padded:
        features = Features(features.values[:1], features.lengths[:1])
    expected, expected_lengths = ReferenceEngine(copy.deepcopy(model), CPU, torch.float32).ctc(features)

    log_probs, lengths = CudaEngine(model, CPU, torch.float32).ctc(features)

    assert torch.equal(lengths, expected_lengths)
    for row, n_frames in enumerate(lengths.tolist()):
        found = log_probs[row, :n_frames]
        torch.testing.assert_close(found, expected[row, :n_frames], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("model_type", CTC)
@pytest.mark.parametrize("dtype", HALF)
def test_ctc_in_half_precision_stays_near_float32_and_is_normalised_in_float32(
    model_type: str, dtype: torch.dtype
) -> None:
    model, features = small(model_type)
    expected, _ = ReferenceEngine(copy.deepcopy(model), CPU, torch.float32).ctc(features)

    log_probs, _ = CudaEngine(model, CPU, dtype).ctc(features)

    assert log_probs.dtype == torch.float32
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(log_probs.shape[:2]))
    assert (log_probs - expected)[0].abs().max() < HALF_PRECISION


@pytest.mark.parametrize("model_type", CLASSIFIERS)
@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
def test_classifiers_score_as_the_reference_does(model_type: str, dtype: torch.dtype) -> None:
    model, features = small(model_type)
    given = (features.values, features.lengths)
    expected = ReferenceEngine(copy.deepcopy(model), CPU, torch.float32).classify(*given)

    logits = CudaEngine(model, CPU, dtype).classify(*given)

    assert logits.dtype == torch.float32
    assert relative_error(logits, expected) < (TOLERANCE if dtype == torch.float32 else 0.02)


@pytest.mark.parametrize("dtype", HALF)
def test_trained_model_hears_the_same_in_half_precision(dtype: torch.dtype) -> None:
    loaded = load("bundled")
    features = loaded.features([load_audio(SAMPLES / "jfk.flac"), load_audio(next(SAMPLES.glob("*.ogg")))])
    expected, lengths = ReferenceEngine(copy.deepcopy(loaded.model), CPU, torch.float32).ctc(features)

    log_probs, _ = CudaEngine(loaded.model, CPU, dtype).ctc(features)

    valid = torch.arange(expected.shape[1]) < lengths[:, None]
    agree = (log_probs.argmax(-1) == expected.argmax(-1))[valid].float().mean()
    assert agree > 0.995


@pytest.mark.parametrize("model_type", SEQ2SEQ)
@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("fixed", [True, False])
def test_decoder_in_half_precision_stays_near_float32_and_answers_in_float32(
    model_type: str, dtype: torch.dtype, fixed: bool
) -> None:
    model, features = small(model_type)
    reference = ReferenceEngine(copy.deepcopy(model), CPU, torch.float32)
    engine = CudaEngine(model, CPU, dtype, in_fixed_shapes=fixed)
    states, lengths = engine.encode(features)
    expected, step = reference.decoder(*reference.encode(features)), engine.decoder(states, lengths)

    assert states.dtype == dtype
    for n_new in (3, 1, 1):
        tokens = torch.randint(0, 100, (2, n_new))
        wanted, logits = expected.advance(tokens), step.advance(tokens)
        assert logits.dtype == torch.float32
        assert (logits - wanted).abs().max() < HALF_PRECISION * wanted.std()


@pytest.mark.parametrize("model_type", SPEECH)
@pytest.mark.parametrize("dtype", HALF)
def test_residual_streams_are_float32_and_products_are_not(model_type: str, dtype: torch.dtype) -> None:
    changes = {"do_stable_layer_norm": True} if model_type in ("wav2vec2", "hubert", "wavlm") else {}
    model, features = small(model_type, **changes)
    streams, products = set(), set()
    for module in model.modules():
        if isinstance(module, LAYERS):
            module.register_forward_pre_hook(lambda _, inputs: streams.add(inputs[0].dtype))
            module.register_forward_hook(lambda _, __, output: streams.add(output.dtype))
        if isinstance(module, whisper.EncoderLayer):  # whisper_ctc runs a layer's parts, with dropout between them
            module.final_layer_norm.register_forward_pre_hook(lambda _, inputs: streams.add(inputs[0].dtype))
        if isinstance(module, nn.Linear):
            module.register_forward_hook(lambda _, __, output: products.add(output.dtype))
    engine = CudaEngine(model, CPU, dtype)

    states, lengths = engine.encode(features)
    if model.kind == "seq2seq":
        engine.decoder(states, lengths).advance(torch.tensor([[1, 2], [3, 4]]))
        engine.decoder(states, lengths, use_cache=False).advance(torch.tensor([[1, 2], [3, 4]]))

    assert streams == {torch.float32}
    assert products == {dtype}


@torch.inference_mode()
def test_a_float32_stream_is_nearer_to_float32_than_a_rounded_one() -> None:
    model, features = small("whisper", encoder_layers=12)
    for layer in model.model.encoder.layers:
        layer.fc2.weight.data *= 8  # a stream that grows, as in trained networks
    expected, _ = model.encode(features.values, features.lengths)
    rounded, _ = ReferenceEngine(copy.deepcopy(model), CPU, torch.bfloat16).encode(features)

    states, _ = CudaEngine(model, CPU, torch.bfloat16).encode(features)

    assert relative_error(states, expected) < 0.7 * relative_error(rounded, expected)


@pytest.mark.parametrize("model_type", SEQ2SEQ)
def test_matrices_are_held_once_in_half_precision_and_norms_in_float32(model_type: str) -> None:
    model, _ = small(model_type)
    CudaEngine(model, CPU, torch.bfloat16)

    assert model.proj_out.weight is model.model.decoder.embed_tokens.weight
    assert model.proj_out.weight.dtype == torch.bfloat16
    assert {one.weight.dtype for one in model.modules() if isinstance(one, nn.LayerNorm)} == {torch.float32}


@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
@torch.inference_mode()
def test_word_times_are_computed_in_the_engines_arithmetic(dtype: torch.dtype) -> None:
    model, features = small("whisper")
    tokens, heads = torch.tensor([[1, 2, 3], [4, 5, 6]]), [(0, 1), (1, 2)]
    reference = ReferenceEngine(copy.deepcopy(model), CPU, torch.float32)
    states, lengths = reference.encode(features)
    expected = reference.model.cross_attention(tokens, states, lengths, heads)
    engine = CudaEngine(model, CPU, dtype)

    weights = engine.model.cross_attention(tokens, *engine.encode(features), heads)

    assert weights.dtype == torch.float32
    tolerance = TOLERANCE if dtype == torch.float32 else 0.01  # of shares of 1/50
    torch.testing.assert_close(weights, expected, atol=tolerance, rtol=0)


def test_another_engine_may_have_the_model_afterwards() -> None:
    model, features = small("whisper")
    CudaEngine(model, CPU, torch.bfloat16)
    expected, _ = ReferenceEngine(copy.deepcopy(model), CPU, torch.float32).encode(features)

    states, _ = CudaEngine(model, CPU, torch.float32).encode(features)

    torch.testing.assert_close(states, expected, atol=TOLERANCE, rtol=0)


def test_float16_that_overflows_loses_no_window() -> None:
    model, features = small("whisper")
    model.model.encoder.layers[0].fc2.bias.data[3] = 1e6

    states, _ = CudaEngine(model, CPU, torch.float16).encode(features)

    assert states.isfinite().all()


def test_ctc_model_has_no_decoder_and_a_decoder_gives_no_ctc() -> None:
    ctc, features = small("wav2vec2")
    engine = CudaEngine(ctc, CPU, torch.float32)
    with pytest.raises(OptionError, match="Wav2Vec2CTC is a 'ctc' model and this call needs a 'seq2seq' one"):
        engine.decoder(*engine.encode(features))

    writer, features = small("whisper")
    with pytest.raises(OptionError, match="Whisper is a 'seq2seq' model and this call needs a 'ctc' one"):
        CudaEngine(writer, CPU, torch.float32).ctc(features)


def test_processors_are_given_float32() -> None:
    model, _ = small("whisper")

    assert fastest_dtype(CPU) == torch.float32
    assert CudaEngine(model, CPU, None).dtype == torch.float32


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((6, 1), torch.float32), ((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)],
)
def test_gpus_are_given_the_half_precision_that_they_have(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)

    assert fastest_dtype(torch.device("cuda")) == expected
