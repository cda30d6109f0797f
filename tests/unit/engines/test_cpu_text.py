"""The CPU engine's decoders of text: 8-bit weights against the model with the same weights, and rows that move."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from auricle.engines import make_engine
from auricle.engines.cpu import CpuEngine
from auricle.engines.cpu.native_library import kernels
from auricle.engines.cpu.text_decoder import NativeTextStep, TextDecoder, can_run
from auricle.engines.text_step import ModelTextStep
from auricle.errors import OptionError
from auricle.models.gemma import Gemma2, Gemma3
from auricle.models.gpt2 import GPT2
from auricle.models.llama import Llama, Mistral, Qwen2, Qwen3, SmolLM3
from auricle.models.rotary import RopeParameters

# What 16 bits of rows and of keys and values round, of logits with a deviation of 1.2.
ROUNDED = 0.01
SIZES: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 96,
    "head_dim": 16,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
VARIANTS: dict[str, tuple[type, dict[str, Any]]] = {
    "llama": (Llama, {}),
    "llama with biases, tied": (Llama, {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    "one head for each group": (Llama, {"num_key_value_heads": 6}),
    "wide heads": (Llama, {"head_dim": 48}),
    "yarn": (Llama, {"rope_scaling": RopeParameters(type="yarn", factor=4.0, original_max_position_embeddings=16)}),
    "qwen2": (Qwen2, {}),
    "qwen2 with windows": (Qwen2, {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1}),
    "qwen3": (Qwen3, {}),
    "mistral": (Mistral, {"sliding_window": 7}),
    "smollm3": (SmolLM3, {"num_hidden_layers": 5}),
    "gemma 2": (Gemma2, {}),
    "gemma 3": (Gemma3, {}),
}

pytestmark = pytest.mark.skipif(kernels() is None, reason="the package was built without native kernels")


def made(name: str) -> Any:
    """A random model whose parameters are none of them zeros or ones."""
    family, changes = VARIANTS[name]
    torch.manual_seed(0)
    model: Any = family(family.tiny(**{**SIZES, **changes}))  # type: ignore[attr-defined]
    for part, parameter in model.named_parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=1.2 * parameter.shape[-1] ** -0.5)
        else:
            nn.init.normal_(parameter, 1.0 if "norm" in part and not isinstance(model, Gemma2) else 0.0, 0.2)
    return model.eval().requires_grad_(False)


def rounded(model: Any) -> Any:
    """The model with the weights that 8 bits can write; the embedding stays as it is."""
    other = copy.deepcopy(model)
    if other.config.tie_word_embeddings:
        other.lm_head.weight = nn.Parameter(other.lm_head.weight.clone(), requires_grad=False)
    for module in other.modules():
        if isinstance(module, nn.Linear):
            scale = module.weight.abs().amax(1, keepdim=True) / 127
            module.weight.data = (module.weight / scale).round() * scale
    return other


@pytest.mark.parametrize("name", VARIANTS)
def test_states_and_logits_are_those_of_the_model_with_rounded_weights(name: str) -> None:
    model = made(name)
    assert can_run(model)
    pads = torch.tensor([0, 3, 9])
    plain = ModelTextStep(rounded(model), pads, torch.device("cpu"))
    native = NativeTextStep(TextDecoder(model), pads)
    tokens = torch.randint(3, 320, (3, 90), generator=torch.Generator().manual_seed(1))
    for part in tokens.split([17, 1, 1, 66, 5], 1):
        n_last = min(3, part.shape[1])
        expected, found = plain.advance(part, n_last), native.advance(part, n_last)
        torch.testing.assert_close(found, expected, atol=ROUNDED, rtol=ROUNDED)
        torch.testing.assert_close(native.hidden[0], plain.hidden[0], atol=ROUNDED, rtol=ROUNDED)


def test_a_row_depends_neither_on_neighbours_nor_on_parts_nor_on_threads() -> None:
    decoder = TextDecoder(made("qwen2"))
    tokens = torch.randint(3, 320, (5, 70), generator=torch.Generator().manual_seed(2))
    together = NativeTextStep(decoder, torch.zeros(5, dtype=torch.long))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        whole = together.advance(tokens)
        torch.set_num_threads(1)
        for number, row in enumerate(tokens):
            alone = NativeTextStep(decoder, torch.zeros(1, dtype=torch.long))
            for part in row[None].split([1, 40, 2, 27], 1):
                logits = alone.advance(part)
            assert torch.equal(logits[0], whole[number])
    finally:
        torch.set_num_threads(before)


def test_rows_move_fork_shorten_and_join() -> None:
    decoder = TextDecoder(made("llama"))
    first = NativeTextStep(decoder, torch.tensor([0, 2]))
    tokens = torch.tensor([[5, 6, 7, 8], [0, 0, 9, 10]])
    first.advance(tokens)
    fork = first.fork(torch.tensor([1]))
    first.reorder(torch.tensor([1, 0, 0]))
    logits = first.advance(torch.tensor([[11], [11], [12]]))[:, -1]
    assert torch.equal(fork.advance(torch.tensor([[11]]))[0, -1], logits[0])
    fork.keep(2)
    assert torch.equal(fork.advance(torch.tensor([[11]]))[0, -1], logits[0])
    fork.join(first)
    assert fork.n_rows == 4
    assert fork.advance(torch.tensor([[4], [4], [4], [4]]))[:, -1].isfinite().all()
    assert not torch.equal(logits[1], logits[2])


def test_a_text_may_be_as_long_as_the_model_takes() -> None:
    yarn = RopeParameters(type="yarn", factor=4.0)
    model: Any = Llama(Llama.tiny(**SIZES, rope_scaling=yarn)).eval().requires_grad_(False)
    step = NativeTextStep(TextDecoder(model), torch.zeros(1, dtype=torch.long))
    assert step.max_length == model.max_positions == 2048


def test_texts_longer_than_their_first_room_go_on() -> None:
    decoder = TextDecoder(made("mistral"))
    tokens = torch.randint(3, 320, (1, 400), generator=torch.Generator().manual_seed(3))
    parts = NativeTextStep(decoder, torch.zeros(1, dtype=torch.long))
    for part in tokens.split(100, 1):
        logits = parts.advance(part)
    assert torch.equal(logits, NativeTextStep(decoder, torch.zeros(1, dtype=torch.long)).advance(tokens))
    with pytest.raises(OptionError, match="513 tokens were given to a decoder with 512 positions"):
        parts.advance(torch.ones(1, 113, dtype=torch.long))


def test_the_engine_takes_eight_bits_unless_told_otherwise() -> None:
    assert make_engine(made("llama"), dtype="auto").arithmetic == "int8"
    exact = make_engine(made("llama"), dtype="float32")
    assert exact.arithmetic == "float32"
    tokens = torch.tensor([[3, 4, 5]])
    expected = made("llama")(tokens)[:, -1:]
    torch.testing.assert_close(exact.text(torch.zeros(1, dtype=torch.long)).advance(tokens), expected)
    half = make_engine(made("llama"), dtype="bfloat16")
    assert half.arithmetic == "bfloat16"
    torch.testing.assert_close(
        half.text(torch.zeros(1, dtype=torch.long)).advance(tokens), expected, atol=0.2, rtol=0.1
    )


def test_models_that_the_native_code_lacks_run_as_they_are_written() -> None:
    torch.manual_seed(0)
    model = GPT2(GPT2.tiny())
    engine = CpuEngine(model, torch.device("cpu"), None)
    assert engine.arithmetic == "float32"
    tokens = torch.tensor([[3, 4, 5]])
    found = engine.text(torch.zeros(1, dtype=torch.long)).advance(tokens)
    torch.testing.assert_close(found, model(tokens)[:, -1:].detach())
    with pytest.raises(OptionError, match="'causal' model and this call needs a 'seq2seq' one"):
        engine.decoder(torch.zeros(1, 2, 3), torch.tensor([2]))


def test_the_model_keeps_its_weights_on_the_reference_engine_and_frees_them_here() -> None:
    model = made("llama")
    CpuEngine(model, torch.device("cpu"), None)
    assert model.model.layers[0].mlp.up_proj.weight.numel() == 0
    assert model.model.embed_tokens.weight.numel() > 0
