"""Whisper against transformers: features, encoder states, logits, greedy text; random weights of every form.

All parameters are drawn anew, norms and biases too, so that no path is tested at ones and zeros.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from auricle.audio.features import Features
from auricle.audio.whisper_mel import WhisperFeatures
from auricle.checkpoints.config import build_config
from auricle.checkpoints.tensors import load_tensors
from auricle.engines import make_engine
from auricle.errors import ConfigError, OptionError
from auricle.models.whisper import Whisper, sinusoids

pytestmark = pytest.mark.usefixtures("every_engine")

# The same float32 sums in another order; states and logits here are of order one to ten.
SAME = 1e-4

SHARED = Path(__file__).parents[3] / "shared"

# One second instead of thirty: the same arithmetic in a thirtieth of the time.
SMALL: dict[str, Any] = {
    "vocab_size": 120,
    "d_model": 32,
    "encoder_layers": 2,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_layers": 2,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 48,
    "max_source_positions": 50,
    "max_target_positions": 100,
    "decoder_start_token_id": 101,
    "bos_token_id": 100,
    "eos_token_id": 100,
    "pad_token_id": 100,
    "begin_suppress_tokens": None,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "multilingual": {},
    "english-only": {"vocab_size": 119, "decoder_start_token_id": 100},
    "large-v3": {"num_mel_bins": 128, "vocab_size": 121},
    "turbo": {"num_mel_bins": 128, "vocab_size": 121, "encoder_layers": 4, "decoder_layers": 1},
    "distil": {"encoder_layers": 3, "decoder_layers": 1, "decoder_attention_heads": 2},
    "scale_embedding": {"scale_embedding": True},
    "relu": {"activation_function": "relu"},
    "untied": {"tie_word_embeddings": False},
}
TRUE_SIZE_TINY: dict[str, Any] = {"vocab_size": 51865}  # the defaults are whisper-tiny


def randomise(model: torch.nn.Module, seed: int = 0) -> None:
    """Redraw every parameter at a scale that keeps signals and attention lively."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() > 1:
            values = noise * (0.5 if "embed" in name else 1.5 * parameter[0].numel() ** -0.5)
        else:
            values = 1 + 0.3 * noise if name.endswith("norm.weight") else 0.3 * noise
        parameter.data.copy_(values)


def oracle_and_ours(changes: dict[str, Any]) -> tuple[Any, Whisper]:
    """transformers' model with random weights, and ours loaded from its config and tensors."""
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    torch.manual_seed(0)
    oracle = WhisperForConditionalGeneration(WhisperConfig(**changes)).eval()
    randomise(oracle)
    model = Whisper(build_config(Whisper, oracle.config.to_dict(), "config.json"))
    load_tensors(model, oracle.state_dict(), Whisper.RENAMES, Whisper.IGNORED_TENSORS)
    return oracle, model.eval()


def sounds(n: int = 2) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.standard_normal(9000 + 3500 * row).astype(np.float32) for row in range(n)]


def windows(model: Whisper, n: int = 2) -> Features:
    chunk_length = model.config.max_source_positions // 50  # 50 encoder frames a second
    extractor = WhisperFeatures(feature_size=model.config.num_mel_bins, chunk_length=chunk_length)
    return extractor(sounds(n))


def some_tokens(model: Whisper, n_rows: int, n_tokens: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, model.config.vocab_size, (n_rows, n_tokens), generator=generator)


@pytest.mark.parametrize("variant", VARIANTS)
@torch.inference_mode()
def test_features_states_and_logits_equal_transformers(variant: str) -> None:
    from transformers import WhisperFeatureExtractor

    oracle, model = oracle_and_ours({**SMALL, **VARIANTS[variant]})
    oracle_features = WhisperFeatureExtractor(feature_size=model.config.num_mel_bins, chunk_length=1)
    features = windows(model)
    tokens = some_tokens(model, 2, 12)

    theirs = oracle_features(sounds(), sampling_rate=16000, return_tensors="pt").input_features
    expected = oracle(input_features=theirs, decoder_input_ids=tokens)
    states, lengths = model.encode(features.values, features.lengths)
    logits = model.decode(tokens, model.new_cache(states, lengths), n_last=12)

    assert logits.std() > 0.5
    assert lengths.tolist() == [29, 40]  # half of 57 and 79 feature frames, rounded up
    torch.testing.assert_close(features.values, theirs, atol=1e-5, rtol=0)
    torch.testing.assert_close(states, expected.encoder_last_hidden_state, atol=SAME, rtol=0)
    torch.testing.assert_close(logits, expected.logits, atol=SAME, rtol=0)


@torch.inference_mode()
def test_true_size_checkpoint_equals_transformers() -> None:
    oracle, model = oracle_and_ours(TRUE_SIZE_TINY)
    features = WhisperFeatures()(sounds(1))
    tokens = some_tokens(model, 1, 5)

    expected = oracle(input_features=features.values, decoder_input_ids=tokens)
    states, lengths = model.encode(features.values, features.lengths)
    logits = model.decode(tokens, model.new_cache(states, lengths), n_last=5)

    torch.testing.assert_close(states, expected.encoder_last_hidden_state, atol=SAME, rtol=0)
    torch.testing.assert_close(logits, expected.logits, atol=SAME, rtol=0)


@pytest.mark.parametrize("variant", ["multilingual", "turbo", "distil"])
@torch.inference_mode()
def test_greedy_tokens_equal_transformers(variant: str) -> None:
    from transformers import GenerationMixin

    # Random weights with one matrix for reading and writing tokens repeat the last token for ever.
    oracle, model = oracle_and_ours({**SMALL, **VARIANTS[variant], "tie_word_embeddings": False})
    features = windows(model)
    start = torch.tensor([[101], [101]])

    # The plain loop of transformers: Whisper's own adds languages and times, which are no part of the model.
    theirs = GenerationMixin.generate(
        oracle,
        features.values,
        decoder_input_ids=start,
        max_new_tokens=30,
        do_sample=False,
        eos_token_id=None,
    )
    step = make_engine(model).decoder(*model.encode(features.values, features.lengths))
    tokens = [start]
    for _ in range(30):
        tokens.append(step.advance(tokens[-1])[:, -1].argmax(-1, keepdim=True))

    assert len(theirs[0].unique()) > 3
    assert torch.cat(tokens, 1).tolist() == theirs.tolist()


@torch.inference_mode()
def test_cached_steps_equal_one_pass_over_all_tokens() -> None:
    _, model = oracle_and_ours(SMALL)
    features, tokens = windows(model), some_tokens(model, 2, 90)
    states, lengths = model.encode(features.values, features.lengths)

    at_once = model.decode(tokens, model.new_cache(states, lengths), n_last=90)
    cache = model.new_cache(states, lengths)
    # A prompt, single tokens across the growth of the cache, several tokens at once.
    cuts = [0, 5, *range(6, 70), 75, 90]
    parts = [model.decode(tokens[:, start:end], cache, n_last=end - start) for start, end in pairwise(cuts)]

    assert cache.length == 90
    torch.testing.assert_close(torch.cat(parts, 1), at_once, atol=SAME, rtol=0)


@torch.inference_mode()
def test_reordered_cache_equals_decoding_the_rows_it_then_holds() -> None:
    _, model = oracle_and_ours(SMALL)
    features, tokens = windows(model), some_tokens(model, 4, 9)
    states, lengths = model.encode(features.values, features.lengths)

    cache = model.new_cache(states, lengths)
    cache.expand(2)  # rows hear recordings 0, 0, 1, 1
    model.decode(tokens[:, :6], cache)
    cache.reorder(torch.tensor([1, 0, 3, 3]))  # within recordings
    model.decode(tokens[:, 6:7], cache)
    cache.reorder(torch.tensor([2, 0]))  # across them, and fewer
    logits = model.decode(tokens[:2, 7:], cache, n_last=2)

    third = torch.cat([tokens[3, :6], tokens[2, 6:7], tokens[0, 7:]])
    first = torch.cat([tokens[1, :6], tokens[0, 6:7], tokens[1, 7:]])
    expected_cache = model.new_cache(states[[1, 0]], lengths[[1, 0]])
    expected = model.decode(torch.stack([third, first]), expected_cache, n_last=2)
    assert cache.n_rows == 2
    torch.testing.assert_close(logits, expected, atol=SAME, rtol=0)


@torch.inference_mode()
def test_batch_equals_singles() -> None:
    _, model = oracle_and_ours(SMALL)
    features, tokens = windows(model, 3), some_tokens(model, 3, 8)

    together = model(features.values, features.lengths, tokens)
    alone = [model(features.values[i : i + 1], features.lengths[i : i + 1], tokens[i : i + 1]) for i in range(3)]

    torch.testing.assert_close(together, torch.cat(alone), atol=SAME, rtol=0)


@torch.inference_mode()
def test_cross_attention_equals_transformers_and_stays_within_the_sound() -> None:
    oracle, model = oracle_and_ours({**SMALL, "decoder_layers": 3})
    oracle.set_attn_implementation("eager")
    features, tokens = windows(model), some_tokens(model, 2, 7)
    heads = [(2, 1), (0, 3), (2, 0)]

    expected = oracle(input_features=features.values, decoder_input_ids=tokens, output_attentions=True)
    wanted = torch.stack([expected.cross_attentions[layer][:, head] for layer, head in heads], 1)
    states, lengths = model.encode(features.values, features.lengths)
    whole = model.cross_attention(tokens, states, torch.tensor([50, 50]), heads)
    within = model.cross_attention(tokens, states, lengths, heads)

    torch.testing.assert_close(whole, wanted, atol=SAME, rtol=0)
    renormalised = wanted[0, :, :, :29] / wanted[0, :, :, :29].sum(-1, keepdim=True)
    torch.testing.assert_close(within[0, :, :, :29], renormalised, atol=SAME, rtol=0)
    assert within[0, :, :, 29:].abs().max() == 0


def test_alignment_head_that_does_not_exist_is_refused() -> None:
    model = Whisper(Whisper.tiny())
    with pytest.raises(OptionError, match=r"\[\(2, 0\)\].*2 layers of 4 heads"):
        model.cross_attention(torch.zeros(1, 1).long(), torch.zeros(1, 1500, 32), torch.ones(1), [(0, 0), (2, 0)])


def test_more_tokens_than_positions_are_refused() -> None:
    model = Whisper(Whisper.tiny(max_target_positions=8))
    cache = model.new_cache(torch.zeros(1, 1500, 32), torch.tensor([1500]))
    model.decode(torch.zeros(1, 8).long(), cache)
    with pytest.raises(OptionError, match="9 tokens were given to a decoder with 8 positions"):
        model.decode(torch.zeros(1, 1).long(), cache)


def test_window_of_another_shape_is_refused() -> None:
    with pytest.raises(ConfigError, match="80 mel bins and 3000 frames, and was given 128 and 3000"):
        Whisper(Whisper.tiny()).encode(torch.zeros(1, 128, 3000), torch.tensor([3000]))


def test_config_of_published_checkpoints_is_read() -> None:
    from transformers import WhisperConfig

    written = {
        **WhisperConfig(num_mel_bins=128).to_dict(),
        "num_hidden_layers": 4,
        "forced_decoder_ids": [[1, 2]],
    }
    config = build_config(Whisper, written, "config.json")

    assert (config.num_mel_bins, config.decoder_start_token_id) == (128, 50257)
    with pytest.raises(ConfigError, match=r"config.json: the activation 'gleu' is unknown.*'gelu'"):
        build_config(Whisper, {**written, "activation_function": "gleu"}, "config.json")


def test_weights_without_prefix_or_projection_load_onto_an_empty_model() -> None:
    _, source = oracle_and_ours(SMALL)
    bare = {name.removeprefix("model."): tensor for name, tensor in source.state_dict().items()}
    del bare["proj_out.weight"]

    with torch.device("meta"):
        model = Whisper(source.config)
    load_tensors(model, bare, Whisper.RENAMES, Whisper.IGNORED_TENSORS)

    assert model.proj_out.weight is model.model.decoder.embed_tokens.weight
    assert torch.equal(model.proj_out.weight, source.proj_out.weight)
    assert not any(parameter.is_meta for parameter in model.parameters())


def test_encoder_positions_of_an_untrained_model_are_the_family_s_sinusoids() -> None:
    from transformers.models.whisper.modeling_whisper import sinusoids as theirs

    torch.testing.assert_close(sinusoids(1500, 384), theirs(1500, 384), atol=SAME, rtol=0)


def test_teacher_forced_logits_have_gradients() -> None:
    _, model = oracle_and_ours(SMALL)
    features, tokens = windows(model), some_tokens(model, 2, 6)

    model(features.values, features.lengths, tokens).square().mean().backward()

    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


@pytest.mark.skipif(
    not (SHARED / "weights/whisper-base-encoder").is_dir(),
    reason="the trained encoder of whisper-base is not beside the repository (shared/weights)",
)
@torch.inference_mode()
def test_trained_encoder_hears_a_recording_as_transformers_does() -> None:
    from transformers import WhisperConfig, WhisperFeatureExtractor
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    from auricle.audio.decode import load_audio

    base = {
        "d_model": 512, "encoder_layers": 6, "encoder_attention_heads": 8, "encoder_ffn_dim": 2048,
        "decoder_layers": 1, "decoder_attention_heads": 8, "vocab_size": 120, "pad_token_id": 100,
    }  # fmt: skip
    oracle = WhisperEncoder(WhisperConfig(**base)).eval()
    folder = SHARED / "weights/whisper-base-encoder"
    files = {name: folder / f"{name.replace('.', '_')}_fp16.npy" for name in oracle.state_dict()}
    stored = {name: torch.from_numpy(np.load(file)) for name, file in files.items()}
    oracle.load_state_dict({name: tensor.float() for name, tensor in stored.items()})
    model = Whisper(build_config(Whisper, base, "config.json"))
    load_tensors(model.model.encoder, stored)
    waveform = load_audio(SHARED / "speech/faster_whisper_clips/jfk.flac")

    features = WhisperFeatures()([waveform])
    theirs = WhisperFeatureExtractor()(waveform, sampling_rate=16000, return_tensors="pt").input_features
    states, lengths = model.encode(features.values, features.lengths)

    # States reach 24 here, and a rounding of 1e-7 in the features has become 5e-4 of them.
    torch.testing.assert_close(features.values, theirs, atol=1e-5, rtol=0)
    torch.testing.assert_close(states, oracle(theirs).last_hidden_state, atol=10 * SAME, rtol=0)
    assert lengths.item() == 550
