"""Uploads that break off and go on: tus 1.0 by hand, with its own client, and with random interruptions."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import os
import random
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tusclient import client as tus_client

from auricle.server.errors import Refused
from auricle.server.jobs.database import Database
from auricle.server.jobs.uploads import Checksum, Uploads

TUS = {"tus-resumable": "1.0.0"}
PIECE = {**TUS, "content-type": "application/offset+octet-stream"}
CONTENT = bytes(range(256)) * 40


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def checksum(data: bytes, algorithm: str) -> str:
    return f"{algorithm} {base64.b64encode(hashlib.new(algorithm, data).digest()).decode()}"


def begin(site: Any, length: int = len(CONTENT), **headers: str) -> str:
    reply = site.client.post("/uploads", headers={**TUS, "upload-length": str(length), **headers})
    assert reply.status_code == 201, reply.text
    return str(reply.headers["location"])


def add(site: Any, location: str, offset: int, data: bytes, **headers: str) -> Any:
    return site.client.patch(location, content=data, headers={**PIECE, "upload-offset": str(offset), **headers})


def offset_of(site: Any, location: str) -> int:
    reply = site.client.head(location, headers=TUS)
    assert reply.status_code == 200
    return int(reply.headers["upload-offset"])


def test_options_tell_what_the_server_can_do(site: Any) -> None:
    for path in ("/uploads", "/uploads/x"):
        reply = site.client.options(path)
        assert reply.status_code == 204
        assert reply.headers["tus-version"] == "1.0.0"
        assert reply.headers["tus-max-size"] == str(4 * 2**30)
        assert reply.headers["tus-checksum-algorithm"] == "sha1,sha256"
        assert "creation,creation-with-upload" in reply.headers["tus-extension"]


def test_an_upload_in_pieces_becomes_a_job(site: Any) -> None:
    location = begin(site, **{"upload-metadata": f"filename {encoded('Täglich/talk.wav')},empty"})
    for start in range(0, len(CONTENT), 3000):
        reply = add(site, location, start, CONTENT[start : start + 3000])
        assert reply.status_code == 204
        assert int(reply.headers["upload-offset"]) == min(start + 3000, len(CONTENT))
    upload_id = location.rsplit("/", 1)[1]
    job = site.client.post("/jobs", json={"upload": upload_id, "parameters": {"n_beams": 2}}).json()
    assert job["name"] == "talk.wav"
    site.wait(job["id"])
    source = site.recognition.calls[0]["source"]
    assert (source.size, source.sha256) == (len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    assert site.client.head(location, headers=TUS).status_code == 404
    assert list(site.jobs.uploads.folder.iterdir()) == []


def test_the_same_key_gives_the_same_job_although_its_upload_is_taken(site: Any) -> None:
    location = begin(site)
    add(site, location, 0, CONTENT)
    body, headers = {"upload": location.rsplit("/", 1)[1]}, {"idempotency-key": "abc"}
    first = site.client.post("/jobs", json=body, headers=headers)
    again = site.client.post("/jobs", json=body, headers=headers)
    assert first.json()["id"] == again.json()["id"]


def test_an_upload_that_is_not_whole_becomes_no_job(site: Any) -> None:
    location = begin(site)
    add(site, location, 0, CONTENT[:100])
    reply = site.client.post("/jobs", json={"upload": location.rsplit("/", 1)[1]})
    assert reply.status_code == 409
    assert "100 of 10240 bytes" in reply.json()["error"]


def test_bytes_may_come_with_the_creation(site: Any) -> None:
    headers = {**PIECE, "upload-length": str(len(CONTENT))}
    reply = site.client.post("/uploads", content=CONTENT[:5000], headers=headers)
    assert reply.status_code == 201
    assert reply.headers["upload-offset"] == "5000"
    assert add(site, reply.headers["location"], 5000, CONTENT[5000:]).status_code == 204


def test_the_length_may_come_later(site: Any) -> None:
    reply = site.client.post("/uploads", headers={**TUS, "upload-defer-length": "1"})
    location = reply.headers["location"]
    assert site.client.head(location, headers=TUS).headers["upload-defer-length"] == "1"
    add(site, location, 0, CONTENT[:100])
    reply = add(site, location, 100, CONTENT[100:], **{"upload-length": str(len(CONTENT))})
    assert reply.status_code == 204
    head = site.client.head(location, headers=TUS)
    assert head.headers["upload-length"] == head.headers["upload-offset"] == str(len(CONTENT))
    assert add(site, location, len(CONTENT), b"", **{"upload-length": "5"}).status_code == 400


def test_head_gives_the_metadata_back_and_is_not_cached(site: Any) -> None:
    metadata = f"filename {encoded('a.wav')}"
    reply = site.client.head(begin(site, **{"upload-metadata": metadata}), headers=TUS)
    assert reply.headers["upload-metadata"] == metadata
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["upload-expires"].endswith("GMT")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"tus-resumable": "0.2.2"}, 412),
        ({"tus-resumable": ""}, 412),
        ({"upload-offset": "5"}, 409),
        ({"upload-offset": "-1"}, 400),
        ({"upload-offset": "x"}, 400),
        ({"content-type": "audio/wav"}, 415),
        ({"upload-checksum": "md5 AAAA"}, 400),
        ({"upload-checksum": "sha1 ?"}, 400),
        ({"upload-checksum": "sha1 AAAA"}, 460),
    ],
)
def test_wrong_headers_are_refused_and_nothing_counts(site: Any, headers: dict[str, str], status: int) -> None:
    location = begin(site)
    reply = site.client.patch(location, content=CONTENT, headers={**PIECE, "upload-offset": "0", **headers})
    assert reply.status_code == status
    assert reply.headers["tus-resumable"] == "1.0.0"
    assert offset_of(site, location) == 0


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"upload-length": "x"},
        {"upload-length": "10", "upload-defer-length": "1"},
        {"upload-defer-length": "2"},
        {"upload-length": "10", "upload-metadata": "name ###"},
        {"upload-length": "10", "upload-metadata": "a YQ==,a YQ=="},
    ],
)
def test_a_creation_that_cannot_be_read_is_refused(site: Any, headers: dict[str, str]) -> None:
    assert site.client.post("/uploads", headers={**TUS, **headers}).status_code == 400


def test_what_is_too_long_is_refused(make_site: Any) -> None:
    site = make_site(max_body_bytes=1000)
    assert site.client.post("/uploads", headers={**TUS, "upload-length": "1001"}).status_code == 413
    location = begin(site, 500)
    assert add(site, location, 0, CONTENT[:501]).status_code == 413
    deferred = site.client.post("/uploads", headers={**TUS, "upload-defer-length": "1"}).headers["location"]
    assert add(site, deferred, 0, CONTENT[:1001]).status_code == 413


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_a_piece_counts_only_with_its_digest(site: Any, algorithm: str) -> None:
    location = begin(site)
    wrong = {"upload-checksum": checksum(CONTENT[:99], algorithm)}
    assert add(site, location, 0, CONTENT[:100], **wrong).status_code == 460
    assert offset_of(site, location) == 0
    right = {"upload-checksum": checksum(CONTENT[:100], algorithm)}
    assert add(site, location, 0, CONTENT[:100], **right).status_code == 204
    assert offset_of(site, location) == 100


def test_others_cannot_see_or_touch_an_upload(site: Any) -> None:
    location = begin(site)
    bert = {**PIECE, "x-who": "bert", "upload-offset": "0"}
    assert site.client.head(location, headers=bert).status_code == 404
    assert site.client.patch(location, content=b"x", headers=bert).status_code == 404
    assert site.client.delete(location, headers=bert).status_code == 404
    assert site.client.post("/jobs", json={"upload": location.rsplit("/", 1)[1]}, headers=bert).status_code == 404


def test_a_removed_upload_is_gone_with_its_file(site: Any) -> None:
    location = begin(site)
    assert site.client.delete(location, headers=TUS).status_code == 204
    assert site.client.head(location, headers=TUS).status_code == 404
    assert list(site.jobs.uploads.folder.iterdir()) == []


def test_the_method_may_stand_in_a_header(site: Any) -> None:
    location = begin(site)
    headers = {**PIECE, "upload-offset": "0", "x-http-method-override": "PATCH"}
    assert site.client.post(location, content=CONTENT, headers=headers).status_code == 204
    headers = {**TUS, "x-http-method-override": "DELETE"}
    assert site.client.post(location, headers=headers).status_code == 204


def test_names_that_are_paths_reach_no_file(site: Any) -> None:
    for name in ("..%2f..%2fjobs.sqlite3", "../jobs.sqlite3", "%00"):
        assert site.client.head(f"/uploads/{name}", headers=TUS).status_code == 404


def test_the_protocols_own_client_uploads_and_resumes(live_site: Any) -> None:
    content = random.Random(0).randbytes(3_000_000)
    client = tus_client.TusClient(f"{live_site.url}/uploads")
    with io.BytesIO(content) as stream:
        uploader = client.uploader(
            file_stream=stream, chunk_size=500_000, metadata={"filename": "talk.wav"}, upload_checksum=True
        )
        uploader.upload(stop_at=1_000_000)
        assert uploader.offset == 1_000_000
        again = client.uploader(file_stream=stream, chunk_size=500_000, url=uploader.url, upload_checksum=True)
        assert again.offset == 1_000_000
        again.upload()
    upload_id = uploader.url.rsplit("/", 1)[1]
    assert live_site.jobs.uploads.path(upload_id).read_bytes() == content
    reply = httpx.post(f"{live_site.url}/jobs", json={"upload": upload_id})
    assert reply.status_code == 202
    assert reply.json()["name"] == "talk.wav"


def test_what_came_before_the_connection_broke_counts(live_site: Any) -> None:
    content = random.Random(0).randbytes(3 << 20)
    reply = httpx.post(f"{live_site.url}/uploads", headers={**TUS, "upload-length": str(2 * len(content))})
    location = reply.headers["location"]
    path = live_site.jobs.uploads.path(location.rsplit("/", 1)[1])
    host, port = live_site.url.removeprefix("http://").split(":")
    end = time.monotonic() + 20
    with socket.create_connection((host, int(port))) as connection:
        head = f"PATCH {location} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
        head += f"Content-Type: application/offset+octet-stream\r\nContent-Length: {2 * len(content)}\r\n\r\n"
        connection.sendall(head.encode() + content)
        while path.stat().st_size < 2 << 20:
            assert time.monotonic() < end
            time.sleep(0.01)
    offset = 0
    while not offset:
        assert time.monotonic() < end
        offset = int(httpx.head(live_site.url + location, headers=TUS).headers["upload-offset"])
        time.sleep(0.01)
    # What the web server itself held when the connection broke is lost.
    assert 2 << 20 <= offset <= 3 << 20
    assert path.read_bytes()[:offset] == content[:offset]


def test_a_client_that_comes_back_ends_its_dead_connection(live_site: Any) -> None:
    reply = httpx.post(f"{live_site.url}/uploads", headers={**TUS, "upload-length": "100000"})
    location = reply.headers["location"]
    host, port = live_site.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as dead:
        head = f"PATCH {location} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\n"
        head += "Content-Type: application/offset+octet-stream\r\nUpload-Offset: 0\r\nContent-Length: 100000\r\n\r\n"
        dead.sendall(head.encode() + b"x" * 40_000)
        upload_id = location.rsplit("/", 1)[1]
        end = time.monotonic() + 20
        while upload_id not in live_site.jobs.uploads._writers:  # the dead connection's request has begun
            assert time.monotonic() < end
            time.sleep(0.01)
        offset = -1
        while offset != 40_000:  # the first tells the dead one to end, the next finds what it had
            assert time.monotonic() < end
            refused = httpx.patch(
                live_site.url + location, content=b"", headers={**PIECE, "upload-offset": "40000"}, timeout=20
            )
            offset = int(httpx.head(live_site.url + location, headers=TUS).headers["upload-offset"])
            assert refused.status_code in (204, 409)
        rest = {**PIECE, "upload-offset": "40000"}
        assert httpx.patch(live_site.url + location, content=b"y" * 60_000, headers=rest).status_code == 204
    assert live_site.jobs.uploads.path(upload_id).read_bytes() == b"x" * 40_000 + b"y" * 60_000


def make_uploads(folder: Path, kept_s: float = 3600.0) -> Uploads:
    database = Database(folder / "jobs.sqlite3")
    database.open()
    (folder / "uploads").mkdir(exist_ok=True)
    return Uploads(database, folder / "uploads", 1 << 20, kept_s)


def test_expired_uploads_and_strange_files_are_removed(tmp_path: Path) -> None:
    uploads = make_uploads(tmp_path, kept_s=-1.0)
    upload = uploads.create("me", 10, {}, "")
    (uploads.folder / "stray").touch()
    with pytest.raises(Refused, match="expired"):
        uploads.get(upload.id, "me")
    uploads.sweep()
    assert list(uploads.folder.iterdir()) == []
    uploads.database.close()


def test_one_that_is_no_upload_any_more_cannot_be_written(tmp_path: Path) -> None:
    uploads = make_uploads(tmp_path)
    upload = uploads.create("me", 10, {}, "")
    uploads.remove(upload.id)

    async def nothing() -> AsyncIterator[bytes]:
        yield b""

    with pytest.raises(Refused, match="gone"):
        asyncio.run(uploads.append(upload, 0, nothing()))
    uploads.database.close()


class BrokenError(Exception):
    """A connection that breaks off."""


async def pieces(data: bytes, sizes: list[int], breaks: bool) -> AsyncIterator[bytes]:
    stream = io.BytesIO(data)
    for size in sizes:
        yield stream.read(size)
    if breaks:
        raise BrokenError
    yield stream.read()


PIECES = st.tuples(
    st.integers(0, 5000),  # bytes that the client means to send
    st.lists(st.integers(0, 2000), max_size=4),  # how they arrive
    st.sampled_from(["whole", "breaks", "checked", "checked and breaks", "wrong digest", "wrong offset", "crash"]),
)


@settings(
    max_examples=40,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(PIECES, max_size=12))
def test_whatever_breaks_the_offset_is_what_is_on_disk(tmp_path_factory: Any, steps: list[Any]) -> None:
    folder = tmp_path_factory.mktemp("uploads")
    content = random.Random(1).randbytes(60_000)
    uploads = make_uploads(folder)
    upload = uploads.create("me", len(content), {}, "")
    known = 0
    for n_bytes, sizes, fate in steps:
        data = content[known : known + n_bytes]
        digest = hashlib.sha256(data if fate != "wrong digest" else data + b"!").digest()
        check = Checksum("sha256", digest) if "check" in fate or "digest" in fate else None
        offset = known + (fate == "wrong offset")
        before = known
        try:
            upload = asyncio.run(uploads.append(upload, offset, pieces(data, sizes, "breaks" in fate), check))
            known += len(data)
        except BrokenError:
            known += 0 if check else min(sum(sizes), len(data))
        except Refused:
            assert fate in ("wrong digest", "wrong offset")
        if fate == "crash":  # bytes behind the offset that no row speaks of
            with uploads.path(upload.id).open("ab") as file:
                file.write(os.urandom(100))
            uploads.database.close()
            uploads = make_uploads(folder)
        upload = uploads.get(upload.id, "me")
        assert upload.offset == known >= before
        assert uploads.path(upload.id).read_bytes()[:known] == content[:known]
    asyncio.run(uploads.append(upload, known, pieces(content[known:], [], False)))
    assert uploads.get(upload.id, "me").is_whole
    assert uploads.path(upload.id).read_bytes() == content
    uploads.database.close()
