"""Operation within the whole server: a transcript in the metrics and the log, tokens, models, and the end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from auricle.server.access import TokenStore

DEADLINE_S = 60
JSON_LINE = re.compile(r"^\{.*\}$", re.MULTILINE)


def value(text: str, name: str, **labels: str) -> float:
    """Return a value of the metrics; 0 if it is not there yet."""
    wanted = {f'{key}="{what}"' for key, what in labels.items()}
    for line in text.splitlines():
        head, _, number = line.rpartition(" ")
        if head.partition("{")[0] == name and wanted <= set(re.findall(r'\w+="[^"]*"', head)):
            return float(number)
    return 0.0


def test_transcripts_are_measured(start_server, recording: Path) -> None:
    server = start_server(models=("bundled",))
    for expected in (0.0, 1.0):  # computed, then from the cache
        reply = httpx.post(f"{server.url}/models/bundled", content=recording.read_bytes(), timeout=DEADLINE_S)
        assert reply.status_code == 200
        assert reply.headers["x-request-id"]
        text = httpx.get(f"{server.url}/metrics").text
        assert value(text, "auricle_cache_hits_total") == expected
    named = {"model": "bundled"}
    assert 10 < value(text, "auricle_audio_seconds_total", cached="false", **named) < 12
    assert 10 < value(text, "auricle_audio_seconds_total", cached="true", **named) < 12
    assert value(text, "auricle_real_time_factor_count", **named) == 1
    assert value(text, "auricle_batch_size_count", **named) >= 1
    assert value(text, "auricle_model_load_seconds_count", **named) == 1
    assert value(text, "auricle_model_state", state="ready", **named) == 1
    assert value(text, "auricle_http_requests_total", method="POST", status="200") == 2
    assert "auricle_jobs{" in text
    assert "auricle_live_streams" in text


def test_refusals_have_ids_and_are_counted(start_server) -> None:
    server = start_server(token_required=True)
    store = TokenStore(server.services.settings.data_dir)
    manager, user = (store.create(name, {name})[0] for name in ("manage", "infer"))

    def ask(method: str, path: str, token: str | None = None) -> httpx.Response:
        headers = {"x-request-id": "mine", **({"authorization": f"Bearer {token}"} if token else {})}
        return httpx.request(method, f"{server.url}{path}", headers=headers, timeout=DEADLINE_S)

    assert [ask("GET", path).status_code for path in ("/health", "/ready")] == [200, 200]
    for path in ("/metrics", "/admin/models", "/api/models", "/bundled/resolve/main/config.json"):
        reply = ask("GET", path)
        assert (reply.status_code, reply.headers["x-request-id"]) == (401, "mine"), path
    assert ask("POST", "/admin/models/bundled/load", user).status_code == 403
    assert ask("POST", "/admin/models/bundled/load", manager).json()["state"] in ("ready", "loading")
    text = ask("GET", "/metrics", user).text
    assert value(text, "auricle_http_requests_total", route="none", status="401") == 4


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
def test_the_process_logs_json_finishes_what_it_accepted_and_ends(tmp_path: Path, recording: Path) -> None:
    command = [sys.executable, "-m", "auricle", "serve", "--port", "0", "--log-format", "json", "--preload"]
    environment = {**os.environ, "AURICLE_DATA_DIR": str(tmp_path / "data"), "OMP_NUM_THREADS": "1"}
    log = tmp_path / "log"
    with log.open("w") as stderr, subprocess.Popen(command, env=environment, stderr=stderr) as process:
        try:
            url = wait_for_address(log)
            wait_until_ready(url)
            reply = httpx.post(
                f"{url}/models/bundled?return_timestamps=word", content=recording.read_bytes(), timeout=DEADLINE_S
            )
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE_S) in (0, -signal.SIGTERM)  # uvicorn ends by the signal that it was sent
        finally:
            process.kill()
    rows: list[dict[str, Any]] = [json.loads(line) for line in JSON_LINE.findall(log.read_text())]
    (row,) = [row for row in rows if row["message"] == "request" and row["method"] == "POST"]
    assert row["request_id"] == reply.headers["x-request-id"]
    assert (reply.status_code, row["model"]) == (200, "bundled")
    assert 10 < row["audio_s"] < 12
    assert row["bytes_in"] == recording.stat().st_size
    said = log.read_text()
    assert "return_timestamps" not in said
    assert reply.json()["text"] not in said


def wait_for_address(log: Path) -> str:
    """Return where the server says that it listens."""
    deadline = time.monotonic() + DEADLINE_S
    while not (found := re.search(r"running on (http://[\d.]+:\d+)", log.read_text())):
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    return found[1]


def wait_until_ready(url: str) -> None:
    """Ask as an orchestrator does."""
    deadline = time.monotonic() + DEADLINE_S
    while httpx.get(f"{url}/ready").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
