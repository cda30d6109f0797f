"""LoRA layers: nothing at first, little to learn, merged exactly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from auricle.errors import OptionError
from auricle.models.hubert import HubertCTC
from auricle.models.wav2vec2 import Wav2Vec2CTC
from auricle.models.wavlm import WavLMCTC
from auricle.models.whisper import Whisper
from auricle.training.lora import LoraLinear, LoraOptions, add_lora, lora_layers, save_adapter, tensors_to_save

SOUND = torch.randn(2, 3000, generator=torch.Generator().manual_seed(2))
LENGTHS = torch.tensor([3000, 2500])


def wav2vec2(**changes: object) -> Wav2Vec2CTC:
    torch.manual_seed(0)
    return Wav2Vec2CTC(Wav2Vec2CTC.tiny(**changes)).eval()


def test_a_fresh_detour_changes_nothing() -> None:
    model = wav2vec2()
    before, _ = model(SOUND, LENGTHS)
    add_lora(model, LoraOptions())
    after, _ = model(SOUND, LENGTHS)
    torch.testing.assert_close(after, before, rtol=0, atol=0)


def test_the_detour_is_scaled_by_alpha_over_rank() -> None:
    linear = nn.Linear(3, 2)
    layer = LoraLinear(linear, LoraOptions(rank=2, alpha=6.0, dropout=0.0), torch.Generator().manual_seed(0))
    with torch.no_grad():
        layer.lora_A.copy_(torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]))
        layer.lora_B.copy_(torch.tensor([[1.0, 1.0], [0.0, 1.0]]))
    x = torch.tensor([[1.0, 1.0, 1.0]])
    torch.testing.assert_close(layer(x) - linear(x), torch.tensor([[9.0, 6.0]]))
    torch.testing.assert_close(nn.functional.linear(x, layer.change), torch.tensor([[9.0, 6.0]]))


@pytest.mark.parametrize("make", [wav2vec2, lambda: HubertCTC(HubertCTC.tiny()), lambda: WavLMCTC(WavLMCTC.tiny())])
def test_detours_and_the_head_alone_get_gradients(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    model = make().eval()
    layers = add_lora(model, LoraOptions(rank=2, trained=("lm_head",)))
    assert len(layers) == 2 * 6
    with torch.no_grad():  # with a B of zeros no gradient would reach A
        for layer in lora_layers(model).values():
            layer.lora_B.normal_(0, 0.1, generator=torch.Generator().manual_seed(0))
    logits, _ = model(SOUND, LENGTHS)
    logits.square().sum().backward()
    got = {name for name, p in model.named_parameters() if p.grad is not None and float(p.grad.abs().sum()) > 0}
    wanted = {f"{layer}.lora_{part}" for layer in layers for part in "AB"} | {"lm_head.weight", "lm_head.bias"}
    assert got == wanted


def test_merged_tensors_have_the_models_names_and_its_results(tmp_path: Path) -> None:
    model = wav2vec2()
    names = set(model.state_dict())
    add_lora(model, LoraOptions(rank=2))
    for layer in lora_layers(model).values():
        layer.lora_B.data.normal_(0, 0.1, generator=torch.Generator().manual_seed(0))
    merged = tensors_to_save(model)
    assert set(merged) == names
    plain = wav2vec2()
    plain.load_state_dict(merged)
    with torch.no_grad():
        torch.testing.assert_close(plain(SOUND, LENGTHS)[0], model(SOUND, LENGTHS)[0], rtol=1e-5, atol=1e-5)


def test_much_less_is_trained_and_held_for_it() -> None:
    whole, narrow = (Whisper(Whisper.tiny(d_model=256, encoder_ffn_dim=1024, decoder_ffn_dim=1024)) for _ in range(2))
    add_lora(narrow, LoraOptions(rank=2))
    sizes = []
    for model in (whole, narrow):
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, 1e-3)
        for parameter in trained:
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        held = [value for state in optimizer.state.values() for value in state.values() if value.dim()]
        sizes.append(sum(p.numel() for p in trained) + sum(value.numel() for value in held))
    assert sizes[1] < sizes[0] / 40, sizes


def test_a_pattern_chooses_layers_from_end_to_end() -> None:
    layers = add_lora(wav2vec2(), LoraOptions(targets=r".*\.0\.attention\.(q|v)_proj"))
    assert [layer.rsplit(".", 1)[-1] for layer in layers] == ["v_proj", "q_proj"] or len(layers) == 2
    assert all(".0.attention." in layer for layer in layers)


def test_the_same_seed_draws_the_same_detours() -> None:
    first, second, other = wav2vec2(), wav2vec2(), wav2vec2()
    for model, seed in ((first, 1), (second, 1), (other, 2)):
        add_lora(model, LoraOptions(rank=2), seed)
    pairs = zip(lora_layers(first).values(), lora_layers(second).values(), lora_layers(other).values(), strict=True)
    for one, same, another in pairs:
        assert torch.equal(one.lora_A, same.lora_A)
        assert not torch.equal(one.lora_A, another.lora_A)


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no linear layer"):
        add_lora(wav2vec2(), LoraOptions(targets="nothing"))
    with pytest.raises(OptionError, match="head is to be trained"):
        add_lora(wav2vec2(), LoraOptions(trained=("head",)))
    with pytest.raises(OptionError, match="rank is 0"):
        LoraOptions(rank=0)
    with pytest.raises(OptionError, match=r"'\(', which is no regular expression"):
        LoraOptions(targets="(")
    with pytest.raises(OptionError, match="add_lora"):
        save_adapter(wav2vec2(), LoraOptions(), "base", tmp_path)
