"""Choosing an engine, a device and an arithmetic; what the reference engine returns."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from auricle.audio.features import Features
from auricle.engines import make_engine, resolve_device, resolve_dtype
from auricle.engines.reference import ReferenceEngine
from auricle.errors import OptionError, TensorError


class TwoFrameCTC(nn.Module):
    """A CTC model whose logits are its input through one linear layer and dropout."""

    kind = "ctc"

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)
        self.dropout = nn.Dropout(0.5)

    def encode(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return self.dropout(values), lengths

    def forward(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        states, lengths = self.encode(values, lengths)
        return self.head(states), lengths


def two_frames() -> Features:
    values = torch.linspace(-1, 1, 8).view(1, 2, 4)
    return Features(values, torch.tensor([2]))


def test_ctc_gives_normalised_float32_log_probabilities_without_dropout_or_gradient() -> None:
    torch.manual_seed(0)
    model = TwoFrameCTC().train()
    engine = make_engine(model, device="cpu", dtype="bfloat16")

    log_probs, lengths = engine.ctc(two_frames())
    again, _ = engine.ctc(two_frames())

    assert log_probs.dtype == torch.float32
    assert log_probs.shape == (1, 2, 3)
    assert lengths.tolist() == [2]
    assert torch.equal(log_probs, again)
    assert not log_probs.requires_grad
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(1, 2))


def test_engine_moves_the_model_to_the_dtype_asked_for() -> None:
    engine = make_engine(TwoFrameCTC(), dtype=torch.bfloat16, name="reference")

    assert isinstance(engine, ReferenceEngine)
    assert engine.dtype == torch.bfloat16
    assert {p.dtype for p in engine.model.parameters()} == {torch.bfloat16}


def test_ctc_model_has_no_decoder() -> None:
    engine = make_engine(TwoFrameCTC())
    states, lengths = engine.encode(two_frames())

    with pytest.raises(OptionError, match="TwoFrameCTC is a 'ctc' model and this call needs a 'seq2seq' one"):
        engine.decoder(states, lengths)


def test_unknown_engine_names_those_that_exist() -> None:
    with pytest.raises(OptionError, match=r"'referense' does not exist.*did you mean 'reference'"):
        make_engine(TwoFrameCTC(), name="referense")


@pytest.mark.parametrize("device", ["cpu", "cpu:0", -1, torch.device("cpu")])
def test_every_way_to_say_cpu_is_understood(device: str | int | torch.device) -> None:
    assert resolve_device(device).type == "cpu"


@pytest.mark.parametrize("device", ["gpu", "cpu:1", "cuda:99", 99, "meta", "", True, "cpu:x"])
def test_device_that_is_not_here_is_refused_with_what_is(device: str | int) -> None:
    with pytest.raises(OptionError, match=r"is not available here; this machine has cpu"):
        resolve_device(device)


def test_auto_device_is_one_that_computes() -> None:
    assert torch.ones(1, device=resolve_device("auto")).item() == 1


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("auto", torch.float32),
        ("bfloat16", torch.bfloat16),
        ("torch.float16", torch.float16),
        (torch.float32, torch.float32),
    ],
)
def test_every_way_to_say_a_dtype_is_understood(dtype: str | torch.dtype, expected: torch.dtype) -> None:
    assert resolve_dtype(dtype) is expected


@pytest.mark.parametrize("dtype", ["int8", "float64", torch.int64, "half", ""])
def test_dtype_that_models_do_not_run_in_is_refused(dtype: str | torch.dtype) -> None:
    with pytest.raises(OptionError, match=r"expected 'auto', float32, bfloat16, float16"):
        resolve_dtype(dtype)


@pytest.mark.parametrize("name", ["reference", "cpu"])
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_weights_that_are_no_numbers_are_refused_by_name(name: str, number: float) -> None:
    """Packed to integers they would be some numbers, and the text some text."""
    model = TwoFrameCTC()
    with torch.no_grad():
        model.head.weight[2, 3] = number
    with pytest.raises(TensorError, match=r"weights head\.weight hold NaN or infinite"):
        make_engine(model, name=name)
