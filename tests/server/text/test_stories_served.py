"""A trained Llama of 260 thousand parameters behind the server: its story, and forms in a SentencePiece vocabulary."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

PARITY = Path(__file__).parents[2] / "parity" / "test_stories.py"


@pytest.fixture(scope="module")
def stories(live_serving: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    """OpenAI's client of a server of the model, begun as `auricle serve --model FOLDER` does."""
    spec = importlib.util.spec_from_file_location("stories_parity", PARITY)
    assert spec is not None
    assert spec.loader is not None
    parity = importlib.util.module_from_spec(spec)
    sys.modules["stories_parity"] = parity
    spec.loader.exec_module(parity)
    if not parity.FILES.is_dir():
        pytest.skip("the trained Llama is not beside the repository (shared/weights/stories260K-llama)")
    folder = parity.checkpoint.__wrapped__(tmp_path_factory)
    with (
        live_serving(models=(str(folder),), data_dir=tmp_path_factory.mktemp("data"), device="cpu") as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=60) as client,
    ):
        yield client


def test_the_story_is_told(stories: openai.OpenAI) -> None:
    way: Any = {"model": "any", "temperature": 0, "max_tokens": 30}
    text = stories.completions.create(prompt="Once upon a time", **way).choices[0].text
    assert text.startswith(", there was a little girl named Lily")
    pieces = stories.completions.create(prompt="Once upon a time", stream=True, **way)
    assert "".join(one.choices[0].text for one in pieces) == text


def test_forms_hold_in_a_vocabulary_of_words_with_spaces(stories: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "likes": {"type": "array", "items": {"enum": ["cake", "rain"]}}},
        "required": ["name", "likes"],
        "additionalProperties": False,
    }
    form: Any = {"type": "json_schema", "json_schema": {"name": "girl", "schema": schema}}
    for seed in range(3):
        answer = stories.completions.create(
            model="any", prompt="Once upon a time", seed=seed, max_tokens=80, extra_body={"response_format": form}
        )
        found = json.loads(answer.choices[0].text)
        assert set(found) == {"name", "likes"}
        assert answer.choices[0].finish_reason == "stop"


def test_a_chat_is_refused_for_it_was_not_trained_to(stories: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="no chat template") as refused:
        stories.chat.completions.create(model="any", messages=[{"role": "user", "content": "Hello"}])
    assert refused.value.param == "messages"
