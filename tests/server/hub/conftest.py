"""A live server of the Hub's routes, with a folder, a model of the Hub's cache and the bundled model."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from huggingface_hub import constants
from safetensors.numpy import save_file
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from auricle.server.errors import Refused, error_response
from auricle.server.registry import Registry
from auricle.server.routes.hub import router
from auricle.server.settings import Settings

CONFIG = {"architectures": ["Wav2Vec2ForCTC"], "model_type": "wav2vec2", "_name_or_path": "elsewhere"}
COMMIT = "c0ffee" * 6 + "abcd"


class Cut:
    """Ends the connection in the middle of a file, once for each name; notes the ranges that were asked for."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.after: dict[str, int] = {}  # file name: bytes after which its next download ends
        self.seen: list[tuple[str, str, str]] = []  # method, path, range

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        name = scope["path"].rsplit("/", 1)[-1]
        ranges = dict(scope["headers"]).get(b"range", b"").decode()
        self.seen.append((scope["method"], scope["path"], ranges))
        left = self.after.pop(name, None) if scope["method"] == "GET" else None

        async def send_part(message: Message) -> None:
            nonlocal left
            if left is not None and message["type"] == "http.response.body":
                left -= len(message["body"])
                if left <= 0:
                    raise ConnectionResetError("cut by the test")
            await send(message)

        await self.app(scope, receive, send_part)


@dataclass
class Live:
    """A running server."""

    url: str
    cut: Cut
    settings: Settings
    folder: Path  # of "org/tiny"
    contents: dict[str, bytes] = field(default_factory=dict)  # of "org/tiny", as they are to be shown


def write_checkpoint(folder: Path) -> dict[str, bytes]:
    """Write what a checkpoint shows, and beside it what nobody may see; returns the former."""
    (folder / "language_model").mkdir(parents=True)
    weights = np.random.default_rng(3).standard_normal((300, 1000)).astype(np.float32)
    save_file({"lm_head.weight": weights, "lm_head.bias": np.zeros(7, np.float16)}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "auricle.json").write_text(json.dumps({"summary": "a tiny one", "languages": ["en", "de"]}))
    (folder / "README.md").write_text("---\nlicense: mit\nlanguage: [en, de]\ndate: 2024-05-01\n---\n# Tiny\n")
    (folder / "language_model" / "unigrams.txt").write_text("a\nb\n")
    (folder / "with space.txt").write_text("a name that is escaped")
    shown = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    (folder / ".secret.json").write_text("{}")
    (folder / ".git").mkdir()
    (folder / ".git" / "config.json").write_text("{}")
    (folder / "training_args.bin").write_bytes(b"pickled")
    (folder / "notes.pdf").write_bytes(b"private")
    (folder / "link.json").symlink_to("/etc/hostname")
    (folder / "inside.json").symlink_to(folder / ".secret.json")
    return shown


def write_cached(cache: Path, name: str = "org/cached") -> Path:
    """Write a model as huggingface_hub keeps it; returns its snapshot."""
    storage = cache / f"models--{name.replace('/', '--')}"
    snapshot = storage / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (storage / "blobs").mkdir()
    save_file({"x": np.ones(5, np.float32)}, storage / "weights")
    weights = (storage / "weights").read_bytes()
    config = json.dumps(CONFIG).encode()
    blobs = {
        "config.json": (hashlib.sha1(b"blob %d\0" % len(config) + config).hexdigest(), config),
        "model.safetensors": (hashlib.sha256(weights).hexdigest(), weights),
    }
    for file, (blob, content) in blobs.items():
        (storage / "blobs" / blob).write_bytes(content)
        (snapshot / file).symlink_to(f"../../blobs/{blob}")
    (storage / "weights").unlink()
    for ref in ("main", "v1.0", "refs/pr/1"):
        path = storage / "refs" / ref
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(COMMIT)
    return snapshot


def make_app(settings: Settings) -> FastAPI:
    """Return an app with nothing but the Hub's routes, and errors as the server words them."""
    services: Any = SimpleNamespace(registry=Registry(settings), settings=settings)
    app = FastAPI()
    app.include_router(router(services))

    @app.exception_handler(Refused)
    async def refuse(request: Request, error: Refused) -> Response:
        return error_response(request.scope, error)

    return app


def serve(app: ASGIApp) -> Iterator[str]:
    """Run an app on a free port of this machine, for as long as the generator lives."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server of "org/tiny" (a folder), "org/cached" (of the Hub's cache), "bundled" and one still to be fetched."""
    base = tmp_path_factory.mktemp("hub")
    contents = write_checkpoint(base / "tiny")
    write_cached(base / "cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "HF_HUB_CACHE", str(base / "cache"))
        models = (f"org/tiny={base / 'tiny'}", "org/cached", "bundled", "org/absent")
        settings = Settings(models=models, data_dir=base / "data")
        cut = Cut(make_app(settings))
        for url in serve(cut):
            yield Live(url, cut, settings, base / "tiny", contents)
