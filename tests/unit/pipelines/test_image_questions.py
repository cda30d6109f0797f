"""The visual-question-answering task: forms of input, broadcasting, parameters."""

from __future__ import annotations

import json
import string
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from auricle import pipeline
from auricle.checkpoints.tensors import write_checkpoint
from auricle.errors import ImageFormatError, OptionError, TaskError
from auricle.models.blip import Blip
from auricle.models.vilt import Vilt
from auricle.pipelines import KeyDataset

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "what", "is", "in", "the", "image", "?", "how", "many", "cats"]
WORDS += [*string.ascii_lowercase, *(f"##{letter}" for letter in string.ascii_lowercase)]
LABELS = {str(number): f"answer {number}" for number in range(7)}
FIRST, SECOND = (np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8) for seed in (0, 1))
WHAT, HOW = "What is in the image?", "How many cats?"


def save(folder: Path, model_class: Any, architecture: str, model_type: str, **extra: Any) -> Path:
    torch.manual_seed(0)
    model = model_class(model_class.tiny())
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    stated = {name: value for name, value in asdict(model.config).items() if value is not None}
    raw = {"architectures": [architecture], "model_type": model_type, **stated, **extra}
    write_checkpoint(folder, raw, model.state_dict())
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": 32, "size_divisor": 8 if extra else None}))
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    return folder


@pytest.fixture(scope="module")
def vilt(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = save(tmp_path_factory.mktemp("vilt"), Vilt, "ViltForQuestionAnswering", "vilt", id2label=LABELS)
    return pipeline("visual-question-answering", folder)


@pytest.fixture(scope="module")
def blip(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return pipeline(
        "visual-question-answering", save(tmp_path_factory.mktemp("blip"), Blip, "BlipForQuestionAnswering", "blip")
    )


@pytest.fixture(params=["vilt", "blip"])
def ask(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def same(found: Any, expected: Any) -> bool:
    """Whether answers are the same, and their scores but for the order of float32 sums."""
    if isinstance(found, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    return found["answer"] == expected["answer"] and found["score"] == pytest.approx(
        expected["score"], rel=1e-3, abs=1e-6
    )


def test_every_answer_has_a_score(ask: Any) -> None:
    answers = ask(image=FIRST, question=WHAT)
    assert answers
    for one in answers:
        assert set(one) == {"answer", "score"}
        assert isinstance(one["answer"], str)
        assert 0 <= one["score"] <= 1


def test_forms_of_one_question(ask: Any) -> None:
    expected = ask(image=FIRST, question=WHAT)
    assert ask(FIRST, WHAT) == expected
    assert ask({"image": FIRST, "question": WHAT}) == expected
    assert ask(inputs={"image": FIRST, "question": WHAT}) == expected
    assert ask([{"image": FIRST, "question": WHAT}]) == [expected]


def test_broadcasting(ask: Any) -> None:
    singles = [[ask(image, question) for question in (WHAT, HOW)] for image in (FIRST, SECOND)]
    assert same(ask(image=FIRST, question=[WHAT, HOW]), singles[0])
    assert same(ask(image=[FIRST, SECOND], question=HOW), [singles[0][1], singles[1][1]])
    assert same(ask(image=[FIRST, SECOND], question=[WHAT, HOW]), [*singles[0], *singles[1]])
    rows = [{"image": FIRST, "question": WHAT}, {"image": SECOND, "question": HOW}]
    assert same(ask(rows), [singles[0][0], singles[1][1]])
    assert same(list(ask(row for row in rows)), [singles[0][0], singles[1][1]])
    assert same(ask(KeyDataset(rows, "image"), WHAT), [singles[0][0], singles[1][0]])


def test_one_image_is_opened_once(blip: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    blip_open = blip.preprocessor
    monkeypatch.setattr(blip, "preprocessor", lambda picture: opened.append(1) or blip_open(picture))
    assert len(blip(FIRST, [WHAT, HOW, WHAT])) == 3
    assert len(opened) == 1


def test_top_k(vilt: Any, blip: Any) -> None:
    assert len(vilt(FIRST, WHAT)) == 5
    assert len(vilt(FIRST, WHAT, top_k=1)) == 1
    assert len(vilt(FIRST, WHAT, top_k=100)) == len(vilt(FIRST, WHAT, top_k=None)) == 7
    assert len(blip(FIRST, WHAT, top_k=3)) == 1


def test_parameters_of_writing(blip: Any, vilt: Any) -> None:
    one = blip(FIRST, WHAT, max_new_tokens=1)
    assert one == blip(FIRST, WHAT, generate_kwargs={"max_new_tokens": 1})
    assert len(one[0]["answer"]) < len(blip(FIRST, WHAT, min_new_tokens=8)[0]["answer"])
    with pytest.raises(OptionError, match="unknown parameter 'num_beams'"):
        vilt(FIRST, WHAT, num_beams=2)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"max_new_tokens": "a"}, "max_new_tokens is 'a'; expected a whole number"),
        ({"max_new_tokens": 2.5}, "max_new_tokens is 2.5; expected a whole number"),
        ({"num_beams": True}, "num_beams is True; expected a whole number"),
        ({"length_penalty": "x"}, "length_penalty is 'x'; expected a number"),
        ({"generate_kwargs": {"repetition_penalty": [1]}}, r"repetition_penalty is \[1\]; expected a number"),
        ({"early_stopping": 3}, "early_stopping is 3"),
    ],
)
def test_wrong_values_are_refused_by_their_names(blip: Any, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        blip(FIRST, WHAT, **parameters)


def test_half_a_character_is_refused(ask: Any) -> None:
    with pytest.raises(OptionError, match="half of a character"):
        ask(FIRST, "what is \ud800")


def test_a_long_question_is_refused_or_cut(ask: Any) -> None:
    long = "cats " * 70
    with pytest.raises(OptionError, match=r"72 tokens and the model reads 4\d.*truncation=True"):
        ask(FIRST, long)
    assert ask(FIRST, long, truncation=True)
    ids = ask.tokenizer.question(long, 40, True)
    assert len(ids) == 40
    assert ids[-1] == WORDS.index("[SEP]")


def test_what_is_no_question_is_refused(ask: Any) -> None:
    for inputs, words in (
        ((FIRST, ""), "question is ''"),
        ((FIRST, 7), "question is 7"),
        (({"image": FIRST},), "keys 'image' arrived"),
        ((FIRST,), "ndarray arrived"),
        ((), "give image and question"),
    ):
        with pytest.raises(OptionError, match=words):
            ask(*inputs)
    found = ask([{"image": b"x", "question": WHAT}, {"image": FIRST, "question": WHAT}], on_error="return")
    assert set(found[0]) == {"error", "error_type"}
    assert found[0]["error_type"] == "ImageFormatError"
    assert found[1] == ask(FIRST, WHAT)
    with pytest.raises(ImageFormatError):
        ask(image=b"x", question=[WHAT, HOW])


def test_other_models_are_refused() -> None:
    with pytest.raises(TaskError, match="answers no questions about images"):
        pipeline("visual-question-answering", "bundled")
