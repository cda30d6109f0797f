"""OpenAI's client for JavaScript, under node.

It is looked for where AURICLE_NODE_MODULES says, a folder with node_modules in it, and else installed by npm into a
temporary one, for which npm needs its registry.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from auricle.results import Transcript

pytestmark = pytest.mark.timeout(240)
SCRIPT = r"""
import fs from "node:fs";
import OpenAI, { toFile } from "openai";
const [baseURL, path, mode] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
const file = () => fs.createReadStream(path);
const told = {};
const create = (more) => client.audio.transcriptions.create({ file: file(), model: "whisper-1", ...more });
told.json = await create({});
told.verbose = await create({ response_format: "verbose_json", timestamp_granularities: ["word", "segment"] });
told.vtt = await create({ response_format: "vtt" });
const voice = { type: "server_vad", threshold: 0.45, silence_duration_ms: 400 };
told.chunked = (await create({ chunking_strategy: voice })).text;
told.events = [];
for await (const event of await create({ stream: true })) told.events.push(event);
told.models = (await client.models.list()).data.map(({ id }) => id);
try {
  await create({ response_format: "diarised_json" });
} catch (error) {
  const { status, param, message } = error;
  told.error = { status, param, message, isBad: error instanceof OpenAI.BadRequestError };
}
const bytes = await toFile(fs.readFileSync(path), "speech.flac");
told.bytes = (await client.audio.transcriptions.create({ file: bytes, model: "x", language: "en" })).text;
console.log(JSON.stringify(told));
"""


@pytest.fixture(scope="module")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which node finds OpenAI's client."""
    node, npm = shutil.which("node"), shutil.which("npm")
    given = os.environ.get("AURICLE_NODE_MODULES")
    if node is None or (npm is None and given is None):
        pytest.skip("node or npm is not installed")
    folder = tmp_path_factory.mktemp("node")
    if given is not None:
        (folder / "node_modules").symlink_to(Path(given) / "node_modules")
    else:
        asked = [str(npm), "install", "--no-audit", "--no-fund", "--loglevel=error", "openai"]
        done = subprocess.run(asked, cwd=folder, capture_output=True, text=True, timeout=180)
        if done.returncode != 0:
            pytest.skip(f"npm cannot install openai: {done.stderr.strip()[-200:]}")
    (folder / "calls.mjs").write_text(SCRIPT)
    return folder


def test_the_client_for_javascript_gets_what_the_one_for_python_does(
    node_folder: Path, live_server: Any, recording: Path, heard: Transcript
) -> None:
    asked = ["node", "calls.mjs", f"{live_server.url}/v1", str(recording)]
    done = subprocess.run(asked, cwd=node_folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["json"]["text"] == told["verbose"]["text"] == told["bytes"] == heard.text
    assert len(told["verbose"]["words"]) == len(heard.words)
    assert told["vtt"].startswith("WEBVTT")
    assert len(told["chunked"]) > 20
    pieces = [one["delta"] for one in told["events"] if one["type"] == "transcript.text.delta"]
    assert "".join(pieces) == told["events"][-1]["text"] == heard.text
    assert "bundled" in told["models"]
    assert told["error"]["isBad"]
    assert (told["error"]["status"], told["error"]["param"]) == (400, "response_format")
    assert "did you mean 'diarized_json'" in told["error"]["message"]
