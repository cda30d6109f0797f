"""A realtime session on a bare websocket, for tests."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection, connect

RATE = 24000
PIECE_S = 0.1
DEADLINE_S = 60.0
COMPLETED = "conversation.item.input_audio_transcription.completed"
DELTA = "conversation.item.input_audio_transcription.delta"


def pieces(samples: np.ndarray, seconds: float = PIECE_S, rate: int = RATE) -> list[str]:
    """Return 16-bit samples as messages carry them."""
    data = (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
    size = 2 * round(seconds * rate)
    return [base64.b64encode(data[at : at + size]).decode() for at in range(0, len(data), size)]


def append(audio: str) -> dict[str, Any]:
    return {"type": "input_audio_buffer.append", "audio": audio}


def session(**audio: Any) -> dict[str, Any]:
    return {"type": "session.update", "session": {"type": "transcription", "audio": {"input": audio}}}


class Talk:
    """A session on a bare websocket; keeps all events."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.events: list[dict[str, Any]] = []

    async def say(self, *events: dict[str, Any]) -> None:
        for event in events:
            await self.socket.send(json.dumps(event))

    async def until(self, kind: str, n: int = 1) -> dict[str, Any]:
        """Return the event of a kind that makes so many of them."""
        while sum(one["type"] == kind for one in self.events) < n:
            event = json.loads(await asyncio.wait_for(self.socket.recv(), DEADLINE_S))
            self.events.append(event)
        return self.of(kind)[n - 1]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [one for one in self.events if one["type"] == kind]


def talk(
    server: Any, what: Callable[[Talk], Awaitable[None]], path: str = "/v1/realtime?intent=transcription", **how: Any
) -> Talk:
    """Hold a session and return what was told in it."""

    async def run() -> Talk:
        async with connect(f"{server.url.replace('http', 'ws')}{path}", max_size=None, **how) as socket:
            one = Talk(socket)
            await what(one)
            return one

    return asyncio.run(run())
