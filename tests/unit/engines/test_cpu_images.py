"""The CPU engine's encoders of images give what the plain ones give, in every arithmetic, alone and in a batch."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from auricle.engines.cpu import CpuEngine, products
from auricle.engines.reference import ReferenceEngine
from auricle.errors import OptionError
from auricle.models.convnext import ConvNext
from auricle.models.deit import DeiT
from auricle.models.dinov2 import Dinov2
from auricle.models.resnet import ResNet
from auricle.models.vit import ViT

CPU = torch.device("cpu")
# Of the largest logit: sums in another order; 16-bit integers with a scale for each row and block.
FLOAT_TOLERANCE = 1e-5
INTEGER_TOLERANCE = 5e-3
FAMILIES: dict[str, tuple[Any, dict[str, Any]]] = {
    "vit": (ViT, {}),
    "vit without biases, of another form": (ViT, {"qkv_bias": False, "image_size": (24, 40)}),
    "deit with a teacher": (DeiT, {"architectures": ("DeiTForImageClassificationWithTeacher",)}),
    "dinov2": (Dinov2, {"image_size": 32}),
    "dinov2 with gates": (Dinov2, {"image_size": 32, "use_swiglu_ffn": True}),
    "convnext": (ConvNext, {}),
    "convnext without scales": (ConvNext, {"layer_scale_init_value": 0.0}),
    "resnet": (ResNet, {"embedding_size": 16, "hidden_sizes": (64, 128)}),
    "resnet of basic layers": (ResNet, {"layer_type": "basic", "embedding_size": 16, "hidden_act": "silu"}),
    "resnet that halves early": (
        ResNet,
        {"downsample_in_first_stage": True, "downsample_in_bottleneck": True, "hidden_sizes": (64, 128)},
    ),
}


def network(family: str) -> Any:
    """A random model, no norm, bias or running mean of which is trivial."""
    model_class, changes = FAMILIES[family]
    torch.manual_seed(0)
    model = model_class(model_class.tiny(**changes)).eval()
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif tensor.is_floating_point():
                tensor.normal_(1.0 if "norm" in name and name.endswith("weight") else 0.0, 0.2)
    return model


def images(family: str, n: int = 3) -> torch.Tensor:
    side = FAMILIES[family][1].get("image_size", 32)
    height, width = side if isinstance(side, tuple) else (side, side)
    return torch.randn(n, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, None])
def test_logits_are_those_of_the_plain_engine(family: str, dtype: torch.dtype | None) -> None:
    model, pixels = network(family), images(family)
    expected = ReferenceEngine(copy.deepcopy(model), CPU, torch.float32).classify(pixels)
    engine = CpuEngine(model, CPU, dtype)
    if dtype is None and products.available():
        assert engine.arithmetic == "int16"
    tolerance = FLOAT_TOLERANCE if engine.arithmetic == "float32" else INTEGER_TOLERANCE
    error = float((engine.classify(pixels) - expected).abs().max() / expected.abs().max())
    print(f"{family} | {engine.arithmetic} | {error:.1e}")
    assert error <= tolerance


@pytest.mark.parametrize("family", FAMILIES)
def test_an_image_depends_on_no_neighbours(family: str) -> None:
    engine, pixels = CpuEngine(network(family), CPU, None), images(family)
    together = engine.classify(pixels)
    alone = torch.cat([engine.classify(one[None]) for one in pixels])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(37, 50), (33, 32)])
@pytest.mark.parametrize("family", ["convnext", "resnet"])
def test_sides_that_do_not_divide_are_cut_as_plainly(family: str, height: int, width: int) -> None:
    model, pixels = network(family), torch.randn(1, 3, height, width)
    expected = ReferenceEngine(copy.deepcopy(model), CPU, torch.float32).classify(pixels)
    found = CpuEngine(model, CPU, torch.float32).classify(pixels)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_classifying_with_another_kind_of_model_is_refused() -> None:
    from auricle.models.wav2vec2 import Wav2Vec2CTC

    for engine in (ReferenceEngine, CpuEngine):
        with pytest.raises(OptionError, match="is a 'ctc' model"):
            engine(Wav2Vec2CTC(Wav2Vec2CTC.tiny()), CPU, torch.float32).classify(torch.zeros(1, 400))
