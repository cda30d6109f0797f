"""preprocessor_config.json in every form that checkpoints have it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from auricle.errors import ConfigError, ImageError
from auricle.vision.preprocess import center_crop, open_preprocessor


def test_white_and_black_are_one_and_minus_one() -> None:
    make = open_preprocessor({"size": 4}, "vit", "file")
    for level, expected in ((255, 1.0), (0, -1.0)):
        values = make(Image.new("RGB", (9, 5), (level,) * 3))
        assert values.shape == (3, 4, 4)
        np.testing.assert_allclose(values.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "model_type", "shape"),
    [
        ({"size": 8}, "vit", (8, 8)),
        ({"size": [6, 8]}, "vit", (6, 8)),
        ({"size": {"height": 6, "width": 8}, "image_processor_type": "ViTImageProcessorFast"}, "vit", (6, 8)),
        ({"size": {"shortest_edge": 8}, "image_processor_type": "ViTImageProcessorPil"}, "vit", (8, 16)),
        ({"size": 16, "crop_size": 8, "feature_extractor_type": "DeiTFeatureExtractor"}, "deit", (8, 8)),
        ({"size": 16, "crop_size": {"height": 8, "width": 10}}, "dinov2", (8, 10)),
        ({"size": 8, "do_center_crop": False}, "dinov2", (8, 16)),
        ({"size": 8, "crop_pct": 0.5}, "convnext", (8, 8)),
        ({"size": 8, "crop_pct": None}, "resnet", (8, 8)),
        ({"size": 384}, "convnext", (384, 384)),
        ({"size": 8}, "blip", (8, 8)),
        ({"size": 64, "size_divisor": 16}, "vilt", (48, 96)),
        ({"do_resize": False}, "vit", (30, 60)),
    ],
)
def test_sizes(settings: dict[str, Any], model_type: str, shape: tuple[int, int]) -> None:
    make = open_preprocessor(settings, model_type, "file")
    assert make(Image.new("RGB", (60, 30))).shape[1:] == shape


def test_a_crop_larger_than_the_image_is_black_around() -> None:
    cropped = center_crop(np.ones((3, 2, 6), np.uint8), 4, 4)
    assert cropped.shape == (3, 4, 4)
    assert cropped[0].tolist() == [[0] * 4, [1] * 4, [1] * 4, [0] * 4]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"image_processor_type": "ViTImageProcesor"}, "did you mean 'ViTImageProcessor'"),
        ({}, "absent or empty"),
        ({"size": "large"}, "size is 'large'"),
        ({"size": {"longest_edge": 9}}, "shortest_edge"),
        ({"resample": 17}, "resample is 17"),
        ({"image_mean": [0.5]}, "three numbers"),
        ({"image_std": [0, 1, 1]}, "other than 0"),
        ({"do_flip_channel_order": True}, "unknown key 'do_flip_channel_order'"),
    ],
)
def test_what_is_not_understood_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        open_preprocessor(settings, "vit", "file")


@pytest.mark.parametrize("model_type", ["dinov2", "convnext", "vilt"])
def test_an_image_that_is_too_narrow_is_refused_before_it_fills_the_memory(model_type: str) -> None:
    make = open_preprocessor({"size": 224}, model_type, "file")
    for size in ((1, 3_000_000), (3_000_000, 1)):
        with pytest.raises(ImageError, match=f"the image has {size[0]} x {size[1]} pixels, and for this model"):
            make(Image.new("1", size).convert("RGB"))
