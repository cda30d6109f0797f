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

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from auricle.server.errors import Refused
from auricle.server.json_inputs import InputsScanner, decoded, unescaped
from auricle.server.recognition import Source
from auricle.server.settings import Settings

CHUNK_BYTES = 1 << 20
HEAD_BYTES = 16
_MAGIC = (
    b"RIFF", b"RF64", b"fLaC", b"OggS", b"ID3", b"\x1a\x45\xdf\xa3", b"FORM", b"#!AMR", b".snd", b"caff", b"MAC ",
    b"wvpk", b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"II*\x00", b"MM\x00*", b"\x30\x26\xb2\x75",
)  # fmt: skip
# Parts of a form that may hold the recording.
FILE_PARTS = ("file", "audio_file", "audio", "inputs")
MAX_FIELDS = 200


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
            "the body is empty; send a recording's bytes, JSON with base64 'inputs', or a form with a 'file'",
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
            yield Body("raw", await _to_disk(whole, settings, stack))


async def source_of_inputs(body: Body, settings: Settings, stack: AsyncExitStack) -> Source:
    """Return the recording that stands in JSON's "inputs" as base64.

    Raises:
        Refused: 400, there is none, or it is no base64.
    """
    if body.inputs is None:
        raise Refused(400, "the JSON has no 'inputs'; give the recording's bytes in base64", code="no_inputs")
    file: Any = body.inputs
    return await _to_disk(_iterated(decoded(file)), settings, stack)


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


async def _to_disk(
    chunks: AsyncIterator[bytes], settings: Settings, stack: AsyncExitStack, name: str = "the recording"
) -> Source:
    """Write to a file that is removed with the stack, a megabyte at a time and in a thread."""
    file = tempfile.NamedTemporaryFile(dir=incoming(settings), delete=False)  # noqa: SIM115  closed by the stack
    stack.callback(Path(file.name).unlink, missing_ok=True)
    stack.callback(file.close)
    digest, size, held = hashlib.sha256(), 0, bytearray()

    def write(data: bytes) -> None:
        try:
            file.write(data)
        except OSError as error:
            raise Refused(507, f"the server cannot keep the body: {error.strerror}", code="no_space") from None
        digest.update(data)

    async for chunk in chunks:
        held += chunk
        size += len(chunk)
        if len(held) >= CHUNK_BYTES:
            await asyncio.to_thread(write, bytes(held))
            held.clear()
    write(bytes(held))
    file.flush()
    return Source(Path(file.name), digest.hexdigest(), size, name)


async def _json(chunks: AsyncIterator[bytes], stack: AsyncExitStack, settings: Settings) -> Body:
    file: IO[bytes] = stack.enter_context(tempfile.SpooledTemporaryFile(CHUNK_BYTES, dir=incoming(settings)))  # noqa: SIM115
    scanner = InputsScanner(file)  # type: ignore[arg-type]
    async for chunk in chunks:
        if len(chunk) >= CHUNK_BYTES // 4:
            await asyncio.to_thread(scanner.feed, chunk)
        else:
            scanner.feed(chunk)
    value = scanner.value()
    return Body("json", data=value, inputs=file if scanner.has_inputs else None)


async def _form(request: Request, chunks: AsyncIterator[bytes], settings: Settings, stack: AsyncExitStack) -> Body:
    parser = MultiPartParser(request.headers, chunks, max_files=len(FILE_PARTS), max_fields=MAX_FIELDS)  # type: ignore[arg-type]
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise Refused(400, f"the form is damaged: {error.message}", code="invalid_form") from None
    stack.push_async_callback(form.close)
    body = Body("form")
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if body.source is None and name in FILE_PARTS:
                # The client's name for its file is told back in errors: only its last part, and not much of it.
                told = (value.filename or "").replace("\\", "/").rsplit("/", 1)[-1][:100]
                body.source = await _to_disk(_read(value), settings, stack, told or "the recording")
        else:
            body.fields.setdefault(name, []).append(value)
    return body


async def _read(upload: UploadFile) -> AsyncIterator[bytes]:
    while chunk := await upload.read(CHUNK_BYTES):
        yield chunk


def _too_large(settings: Settings, size: int) -> Refused:
    return Refused(
        413,
        f"the body has {size} bytes or more, and this server takes at most {settings.max_body_bytes}; compress the "
        "recording (FLAC, Ogg), or cut it",
        code="body_too_large",
    )


__all__ = ["Body", "incoming", "is_media", "read_body", "remove_leftovers", "source_of_inputs"]
