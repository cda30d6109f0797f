"""The page's API with an answer for each state of it, so that tests of the page need neither a model nor luck.

What a model of the list answers is in its name. The stream of "test/steps" goes on when `Script.step` is called.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fastapi import FastAPI, Request, WebSocket
from starlette.responses import JSONResponse, Response, StreamingResponse

from auricle.errors import ModelNotFoundError
from auricle.server.errors import Refused, error_response
from auricle.server.routes import pages

TOKEN = "aur_right"
DURATION = 11.0
# Text, start and end of each segment of samples/jfk.flac, as a good model hears it but for the last word.
SAID = (
    ("And so, my fellow Americans,", 0.4, 2.3),
    ("ask not what your country can do for you,", 3.2, 6.6),
    ("ask what you can do for your cuntree.", 7.4, 10.4),
)
DOUBTS = {"cuntree.": 0.4, "fellow": 0.68}
WARNINGS = [
    {"kind": "skipped", "message": "no voice was detected here", "start": 2.3, "end": 3.2},
    {"kind": "recording", "message": "<img src=x onerror=alert(1)>", "start": None, "end": None},
]
# Name, family, languages, bytes, state, summary.
MODELS = (
    ("test/steps", "wav2vec2", ["en"], 18_187_682, "ready", "Goes on when it is told to"),
    ("test/whisper", "whisper", ["en", "de", "fr", "sw", "ar"], 1_617_824_864, "loading", "Knows every option"),
    ("test/moonshine", "moonshine", ["en"], 108_000_000, "absent", "Hears something else"),
    ("test/german", "wav2vec2", ["de"], 1_262_000_000, "failed", "<b>Not</b> markup"),
    ("test/loading", "wav2vec2", ["en"], 1, "ready", "Answers 503 once"),
    ("test/busy", "wav2vec2", ["en"], 1, "ready", "Answers 429"),
    ("test/large", "wav2vec2", ["en"], 1, "ready", "Answers 413"),
    ("test/locked", "wav2vec2", ["en"], 1, "ready", "Answers 401 without a token"),
    ("test/cut", "wav2vec2", ["en"], 1, "ready", "Breaks off"),
)


@dataclass
class Script:
    """What a test decides, and what it may look at afterwards."""

    leaderboard_dir: Path | None = None
    models: tuple[Any, ...] = MODELS
    forms: list[dict[str, Any]] = field(default_factory=list)  # of each transcription that was asked for
    headers: list[dict[str, str]] = field(default_factory=list)
    live_start: dict[str, Any] = field(default_factory=dict)
    live_bytes: int = 0
    cancelled: int = 0  # streams whose client went
    refusals: dict[str, int] = field(default_factory=lambda: {"test/loading": 1})
    loop: asyncio.AbstractEventLoop | None = None
    steps: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    def step(self) -> None:
        """Let "test/steps" write one more segment."""
        assert self.loop is not None
        self.loop.call_soon_threadsafe(self.steps.release)

    def resolve(self, name: str) -> str:
        """Be the registry."""
        if any(name == model[0] for model in self.models):
            return name
        raise ModelNotFoundError(f"no model {name!r}")


def scripted_app(script: Script) -> FastAPI:
    """Make the application."""
    app = FastAPI(docs_url=None, redoc_url=None)
    services = SimpleNamespace(registry=script, settings=SimpleNamespace(leaderboard_dir=script.leaderboard_dir))
    app.add_exception_handler(Refused, lambda request, error: error_response(request.scope, error))
    _add_models(app, script)
    _add_transcriptions(app, script)
    _add_live(app, script)
    app.include_router(pages.router(services))  # type: ignore[arg-type]
    return app


def segments(model: str) -> list[dict[str, Any]]:
    """Return the segments that a model hears."""
    return [_segment(number, model) for number in range(len(SAID))]


def _segment(number: int, model: str) -> dict[str, Any]:
    text, start, end = SAID[number]
    if model == "test/moonshine":
        text = text.replace("not ", "").replace("cuntree", "country")
    spoken = text.split()
    step = (end - start) / len(spoken)
    words = [
        {
            "word": word,
            "start": round(start + i * step, 3),
            "end": round(start + (i + 0.9) * step, 3),
            "confidence": DOUBTS.get(word, 0.97),
        }
        for i, word in enumerate(spoken)
    ]
    return {"id": number, "start": start, "end": end, "text": text, "words": words}


def _card(model: Any) -> dict[str, Any]:
    name, family, languages, size, state, summary = model
    return {
        "id": name,
        "pipeline_tag": "automatic-speech-recognition" if family else None,
        "tags": languages,
        "library_name": "transformers",
        "sha": "0123456789abcdef",
        "auricle": {
            "state": state,
            "languages": languages,
            "size": size,
            "default": name == "test/steps",
            "summary": summary,
            "model_type": family,
        },
    }


def _add_models(app: FastAPI, script: Script) -> None:
    @app.get("/api/models")
    async def models() -> list[dict[str, Any]]:
        return [_card(model) for model in script.models]

    @app.get("/api/models/{name:path}")
    async def model(name: str) -> Response:
        for one in script.models:
            if one[0] == name:
                return JSONResponse({**_card(one), "siblings": [], "cardData": {"license": "mit"}})
        return JSONResponse({"error": f"this server has no model {name!r}"}, 404)


def _add_transcriptions(app: FastAPI, script: Script) -> None:
    @app.post("/v1/audio/transcriptions")
    async def transcribe(request: Request) -> Response:
        script.loop = asyncio.get_running_loop()
        async with request.form() as form:
            fields = {name: value for name, value in form.items() if isinstance(value, str)}
            units = form.getlist("timestamp_granularities[]")
        script.forms.append({**fields, "units": units})
        script.headers.append(dict(request.headers))
        name = fields["model"]
        refused = _refusal(script, name, request.headers.get("authorization"))
        return refused or StreamingResponse(_stream(script, name), media_type="text/event-stream")


def _refusal(script: Script, name: str, authorization: str | None) -> Response | None:
    if name == "test/loading" and script.refusals[name] > 0:
        script.refusals[name] -= 1
        error = {"message": f"Model {name} is currently loading", "estimated_time": 1.0}
        return JSONResponse({"error": error}, 503, {"retry-after": "1"})
    if name == "test/busy":
        return JSONResponse({"error": {"message": "the limit of 5 a minute is reached"}}, 429, {"retry-after": "7"})
    if name == "test/large":
        return JSONResponse({"error": {"message": "5000 bytes arrived, at most 100 are taken"}}, 413)
    if name == "test/locked" and authorization != f"Bearer {TOKEN}":
        return JSONResponse({"error": {"message": "malformed token" if authorization else "no token arrived"}}, 401)
    return None


async def _stream(script: Script, name: str) -> AsyncIterator[str]:
    try:
        for segment in segments(name):
            if name == "test/steps":
                await script.steps.acquire()
            for event in _events_of(segment):
                yield f"data: {json.dumps(event)}\n\n"
            if name == "test/cut":
                return
    except asyncio.CancelledError:
        script.cancelled += 1
        raise
    yield f"data: {json.dumps(_done(name))}\n\ndata: [DONE]\n\n"


def _events_of(segment: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"type": "transcript.progress", "done": segment["end"], "duration": DURATION}
    yield {"type": "transcript.text.delta", "delta": (" " if segment["id"] else "") + segment["text"]}
    yield {"type": "transcript.text.segment", **segment}


def _done(name: str) -> dict[str, Any]:
    said = segments(name)
    return {
        "type": "transcript.text.done",
        "task": "transcribe",
        "language": "english",
        "duration": DURATION,
        "text": " ".join(segment["text"] for segment in said),
        "segments": said,
        "words": [word for segment in said for word in segment["words"]],
        "warnings": WARNINGS,
        "usage": {"type": "duration", "seconds": 11},
    }


def _add_live(app: FastAPI, script: Script) -> None:
    @app.websocket("/live")
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        script.live_start = json.loads(await socket.receive_text())
        while True:
            message = await socket.receive()
            if message.get("bytes"):
                script.live_bytes += len(message["bytes"])
                await socket.send_json(
                    {"type": "update", "final": "", "pending": "and so my", "words": [], "time": 1.0}
                )
            else:
                await socket.send_json({"type": "done", "text": "and so my fellow"})
                await socket.close()
                return
