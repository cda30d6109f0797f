"""Images over HTTP: what comes back is the pipeline's, however the image was sent."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from auricle import pipeline

WHAT = "What is in the image?"
# One pixel wide: the model that it is for would see none.
NARROW = base64.b64encode(b"P5 1 4000 255\n" + bytes(4000)).decode()


@pytest.fixture
def ask(image_server: Any) -> Any:
    def post(path: str, **given: Any) -> httpx.Response:
        return httpx.post(f"{image_server.url}{path}", timeout=60, **given)

    return post


@pytest.fixture(scope="module")
def labels(image_checkpoints: dict[str, Path], picture: Path) -> Any:
    return pipeline("image-classification", image_checkpoints["vit"], device="cpu")(str(picture))


def same(found: Any, expected: Any) -> bool:
    return [{**one, "score": pytest.approx(one["score"], rel=1e-3, abs=1e-6)} for one in expected] == found


def encoded(picture: Path) -> str:
    return base64.b64encode(picture.read_bytes()).decode()


def test_an_image_is_classified_however_it_is_sent(ask: Any, picture: Path, labels: Any) -> None:
    data, b64 = picture.read_bytes(), encoded(picture)
    json_type = {"content-type": "application/json"}
    for given in (
        {"content": data},
        {"content": data, "headers": json_type},
        {"json": {"inputs": b64}},
        {"json": {"inputs": f"data:image/png;base64,{b64}"}},
        {"json": {"inputs": {"image": b64}}},
        {"files": {"file": ("noise.png", data, "image/png")}},
        {"files": {"image": ("noise.png", data, "image/png")}},
    ):
        response = ask("/models/org/vit", **given)
        assert response.status_code == 200, response.text
        assert same(response.json(), labels)
    assert response.headers["x-compute-images"] == "1"


def test_parameters_stand_in_the_body_or_in_the_query(ask: Any, picture: Path, labels: Any) -> None:
    way = {"top_k": 2, "function_to_apply": "sigmoid"}
    first = ask("/models/org/vit", json={"inputs": encoded(picture), "parameters": way}).json()
    assert first == ask("/models/org/vit", content=picture.read_bytes(), params=way).json()
    assert [one["label"] for one in first] == [one["label"] for one in labels[:2]]
    assert first[0]["score"] != labels[0]["score"]


def test_a_repeated_image_is_answered_from_the_cache(ask: Any, picture: Path) -> None:
    told = [ask("/models/org/vit", content=picture.read_bytes(), params={"top_k": 3}) for _ in range(2)]
    assert [one.headers["x-cache"] for one in told] == ["miss", "hit"]
    assert told[0].json() == told[1].json()
    again = ask("/models/org/vit", content=picture.read_bytes(), params={"top_k": 3}, headers={"x-use-cache": "0"})
    assert again.headers["x-cache"] == "bypass"


@pytest.mark.parametrize("kind", ["vilt", "blip"])
def test_a_question_is_answered_in_each_of_the_bodies_that_clients_send(
    ask: Any, picture: Path, image_checkpoints: dict[str, Path], kind: str
) -> None:
    b64, data = encoded(picture), picture.read_bytes()
    expected = pipeline("visual-question-answering", image_checkpoints[kind], device="cpu")(
        image=str(picture), question=WHAT
    )
    for given in (
        {"json": {"inputs": {"image": b64, "question": WHAT}}},
        {"json": {"image": b64, "question": WHAT}},
        {"json": {"inputs": b64, "parameters": {}, "question": WHAT, "image": b64}},
        {"json": {"inputs": b64, "question": WHAT}},
        {"content": data, "params": {"question": WHAT}},
        {"files": {"file": data}, "data": {"question": WHAT}},
        {"files": {"image": data}, "data": {"question": WHAT}},
    ):
        response = ask(f"/models/org/{kind}", **given)
        assert response.status_code == 200, response.text
        assert same(response.json(), expected)
    assert all(isinstance(one["score"], float) for one in response.json())


def test_fewer_answers(ask: Any, picture: Path) -> None:
    body = {"inputs": {"image": encoded(picture), "question": WHAT}, "parameters": {"top_k": 2}}
    assert len(ask("/models/org/vilt", json=body).json()) == 2


@pytest.mark.parametrize(
    ("path", "given", "status", "why"),
    [
        ("vit", {"content": b"no image at all"}, 400, ""),
        ("vit", {"json": {"inputs": "../etc/passwd"}}, 400, "base64"),
        ("vit", {"json": {"inputs": "/etc/passwd"}}, 400, "no image"),  # whose letters are all of base64
        ("vit", {"json": {"inputs": "a b!"}}, 400, "base64"),
        ("vit", {"json": {"inputs": {"image": "/etc/hosts"}}}, 400, ""),
        ("vit", {"json": {"inputs": ["x"]}}, 400, "one image"),
        ("vit", {"json": {}}, 400, "no 'inputs'"),
        ("vit", {"json": {"inputs": "https://example.com/a.png"}}, 400, "fetches none"),
        ("vilt", {"json": {"inputs": {"image": "aGk=", "question": ""}}}, 400, "the question"),
        ("vilt", {"content": b"\x89PNG\r\n\x1a\n"}, 400, "no question arrived"),
        ("vilt", {"json": {"inputs": {"image": NARROW, "question": "what"}}}, 400, "less narrow"),
        ("vilt", {"content": b'{"inputs": {"image": "aGk=", "question": "\\ud800"}}'}, 400, "half of a"),
        ("vit", {"content": b"\x89PNG\r\n\x1a\n broken and more of it"}, 400, ""),
    ],
)
def test_what_is_wrong_is_refused_and_no_path_is_told(ask: Any, path: str, given: Any, status: int, why: str) -> None:
    response = ask(f"/models/org/{path}", **given)
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert why in error
    assert "incoming" not in error


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ({"top_k": 0}, "top_k"),
        ({"function_to_apply": "max"}, "function_to_apply"),
        ({"topk": 2}, "did you mean 'top_k'"),
    ],
)
def test_parameters_are_checked(ask: Any, picture: Path, parameters: Any, why: str) -> None:
    response = ask("/models/org/vit", json={"inputs": encoded(picture), "parameters": parameters})
    assert response.status_code == 400
    assert why in response.json()["error"]


def test_the_task_of_the_path_must_be_the_models(ask: Any, picture: Path, recording: Path) -> None:
    assert ask("/pipeline/image-classification/org/vit", content=picture.read_bytes()).status_code == 200
    assert ask("/pipeline/text-generation/org/vit", content=picture.read_bytes()).status_code == 422
    sound = ask("/models/org/vit", content=recording.read_bytes())
    assert sound.status_code == 400


def test_the_catalogue_tells_the_tasks(image_server: Any) -> None:
    rows = httpx.get(f"{image_server.url}/v1/models", timeout=60).json()["data"]
    assert {row["id"]: row["task"] for row in rows} == {
        "org/vit": "image-classification",
        "org/vilt": "visual-question-answering",
        "org/blip": "visual-question-answering",
    }
    assert json.dumps(rows)
