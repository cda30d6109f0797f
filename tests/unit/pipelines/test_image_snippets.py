"""The quick starts for images as transformers' page has them, with tiny checkpoints under the names that it uses."""

from __future__ import annotations

import json
import string
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from PIL import Image

from auricle.audio import fetch
from auricle.checkpoints.tensors import write_checkpoint
from auricle.models.blip import Blip
from auricle.models.dinov2 import Dinov2

CLASSIFICATION = """
from auricle import pipeline

pipeline = pipeline(task="image-classification", model="facebook/dinov2-small-imagenet1k-1-layer")
result = pipeline("https://huggingface.co/datasets/Narsil/image_dummy/raw/main/parrots.png")
"""
QUESTION = """
from auricle import pipeline

pipeline = pipeline(task="visual-question-answering", model="Salesforce/blip-vqa-base")
result = pipeline(
    image="https://huggingface.co/datasets/huggingface/documentation-images/resolve/main/transformers/tasks/idefics-few-shot.jpg",
    question="What is in the image?",
)
"""
PICTURES = (
    "datasets/Narsil/image_dummy/raw/main/parrots.png",
    "datasets/huggingface/documentation-images/resolve/main/transformers/tasks/idefics-few-shot.jpg",
)


def save(cache: Path, name: str, model_class: Any, raw: dict[str, Any], settings: dict[str, Any]) -> Path:
    """Write a tiny random checkpoint where huggingface_hub keeps the model of this name."""
    storage = cache / f"models--{name.replace('/', '--')}"
    folder = storage / "snapshots" / ("0" * 40)
    torch.manual_seed(0)
    model = model_class(model_class.tiny())
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    stated = {name: value for name, value in asdict(model.config).items() if value is not None}
    write_checkpoint(folder, {**stated, **raw}, model.state_dict())
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    (storage / "refs").mkdir()
    (storage / "refs" / "main").write_text("0" * 40)
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "cache"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing."""


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server of this machine in the place of huggingface.co."""
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    for name in PICTURES:
        (tmp_path / "web" / name).parent.mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / "web" / name)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "web")))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    plain = fetch.fetch

    def here(url: str, limits: Any) -> Any:
        local = url.replace("https://huggingface.co", f"http://127.0.0.1:{server.server_port}")
        return plain(local, replace(limits, allow_private_urls=True))

    monkeypatch.setattr(fetch, "fetch", here)
    yield
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.usefixtures("web")
def test_image_classification(cache: Path) -> None:
    raw = {
        "architectures": ["Dinov2ForImageClassification"],
        "model_type": "dinov2",
        "id2label": {str(number): f"bird {number}" for number in range(7)},
    }
    settings = {"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 64}, "crop_size": 56}
    save(cache, "facebook/dinov2-small-imagenet1k-1-layer", Dinov2, raw, settings)
    names: dict[str, Any] = {}
    exec(CLASSIFICATION, names)
    assert len(names["result"]) == 5
    assert all(one["label"].startswith("bird ") and 0 < one["score"] < 1 for one in names["result"])


@pytest.mark.usefixtures("web")
def test_visual_question_answering(cache: Path) -> None:
    raw = {"architectures": ["BlipForQuestionAnswering"], "model_type": "blip"}
    settings = {"image_processor_type": "BlipImageProcessor", "size": {"height": 32, "width": 32}}
    folder = save(cache, "Salesforce/blip-vqa-base", Blip, raw, settings)
    letters = [*string.ascii_lowercase, *(f"##{letter}" for letter in string.ascii_lowercase)]
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "?", *letters]))
    names: dict[str, Any] = {}
    exec(QUESTION, names)
    (answer,) = names["result"]
    assert set(answer) == {"answer", "score"}
    assert answer["answer"]
