"""Texts of a given form, written by a random model: whatever the weights, they parse and fit."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from auricle import pipeline
from auricle.decoding.structured import Form, FormLibrary
from auricle.errors import MissingExtraError, OptionError

pytest.importorskip("llguidance", reason="texts of a given form need llguidance")
import jsonschema

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 0},
        "tags": {"type": "array", "items": {"enum": ["red", "green"]}},
        "home": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
    "required": ["name", "age", "home"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def write(tmp_path_factory: pytest.TempPathFactory, text_checkpoint: Path) -> Any:
    return pipeline("text-generation", text_checkpoint, engine="reference", device="cpu", max_new_tokens=120)


def asked(schema: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "form", "schema": schema}}}


@pytest.mark.parametrize("way", [{"do_sample": False}, *({"seed": seed, "temperature": 2.0} for seed in range(4))])
@pytest.mark.parametrize("limit", [80, 120])
def test_json_fits_its_schema_within_the_limit(write: Any, way: dict[str, Any], limit: int) -> None:
    writing = write.write("the quick", max_new_tokens=limit, **way, **asked(PERSON)).wait()
    jsonschema.validate(json.loads(writing.text), PERSON)
    assert writing.n_new <= limit


@pytest.mark.parametrize("seed", range(4))
def test_any_object_parses(write: Any, seed: int) -> None:
    text = write.write("the", seed=seed, max_new_tokens=60, response_format={"type": "json_object"}).wait().text
    assert isinstance(json.loads(text), dict)


def test_a_limit_too_low_for_the_form_ends_the_text_there(write: Any) -> None:
    writing = write.write("the", seed=1, max_new_tokens=5, **asked(PERSON)).wait()
    assert (writing.finish_reason, writing.n_new) == ("length", 5)


def test_an_expression_is_matched(write: Any) -> None:
    way = {"response_format": {"type": "regex", "value": "[0-9]{4}-[a-z]{2}"}}
    text = write.write("the", seed=1, **way).wait().text
    assert re.fullmatch("[0-9]{4}-[a-z]{2}", text)


def test_texts_of_a_list_and_several_of_a_prompt_are_followed_each_by_itself(write: Any) -> None:
    way = {**asked({"enum": ["left", "right", "upwards"]}), "num_return_sequences": 3, "seed": 2, "temperature": 3.0}
    found = write(["the", "a quick fox"], return_full_text=False, **way)
    texts = [one["generated_text"] for texts in found for one in texts]
    assert len(texts) == 6
    assert {json.loads(text) for text in texts} <= {"left", "right", "upwards"}
    assert write("the", return_full_text=False, **way) == found[0]


DEEP: dict[str, Any] = {"type": "integer"}
for _ in range(200):
    DEEP = {"type": "array", "items": DEEP}


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "foo"}}}, "cannot be enforced.*foo"),
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": {"not": {}}}}, "cannot be enforced.*not"),
        ({"type": "json_schema", "json_schema": {"name": "x"}}, "no schema"),
        ({"type": "json_schema", "json_schema": {"schema": [1]}}, "expected an object"),
        ({"type": "json_schema", "json_schema": {"schema": DEEP}}, "cannot be enforced: recursion limit exceeded"),
        ({"type": "regex", "value": "("}, "regular expression cannot be enforced"),
        ({"type": "regex"}, "expected a text"),
        ({"type": "xml"}, "response_format is"),
        ("json", "response_format is"),
    ],
)
def test_what_cannot_be_enforced_is_refused(write: Any, given: Any, why: str) -> None:
    with pytest.raises(OptionError, match=why):
        write.write("the", response_format=given)


def test_a_search_of_several_texts_is_refused(write: Any) -> None:
    with pytest.raises(OptionError, match="follows one text"):
        write.write("the", num_beams=2, do_sample=False, **asked(PERSON))


def test_without_the_library_the_refusal_names_what_to_install(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "llguidance", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'auricle\[structured\]'"):
        FormLibrary(write.tokenizer.as_json(), write.tokenizer.vocab_size, (2,))


def test_a_vocabulary_without_an_end_is_refused(write: Any) -> None:
    with pytest.raises(OptionError, match="no token that ends"):
        FormLibrary(write.tokenizer.as_json(), write.tokenizer.vocab_size, ())


def test_a_form_of_any_length_is_not_taken() -> None:
    with pytest.raises(OptionError, match="at most"):
        Form.of_regex("a" * 300_000)
