"""The Hub's own clients, for Python and JavaScript, before models that write and see."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import ValidationError

NAME = "org/writer"
CLIENTS = Path(__file__).parents[1] / "clients"
CHAT = [{"role": "user", "content": "the quick"}]
WHAT = "what is in the image?"


@pytest.fixture(scope="module")
def seeing(
    image_checkpoints: dict[str, Path], live_serving: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """A server of models that see."""
    models = tuple(f"org/{kind}={folder}" for kind, folder in image_checkpoints.items())
    with live_serving(models=models, data_dir=tmp_path_factory.mktemp("seeing"), device="cpu", max_loaded=3) as server:
        yield server


@pytest.fixture
def hub(text_server: Any) -> InferenceClient:
    return InferenceClient(f"{text_server.url}/models/{NAME}")


def test_text_generation_with_and_without_details(hub: InferenceClient, write: Any) -> None:
    way = {"max_new_tokens": 8, "seed": 1}
    (expected,) = write("the quick", **way)
    assert hub.text_generation("the quick", **way) == expected["generated_text"]
    found = hub.text_generation("the quick", details=True, return_full_text=False, **way)
    assert found.details.generated_tokens == len(found.details.tokens) == 8
    assert found.details.finish_reason == "length"


def test_text_generation_as_a_stream(hub: InferenceClient, write: Any) -> None:
    way = {"max_new_tokens": 8, "seed": 1}
    (expected,) = write("the quick", return_full_text=False, **way)
    assert "".join(hub.text_generation("the quick", stream=True, **way)) == expected["generated_text"]
    *_, last = hub.text_generation("the quick", stream=True, details=True, return_full_text=False, **way)
    assert last.generated_text == expected["generated_text"]
    assert last.details.generated_tokens == 8


def test_text_generation_tells_a_prompt_without_room_by_its_own_error(hub: InferenceClient) -> None:
    with pytest.raises(ValidationError, match="maximum context length"):
        hub.text_generation("quick " * 600)


def test_text_generation_by_a_grammar(hub: InferenceClient) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    grammar: Any = {"type": "json", "value": schema}
    found = hub.text_generation("the", grammar=grammar, max_new_tokens=40, return_full_text=False)
    assert isinstance(json.loads(found)["n"], int)


def test_chats_whole_and_as_a_stream(hub: InferenceClient, write: Any) -> None:
    (expected,) = write(CHAT, max_new_tokens=8, seed=1)
    found = hub.chat_completion(CHAT, max_tokens=8, seed=1)
    assert found.choices[0].message.content == expected["generated_text"][-1]["content"]
    chunks = hub.chat_completion(CHAT, max_tokens=8, seed=1, stream=True)
    assert "".join(one.choices[0].delta.content or "" for one in chunks) == found.choices[0].message.content


def test_images_and_questions(seeing: Any, picture: Path) -> None:
    labels = InferenceClient().image_classification(picture, model=f"{seeing.url}/models/org/vit", top_k=3)
    assert len(labels) == 3
    assert labels[0].score >= labels[1].score >= labels[2].score
    answers = InferenceClient().visual_question_answering(picture, WHAT, model=f"{seeing.url}/models/org/vilt", top_k=2)
    assert len(answers) == 2
    (written,) = InferenceClient().visual_question_answering(picture, WHAT, model=f"{seeing.url}/models/org/blip")
    assert isinstance(written.score, float)


@pytest.fixture(scope="module")
def node_folder() -> Path:
    """The folder in which tests of the other tasks have put both versions of @huggingface/inference."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("node and npm are not installed here")
    manifest = (CLIENTS / "package.json").read_text()
    folder = Path(tempfile.gettempdir()) / "auricle-test-clients" / hashlib.sha256(manifest.encode()).hexdigest()[:16]
    if not folder.is_dir():
        new = Path(tempfile.mkdtemp())
        (new / "package.json").write_text(manifest)
        install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(install, capture_output=True, text=True, timeout=300, cwd=new, check=False)
        if done.returncode:
            pytest.skip(f"the clients cannot be installed here: {done.stderr.strip()[-200:]}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(new, folder)
    return folder


@pytest.mark.parametrize("client", ["inference-new", "inference-old"])
def test_the_client_for_javascript(
    node_folder: Path, text_server: Any, seeing: Any, picture: Path, write: Any, client: str
) -> None:
    script = node_folder / "texts.mjs"
    script.write_text((CLIENTS / "texts.mjs").read_text())
    given = {
        "writer": f"{text_server.url}/models/{NAME}",
        "classifier": f"{seeing.url}/models/org/vit",
        "asker": f"{seeing.url}/models/org/blip",
        "image": str(picture),
    }
    done = subprocess.run(
        ["node", str(script), client, json.dumps(given)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    (chat,) = write(CHAT, max_new_tokens=8, seed=1)
    assert told["chat"] == "".join(told["chunks"]) == chat["generated_text"][-1]["content"]
    # The new one asks /v1/completions, and yields what comes from there.
    (text,) = write("the quick", max_new_tokens=8, seed=1, return_full_text=client == "inference-old")
    assert told["text"] == text["generated_text"]
    pieces = [one["token"]["text"] if "token" in one else one["choices"][0]["text"] for one in told["tokens"]]
    assert text["generated_text"].endswith("".join(pieces))
    assert "".join(pieces).strip()
    assert told["labels"][0]["label"].startswith("label")
    assert isinstance(told["answer"]["score"], float)


OPENAI = r"""
import OpenAI from "openai";
const [baseURL, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user", content: "the quick" }];
const asked = { model, messages, max_tokens: 40, seed: 1 };
const told = { chunks: [] };
told.text = (await client.chat.completions.create(asked)).choices[0].message.content;
for await (const chunk of await client.chat.completions.create({ ...asked, stream: true }))
  told.chunks.push(chunk.choices[0].delta.content ?? "");
const properties = { n: { type: "integer" } };
const parameters = { type: "object", properties, required: ["n"], additionalProperties: false };
const tools = [{ type: "function", function: { name: "count", parameters } }];
const runner = client.chat.completions.stream({ ...asked, tools, tool_choice: "required", max_tokens: 80 });
told.call = (await runner.finalChatCompletion()).choices[0].message.tool_calls[0].function;
const response_format = { type: "json_schema", json_schema: { name: "counted", strict: true, schema: parameters } };
const parsed = await client.chat.completions.parse({ ...asked, response_format });
told.parsed = JSON.parse(parsed.choices[0].message.content);
const completion = await client.completions.create({ model, prompt: "the quick", max_tokens: 4 });
told.completion = completion.usage.completion_tokens;
try {
  await client.chat.completions.create({ ...asked, temperature: -1 });
} catch (error) {
  told.error = { status: error.status, param: error.param, isBad: error instanceof OpenAI.BadRequestError };
}
console.log(JSON.stringify(told));
"""


def test_openais_client_for_javascript(text_server: Any, write: Any, tmp_path: Path) -> None:
    given = os.environ.get("AURICLE_NODE_MODULES")
    if shutil.which("node") is None or (given is None and shutil.which("npm") is None):
        pytest.skip("node or npm is not installed")
    if given is not None:
        (tmp_path / "node_modules").symlink_to(Path(given) / "node_modules")
    else:
        install = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", "openai"]
        done = subprocess.run(install, cwd=tmp_path, capture_output=True, text=True, timeout=180, check=False)
        if done.returncode:
            pytest.skip(f"npm cannot install openai: {done.stderr.strip()[-200:]}")
    (tmp_path / "chat.mjs").write_text(OPENAI)
    done = subprocess.run(
        ["node", "chat.mjs", f"{text_server.url}/v1", NAME],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    (expected,) = write(CHAT, max_new_tokens=40, seed=1)
    assert told["text"] == "".join(told["chunks"]) == expected["generated_text"][-1]["content"]
    assert told["call"]["name"] == "count"
    assert isinstance(json.loads(told["call"]["arguments"])["n"], int)
    assert isinstance(told["parsed"]["n"], int)
    assert told["completion"] == 4
    assert told["error"] == {"status": 400, "param": "temperature", "isBad": True}
