"""Recordings that are classified, and models over the bridge, on the Inference API's routes, as its client asks."""

from __future__ import annotations

import base64
import importlib.util
import io
import wave
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import requests
import torch
from huggingface_hub import InferenceClient
from PIL import Image

from auricle.checkpoints.tensors import write_checkpoint
from auricle.models.speech_classifiers import Wav2Vec2Classifier

TESTS = Path(__file__).parents[1]
WORDS = "yes no up down left right on".split()
BRIDGED = {
    "fill": "masked_words",
    "classes": "classes",
    "entails": "entailment",
    "names": "names",
    "answers": "answers",
    "rewrites": "summaries",
    "vectors": "vectors",
    "speaks": "speech",
    "segments": "segments",
    "objects": "objects",
    "alike": "alike",
    "documents": "documents",
    "writes": "other_writer",
    "sounds": "sounds",
    "captions": "images_of_words",
    "hears": "heard_words",
}
PICTURE = io.BytesIO()
Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(PICTURE, "PNG")
PNG = PICTURE.getvalue()
TEXT = "the quick brown fox"


def _tiny_models() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tiny_models", TESTS / "tiny_models.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def keywords(folder: Path) -> Path:
    torch.manual_seed(0)
    config: Any = Wav2Vec2Classifier.tiny(id2label={str(place): word for place, word in enumerate(WORDS)})
    stated = {name: value for name, value in vars(config).items() if value is not None}
    raw = {"architectures": ["Wav2Vec2ForSequenceClassification"], "model_type": "wav2vec2", **stated}
    write_checkpoint(folder, raw, Wav2Vec2Classifier(config).state_dict())
    return folder


@pytest.fixture(scope="module")
def url(live_serving: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of all of them."""
    root, tiny = tmp_path_factory.mktemp("others"), _tiny_models()
    models = [f"org/spots={keywords(root / 'spots')}"]
    for name, maker in BRIDGED.items():
        getattr(tiny, maker)(root / name)
        models.append(f"org/{name}={root / name}")
    with live_serving(models=tuple(models), max_loaded=20, data_dir=root / "data") as server:
        yield server.url


@pytest.fixture
def client(url: str) -> Any:
    """Make huggingface_hub's client of a model."""
    return lambda name: InferenceClient(model=f"{url}/models/org/{name}")


def test_recordings_are_classified(client: Any, recording: Path) -> None:
    found = client("spots").audio_classification(str(recording))
    assert len(found) == 5
    assert found[0].label in WORDS
    assert client("spots").audio_classification(str(recording), top_k=2) == found[:2]


def test_recordings_are_classified_over_the_bridge(client: Any, recording: Path) -> None:
    assert {one.label for one in client("sounds").audio_classification(str(recording))} == {"dog", "rain"}


def test_speech_is_written_down_over_the_bridge(client: Any, recording: Path) -> None:
    assert isinstance(client("hears").automatic_speech_recognition(str(recording)).text, str)


def test_masked_words_are_filled(client: Any) -> None:
    found = client("fill").fill_mask("the quick [MASK] fox", top_k=2)
    assert [type(one.score) for one in found] == [float, float]
    assert found[0].sequence.startswith("the quick")


def test_texts_are_classified(client: Any) -> None:
    (one,) = client("classes").text_classification(TEXT)
    assert one.label in ("good", "bad", "neither")
    assert len(client("classes").text_classification(TEXT, top_k=3)) == 3


def test_labels_of_the_moment_are_chosen_among(client: Any) -> None:
    found = client("entails").zero_shot_classification(TEXT, ["fox", "dog"])
    assert {one.label for one in found} == {"fox", "dog"}
    assert sum(one.score for one in found) == pytest.approx(1)


def test_names_are_marked(client: Any) -> None:
    found = client("names").token_classification(TEXT, aggregation_strategy="simple")
    assert all(one.entity_group in ("PER", "LOC", "O") for one in found)


def test_questions_are_answered(client: Any) -> None:
    found = client("answers").question_answering(question="what is paris", context="paris is the capital")
    assert "paris is the capital"[found.start : found.end] == found.answer


def test_texts_are_summarized_and_translated(client: Any) -> None:
    summary = client("rewrites").summarization(TEXT, generate_parameters={"max_new_tokens": 5})
    assert isinstance(summary.summary_text, str)
    assert isinstance(client("rewrites").translation(TEXT).translation_text, str)


def test_vectors_and_likeness_of_texts(client: Any) -> None:
    assert client("vectors").feature_extraction(TEXT).shape == (1, 6, 16)
    same, other = client("vectors").sentence_similarity(TEXT, [TEXT, "paris"])
    assert same == pytest.approx(1)
    assert other < same


def test_speech_comes_as_a_wav(client: Any, url: str) -> None:
    sound = client("speaks").text_to_speech(TEXT)
    with wave.open(io.BytesIO(sound)) as file:
        assert file.getframerate() == 16000
        assert file.getnframes() > 10
    answer = requests.post(f"{url}/models/org/speaks", json={"inputs": TEXT}, timeout=60)
    assert answer.headers["content-type"] == "audio/wav"
    assert answer.headers["x-compute-type"] == "cpu"


def test_images_are_segmented_and_searched(client: Any) -> None:
    found = client("segments").image_segmentation(PNG)
    assert found[0].mask.size == (64, 48)
    boxes = client("objects").object_detection(PNG, threshold=0.0)
    assert {"xmin", "ymin", "xmax", "ymax"} <= set(vars(boxes[0].box))
    labels = client("alike").zero_shot_image_classification(PNG, candidate_labels=["fox", "dog"])
    assert {one.label for one in labels} == {"fox", "dog"}


def test_documents_are_asked(client: Any) -> None:
    boxes = [["the", [1, 2, 30, 40]], ["fox", [40, 2, 80, 40]]]
    (found,) = client("documents").document_question_answering(PNG, "what is", word_boxes=boxes)
    assert isinstance(found.answer, str)


def test_images_and_texts_are_read_together(url: str) -> None:
    inputs = {"images": base64.b64encode(PNG).decode(), "text": "what is in"}
    body = {"inputs": inputs, "parameters": {"max_new_tokens": 3}}
    answer = requests.post(f"{url}/models/org/captions", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.json()[0]["generated_text"].startswith("what is in")


def test_images_alone_are_told_in_words(client: Any) -> None:
    assert isinstance(client("captions").image_to_text(PNG).generated_text, str)


def test_writers_of_other_families_write(url: str) -> None:
    body = {"inputs": TEXT, "parameters": {"max_new_tokens": 3, "do_sample": False}}
    answer = requests.post(f"{url}/models/org/writes", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.json()[0]["generated_text"].startswith(TEXT)


def test_several_texts_have_the_results_that_each_has(url: str) -> None:
    texts = {
        "fill": ["the quick [MASK] fox", "the [MASK]"],
        "classes": [TEXT, "paris"],
        "rewrites": [TEXT, "paris"],
        "writes": [TEXT, "fox"],
        "vectors": [TEXT, "paris"],
    }

    def post(name: str, inputs: Any) -> requests.Response:
        return requests.post(f"{url}/models/org/{name}", json={"inputs": inputs}, timeout=60)

    for name, inputs in texts.items():
        given, singles = post(name, inputs), [post(name, one) for one in inputs]
        assert given.status_code == 200, given.text
        assert len(given.json()) == 2
        if name in ("fill", "vectors"):
            assert given.json() == [one.json() for one in singles]
        if name == "classes":
            assert given.json() == [one.json()[0] for one in singles]
    speech = post("speaks", [TEXT, TEXT])
    assert (speech.status_code, "give one text" in speech.json()["error"]) == (400, True)


def test_routes_and_streams_of_native_models_are_refused_for_others(url: str) -> None:
    for path in ("generate", "generate_stream"):
        answer = requests.post(f"{url}/models/org/writes/{path}", json={"inputs": TEXT}, timeout=60)
        assert answer.status_code == 422, answer.text
        assert "is run by transformers: ask it at POST /models/org/writes" in answer.json()["error"]
    streamed = requests.post(f"{url}/models/org/writes", json={"inputs": TEXT, "stream": True}, timeout=60)
    assert (streamed.status_code, "leave stream out" in streamed.json()["error"]) == (400, True)
    way = {"max_new_tokens": 3, "do_sample": False}
    plain = requests.post(f"{url}/models/org/writes", json={"inputs": TEXT, "parameters": way}, timeout=60).json()
    found = InferenceClient(model=f"{url}/models/org/writes").text_generation(TEXT, **way)
    assert found == plain[0]["generated_text"]


def test_a_task_in_the_path_is_checked(url: str) -> None:
    good = requests.post(f"{url}/pipeline/text-to-speech/org/speaks", json={"inputs": TEXT}, timeout=60)
    assert good.status_code == 200, good.text
    wrong = requests.post(f"{url}/pipeline/fill-mask/org/speaks", json={"inputs": TEXT}, timeout=60)
    assert wrong.status_code == 422
    assert "does text-to-audio, not fill-mask" in wrong.json()["error"]


@pytest.mark.parametrize(
    ("name", "body", "status", "told"),
    [
        ("fill", {"inputs": "the [MASK]", "parameters": {"topk": 2}}, 400, "did you mean 'top_k'"),
        ("fill", {"inputs": "no mask"}, 400, "transformers could not do fill-mask"),
        ("fill", {"inputs": 3}, 400, "'inputs' is"),
        ("spots", {"inputs": "AAAA"}, 400, ""),
        ("spots", {"inputs": {"path": "/etc/hostname"}}, 400, "expected bytes in base64"),
        ("captions", {"inputs": {"images": "/etc/hostname", "text": "what"}}, 400, "no base64"),
        ("objects", {"inputs": "L2V0Yy9ob3N0bmFtZQ=="}, 400, "no image that can be decoded"),
        (
            "documents",
            {"inputs": {}, "parameters": {"tesseract_config": "x"}},
            400,
            "not taken over HTTP",
        ),
        ("rewrites", {"inputs": TEXT, "parameters": {"num_beams": 999}}, 400, "at most 16"),
    ],
)
def test_what_cannot_be_done_is_told(url: str, name: str, body: dict[str, Any], status: int, told: str) -> None:
    answer = requests.post(f"{url}/models/org/{name}", json=body, timeout=60)
    assert answer.status_code == status, answer.text
    assert told in answer.json()["error"]
    assert "/incoming/" not in answer.text


def test_what_stands_in_the_wrong_place_is_told(url: str) -> None:
    body = {"inputs": "the quick [MASK] fox", "top_k": 2}
    answer = requests.post(f"{url}/models/org/fill", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    assert "'top_k' beside 'inputs' is not used" in answer.headers["x-hf-warning"]


def test_the_catalogue_says_who_runs_a_model(url: str) -> None:
    told = requests.get(f"{url}/models/org/fill/info", timeout=60).json()
    assert told["model_pipeline_tag"] == "fill-mask"
    chat = requests.post(
        f"{url}/v1/chat/completions",
        json={"model": "org/writes", "messages": [{"role": "user", "content": "the"}]},
        timeout=60,
    )
    assert chat.status_code == 422
    assert "/models/org/writes" in chat.json()["error"]["message"]
