"""Models that write text against transformers: last states, logits and text in parts, on random weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from auricle.checkpoints.config import build_config
from auricle.checkpoints.tensors import load_tensors
from auricle.errors import ConfigError
from auricle.models.gemma import Gemma2, Gemma3
from auricle.models.gpt2 import GPT2
from auricle.models.llama import Llama, Mistral, Qwen2, Qwen3, SmolLM3

# The same float32 sums in another order; logits here are of order one to ten.
SAME = 2e-4
N_TOKENS = 24  # longer than the windows of the variants

SMALL: dict[str, Any] = {
    "vocab_size": 120,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": None,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
YARN = {"rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0, "original_max_position_embeddings": 16}
GEMMA: dict[str, Any] = {"head_dim": 16, "query_pre_attn_scalar": 24, "sliding_window": 7, "num_hidden_layers": 7}
# name -> our class, transformers' configuration and model, changes
VARIANTS: dict[str, tuple[type, str, dict[str, Any]]] = {
    "llama": (Llama, "Llama", SMALL),
    "llama with one head of keys": (Llama, "Llama", {**SMALL, "num_key_value_heads": 1}),
    "llama 3": (Llama, "Llama", {**SMALL, "rope_parameters": LLAMA3, "head_dim": 12}),
    "llama with positions divided": (
        Llama,
        "Llama",
        {**SMALL, "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}},
    ),
    "llama with yarn": (Llama, "Llama", {**SMALL, "rope_parameters": YARN, "head_dim": 16}),
    "llama with yarn of its own strength": (
        Llama,
        "Llama",
        {
            **SMALL,
            "rope_parameters": {**YARN, "beta_fast": 4.0, "mscale": 0.7, "mscale_all_dim": 0.3, "truncate": False},
        },
    ),
    "qwen3 with yarn and a stated growth": (
        Qwen3,
        "Qwen3",
        {**SMALL, "head_dim": 16, "rope_parameters": {**YARN, "attention_factor": 1.5}},
    ),
    "llama with dynamic positions": (
        Llama,
        "Llama",
        {**SMALL, "rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}},
    ),
    "llama with biases, tied": (
        Llama,
        "Llama",
        {**SMALL, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    ),
    "qwen2": (Qwen2, "Qwen2", SMALL),
    "qwen2 with windows": (
        Qwen2,
        "Qwen2",
        {**SMALL, "use_sliding_window": True, "sliding_window": 7, "max_window_layers": 2},
    ),
    "qwen3": (Qwen3, "Qwen3", {**SMALL, "head_dim": 12}),
    "mistral": (Mistral, "Mistral", {**SMALL, "sliding_window": 7, "head_dim": 8}),
    "smollm3": (SmolLM3, "SmolLM3", {**SMALL, "num_hidden_layers": 5}),
    "gemma 2": (Gemma2, "Gemma2", {**SMALL, **GEMMA}),
    "gemma 3": (Gemma3, "Gemma3", {**SMALL, **GEMMA}),
    "gpt2": (GPT2, "GPT2", {"vocab_size": 120, "n_positions": 64, "n_embd": 32, "n_layer": 3, "n_head": 4}),
    "gpt2 scaled by layer": (
        GPT2,
        "GPT2",
        {
            "vocab_size": 120,
            "n_positions": 64,
            "n_embd": 32,
            "n_layer": 3,
            "n_head": 4,
            "n_inner": 40,
            "scale_attn_by_inverse_layer_idx": True,
        },
    ),
}


# Of the largest logit, after up to 30 layers in float32.
TRUE_SIZE_TOLERANCE = 1e-4
# The smallest published member of each file of mathematics; its relatives differ by numbers and switches above.
TRUE_SIZES: dict[str, tuple[type, str, dict[str, Any]]] = {
    "SmolLM2-135M": (
        Llama,
        "Llama",
        {
            "vocab_size": 49152,
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "max_position_embeddings": 8192,
            "rope_parameters": {"rope_type": "default", "rope_theta": 100000.0},
            "tie_word_embeddings": True,
        },
    ),
    "Gemma 3 270M": (
        Gemma3,
        "Gemma3",
        {
            "vocab_size": 262144,
            "hidden_size": 640,
            "intermediate_size": 2048,
            "num_hidden_layers": 18,
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
            "sliding_window": 512,
            "max_position_embeddings": 32768,
        },
    ),
    "GPT-2": (GPT2, "GPT2", {}),
}


def randomise(model: torch.nn.Module, most: int = 2**16) -> None:
    """Draw parameters anew, norms and biases too, so that no path is tested at ones and zeros; large ones stay."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if parameter.numel() > most:
            continue
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() > 1:
            values = noise * (0.5 if "embed" in name or "wte" in name else 1.5 * parameter.shape[-1] ** -0.5)
        else:
            values = 0.3 * noise + ("norm" in name or "ln_" in name)
        parameter.data.copy_(values)


def oracle_and_ours(name: str, among: dict[str, tuple[type, str, dict[str, Any]]] = VARIANTS) -> tuple[Any, Any]:
    """transformers' model with random weights, and ours made of its config and tensors."""
    import transformers

    ours, family, changes = among[name]
    text = "Text" if family == "Gemma3" else ""
    config = getattr(transformers, f"{family}{text}Config")(**changes)
    head = "LMHeadModel" if family == "GPT2" else "ForCausalLM"
    torch.manual_seed(0)
    oracle = getattr(transformers, f"{family}{head}")._from_config(config, attn_implementation="eager").eval()
    randomise(oracle)
    model = ours(build_config(ours, oracle.config.to_dict(), "config.json"))
    load_tensors(model, oracle.state_dict(), ours.RENAMES, ours.IGNORED_TENSORS)
    return oracle, model.eval()


@pytest.fixture(params=VARIANTS)
def pair(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    return oracle_and_ours(request.param)


def tokens(n_rows: int = 2, n_tokens: int = N_TOKENS) -> torch.Tensor:
    return torch.randint(3, 120, (n_rows, n_tokens), generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def test_states_and_logits_equal_those_of_transformers(pair: tuple[Any, Any]) -> None:
    oracle, ours = pair
    given = tokens()
    expected = oracle(given, output_hidden_states=True)
    states = ours.hidden_states(given, ours.new_cache(torch.zeros(2, dtype=torch.long)))
    torch.testing.assert_close(states, expected.hidden_states[-1], atol=SAME, rtol=SAME)
    torch.testing.assert_close(ours.logits(states), expected.logits, atol=SAME, rtol=SAME)


@torch.inference_mode()
def test_text_that_comes_in_parts_is_the_same_as_at_once(pair: tuple[Any, Any]) -> None:
    _, ours = pair
    given = tokens()
    whole = ours(given)
    cache = ours.new_cache(torch.zeros(2, dtype=torch.long))
    parts = [ours.logits(ours.hidden_states(part, cache)) for part in given.split([9, 1, 1, 8, 5], 1)]
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=SAME, rtol=SAME)


@torch.inference_mode()
def test_a_shorter_row_of_a_batch_is_what_it_is_alone(pair: tuple[Any, Any]) -> None:
    _, ours = pair
    given = tokens()
    n_pads = torch.tensor([0, 5])
    together = ours(torch.where(torch.arange(N_TOKENS) < n_pads[:, None], 0, given), n_pads)
    torch.testing.assert_close(together[0], ours(given[:1])[0], atol=SAME, rtol=SAME)
    torch.testing.assert_close(together[1, 5:], ours(given[1:, 5:])[0], atol=SAME, rtol=SAME)


@torch.inference_mode()
def test_rows_change_places_with_their_memory(pair: tuple[Any, Any]) -> None:
    _, ours = pair
    given = tokens()
    cache = ours.new_cache(torch.tensor([0, 3]))
    ours.hidden_states(given[:, :12], cache)
    cache.reorder(torch.tensor([1, 0, 1]))
    after = ours.logits(ours.hidden_states(given[[1, 0, 1], 12:], cache))
    plain = ours.new_cache(torch.tensor([0, 3]))
    ours.hidden_states(given[:, :12], plain)
    expected = ours.logits(ours.hidden_states(given[:, 12:], plain))
    torch.testing.assert_close(after, expected[[1, 0, 1]], atol=SAME, rtol=SAME)


# As files had them before each layer's kind was named.
OLDER: dict[str, tuple[type, str, dict[str, Any]]] = {
    "qwen2 with windows": VARIANTS["qwen2 with windows"],
    "qwen3 with windows": (
        Qwen3,
        "Qwen3",
        {**SMALL, "use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1},
    ),
    "smollm3 with windows": (
        SmolLM3,
        "SmolLM3",
        {**SMALL, "num_hidden_layers": 5, "use_sliding_window": True, "sliding_window": 7},
    ),
    "gemma 2": VARIANTS["gemma 2"],
    "gemma 3": VARIANTS["gemma 3"],
}


@pytest.mark.parametrize("name", OLDER)
@torch.inference_mode()
def test_files_that_do_not_name_the_kinds_of_layers(name: str) -> None:
    import transformers

    ours, family, changes = OLDER[name]
    config = getattr(transformers, f"{family}{'Text' if family == 'Gemma3' else ''}Config")(**changes)
    torch.manual_seed(0)
    oracle = getattr(transformers, f"{family}ForCausalLM")._from_config(config, attn_implementation="eager").eval()
    randomise(oracle)
    raw = oracle.config.to_dict()
    del raw["layer_types"]
    model: Any = ours(build_config(ours, raw, "config.json"))
    load_tensors(model, oracle.state_dict(), ours.RENAMES, ours.IGNORED_TENSORS)  # type: ignore[attr-defined]
    torch.testing.assert_close(model.eval()(tokens()), oracle(tokens()).logits, atol=SAME, rtol=SAME)


def test_yarn_takes_texts_as_long_as_it_stretches_them() -> None:
    yarn = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
    config = build_config(Qwen2, {**SMALL, "rope_scaling": yarn}, "config.json")
    assert Qwen2(config).max_positions == 256
    assert Qwen2(build_config(Qwen2, SMALL, "config.json")).max_positions == 64


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"rope_scaling": {"type": "longrope", "short_factor": [1.0]}}, "'longrope' is not native.*transformers"),
        ({"rope_scaling": {"type": "linear", "factor": 0.0}}, "factor of 'linear' positions is 0"),
        ({"layer_types": ["chunked_attention"] * 4}, "layer_types has 'chunked_attention'"),
    ],
)
def test_positions_and_layers_that_are_not_native_are_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        build_config(Llama, {**SMALL, **changes}, "config.json")


@pytest.mark.parametrize("name", TRUE_SIZES)
@torch.inference_mode()
def test_true_size_equals_transformers(name: str) -> None:
    oracle, ours = oracle_and_ours(name, TRUE_SIZES)
    given = torch.randint(3, 40000, (1, 20), generator=torch.Generator().manual_seed(1))
    expected = oracle(given).logits
    difference = (ours(given) - expected).abs().max() / expected.abs().max()
    print(f"{name} | true size | {float(difference):.1e}")
    assert difference < TRUE_SIZE_TOLERANCE
