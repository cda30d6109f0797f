"""Request bodies: to disk as they arrive, whatever their size, and told apart by what they hold.

Clients lie about types: curl calls every upload a form, a documented snippet calls FLAC JSON, and others say nothing.
So the first bytes decide, then what the type says.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from starlette.requests import ClientDisconnect, Request

from auricle.server.errors import Refused
from auricle.server.forms import FormReader
from auricle.server.json_inputs import InputsScanner, decoded, unescaped
from auricle.server.recognition import Source
from auricle.server.settings import Settings

CHUNK_BYTES = 1 << 20
HEAD_BYTES = 16
_MAGIC = (
    b"RIFF", b"RF64", b"fLaC", b"OggS", b"ID3", b"\x1a\x45\xdf\xa3", b"FORM", b"#!AMR", b".snd", b"caff", b"MAC ",
    b"wvpk", b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"II*\x00", b"MM\x00*", b"\x30\x26\xb2\x75",
)  # fmt: skip


@dataclass
class Body:
    """What arrived. The files of it are gone when `read_body` ends."""

    kind: Literal["raw", "json", "form"]
    source: Source | None = None  # of a raw body or a form's file
    data: Any = None  # of JSON, "inputs" left empty where `inputs` is a file
    fields: dict[str, list[str]] = field(default_factory=dict)  # of a form
    inputs: IO[bytes] | None = None  # the text of JSON's "inputs", escaped

    def text(self) -> str:
        """Return JSON's "inputs" as text."""
        assert self.inputs is not None, "asked for where it is"
        return unescaped(self.inputs)  # type: ignore[arg-type]


@asynccontextmanager
async def read_body(request: Request, settings: Settings) -> AsyncIterator[Body]:
    """Take a request's body.

    Raises:
        Refused: 413, larger than `Settings.max_body_bytes`; 400, empty, or neither of what is understood.
    """
    stated = request.headers.get("content-length", "")
    if stated.isdigit() and int(stated) > settings.max_body_bytes:
        raise _too_large(settings, int(stated))
    chunks = _limited(request, settings)
    head = b""
    while len(head) < HEAD_BYTES and (chunk := await anext(chunks, None)) is not None:
        head += chunk
    if not head:
        raise Refused(
            400,
            "the body is empty; send the bytes of a recording or an image, a text, JSON with 'inputs', or a form",
            code="empty_body",
        )
    content_type = request.headers.get("content-type", "")
    whole = _after(head, chunks)
    async with AsyncExitStack() as stack:
        if content_type.startswith("multipart/form-data") and head.lstrip()[:2] == b"--":
            yield await _form(request, whole, settings, stack)
        elif not is_media(head) and head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
            yield await _json(whole, stack, settings)
        else:
            yield Body("raw", await to_disk(whole, settings, stack))


async def source_of_inputs(body: Body, settings: Settings, stack: AsyncExitStack) -> Source:
    """Return the recording that stands in JSON's "inputs" as base64.

    Raises:
        Refused: 400, there is none, or it is no base64.
    """
    if body.inputs is None:
        raise Refused(400, "the JSON has no 'inputs'; give the recording's bytes in base64", code="no_inputs")
    file: Any = body.inputs
    source = await to_disk(_iterated(decoded(file)), settings, stack)
    if not source.size:
        raise Refused(400, "'inputs' is empty; give the recording's bytes in base64", code="no_inputs")
    return source


def is_media(head: bytes) -> bool:
    """Say whether bytes begin like a recording or an image."""
    is_mpeg = len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0
    return head.startswith(_MAGIC) or head[4:8] == b"ftyp" or is_mpeg


def remove_leftovers(settings: Settings, older_than_s: float, now: float) -> None:
    """Remove bodies that a killed server left on disk."""
    for path in incoming(settings).glob("*"):
        with suppress(OSError):
            if now - path.stat().st_mtime > older_than_s:
                path.unlink()


def incoming(settings: Settings) -> Path:
    """Return the folder that bodies arrive in; not the system's temporary one, which may lie in memory."""
    folder = settings.data_dir / "incoming"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


async def _limited(request: Request, settings: Settings) -> AsyncIterator[bytes]:
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > settings.max_body_bytes:
                raise _too_large(settings, size)
            if chunk:
                yield chunk
    except ClientDisconnect:
        raise Refused(400, "the connection broke off before the body's end", code="incomplete_body") from None


async def _after(head: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield head
    async for chunk in chunks:
        yield chunk


async def _iterated(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    pieces = iter(pieces)
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece


class Arriving:
    """A file of a body while it is written, a megabyte at a time; it is removed with the stack. Calls block."""

    def __init__(self, settings: Settings, stack: AsyncExitStack, name: str = "") -> None:
        """Make the file; `name` is told in messages."""
        self._file = tempfile.NamedTemporaryFile(dir=incoming(settings), delete=False)  # noqa: SIM115  closed by the stack
        stack.callback(Path(self._file.name).unlink, missing_ok=True)
        stack.callback(self._file.close)
        self._name = name or "the recording"
        self._digest = hashlib.sha256()
        self._size = 0

    def write(self, data: bytes) -> None:
        """Add bytes.

        Raises:
            Refused: 507, the disk is full.
        """
        try:
            self._file.write(data)
        except OSError as error:
            raise Refused(507, f"the server cannot keep the body: {error.strerror}", code="no_space") from None
        self._digest.update(data)
        self._size += len(data)

    def source(self) -> Source:
        """Return what was written."""
        try:
            self._file.flush()
        except OSError as error:
            raise Refused(507, f"the server cannot keep the body: {error.strerror}", code="no_space") from None
        return Source(Path(self._file.name), self._digest.hexdigest(), self._size, self._name)


async def to_disk(chunks: AsyncIterator[bytes], settings: Settings, stack: AsyncExitStack, name: str = "") -> Source:
    """Write what arrives to a file that is removed with the stack."""
    file = Arriving(settings, stack, name)
    async for piece in _gathered(chunks):
        await asyncio.to_thread(file.write, piece)
    return await asyncio.to_thread(file.source)


async def _gathered(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Put small pieces together to a megabyte: handing each to a thread would cost more than writing it."""
    held = bytearray()
    async for chunk in chunks:
        held += chunk
        if len(held) >= CHUNK_BYTES:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)


async def _json(chunks: AsyncIterator[bytes], stack: AsyncExitStack, settings: Settings) -> Body:
    folder = str(incoming(settings))
    file: Any = tempfile.SpooledTemporaryFile(max_size=CHUNK_BYTES, dir=folder)  # noqa: SIM115  the stack closes it
    stack.callback(file.close)
    scanner = InputsScanner(file)
    async for piece in _gathered(chunks):
        await asyncio.to_thread(scanner.feed, piece)
    value = await asyncio.to_thread(scanner.value)
    return Body("json", data=value, inputs=file if scanner.has_inputs else None)


async def _form(request: Request, chunks: AsyncIterator[bytes], settings: Settings, stack: AsyncExitStack) -> Body:
    files: list[Arriving] = []

    def open_sink(name: str) -> Arriving:
        files.append(Arriving(settings, stack, name))
        return files[-1]

    reader = FormReader(request.headers["content-type"], open_sink)
    async for piece in _gathered(chunks):
        await asyncio.to_thread(reader.feed, piece)
    if not reader.is_complete:
        raise Refused(400, "the form breaks off before its last boundary; send it whole", code="invalid_form")
    source = await asyncio.to_thread(files[0].source) if files else None
    return Body("form", source, fields=reader.fields)


def _too_large(settings: Settings, size: int) -> Refused:
    return Refused(
        413,
        f"the body has {size} bytes or more, and this server takes at most {settings.max_body_bytes}; compress the "
        "recording (FLAC, Ogg), or cut it",
        code="body_too_large",
    )


__all__ = ["Body", "incoming", "is_media", "read_body", "remove_leftovers", "source_of_inputs", "to_disk"]
