"""From a picture to the pixel values that a checkpoint was trained on, as its preprocessor_config.json says.

Dimension key: C channels, H height, W width.

Source: transformers 5, image_processing_backends.py (the Pillow backend) and the `image_processing_pil_*.py` of each
family: what is resized is 8-bit pixels by Pillow, what is scaled is float32 by NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from auricle.errors import ConfigError, ImageError, nearest

if TYPE_CHECKING:
    from PIL.Image import Image

STANDARD = (0.5, 0.5, 0.5)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
BILINEAR, BICUBIC = 2, 3  # as Pillow and preprocessor_config.json number them
FILTERS = range(6)
MOST_PIXELS = 89_478_485  # of an image as it is resized: a narrow one grows as its shorter side does
# The side from which ConvNeXt's images are warped to a square and not cropped.
WARPED_FROM = 384
VILT_LONGER_EDGE = 1333 / 800  # times the shorter one

# Says where a file comes from or how batches are put together, and nothing about pixel values.
HARMLESS = frozenset(
    """
    _valid_processor_keys _processor_class auto_map data_format device disable_grouping feature_extractor_type
    image_processor_type input_data_format model_input_names num_channels processor_class return_tensors do_convert_rgb
    """.split()
)


@dataclass(frozen=True)
class ImageSettings:
    """How a picture becomes pixel values."""

    do_resize: bool = True
    size: Any = field(default_factory=lambda: {"height": 224, "width": 224})
    default_to_square: bool = True  # what `size` means as one number: both sides, or the shorter one
    resample: int = BILINEAR
    do_center_crop: bool = False
    crop_size: Any = field(default_factory=lambda: {"height": 224, "width": 224})
    do_rescale: bool = True
    rescale_factor: float = 1 / 255
    do_normalize: bool = True
    image_mean: tuple[float, ...] = STANDARD
    image_std: tuple[float, ...] = STANDARD
    crop_pct: float | None = None  # ConvNeXt: the part of an image's side that is kept; None: not its way to resize
    size_divisor: int | None = None  # ViLT: what both sides are multiples of; None: not its way to resize
    do_pad: bool = False  # ViLT: whether smaller images of a batch are padded, which the model does here


SETTINGS: dict[str, ImageSettings] = {
    "ViTImageProcessor": ImageSettings(),
    "DeiTImageProcessor": ImageSettings(size={"height": 256, "width": 256}, resample=BICUBIC, do_center_crop=True),
    "BitImageProcessor": ImageSettings(
        size={"shortest_edge": 224},
        default_to_square=False,
        resample=BICUBIC,
        do_center_crop=True,
        image_mean=CLIP_MEAN,
        image_std=CLIP_STD,
    ),
    "ConvNextImageProcessor": ImageSettings(
        size={"shortest_edge": 384}, default_to_square=False, resample=BICUBIC, crop_pct=224 / 256
    ),
    "BlipImageProcessor": ImageSettings(
        size={"height": 384, "width": 384}, resample=BICUBIC, image_mean=CLIP_MEAN, image_std=CLIP_STD
    ),
    "ViltImageProcessor": ImageSettings(
        size={"shortest_edge": 384}, default_to_square=False, resample=BICUBIC, size_divisor=32, do_pad=True
    ),
}
# What a family's files mean where they name no processor.
PROCESSOR_OF = {
    "vit": "ViTImageProcessor",
    "deit": "DeiTImageProcessor",
    "dinov2": "BitImageProcessor",
    "convnext": "ConvNextImageProcessor",
    "resnet": "ConvNextImageProcessor",
    "blip": "BlipImageProcessor",
    "vilt": "ViltImageProcessor",
}


class ImagePreprocessor:
    """Makes pixel values (C, H, W) of a picture in RGB."""

    def __init__(self, settings: ImageSettings) -> None:
        self.settings = settings
        self.values = _values(settings)  # (C, 256)

    def __call__(self, image: Image) -> Tensor:
        """Return float32 pixel values (C, H, W).

        Raises: ImageError where the image is too narrow to be resized.
        """
        settings = self.settings
        if settings.do_resize:
            image = self._resized(image)
        pixels = np.asarray(image).transpose(2, 0, 1)  # (C, H, W) uint8
        if settings.do_resize and settings.crop_pct is not None and settings.size["shortest_edge"] < WARPED_FROM:
            side = settings.size["shortest_edge"]
            pixels = center_crop(pixels, side, side)
        if settings.do_center_crop:
            pixels = center_crop(pixels, settings.crop_size["height"], settings.crop_size["width"])
        # Of each channel's 256 numbers, computed once with the processor's own arithmetic.
        return torch.from_numpy(np.stack([row.take(channel) for row, channel in zip(self.values, pixels, strict=True)]))

    def _resized(self, image: Image) -> Image:
        height, width = self._target(image.height, image.width)
        if not 0 < height * width <= MOST_PIXELS:
            raise ImageError(
                f"the image has {image.width} x {image.height} pixels, and for this model would have {width} x "
                f"{height}; give one that is less narrow, or cut it into parts"
            )
        return image.resize((width, height), resample=self.settings.resample)

    def _target(self, height: int, width: int) -> tuple[int, int]:
        """The height and width that an image is resized to."""
        size = self.settings.size
        if self.settings.size_divisor is not None:
            return _divisible(height, width, size["shortest_edge"], self.settings.size_divisor)
        if "shortest_edge" not in size:
            return size["height"], size["width"]
        side = size["shortest_edge"]
        if self.settings.crop_pct is not None:
            if side >= WARPED_FROM:
                return side, side
            side = int(side / self.settings.crop_pct)
        longer = int(side * max(height, width) / min(height, width))
        return (longer, side) if width <= height else (side, longer)


def _values(settings: ImageSettings) -> np.ndarray:
    """What each number of a pixel becomes in each channel, (C, 256) float32."""
    numbers = np.arange(256, dtype=np.uint8)[None]
    values = numbers.astype(np.float32)
    if settings.do_rescale:
        values = (numbers.astype(np.float64) * settings.rescale_factor).astype(np.float32)
    values = np.repeat(values, 3, axis=0)
    if settings.do_normalize:
        mean, std = (np.array(one, dtype=np.float32)[:, None] for one in (settings.image_mean, settings.image_std))
        values = (values - mean) / std
    return values


def open_preprocessor(settings: Mapping[str, Any], model_type: str, where: str) -> ImagePreprocessor:
    """Read the content of preprocessor_config.json; `where` names the file in messages.

    Raises:
        ConfigError: A processor or key is unknown, or a value is none that it may have.
    """
    if not settings:
        raise ConfigError(
            f"{where} is absent or empty; copy preprocessor_config.json of the checkpoint beside config.json."
        )
    stated = settings.get("image_processor_type") or settings.get("feature_extractor_type")
    name = _family(str(stated)) if stated else PROCESSOR_OF.get(model_type, "")
    if name not in SETTINGS:
        raise ConfigError(
            f"{where}: image_processor_type is {stated!r}{nearest(str(stated), SETTINGS) or '.'} Supported are "
            f"{', '.join(SETTINGS)}, for what they do."
        )
    known = {one.name for one in fields(ImageSettings)}
    for key, value in settings.items():
        if key not in known and key not in HARMLESS and value not in (None, False):
            raise ConfigError(
                f"{where}: unknown key {key!r} (value {value!r}){nearest(key, known) or '.'} It may change the pixels, "
                "so it is not skipped. Correct or remove it."
            )
    given = {key: value for key, value in settings.items() if key in known and value is not None}
    chosen = replace(SETTINGS[name], **given)
    chosen = replace(
        chosen,
        size=_size(chosen.size, chosen.default_to_square, f"{where}: size"),
        crop_size=_size(chosen.crop_size, True, f"{where}: crop_size"),
        image_mean=_numbers(chosen.image_mean, f"{where}: image_mean"),
        image_std=_numbers(chosen.image_std, f"{where}: image_std"),
    )
    _check(chosen, where)
    return ImagePreprocessor(chosen)


def center_crop(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle of pixels (C, H, W), as large as asked for; what an image lacks is black."""
    top, left = (pixels.shape[1] - height) // 2, (pixels.shape[2] - width) // 2
    if top >= 0 and left >= 0:
        return pixels[:, top : top + height, left : left + width]
    tall, wide = max(height, pixels.shape[1]), max(width, pixels.shape[2])
    padded = np.zeros_like(pixels, shape=(len(pixels), tall, wide))
    above, before = math.ceil((tall - pixels.shape[1]) / 2), math.ceil((wide - pixels.shape[2]) / 2)
    padded[:, above : above + pixels.shape[1], before : before + pixels.shape[2]] = pixels
    top, left = top + above, left + before
    return padded[:, max(0, top) : top + height, max(0, left) : left + width]


def _divisible(height: int, width: int, shorter: int, divisor: int) -> tuple[int, int]:
    """Sides whose shorter one is `shorter`, within the longest, rounded down to multiples of `divisor`."""
    longest = int(VILT_LONGER_EDGE * shorter)
    scale = shorter / min(height, width)
    tall, wide = (shorter, scale * width) if height < width else (scale * height, shorter)
    if max(tall, wide) > longest:
        scale = longest / max(tall, wide)
        tall, wide = scale * tall, scale * wide
    return int(tall + 0.5) // divisor * divisor, int(wide + 0.5) // divisor * divisor


def _family(name: str) -> str:
    """The processor's name without the ending that says how it computes, or the one that older files have."""
    for ending in ("Fast", "Pil"):
        name = name.removesuffix(ending)
    return name.replace("FeatureExtractor", "ImageProcessor")


def _size(value: Any, square: bool, where: str) -> dict[str, int]:
    if isinstance(value, int) and not isinstance(value, bool):
        value = {"height": value, "width": value} if square else {"shortest_edge": value}
    elif isinstance(value, list | tuple) and len(value) == 2:
        value = {"height": value[0], "width": value[1]}
    if isinstance(value, Mapping):
        value = {key: side for key, side in value.items() if side is not None}
        whole = all(isinstance(side, int) and side > 0 for side in value.values())
        if whole and set(value) in ({"height", "width"}, {"shortest_edge"}):
            return dict(value)
    raise ConfigError(f"{where} is {value!r}; expected a number of pixels, height and width, or shortest_edge.")


def _numbers(value: Any, where: str) -> tuple[float, ...]:
    numbers = [value] * 3 if isinstance(value, int | float) else value
    if isinstance(numbers, list | tuple) and len(numbers) == 3 and all(isinstance(one, int | float) for one in numbers):
        return tuple(map(float, numbers))
    raise ConfigError(f"{where} is {value!r}; expected three numbers, one for each of red, green and blue.")


def _check(settings: ImageSettings, where: str) -> None:
    checks = [
        (settings.resample in FILTERS, "resample", "Pillow's number of a filter, 0 to 5"),
        (isinstance(settings.rescale_factor, int | float), "rescale_factor", "a number such as 1/255"),
        (settings.crop_pct is None or 0 < settings.crop_pct <= 1, "crop_pct", "above 0 and at most 1"),
        (settings.size_divisor is None or settings.size_divisor >= 1, "size_divisor", "1 or more"),
        (not settings.do_normalize or 0.0 not in settings.image_std, "image_std", "numbers other than 0"),
        (not settings.do_center_crop or "height" in settings.crop_size, "crop_size", "height and width"),
    ]
    needs_edge = settings.crop_pct is not None or settings.size_divisor is not None
    checks.append((not needs_edge or "shortest_edge" in settings.size, "size", "shortest_edge"))
    for valid, name, expected in checks:
        if not valid:
            raise ConfigError(f"{where}: {name} is {getattr(settings, name)!r}; expected {expected}.")
