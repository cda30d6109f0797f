"""Models that see = transformers: pixel values, last hidden states, logits, labels.

Every variant from a tiny configuration with every number drawn at random, norms and biases too.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from auricle import pipeline
from auricle.loading import load, task_of

# float32 sums in another order.
TOLERANCE = 2e-5
# Of the largest logit, after up to 53 layers in float32.
TRUE_SIZE_TOLERANCE = 1e-4
# The same arithmetic on the same 8-bit pixels.
PIXEL_TOLERANCE = 1e-6
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 8,
    "num_labels": 7,
}
STANDARD = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


def randomize(model: Any) -> Any:
    """Draw every parameter and running statistic, so that none is 0 or 1 by chance."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif tensor.is_floating_point():
                tensor.normal_(1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0, 0.2)
    return model.eval()


def vit(**changes: Any) -> Any:
    return transformers.ViTForImageClassification(transformers.ViTConfig(**{**SMALL, **changes}))


def vit_processor(**changes: Any) -> Any:
    return transformers.ViTImageProcessorPil(size={"height": 32, "width": 32}, **changes)


def deit(kind: Any) -> Any:
    return kind(transformers.DeiTConfig(**SMALL))


def deit_processor() -> Any:
    return transformers.DeiTImageProcessorPil(size={"height": 36, "width": 36}, crop_size={"height": 32, "width": 32})


def dinov2(**changes: Any) -> Any:
    shape = {name: value for name, value in SMALL.items() if name != "intermediate_size"}
    config = transformers.Dinov2Config(**{**shape, "mlp_ratio": 2, "image_size": 48, **changes})
    return transformers.Dinov2ForImageClassification(config)


def bit_processor(**changes: Any) -> Any:
    crop = {"height": 32, "width": 32}
    return transformers.BitImageProcessorPil(size={"shortest_edge": 36}, crop_size=crop, **{**STANDARD, **changes})


def convnext(**changes: Any) -> Any:
    shape = {"num_stages": 2, "hidden_sizes": [16, 24], "depths": [1, 2], "num_labels": 7}
    return transformers.ConvNextForImageClassification(transformers.ConvNextConfig(**{**shape, **changes}))


def convnext_processor(edge: int = 32, **changes: Any) -> Any:
    return transformers.ConvNextImageProcessorPil(size={"shortest_edge": edge}, **changes)


def resnet(**changes: Any) -> Any:
    shape = {"embedding_size": 8, "hidden_sizes": [16, 32], "depths": [1, 2], "num_labels": 7}
    return transformers.ResNetForImageClassification(transformers.ResNetConfig(**{**shape, **changes}))


VARIANTS: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "vit": (vit, vit_processor),
    "vit without biases": (lambda: vit(qkv_bias=False, hidden_act="gelu_pytorch_tanh"), vit_processor),
    "vit of other means": (vit, lambda: vit_processor(resample=3, **STANDARD)),
    "deit": (lambda: deit(transformers.DeiTForImageClassification), deit_processor),
    "deit with a teacher": (lambda: deit(transformers.DeiTForImageClassificationWithTeacher), deit_processor),
    "dinov2": (dinov2, bit_processor),
    "dinov2 with gates": (lambda: dinov2(use_swiglu_ffn=True, image_size=32), bit_processor),
    "dinov2 without a crop": (dinov2, lambda: bit_processor(do_center_crop=False)),
    "convnext": (convnext, convnext_processor),
    "convnext without scales": (lambda: convnext(layer_scale_init_value=0.0), lambda: convnext_processor(crop_pct=0.7)),
    "convnext of large images": (convnext, lambda: convnext_processor(384)),
    "resnet": (resnet, convnext_processor),
    "resnet of basic layers": (lambda: resnet(layer_type="basic", hidden_act="silu"), convnext_processor),
    "resnet that halves early": (
        lambda: resnet(downsample_in_first_stage=True, downsample_in_bottleneck=True),
        convnext_processor,
    ),
}


def pictures() -> list[Image.Image]:
    """A wide, a tall and a small picture with edges and colours."""
    rng = np.random.default_rng(0)
    made = []
    for height, width in ((40, 61), (90, 47), (21, 25)):
        coarse = rng.integers(0, 256, (height // 5, width // 5, 3), dtype=np.uint8)
        made.append(Image.fromarray(coarse).resize((width, height), Image.Resampling.NEAREST))
    return made


@pytest.fixture(params=VARIANTS)
def theirs(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, Any, Path]:
    """A model of transformers, its processor, and the folder that both are saved in."""
    make, make_processor = VARIANTS[request.param]
    model, processor = randomize(make()), make_processor()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    return model, processor, tmp_path


@torch.inference_mode()
def test_three_depths_equal_transformers(theirs: tuple[Any, Any, Path]) -> None:
    model, processor, folder = theirs
    ours = load(folder)
    for picture in pictures():
        expected = processor(picture, return_tensors="pt")["pixel_values"]
        pixels = ours.features(picture)[None]
        torch.testing.assert_close(pixels, expected, atol=PIXEL_TOLERANCE, rtol=0)
        outputs = model.base_model(expected)
        states = ours.model.states(pixels)
        torch.testing.assert_close(states, outputs.last_hidden_state, atol=TOLERANCE, rtol=1e-4)
        torch.testing.assert_close(ours.model(pixels), model(expected).logits, atol=TOLERANCE, rtol=1e-4)


def test_pipeline_equals_transformers(theirs: tuple[Any, Any, Path]) -> None:
    model, processor, folder = theirs
    their_pipeline = transformers.pipeline("image-classification", model=model, image_processor=processor)
    # In float32; the fast engine is held to it in tests/unit/engines/test_cpu_images.py.
    ours = pipeline("image-classification", folder, engine="reference")
    for top_k, function in ((None, None), (3, "sigmoid"), (100, "none"), (2, "softmax")):
        parameters = {"top_k": top_k} if top_k else {}
        expected = their_pipeline(pictures(), function_to_apply=function, **parameters)
        found = ours(pictures(), function_to_apply=function, **parameters)
        for one, other in zip(found, expected, strict=True):
            assert [item["label"] for item in one] == [item["label"] for item in other]
            assert [item["score"] for item in one] == pytest.approx(
                [item["score"] for item in other], abs=1e-5, rel=1e-5
            )


def test_the_task_is_told_from_the_configuration(theirs: tuple[Any, Any, Path]) -> None:
    assert task_of(theirs[2]) == "image-classification"


@torch.inference_mode()
def test_names_in_memory_are_read_too(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    model = randomize(vit())
    model.save_pretrained(tmp_path)
    vit_processor().save_pretrained(tmp_path)
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()}, tmp_path / "model.safetensors"
    )
    pixels = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(load(tmp_path).model(pixels), model(pixels).logits, atol=TOLERANCE, rtol=1e-4)


@pytest.mark.parametrize("size", [(48, 48), (24, 40), (36, 32)])
@torch.inference_mode()
def test_places_are_interpolated_as_transformers_does(size: tuple[int, int], tmp_path: Path) -> None:
    model = randomize(vit())
    model.save_pretrained(tmp_path)
    vit_processor().save_pretrained(tmp_path)
    pixels = torch.randn(2, 3, *size)
    expected = model(pixels, interpolate_pos_encoding=True).logits
    torch.testing.assert_close(load(tmp_path).model(pixels), expected, atol=TOLERANCE, rtol=1e-4)


TRUE_SIZES: dict[str, Callable[[], Any]] = {
    "vit base": lambda: transformers.ViTForImageClassification(transformers.ViTConfig(num_labels=1000)),
    "deit tiny": lambda: transformers.DeiTForImageClassificationWithTeacher(
        transformers.DeiTConfig(hidden_size=192, num_attention_heads=3, intermediate_size=768, num_labels=1000)
    ),
    "dinov2 small": lambda: transformers.Dinov2ForImageClassification(
        transformers.Dinov2Config(hidden_size=384, num_attention_heads=6, image_size=518, num_labels=1000)
    ),
    "convnext tiny": lambda: transformers.ConvNextForImageClassification(transformers.ConvNextConfig(num_labels=1000)),
    "resnet 50": lambda: transformers.ResNetForImageClassification(transformers.ResNetConfig(num_labels=1000)),
}


@pytest.mark.parametrize("name", TRUE_SIZES)
@torch.inference_mode()
def test_true_size_equals_transformers(name: str) -> None:
    torch.manual_seed(0)
    model = TRUE_SIZES[name]().eval()
    for part, parameter in model.named_parameters():
        # Norms and biases too; matrices as they were drawn, so that 50 layers neither vanish nor overflow.
        if parameter.dim() < 2:
            parameter.add_(0.1 * torch.randn_like(parameter))
        elif part.endswith(("position_embeddings", "_token")):
            parameter.normal_(std=0.5)
    pixels = torch.randn(1, 3, 224, 224)
    expected = model(pixels).logits
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        (Path(folder) / "preprocessor_config.json").write_text('{"size": 224}')
        found = load(folder).model(pixels)
    error = float((found - expected).abs().max() / expected.abs().max())
    print(f"{name} | logits {error:.1e}")
    assert error < TRUE_SIZE_TOLERANCE
