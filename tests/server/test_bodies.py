"""Bodies of requests: told apart by what they hold, on disk as they arrive, gone when they were answered."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from starlette.requests import Request

from auricle.server import forms
from auricle.server.bodies import incoming, is_media, read_body, remove_leftovers, source_of_inputs, to_disk
from auricle.server.errors import Refused
from auricle.server.settings import Settings

FLAC = Path(__file__).parents[2] / "samples" / "jfk.flac"
SIZES = (1, 3, 10, 64, 1000, None)
FORM = "multipart/form-data; boundary=xyz"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, max_body_bytes=1 << 20)


class Read(NamedTuple):
    """A body, with what its files held."""

    kind: str
    content: bytes | None = None  # of the recording
    data: Any = None
    fields: dict[str, list[str]] | None = None
    name: str = ""


def request_of(chunks: Iterable[bytes], headers: dict[str, str], is_whole: bool = True) -> Request:
    """A request whose body comes in pieces; one that is not whole ends with the connection."""
    pieces = iter(chunks)

    async def receive() -> dict[str, Any]:
        piece = next(pieces, None)
        if piece is None:
            return {"type": "http.request", "body": b""} if is_whole else {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece, "more_body": True}

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "headers": raw, "path": "/"}, receive)


def read(body: bytes, settings: Settings, content_type: str | None = None, size: int | None = None) -> Read:
    """Read a body that arrives in pieces of `size` bytes."""

    async def main() -> Read:
        chunks = [body[at : at + (size or len(body))] for at in range(0, len(body), size or len(body) or 1)]
        request = request_of(chunks, {} if content_type is None else {"content-type": content_type})
        async with AsyncExitStack() as stack:
            found = await stack.enter_async_context(read_body(request, settings))
            source = found.source
            if found.inputs is not None:
                source = await source_of_inputs(found, settings, stack)
            if source is None:
                return Read(found.kind, None, found.data, found.fields)
            content = source.path.read_bytes()
            assert (source.size, source.sha256) == (len(content), hashlib.sha256(content).hexdigest())
            return Read(found.kind, content, found.data, found.fields, source.name)

    result = asyncio.run(main())
    assert list(incoming(settings).iterdir()) == []
    return result


def part(name: str, content: bytes, *more: str, filename: str | None = None) -> bytes:
    said = "" if filename is None else f'; filename="{filename}"'
    head = [f'Content-Disposition: form-data; name="{name}"{said}', *more]
    return b"--xyz\r\n" + "\r\n".join(head).encode() + b"\r\n\r\n" + content + b"\r\n"


@pytest.mark.parametrize(
    "content_type",
    [None, "application/json", "application/x-www-form-urlencoded", "text/plain", "audio/flac", "multipart/form-data"],
)
def test_a_recording_is_one_whatever_is_said_of_it(settings: Settings, content_type: str | None) -> None:
    for size in (5, 1000, None):
        assert read(FLAC.read_bytes()[:5000], settings, content_type, size)[:2] == ("raw", FLAC.read_bytes()[:5000])


@pytest.mark.parametrize("content_type", [None, "application/json", "audio/wav", "application/x-www-form-urlencoded"])
@pytest.mark.parametrize("size", SIZES)
def test_json_is_json_whatever_is_said_of_it(settings: Settings, content_type: str | None, size: int | None) -> None:
    body = b'\xef\xbb\xbf \n{"inputs": "' + base64.b64encode(b"a recording") + b'", "parameters": {"a": [1]}}'
    found = read(body, settings, content_type, size)
    assert found[:3] == ("json", b"a recording", {"inputs": "", "parameters": {"a": [1]}})


@pytest.mark.parametrize("size", SIZES)
def test_a_form_has_its_file_and_its_fields(settings: Settings, size: int | None) -> None:
    content = bytes(range(256)) * 4 + b"\r\n--xy\r\n--xyz1"  # nearly the boundary
    body = (
        part("return_timestamps", b"true")
        + part("file", content, "Content-Type: audio/wav", filename="C:\\talks\\mine.wav")
        + part("hotwords[]", "é".encode())
        + part("hotwords[]", b"b")
        + b"--xyz--\r\n"
    )
    found = read(body, settings, FORM, size)
    assert found == ("form", content, None, {"return_timestamps": ["true"], "hotwords[]": ["é", "b"]}, "mine.wav")


def test_a_form_may_call_its_file_as_others_do(settings: Settings) -> None:
    for name in ("file", "audio_file", "audio", "inputs"):
        assert read(part(name, b"RIFF", filename="a") + b"--xyz--", settings, FORM).content == b"RIFF"
        assert read(part(name, b"RIFF") + b"--xyz--", settings, FORM).content == b"RIFF", "without a file's name"


@pytest.mark.parametrize(
    ("name", "message"),
    [("audio", "'audio' is its second file; send one"), ("other", "its part 'other' is a file; send the file as")],
)
def test_a_file_that_would_not_be_heard_is_refused(settings: Settings, name: str, message: str) -> None:
    first = part("file", b"first", filename="a")
    with pytest.raises(Refused, match=message) as caught:
        read(first + part(name, b"second", filename="b") + b"--xyz--", settings, FORM)
    assert caught.value.status == 400
    # Browsers send such a part where nobody has chosen a file.
    assert read(first + part(name, b"", filename="") + b"--xyz--", settings, FORM).content == b"first"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (part("file", b"half", filename="a"), "breaks off before its last boundary"),
        (part("file", b"half", filename="a") + b"--xy", "breaks off before its last boundary"),
        (b'--xyz\r\nContent-Disposition: form-data; name="file"', "breaks off before its last boundary"),
        (b"--other\r\n\r\n--other--", "damaged"),
        (b"--xyz\r\nContent-Disposition: form-data\r\n\r\na\r\n--xyz--", "has no name"),
        (b"--xyz\r\nno header\r\n\r\na\r\n--xyz--", "damaged"),
    ],
)
def test_a_damaged_form_is_refused(settings: Settings, body: bytes, message: str) -> None:
    for size in (1, None):
        with pytest.raises(Refused, match=message) as caught:
            read(body, settings, FORM, size)
        assert caught.value.status == 400
    assert list(incoming(settings).iterdir()) == []


def test_a_form_without_boundary_is_refused(settings: Settings) -> None:
    with pytest.raises(Refused, match="names no boundary"):
        read(part("file", b"x", filename="a") + b"--xyz--", settings, "multipart/form-data")


def test_fields_have_limits(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "MAX_FIELD_BYTES", 100)
    monkeypatch.setattr(forms, "MAX_FIELDS", 3)
    with pytest.raises(Refused, match="'prompt' has more than 100 bytes"):
        read(part("prompt", b"a" * 101) + b"--xyz--", settings, FORM)
    with pytest.raises(Refused, match="more than 3 fields"):
        read(part("a", b"") * 4 + b"--xyz--", settings, FORM)


@pytest.mark.parametrize("content_type", [None, "application/json", FORM, "audio/wav"])
def test_an_empty_body_is_refused(settings: Settings, content_type: str | None) -> None:
    with pytest.raises(Refused, match="the body is empty") as caught:
        read(b"", settings, content_type)
    assert (caught.value.status, caught.value.code) == (400, "empty_body")


def test_empty_inputs_are_refused(settings: Settings) -> None:
    with pytest.raises(Refused, match="'inputs' is empty"):
        read(b'{"inputs": ""}', settings)


@pytest.mark.parametrize("kind", ["raw", "json", "form"])
@pytest.mark.parametrize("is_stated", [True, False])
def test_a_body_beyond_the_limit_is_refused(settings: Settings, kind: str, is_stated: bool) -> None:
    heads = {"raw": b"RIFF", "json": b'{"inputs": "', "form": part("file", b"", filename="a")[:-2]}
    n_sent = 0

    def pieces() -> Iterator[bytes]:
        nonlocal n_sent
        yield heads[kind]
        while True:
            n_sent += 1
            yield b"A" * 65536

    async def main() -> None:
        headers = {"content-type": FORM} | ({"content-length": str(1 << 40)} if is_stated else {})
        async with read_body(request_of(pieces(), headers), settings):
            pytest.fail("it was taken")

    with pytest.raises(Refused, match="at most 1048576") as caught:
        asyncio.run(main())
    assert caught.value.status == 413
    assert n_sent == (0 if is_stated else 16)
    assert list(incoming(settings).iterdir()) == []


@pytest.mark.parametrize("head", [b"RIFF" + bytes(20), b'{"inputs": "QUJDQUJDQUJD', part("file", b"abc", filename="a")])
def test_a_connection_that_breaks_off_leaves_nothing(settings: Settings, head: bytes) -> None:
    async def main() -> None:
        async with read_body(request_of([head], {"content-type": FORM}, is_whole=False), settings):
            pytest.fail("it was taken")

    with pytest.raises(Refused, match="broke off"):
        asyncio.run(main())
    assert list(incoming(settings).iterdir()) == []


Sender = Callable[[int], Iterable[bytes]]


def raw_pieces(n_pieces: int) -> Iterator[bytes]:
    yield b"RIFF"
    for _ in range(n_pieces):
        yield bytes(65536)


def json_pieces(n_pieces: int) -> Iterator[bytes]:
    yield b'{"inputs": "'
    for _ in range(n_pieces):
        yield b"A" * 65536
    yield b'"}'


def form_pieces(n_pieces: int) -> Iterator[bytes]:
    yield part("file", b"", filename="a")[:-2]
    for _ in range(n_pieces):
        yield bytes(65536)
    yield b"\r\n--xyz--"


@pytest.mark.parametrize("pieces", [raw_pieces, json_pieces, form_pieces])
def test_a_large_body_takes_no_memory(tmp_path: Path, pieces: Sender) -> None:
    settings, n_pieces = Settings(data_dir=tmp_path), 1600  # 100 MiB

    async def main() -> int:
        request = request_of(pieces(n_pieces), {"content-type": FORM})
        async with AsyncExitStack() as stack:
            body = await stack.enter_async_context(read_body(request, settings))
            source = body.source or await source_of_inputs(body, settings, stack)
            return source.size

    tracemalloc.start()
    size = asyncio.run(main())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size >= n_pieces * 65536 * 3 // 4
    assert peak < 16 << 20, f"{peak / 2**20:.0f} MiB"


def test_a_full_disk_is_told(settings: Settings) -> None:
    class Full:
        name = str(settings.data_dir / "incoming" / "full")

        def write(self, data: bytes) -> int:
            raise OSError(28, "No space left on device")

        def close(self) -> None:
            pass

    async def main() -> None:
        async with AsyncExitStack() as stack:
            await to_disk(one_piece(), settings, stack)

    async def one_piece() -> AsyncIterator[bytes]:
        yield b"RIFF"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("auricle.server.bodies.tempfile.NamedTemporaryFile", lambda **_: Full())
        with pytest.raises(Refused, match="No space left") as caught:
            asyncio.run(main())
    assert caught.value.status == 507


def test_old_bodies_of_a_killed_server_are_removed(settings: Settings) -> None:
    old, new = incoming(settings) / "old", incoming(settings) / "new"
    old.write_bytes(b"")
    new.write_bytes(b"")
    now = new.stat().st_mtime
    os.utime(old, (now - 100, now - 100))
    remove_leftovers(settings, 50, now)
    assert [path.name for path in incoming(settings).iterdir()] == ["new"]


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"RIFF....WAVE", True),
        (b"fLaC", True),
        (b"OggS", True),
        (b"ID3\x04", True),
        (b"\xff\xfb\x90", True),
        (b"\x00\x00\x00\x20ftypM4A ", True),
        (b"\x1a\x45\xdf\xa3", True),
        (b"FORM", True),
        (b"#!AMR", True),
        (b"\x89PNG", True),
        (b'{"inputs"', False),
        (b"--boundary", False),
        (b"", False),
    ],
)
def test_the_first_bytes_tell_a_recording(head: bytes, expected: bool) -> None:
    assert is_media(head) is expected
