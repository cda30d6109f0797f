"""A live server of tiny random models that write, and OpenAI's client of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from auricle import pipeline

NAME = "org/writer"


@pytest.fixture(scope="module")
def text_server(live_serving: Any, tmp_path_factory: pytest.TempPathFactory, text_checkpoint: Path) -> Iterator[Any]:
    """A server of the tiny model; leave it as you found it."""
    folder = tmp_path_factory.mktemp("text-server")
    models = (f"{NAME}={text_checkpoint}", "bundled")
    with live_serving(models=models, data_dir=folder, engine="reference", device="cpu", max_new_tokens=300) as server:
        yield server


@pytest.fixture(scope="module")
def write(text_checkpoint: Path) -> Any:
    """The pipeline of the same model, without a server."""
    return pipeline("text-generation", text_checkpoint, engine="reference", device="cpu")


@pytest.fixture
def client(text_server: Any) -> Iterator[openai.OpenAI]:
    """OpenAI's client, which asks once."""
    with openai.OpenAI(base_url=f"{text_server.url}/v1", api_key="none", max_retries=0, timeout=120) as made:
        yield made
