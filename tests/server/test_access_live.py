"""Tokens and rates as people meet them: a live server, curl, and the Hub's clients."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from huggingface_hub import HfApi, InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.typing import Origin

from auricle.server.access import TokenStore
from auricle.server.app import create_app
from auricle.server.registry import Registry
from auricle.server.settings import Settings

DEADLINE_S = 30.0
Start = Callable[..., str]

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@contextmanager
def running(settings: Settings) -> Iterator[str]:
    """Serve on a free port; give the address."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(create_app(Registry(settings), settings), log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        end = time.monotonic() + DEADLINE_S
        while not server.started and thread.is_alive() and time.monotonic() < end:
            time.sleep(0.01)
        assert server.started
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(DEADLINE_S)
        listener.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as servers:

        def make(**chosen: Any) -> str:
            return servers.enter_context(running(Settings(data_dir=tmp_path, **chosen)))

        yield make


@pytest.fixture
def store(tmp_path: Path) -> TokenStore:
    return TokenStore(tmp_path)


def curl(*arguments: str) -> str:
    """Return what curl prints, the headers first."""
    return subprocess.run(
        ["curl", "-sS", "-i", *arguments], capture_output=True, text=True, check=True, timeout=60
    ).stdout


def told(url: str, token: str) -> str:
    """Return what the Hub's inference client says of the server's refusal."""
    with pytest.raises(HfHubHTTPError) as caught:
        InferenceClient(model=url, token=token).automatic_speech_recognition(b"RIFF")
    return str(caught.value)


@needs_curl
def test_a_revoked_token_stops_a_running_server_at_once(start: Start, store: TokenStore) -> None:
    address = start(token_required=True)
    text, _ = store.create("laptop", ["infer"])
    header = f"Authorization: Bearer {text}"
    assert curl(f"{address}/api/models").startswith("HTTP/1.1 401")
    assert curl("-H", header, f"{address}/api/models").startswith("HTTP/1.1 200")
    command = [sys.executable, "-m", "auricle", "token", "revoke", "laptop", "--data-dir", str(store.path.parent)]
    subprocess.run(command, check=True, timeout=60, capture_output=True)
    answer = curl("-H", header, f"{address}/api/models")
    assert answer.startswith("HTTP/1.1 401")
    assert "the token 'laptop' was revoked at" in answer
    assert "x-error-code: token_revoked" in answer


def test_the_hub_s_client_shows_the_reason(start: Start, store: TokenStore) -> None:
    address = start(token_required=True)
    text, _ = store.create("laptop", ["infer"])
    assert HfApi(endpoint=address, token=text).whoami()["name"] == "laptop"
    unknown = told(f"{address}/models/a/b", text[:-3] + "xyz")
    assert "401" in unknown
    assert "invalid token" in unknown
    assert "malformed token" in told(f"{address}/models/a/b", "hf_xxx")
    forbidden = told(f"{address}/admin/models/a/b/load", text)
    assert "403 Forbidden" in forbidden
    assert "has the scope infer, and this takes manage" in forbidden


@needs_curl
def test_the_hub_s_client_shows_when_to_come_back(start: Start) -> None:
    address = start(rate_limit="1/minute")
    first = curl("-X", "POST", f"{address}/models/a/b")
    assert 'ratelimit: "api";r=0;t=60' in first
    limited = told(f"{address}/models/a/b", "hf_xxx")
    assert "you have reached your 'api' rate limit" in limited
    assert "(0/1 requests remaining in current 60s window)" in limited
    assert "Retry after " in limited
    assert "retry-after: " in curl("-X", "POST", f"{address}/models/a/b")


@needs_curl
def test_a_large_upload_without_a_token_is_told_why(start: Start, tmp_path: Path) -> None:
    address = start(token_required=True)
    file = tmp_path / "large.wav"
    with file.open("wb") as large:
        large.truncate(64 << 20)
    answer = curl("-H", "Expect:", "--data-binary", f"@{file}", f"{address}/models/a/b")
    assert answer.startswith("HTTP/1.1 401")
    assert "requires a token" in answer


def test_websockets_are_told_why(start: Start) -> None:
    address = start(token_required=True).replace("http", "ws", 1)

    async def attempt(origin: str | None) -> Exception:
        try:
            async with connect(f"{address}/live", origin=None if origin is None else Origin(origin)) as opened:
                await opened.recv()
        except (InvalidStatus, ConnectionClosedError) as error:
            return error
        raise AssertionError("the websocket was not refused")

    program, page = asyncio.run(attempt(None)), asyncio.run(attempt("http://localhost"))
    assert isinstance(program, InvalidStatus)
    assert program.response.status_code == 401
    assert b"requires a token" in program.response.body
    assert isinstance(page, ConnectionClosedError)
    assert page.rcvd is not None
    assert page.rcvd.code == 4401
    assert "requires a token" in page.rcvd.reason
