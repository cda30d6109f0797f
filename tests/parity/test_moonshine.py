"""Moonshine against transformers: encoder states, logits and greedy text, on random weights of every form.

All parameters are drawn anew, norms and biases too, so that no path is tested at ones and zeros.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from auricle.audio.features import Features
from auricle.audio.waveform import WaveformFeatures
from auricle.checkpoints.config import build_config
from auricle.checkpoints.tensors import load_tensors
from auricle.engines import make_engine
from auricle.errors import ConfigError
from auricle.models.moonshine import FIRST_FRAME_SAMPLES, Moonshine

pytestmark = pytest.mark.usefixtures("every_engine")

# The same float32 sums in another order; states and logits here are of order one to ten.
SAME = 1e-4

SMALL: dict[str, Any] = {
    "vocab_size": 120,
    "hidden_size": 72,
    "intermediate_size": 48,
    "encoder_num_hidden_layers": 2,
    "decoder_num_hidden_layers": 2,
    "encoder_num_attention_heads": 2,
    "decoder_num_attention_heads": 2,
    "pad_token_id": 2,
}
VARIANTS: dict[str, dict[str, Any]] = {
    # Heads of 36 padded to 40, of which 32 rotate; heads of 52 padded to 56, of which 32 rotate.
    "tiny": {"pad_head_dim_to_multiple_of": 8},
    "base": {"hidden_size": 104, "pad_head_dim_to_multiple_of": 8, "partial_rotary_factor": 0.62},
    "more encoder": {"encoder_num_hidden_layers": 3, "decoder_num_hidden_layers": 1},
    "attention bias": {"attention_bias": True},
    "other rotation": {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
    "other activations": {"encoder_hidden_act": "silu", "decoder_hidden_act": "gelu"},
    "untied": {"tie_word_embeddings": False},
}
# The defaults are moonshine-tiny; these are the values of its own config.json.
TRUE_SIZE_TINY: dict[str, Any] = {"pad_head_dim_to_multiple_of": 8, "max_position_embeddings": 194}


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


def oracle_and_ours(changes: dict[str, Any]) -> tuple[Any, Moonshine]:
    """transformers' model with random weights, and ours loaded from its config and tensors."""
    from transformers import MoonshineConfig, MoonshineForConditionalGeneration

    torch.manual_seed(0)
    oracle = MoonshineForConditionalGeneration(MoonshineConfig(**changes)).eval()
    randomise(oracle)
    model = Moonshine(build_config(Moonshine, oracle.config.to_dict(), "config.json"))
    load_tensors(model, oracle.state_dict(), Moonshine.RENAMES, Moonshine.IGNORED_TENSORS)
    return oracle, model.eval()


def sounds(*n_samples: int) -> Features:
    generator = np.random.default_rng(0)
    waveforms = [generator.standard_normal(n).astype(np.float32) for n in n_samples]
    return WaveformFeatures(do_normalize=False)(waveforms)


def some_tokens(model: Moonshine, n_rows: int, n_tokens: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, model.config.vocab_size, (n_rows, n_tokens), generator=generator)


@pytest.mark.parametrize("variant", VARIANTS)
@torch.inference_mode()
def test_features_states_and_logits_equal_transformers(variant: str) -> None:
    from transformers import Wav2Vec2FeatureExtractor

    oracle, model = oracle_and_ours({**SMALL, **VARIANTS[variant]})
    features, tokens = sounds(9000, 9000), some_tokens(model, 2, 12)

    extractor = Wav2Vec2FeatureExtractor(do_normalize=False)
    theirs = extractor(list(features.values.numpy()), sampling_rate=16000, return_tensors="pt").input_values
    expected = oracle(input_values=theirs, decoder_input_ids=tokens)
    states, lengths = model.encode(features.values, features.lengths)
    logits = model.decode(tokens, model.new_cache(states, lengths), n_last=12)

    assert logits.std() > 0.5
    assert lengths.tolist() == [22, 22]
    assert torch.equal(features.values, theirs)
    torch.testing.assert_close(states, expected.encoder_last_hidden_state, atol=SAME, rtol=0)
    torch.testing.assert_close(logits, expected.logits, atol=SAME, rtol=0)


@torch.inference_mode()
def test_true_size_checkpoint_equals_transformers() -> None:
    oracle, model = oracle_and_ours(TRUE_SIZE_TINY)
    features, tokens = sounds(16000), some_tokens(model, 1, 5)

    expected = oracle(input_values=features.values, decoder_input_ids=tokens)
    states, lengths = model.encode(features.values, features.lengths)
    logits = model.decode(tokens, model.new_cache(states, lengths), n_last=5)

    torch.testing.assert_close(states, expected.encoder_last_hidden_state, atol=SAME, rtol=0)
    torch.testing.assert_close(logits, expected.logits, atol=SAME, rtol=0)


@pytest.mark.parametrize("variant", ["tiny", "base"])
@torch.inference_mode()
def test_greedy_tokens_equal_transformers(variant: str) -> None:
    # Random weights with one matrix for reading and writing tokens repeat the last token for ever.
    oracle, model = oracle_and_ours({**SMALL, **VARIANTS[variant], "tie_word_embeddings": False})
    features, start = sounds(9000, 9000), torch.tensor([[1, 30, 7], [1, 50, 110]])

    options = {"max_new_tokens": 30, "do_sample": False, "eos_token_id": None}
    theirs = oracle.generate(features.values, decoder_input_ids=start, **options)
    step = make_engine(model).decoder(*model.encode(features.values, features.lengths))
    tokens = [start]
    for _ in range(30):
        tokens.append(step.advance(tokens[-1])[:, -1].argmax(-1, keepdim=True))

    assert len(theirs[:, 3:].unique()) > 3
    assert torch.cat(tokens, 1).tolist() == theirs.tolist()


@torch.inference_mode()
def test_padded_rows_equal_the_rows_alone() -> None:
    oracle, model = oracle_and_ours(SMALL)
    # One frame exactly, one sample less than a frame more, and rows of many frames.
    features = sounds(FIRST_FRAME_SAMPLES, FIRST_FRAME_SAMPLES + 383, 20_000, 7_777)
    tokens = some_tokens(model, 4, 6)

    states, lengths = model.encode(features.values, features.lengths)
    logits = model.decode(tokens, model.new_cache(states, lengths), n_last=6)

    assert lengths.tolist() == [1, 1, 50, 18]
    for row, n_samples in enumerate(features.lengths):
        alone = oracle(input_values=features.values[row : row + 1, :n_samples], decoder_input_ids=tokens[[row]])
        kept = states[row, : lengths[row]]
        torch.testing.assert_close(kept, alone.encoder_last_hidden_state[0], atol=SAME, rtol=0)
        torch.testing.assert_close(logits[row], alone.logits[0], atol=SAME, rtol=0)


@pytest.mark.parametrize("n_samples", [0, 1, 894])
@torch.inference_mode()
def test_recording_shorter_than_a_frame_is_heard_with_silence_after_it(n_samples: int) -> None:
    _, model = oracle_and_ours(SMALL)
    short, tokens = sounds(n_samples), some_tokens(model, 1, 3)
    padded = torch.zeros(1, FIRST_FRAME_SAMPLES)
    padded[:, :n_samples] = short.values

    alone = model(short.values, short.lengths, tokens)
    beside = sounds(n_samples, 9000)
    together = model(beside.values, beside.lengths, tokens.expand(2, -1))

    assert alone.isfinite().all()
    expected = model(padded, torch.tensor([FIRST_FRAME_SAMPLES]), tokens)
    torch.testing.assert_close(alone, expected, atol=SAME, rtol=0)
    torch.testing.assert_close(together[:1], expected, atol=SAME, rtol=0)


@torch.inference_mode()
def test_cached_steps_equal_one_pass_over_all_tokens() -> None:
    _, model = oracle_and_ours(SMALL)
    features, tokens = sounds(9000, 5000), some_tokens(model, 2, 90)
    states, lengths = model.encode(features.values, features.lengths)

    at_once = model.decode(tokens, model.new_cache(states, lengths), n_last=90)
    cache = model.new_cache(states, lengths)
    cuts = [0, 5, *range(6, 70), 75, 90]
    parts = [model.decode(tokens[:, start:end], cache, n_last=end - start) for start, end in pairwise(cuts)]

    torch.testing.assert_close(torch.cat(parts, 1), at_once, atol=SAME, rtol=0)


@torch.inference_mode()
def test_reordered_cache_keeps_each_row_with_its_own_padding() -> None:
    _, model = oracle_and_ours(SMALL)
    features, tokens = sounds(9000, 5000), some_tokens(model, 4, 8)
    states, lengths = model.encode(features.values, features.lengths)

    cache = model.new_cache(states, lengths)
    cache.expand(2)  # rows hear recordings 0, 0, 1, 1
    model.decode(tokens[:, :6], cache)
    cache.reorder(torch.tensor([3, 0]))
    logits = model.decode(tokens[:2, 6:], cache, n_last=2)

    rows = torch.stack([torch.cat([tokens[3, :6], tokens[0, 6:]]), torch.cat([tokens[0, :6], tokens[1, 6:]])])
    expected = model.decode(rows, model.new_cache(states[[1, 0]], lengths[[1, 0]]), n_last=2)
    torch.testing.assert_close(logits, expected, atol=SAME, rtol=0)


@torch.inference_mode()
def test_shared_keys_and_values_equal_their_copies_for_every_head() -> None:
    # transformers cannot run this form: it reads the queries with the number of key heads.
    torch.manual_seed(0)
    heads = {"encoder_num_key_value_heads": 2, "decoder_num_key_value_heads": 1}
    shared = Moonshine(Moonshine.tiny(**heads)).eval()
    randomise(shared)
    full = Moonshine(replace(shared.config, **dict.fromkeys(heads))).eval()
    copies = {
        name: tensor.unflatten(0, (-1, 8)).repeat_interleave(32 // len(tensor), 0).flatten(0, 1)
        for name, tensor in shared.state_dict().items()
        if name.endswith(("k_proj.weight", "v_proj.weight"))
    }
    load_tensors(full, {**shared.state_dict(), **copies})
    features, tokens = sounds(9000), some_tokens(shared, 1, 5)

    ours, expected = (model(features.values, features.lengths, tokens) for model in (shared, full))

    torch.testing.assert_close(ours, expected, atol=SAME, rtol=0)


def test_config_of_published_checkpoints_is_read() -> None:
    published = {
        "architectures": ["MoonshineForConditionalGeneration"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "decoder_hidden_act": "silu",
        "decoder_num_key_value_heads": 8,
        "initializer_range": 0.02,
        "is_encoder_decoder": True,
        "model_type": "moonshine",
        "pad_head_dim_to_multiple_of": 8,
        "partial_rotary_factor": 0.62,
        "rope_scaling": None,
        "rope_theta": 10000.0,
        "torch_dtype": "float32",
        "use_cache": True,
    }
    config = build_config(Moonshine, published, "config.json")

    assert config.rotation == (10000.0, 0.62)
    assert config.heads("decoder") == (8, 8)
    for change, message in (
        ({"rope_scaling": {"type": "linear"}}, "rope_scaling"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "'yarn'; supported: 'default'"),
        ({"encoder_num_attention_heads": 7}, "encoder_num_attention_heads 7 must divide hidden_size 288"),
        ({"decoder_hidden_act": "swiglu"}, "the activation 'swiglu' is unknown"),
    ):
        with pytest.raises(ConfigError, match=message):
            build_config(Moonshine, {**published, **change}, "config.json")


def test_teacher_forced_logits_have_gradients() -> None:
    _, model = oracle_and_ours(SMALL)
    features, tokens = sounds(9000, 5000), some_tokens(model, 2, 6)

    model(features.values, features.lengths, tokens).square().mean().backward()

    assert [name for name, p in model.named_parameters() if p.grad is None] == []
