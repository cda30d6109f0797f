"""The image-classification task on a tiny random ViT."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from auricle import pipeline
from auricle.checkpoints.tensors import write_checkpoint
from auricle.errors import ImageFormatError, ImageTooLargeError, ImageURLError, OptionError, TaskError
from auricle.models.vit import ViT
from auricle.vision.sources import ImageLimits

LABELS = {str(number): f"bird {number}" for number in range(7)}
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)


def checkpoint(folder: Path, **changes: Any) -> Path:
    config = ViT.tiny()
    torch.manual_seed(0)
    model = ViT(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    stated = {name: value for name, value in vars(config).items() if value is not None}
    raw = {"architectures": ["ViTForImageClassification"], "model_type": "vit", **stated, "id2label": LABELS, **changes}
    write_checkpoint(folder, raw, model.state_dict())
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": 32}))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return checkpoint(tmp_path / "model")


@pytest.fixture
def classify(folder: Path) -> Any:
    return pipeline("image-classification", folder, limits=ImageLimits(allow_private_urls=True))


class Quiet(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path != "/loop":
            return super().do_GET()
        self.send_response(302)
        self.send_header("Location", "/loop")
        return self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of a folder with a picture and a page."""
    (tmp_path / "web").mkdir()
    Image.fromarray(PIXELS).save(tmp_path / "web" / "parrots.png")
    (tmp_path / "web" / "page.png").write_text("<!doctype html><html></html>")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "web")))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_five_labels_the_best_first(classify: Any) -> None:
    found = classify(PIXELS)
    assert len(found) == 5
    scores = [one["score"] for one in found]
    assert scores == sorted(scores, reverse=True)
    assert all(set(one) == {"label", "score"} and one["label"].startswith("bird ") for one in found)
    assert sum(one["score"] for one in classify(PIXELS, top_k=100)) == pytest.approx(1)


def test_lists_generators_and_rows(classify: Any) -> None:
    images = [PIXELS, PIXELS[:20], PIXELS[::-1]]
    singles = [classify(one) for one in images]
    for found in (classify(images), classify(images, batch_size=1), list(classify(one for one in images))):
        for one, expected in zip(found, singles, strict=True):
            assert [item["label"] for item in one] == [item["label"] for item in expected]
            assert [item["score"] for item in one] == pytest.approx([item["score"] for item in expected], abs=1e-6)
    assert classify({"image": Image.fromarray(PIXELS), "label": 3}) == singles[0]
    assert classify(images=PIXELS) == singles[0]


@pytest.mark.parametrize(
    ("changes", "total"),
    [({"problem_type": "single_label_classification"}, 1.0), ({"problem_type": "multi_label_classification"}, None)],
)
def test_the_function_is_the_checkpoints(changes: dict[str, Any], total: float | None, tmp_path: Path) -> None:
    pipe = pipeline("image-classification", checkpoint(tmp_path, **changes))
    found = pipe(PIXELS, top_k=None)
    logits = {one["label"]: one["score"] for one in pipe(PIXELS, top_k=None, function_to_apply="none")}
    if total is not None:
        assert sum(one["score"] for one in found) == pytest.approx(total)
    else:
        for one in found:
            assert one["score"] == pytest.approx(float(torch.sigmoid(torch.tensor(logits[one["label"]]))))


def test_regression_gives_the_number_itself(tmp_path: Path) -> None:
    pipe = pipeline("image-classification", checkpoint(tmp_path, problem_type="regression"))
    assert pipe(PIXELS) == pipe(PIXELS, function_to_apply="NONE")


def test_a_broken_image_is_one_item(classify: Any) -> None:
    found = classify([PIXELS, b"no picture", PIXELS], on_error="return")
    assert found[0] == found[2]
    assert found[1]["error_type"] == "ImageFormatError"
    with pytest.raises(ImageFormatError, match="no image that can be decoded"):
        classify([PIXELS, b"no picture"])


def test_urls(classify: Any, folder: Path, served: str) -> None:
    expected = classify(PIXELS)
    assert classify(f"{served}/parrots.png") == expected
    assert classify({"path": f"{served}/parrots.png", "bytes": None}) == expected
    with pytest.raises(ImageURLError, match=r"answered 404.*200 with an image"):
        classify(f"{served}/nothing.png")
    with pytest.raises(ImageURLError, match=r"web page \(HTML\), not to an image"):
        classify(f"{served}/page.png")
    small = pipeline("image-classification", folder, limits=ImageLimits(allow_private_urls=True, max_bytes=100))
    with pytest.raises(ImageTooLargeError, match=r"ImageLimits\.max_bytes"):
        small(f"{served}/parrots.png")
    with pytest.raises(ImageURLError, match=r"private or reserved address.*ImageLimits\(allow_private_urls=True\)$"):
        pipeline("image-classification", folder)(f"{served}/parrots.png")
    with pytest.raises(ImageURLError, match=r"redirects more than 5 times; give the image's own address$"):
        classify(f"{served}/loop")


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"top_k": 0}, "top_k is 0"),
        ({"function_to_apply": "softmx"}, "did you mean 'softmax'"),
        ({"timeout": -1}, "timeout is -1"),
        ({"topk": 3}, "did you mean 'top_k'"),
    ],
)
def test_parameters_are_checked(parameters: dict[str, Any], words: str, classify: Any) -> None:
    with pytest.raises(OptionError, match=words):
        classify(PIXELS, **parameters)


def test_other_engines_and_models_are_refused(folder: Path) -> None:
    with pytest.raises(OptionError, match=r"engine='cuda' does not run .*, which sees"):
        pipeline("image-classification", folder, engine="cuda")
    with pytest.raises(TaskError, match="classifies no images"):
        pipeline("image-classification", "bundled")


def test_a_model_of_grey_pictures_is_refused(tmp_path: Path) -> None:
    config = ViT.tiny(num_channels=1)
    stated = {name: value for name, value in vars(config).items() if value is not None}
    raw = {"architectures": ["ViTForImageClassification"], "model_type": "vit", **stated}
    write_checkpoint(tmp_path, raw, ViT(config).state_dict())
    (tmp_path / "preprocessor_config.json").write_text('{"size": 32}')
    with pytest.raises(TaskError, match="sees 1 channels"):
        pipeline("image-classification", tmp_path)


def test_runs_in_bfloat16(folder: Path) -> None:
    found = pipeline(model=folder, dtype=torch.bfloat16)(PIXELS)
    assert sum(one["score"] for one in found) <= 1.01
