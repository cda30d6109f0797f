"""A live server of tiny random models that see."""

from __future__ import annotations

import io
import json
import string
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from auricle.checkpoints.tensors import write_checkpoint
from auricle.models.blip import Blip
from auricle.models.vilt import Vilt
from auricle.models.vit import ViT

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "what", "is", "in", "the", "image", "?", "how", "many", "cats"]
WORDS += [*string.ascii_lowercase, *(f"##{letter}" for letter in string.ascii_lowercase)]
NAMES = {str(number): f"label {number}" for number in range(7)}
KINDS: Any = {
    "vit": (ViT, {"architectures": ["ViTForImageClassification"], "model_type": "vit", "id2label": NAMES}),
    "vilt": (Vilt, {"architectures": ["ViltForQuestionAnswering"], "model_type": "vilt", "id2label": NAMES}),
    "blip": (Blip, {"architectures": ["BlipForQuestionAnswering"], "model_type": "blip"}),
}


def checkpoint(folder: Path, kind: str) -> Path:
    """Write a tiny random model as the Hub has it."""
    model_class, raw = KINDS[kind]
    torch.manual_seed(0)
    model = model_class(model_class.tiny())
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    config = asdict(model.config) if kind != "vit" else vars(model.config)
    stated = {name: value for name, value in config.items() if value is not None}
    write_checkpoint(folder, {**stated, **raw}, model.state_dict())
    settings = {"size": 32} if kind != "vilt" else {"size": 32, "size_divisor": 8}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    if kind != "vit":
        (folder / "vocab.txt").write_text("\n".join(WORDS))
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of the models by their kinds."""
    return {kind: checkpoint(tmp_path_factory.mktemp(kind), kind) for kind in KINDS}


@pytest.fixture(scope="module")
def image_server(
    live_serving: Any, tmp_path_factory: pytest.TempPathFactory, folders: dict[str, Path]
) -> Iterator[Any]:
    """A server of a classifier, of a model that chooses answers, and of one that writes them."""
    models = tuple(f"org/{kind}={folder}" for kind, folder in folders.items())
    folder = tmp_path_factory.mktemp("image-server")
    with live_serving(models=models, data_dir=folder, device="cpu", max_loaded=3, preload=True) as server:
        yield server


@pytest.fixture(scope="session")
def png(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of noise."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    path = tmp_path_factory.mktemp("picture") / "noise.png"
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    path.write_bytes(buffer.getvalue())
    return path
