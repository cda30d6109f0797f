"""The headers of tus 1.0, the protocol of uploads that can be interrupted.

Source: https://tus.io/protocols/resumable-upload
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from email.utils import formatdate

from auricle.server.errors import Refused
from auricle.server.jobs.uploads import CHECKSUMS, Checksum, Upload

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,creation-defer-length,termination,expiration,checksum"
PIECE = "application/offset+octet-stream"
_MAX_METADATA = 4096


def about(max_bytes: int) -> dict[str, str]:
    """Return what OPTIONS answers."""
    return {
        "Tus-Resumable": VERSION,
        "Tus-Version": VERSION,
        "Tus-Extension": EXTENSIONS,
        "Tus-Max-Size": str(max_bytes),
        "Tus-Checksum-Algorithm": ",".join(CHECKSUMS),
    }


def state(upload: Upload) -> dict[str, str]:
    """Return how far an upload is."""
    headers = {"Tus-Resumable": VERSION, "Upload-Offset": str(upload.offset)}
    if not upload.is_whole:
        headers["Upload-Expires"] = formatdate(upload.expires, usegmt=True)
    return headers


def description(upload: Upload) -> dict[str, str]:
    """Return what HEAD answers."""
    length = {"Upload-Defer-Length": "1"} if upload.length is None else {"Upload-Length": str(upload.length)}
    metadata = {"Upload-Metadata": upload.raw_metadata} if upload.raw_metadata else {}
    return {**state(upload), **length, **metadata, "Cache-Control": "no-store"}


def check_version(headers: Mapping[str, str]) -> None:
    """Refuse other versions.

    Raises:
        Refused: 412.
    """
    given = headers.get("tus-resumable")
    if given != VERSION:
        raise Refused(
            412,
            f"Tus-Resumable is {given!r}; this server speaks tus {VERSION}, and every request for an upload says so",
            code="tus_version",
            headers={"Tus-Version": VERSION},
        )


def read_length(headers: Mapping[str, str]) -> int | None:
    """Return the length of a new upload; None: it is said later.

    Raises:
        Refused: 400, it is missing or wrong.
    """
    deferred = headers.get("upload-defer-length")
    if deferred is not None and (deferred != "1" or "upload-length" in headers):
        raise _wrong("Upload-Defer-Length", deferred, "1, and then no Upload-Length")
    return None if deferred is not None else read_count(headers, "Upload-Length")


def read_count(headers: Mapping[str, str], name: str) -> int:
    """Return the whole number in a header.

    Raises:
        Refused: 400, it is missing or none.
    """
    text = headers.get(name.lower())
    if text is None or not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise _wrong(name, text, "a whole number of bytes")
    return int(text)


def read_metadata(headers: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """Return what Upload-Metadata says, and the header as it came.

    Raises:
        Refused: 400, it is not made of names and base64.
    """
    raw = headers.get("upload-metadata", "")
    if len(raw) > _MAX_METADATA:
        raise _wrong("Upload-Metadata", f"{len(raw)} characters", f"at most {_MAX_METADATA}")
    values: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in raw.split(","))):
        name, _, text = pair.partition(" ")
        try:
            value = base64.b64decode(text, validate=True).decode("utf-8", "replace")
        except (binascii.Error, ValueError):
            raise _wrong("Upload-Metadata", pair, "names, each with a space and base64, between commas") from None
        if name in values:
            raise _wrong("Upload-Metadata", pair, "each name once")
        values[name] = value
    return values, raw


def read_checksum(headers: Mapping[str, str]) -> Checksum | None:
    """Return the digest that a piece should have.

    Raises:
        Refused: 400, of another algorithm, or no digest.
    """
    given = headers.get("upload-checksum")
    if given is None:
        return None
    algorithm, _, text = given.strip().partition(" ")
    expected = f"{' or '.join(CHECKSUMS)}, a space, and the digest in base64"
    if algorithm not in CHECKSUMS:
        raise _wrong("Upload-Checksum", given, expected)
    try:
        return Checksum(algorithm, base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        raise _wrong("Upload-Checksum", given, expected) from None


def _wrong(name: str, value: str | None, expected: str) -> Refused:
    return Refused(400, f"{name} is {value[:100] if value else value!r}; expected {expected}", code="invalid_header")
