"""What bytes look like from their beginning: for messages, and for signs of a cut."""

from __future__ import annotations

import struct
from typing import NamedTuple

HEAD_BYTES = 8192

# (offset, magic bytes, what it is). The first match wins.
_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"GIF8", "a GIF image"),
    (8, b"WEBP", "a WebP image"),
    (0, b"%PDF", "a PDF document"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x1f\x8b", "gzip-compressed data"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"MThd", "a MIDI score"),
    (0, b"#EXTM3U", "a playlist"),
    (0, b"version https://git-lfs", "a Git LFS pointer (fetch the file itself with `git lfs pull`)"),
    (8, b"WAVE", "a WAV file"),
    (8, b"AVI ", "an AVI file"),
    (0, b"fLaC", "a FLAC file"),
    (0, b"ID3", "an MP3 file"),
    (0, b"OggS", "an Ogg file"),
    (0, b"\x1aE\xdf\xa3", "a Matroska or WebM file"),
    (4, b"ftyp", "an MP4 or M4A file"),
    (0, b"FORM", "an AIFF file"),
    (0, b"#!AMR", "an AMR file"),
)


def describe(head: bytes) -> str:
    """Say in a few words what the first bytes of a file look like.

    >>> describe(b"GIF89a")
    'a GIF image'
    """
    for offset, magic, meaning in _SIGNATURES:
        if head[offset : offset + len(magic)] == magic:
            return meaning
    if is_html(head):
        return "a web page (HTML)"
    if not head.strip(b"\0"):
        return "nothing but zero bytes"
    start = head[:400].strip()
    text = start.decode("utf-8", errors="ignore")
    # A character cut at the end costs up to 3 bytes; control characters mean that it is no text.
    if text and len(text.encode()) >= len(start) - 3 and " ".join(text.split()).isprintable():
        return f"text that begins {text[:40]!r}"
    return f"of an unknown kind, beginning with the bytes {head[:8].hex(' ')}"


def is_html(head: bytes) -> bool:
    """Whether the bytes begin as a web page does."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:64].lower()
    return start.startswith((b"<!doctype html", b"<html", b"<head", b"<body"))


class WavHeader(NamedTuple):
    """What a WAV file's header claims; `data_end` is the byte where its samples should end, if it says."""

    channels: int
    sample_rate: int
    data_end: int | None


def wav_header(head: bytes) -> WavHeader | None:
    """Read the claims of a RIFF WAVE header; None where the bytes are no such header or end inside it."""
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return None
    position, found = 12, None
    while position + 8 <= len(head):
        kind, size = struct.unpack_from("<4sI", head, position)
        if kind == b"fmt " and position + 16 <= len(head):
            _, channels, rate = struct.unpack_from("<HHI", head, position + 8)
            found = WavHeader(channels, rate, None)
        if kind == b"data" and found:
            # Programs that write to a pipe cannot know the size and leave 0 or all ones.
            stated = size not in (0, 0xFFFFFFFF) and size < 0xFFFFFF00
            return found._replace(data_end=position + 8 + size if stated else None)
        position += 8 + size + size % 2
    return found


def ends_unfinished(tail: bytes) -> bool:
    """Whether the last page in the tail of an Ogg file lacks the mark that ends a stream."""
    page = tail.rfind(b"OggS")
    return page >= 0 and page + 6 <= len(tail) and not tail[page + 5] & 0x04
