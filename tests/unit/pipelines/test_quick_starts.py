"""The quick starts for text that people know run as they are written, with only the import changed."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

COMPLETION = """
from auricle import pipeline

pipeline = pipeline(task="text-generation", model="Qwen/Qwen2.5-1.5B")
result = pipeline("the secret to baking a really good cake is ")
"""
CHAT = """
import torch
from auricle import pipeline

chat = [
    {"role": "system", "content": "You are a sassy, wise-cracking robot as imagined by Hollywood circa 1986."},
    {"role": "user", "content": "Hey, can you tell me any fun things to do in New York?"}
]

pipeline = pipeline(task="text-generation", model="meta-llama/Meta-Llama-3-8B-Instruct", dtype=torch.bfloat16, device_map="auto")
response = pipeline(chat, max_new_tokens=512)
print(response[0]["generated_text"][-1]["content"])
"""  # noqa: E501


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, text_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the Hub that has a tiny checkpoint under the names of the quick starts, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    commit = "0123456789abcdef0123456789abcdef01234567"
    for name in ("Qwen/Qwen2.5-1.5B", "meta-llama/Meta-Llama-3-8B-Instruct"):
        storage = tmp_path / f"models--{name.replace('/', '--')}"
        (storage / "refs").mkdir(parents=True)
        (storage / "refs" / "main").write_text(commit)
        (storage / "snapshots").mkdir()
        (storage / "snapshots" / commit).symlink_to(text_checkpoint)


def run(snippet: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    exec(textwrap.dedent(snippet), found)
    return found


def test_a_prompt_is_written_on() -> None:
    result = run(COMPLETION)["result"]
    assert [list(one) for one in result] == [["generated_text"]]
    assert result[0]["generated_text"].startswith("the secret to baking a really good cake is ")


def test_a_chat_is_answered(capsys: pytest.CaptureFixture[str]) -> None:
    found = run(CHAT)
    assert found["response"][0]["generated_text"][:2] == found["chat"]
    assert capsys.readouterr().out == found["response"][0]["generated_text"][-1]["content"] + "\n"
