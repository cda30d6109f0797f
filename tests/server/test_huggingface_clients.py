"""The clients that people have, against a live server: curl, requests, huggingface_hub and @huggingface/inference.

Older versions are installed into a folder of the system's temporary one, once; without a network they are skipped.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from auricle.pipelines import pipeline
from auricle.server.access.tokens import TokenStore

CLIENTS = Path(__file__).parent / "clients"
HOSTED = "https://api-inference.huggingface.co"
LONG_S = 120.0
HUBS = ("installed", "0.36.2", "0.23.5")
NODES = ("inference-new", "inference-old")
MODELS = ("openai/whisper-large-v3=bundled", "facebook/wav2vec2-base-960h=bundled")


@pytest.fixture(scope="module")
def listen() -> Any:
    return pipeline("automatic-speech-recognition", "bundled")


@pytest.fixture(scope="module")
def text(listen: Any, recording: Path) -> str:
    """What the pipeline says without any server."""
    return str(listen(str(recording))["text"])


def installed(what: str, install: Callable[[Path], list[str]]) -> Path:
    """Return a folder that a command has filled, now or in an earlier run; skip the test where it cannot."""
    folder = Path(tempfile.gettempdir()) / "auricle-test-clients" / hashlib.sha256(what.encode()).hexdigest()[:16]
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(dir=folder.parent))
    done = subprocess.run(install(new), capture_output=True, text=True, timeout=LONG_S * 3, cwd=new)
    if done.returncode:
        shutil.rmtree(new)
        pytest.skip(f"{what} cannot be installed here: {done.stderr.strip()[-200:]}")
    try:
        new.rename(folder)
    except OSError:  # another run was faster
        shutil.rmtree(new)
    return folder


def hub_environment(version: str) -> dict[str, str]:
    """Return the environment in which a version of huggingface_hub is found."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    if version == "installed":
        return clean
    wanted = f"huggingface_hub=={version}"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wanted, "--target"]
    folder = installed(wanted, lambda new: [*command, str(new / "packages")])
    return {**clean, "PYTHONPATH": str(folder / "packages")}


def hub(version: str, call: str, url: str, environment: dict[str, str] | None = None, **given: Any) -> dict[str, Any]:
    """Make a call of a version of huggingface_hub in a process of its own."""
    done = subprocess.run(
        [sys.executable, str(CLIENTS / "hub.py"), json.dumps({"call": call, "url": url, **given})],
        capture_output=True,
        text=True,
        timeout=LONG_S,
        env={**hub_environment(version), **(environment or {})},
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert version in ("installed", told["version"])
    return told


@pytest.fixture(scope="module")
def node_folder() -> Path:
    """A folder with both versions of @huggingface/inference."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("node and npm are not installed here")
    manifest = (CLIENTS / "package.json").read_text()

    def install(new: Path) -> list[str]:
        (new / "package.json").write_text(manifest)
        return ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"]

    return installed(manifest, install)


def node(folder: Path, client: str, **given: Any) -> dict[str, Any]:
    """Run a version of @huggingface/inference."""
    script = folder / "inference.mjs"
    script.write_text((CLIENTS / "inference.mjs").read_text())
    done = subprocess.run(
        ["node", str(script), client, json.dumps(given)], capture_output=True, text=True, timeout=LONG_S
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


# The documents' own snippets


@pytest.fixture(scope="module")
def snippet_server(live_serving: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server under the names of the models that the documents ask for."""
    with live_serving(models=MODELS, data_dir=tmp_path_factory.mktemp("snippets")) as server:
        yield server.url


def snippet(name: str, url: str) -> str:
    """Return a document's snippet, with this server in place of the one that is gone."""
    written = (CLIENTS / "snippets" / name).read_text()
    assert HOSTED in written
    return written.replace(HOSTED, url)


def run(command: list[str], folder: Path, recording: Path) -> str:
    shutil.copy(recording, folder / "sample1.flac")
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONG_S, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_api_document_runs_with_curl(snippet_server: str, recording: Path, text: str, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed here")
    shown = run(["bash", "-c", snippet("inference_api.sh.txt", snippet_server)], tmp_path, recording)
    assert json.loads(shown) == {"text": text}


def test_the_api_document_runs_with_python(snippet_server: str, recording: Path, text: str, tmp_path: Path) -> None:
    program = snippet("inference_api.py.txt", snippet_server) + "\nimport json; print(json.dumps(output))"
    assert json.loads(run([sys.executable, "-c", program], tmp_path, recording)) == {"text": text}


def test_the_api_document_runs_with_javascript_and_one_comma_more(
    snippet_server: str, recording: Path, text: str, tmp_path: Path
) -> None:
    if shutil.which("node") is None:
        pytest.skip("node is not installed here")
    written = snippet("inference_api.js.txt", snippet_server)
    line = 'Authorization: "Bearer hf_***"\n'
    assert line in written
    program = 'const fs = require("fs");\n' + written.replace(line, line[:-1] + ",\n")
    assert json.loads(run(["node", "-e", program], tmp_path, recording)) == {"text": text}


def test_the_task_page_runs(snippet_server: str, recording: Path, text: str, tmp_path: Path) -> None:
    program = 'API_TOKEN = "hf_abc"\n' + snippet("task_page.py.txt", snippet_server) + "\nprint(json.dumps(data))"
    assert json.loads(run([sys.executable, "-c", program], tmp_path, recording)) == {"text": text}


def test_the_task_page_can_read_every_refusal(live_server: Any) -> None:
    # It reads the answer as JSON, whatever the status.
    for path, data in (
        ("/models/no/one", b"RIFF"),
        ("/models/bundled", b""),
        ("/nothing", b""),
        ("/pipeline/x/bundled", b"fLaC"),
    ):
        response = requests.request("POST", live_server.url + path, headers={"Authorization": "Bearer x"}, data=data)
        assert response.status_code >= 400
        assert isinstance(json.loads(response.content.decode("utf-8"))["error"], str)


def test_a_refusal_reaches_a_client_that_is_still_sending(live_server: Any) -> None:
    for _ in range(3):
        response = requests.post(f"{live_server.url}/models/no/one", data=bytes(30 << 20), timeout=LONG_S)
        assert response.status_code == 404
        assert "not served here" in response.json()["error"]


def test_curl_sends_files_in_every_way(live_server: Any, recording: Path, text: str) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed here")
    url = f"{live_server.url}/models/bundled"
    for arguments in (["--data-binary", f"@{recording}"], ["-T", str(recording), "-X", "POST"],
                      ["-F", f"file=@{recording}"], ["-F", f"inputs=@{recording};type=audio/flac"],
                      ["-H", "Transfer-Encoding: chunked", "--data-binary", f"@{recording}"],
                      ["-H", "Expect: 100-continue", "--data-binary", f"@{recording}"]):  # fmt: skip
        done = subprocess.run(["curl", "-s", url, *arguments], capture_output=True, text=True, timeout=LONG_S)
        assert json.loads(done.stdout) == {"text": text}, arguments


# huggingface_hub


@pytest.mark.parametrize("version", HUBS)
@pytest.mark.parametrize(
    ("path", "sent"), [("/models/bundled", "path"), ("/models/bundled", "bytes"), ("", "path"), ("/", "bytes"),
                       ("/hf-inference/models/bundled", "path")],
)  # fmt: skip
def test_huggingface_hub_hears(
    live_server: Any, recording: Path, text: str, version: str, path: str, sent: str
) -> None:
    told = hub(version, "asr", live_server.url + path, file=str(recording), **{"as": sent})
    assert told["result"] == {"text": text, "n_chunks": 0, "times": None}, told


def test_an_old_huggingface_hub_sends_open_files(live_server: Any, recording: Path, text: str) -> None:
    told = hub("0.23.5", "asr", f"{live_server.url}/models/bundled", file=str(recording), **{"as": "file"})
    assert told["result"]["text"] == text


@pytest.mark.parametrize("version", HUBS)
def test_huggingface_hub_reads_the_times(live_server: Any, recording: Path, text: str, version: str) -> None:
    call = "post" if version.startswith("0.23") else "asr"
    asked = {"return_timestamps": True, "generation_parameters": {"temperature": 0.3, "early_stopping": "never"}}
    told = hub(version, call, f"{live_server.url}/models/bundled", file=str(recording), extra=asked)
    assert told["result"]["text"] == text
    assert told["result"]["n_chunks"] == len(text.split())
    # The old one knows no `timestamp`, and calls `timestamps` an attribute.
    name = "timestamps" if version.startswith("0.23") else "timestamp"
    start, end = told["result"]["times"][name]
    assert 0 <= start < end < 11


@pytest.mark.parametrize("version", HUBS)
def test_huggingface_hub_shows_what_was_refused(
    live_server: Any, recording: Path, version: str, tmp_path: Path
) -> None:
    told = hub(version, "asr", f"{live_server.url}/models/no/one", file=str(recording))
    assert (told["status"], "no/one is not served here" in told["error"]) == (404, True), told
    words = tmp_path / "words.wav"
    words.write_text("no sound")
    told = hub(version, "asr", f"{live_server.url}/models/bundled", file=str(words))
    assert (told["status"], "holds no audio" in told["error"]) == (400, True), told
    told = hub(version, "asr", f"{live_server.url}/pipeline/text-generation/bundled", file=str(recording))
    assert (told["status"], "bundled does automatic-speech-recognition" in told["error"]) == (422, True), told


@pytest.mark.parametrize("version", HUBS)
def test_huggingface_hub_brings_its_token(start_server: Any, recording: Path, text: str, version: str) -> None:
    server = start_server(token_required=True)
    secret, _ = TokenStore(server.services.settings.data_dir).create("test", ["infer"])
    url = f"{server.url}/models/bundled"
    assert hub(version, "asr", url, file=str(recording), token=secret)["result"]["text"] == text
    told = hub(version, "asr", url, file=str(recording))
    assert (told["status"], "requires a token" in told["error"]) == (401, True), told


def test_huggingface_hub_asks_how_a_model_is(live_server: Any) -> None:
    url = f"{live_server.url}/models/bundled"
    assert hub("installed", "health_check", url)["result"] is True
    assert hub("installed", "health_check", live_server.url)["result"] is True
    assert hub("installed", "health_check", f"{live_server.url}/models/no/one")["result"] is False
    assert hub("installed", "get_endpoint_info", url)["result"]["model_id"] == "bundled"
    assert hub("installed", "get_endpoint_info", live_server.url)["result"]["model_id"] == "bundled"


def test_an_old_huggingface_hub_names_models_by_their_ids(live_server: Any, recording: Path, text: str) -> None:
    there = {"HF_INFERENCE_ENDPOINT": live_server.url}
    assert hub("0.23.5", "asr", "bundled", there, file=str(recording))["result"]["text"] == text
    status = hub("0.23.5", "get_model_status", "bundled", there)["result"]
    assert (status["loaded"], status["state"], status["compute_type"]) == (True, "Loaded", "cpu")


class SlowLoad:
    """Loads when it is told to."""

    def __init__(self, listen: Any) -> None:
        self.listen = listen
        self.may_end = threading.Event()

    def __call__(self, place: str, settings: Any) -> Any:
        assert self.may_end.wait(LONG_S)
        return self.listen


@pytest.fixture
def slow(listen: Any) -> Iterator[SlowLoad]:
    load = SlowLoad(listen)
    yield load
    load.may_end.set()


class Refusals:
    """Counts the 503 of a server."""

    def __init__(self, server: Any) -> None:
        self.n = 0
        self._estimate = server.services.registry.estimated_time
        server.services.registry.estimated_time = self

    def __call__(self, name: str) -> float:
        self.n += 1
        return float(self._estimate(name))


def test_an_old_huggingface_hub_comes_again_until_the_model_is_loaded(
    start_server: Any, slow: SlowLoad, recording: Path, text: str, until: Any
) -> None:
    hub_environment("0.23.5")
    server = start_server(slow, hold=0)
    refusals = Refusals(server)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(
            hub, "0.23.5", "asr", f"{server.url}/models/bundled", file=str(recording), timeout=LONG_S
        )
        until(lambda: refusals.n >= 1, "it is told that the model is loading")
        slow.may_end.set()
        assert waiting.result()["result"]["text"] == text


# @huggingface/inference


@pytest.mark.parametrize("client", NODES)
@pytest.mark.parametrize(
    "sent",
    [{"type": "audio/flac"}, {}, {"as": "buffer"}, {"as": "array buffer"}, {"token": "hf_abc"}, {"useCache": False}],
)
def test_javascript_hears(
    live_server: Any, node_folder: Path, recording: Path, text: str, client: str, sent: dict[str, Any]
) -> None:
    told = node(node_folder, client, url=f"{live_server.url}/models/bundled", file=str(recording), **sent)
    assert told == {"result": {"text": text}}


@pytest.mark.parametrize("client", NODES)
def test_javascript_asks_for_times_in_the_query(
    live_server: Any, node_folder: Path, recording: Path, text: str, client: str
) -> None:
    # It sends nothing but the bytes.
    url = f"{live_server.url}/models/bundled?return_timestamps=word"
    chunks = node(node_folder, client, url=url, file=str(recording))["result"]["chunks"]
    assert " ".join(chunk["text"] for chunk in chunks) == text
    assert all(chunk["timestamp"] == chunk["timestamps"] for chunk in chunks)


@pytest.mark.parametrize("client", NODES)
def test_javascript_shows_what_was_refused(live_server: Any, node_folder: Path, recording: Path, client: str) -> None:
    told = node(node_folder, client, url=f"{live_server.url}/models/no/one", file=str(recording))
    assert "no/one is not served here" in told["error"]
    told = node(node_folder, client, url=f"{live_server.url}/models/bundled?num_beamz=2", file=str(recording))
    assert "num_beams" in told["error"]


@pytest.mark.parametrize("client", NODES)
def test_javascript_that_comes_again_at_once_makes_no_storm(
    start_server: Any, node_folder: Path, slow: SlowLoad, recording: Path, text: str, client: str, until: Any
) -> None:
    # The new one asks again at once and for ever, the old one a second time with x-wait-for-model.
    server = start_server(slow, hold=0.5)
    refusals = Refusals(server)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(node, node_folder, client, url=f"{server.url}/models/bundled", file=str(recording))
        until(lambda: refusals.n >= (2 if client == "inference-new" else 1), "it is told that the model is loading")
        slow.may_end.set()
        assert waiting.result() == {"result": {"text": text}}
    assert refusals.n <= 4


@pytest.mark.parametrize("client", NODES)
def test_javascript_without_retries_is_told_that_the_model_is_loading(
    start_server: Any, node_folder: Path, slow: SlowLoad, recording: Path, client: str
) -> None:
    server = start_server(slow, hold=0)
    told = node(node_folder, client, url=f"{server.url}/models/bundled", file=str(recording), retry=False)
    assert "bundled is currently loading" in told["error"]
