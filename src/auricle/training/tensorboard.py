"""TensorBoard's event files, written from log.jsonl without a further package.

Source: tensorflow/core/lib/io/record_writer.cc (lengths and masked CRC-32C around each record),
tensorflow/core/util/event.proto and framework/summary.proto (field numbers).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

VERSION = "brain.Event:2"
SHOWN = ("loss", "learning_rate", "gradient_norm", "blank_share", "wer", "cer")
_POLYNOMIAL = 0x82F63B78  # Castagnoli's, reversed
_MASK_DELTA = 0xA282EAD8


def write_events(path: Path, rows: Iterable[dict[str, Any]], start: float) -> None:
    """Write a log's figures as one event file; a row's time is `start` (seconds since 1970) and its own seconds."""
    seconds = 0.0
    with path.open("wb") as file:
        file.write(record(_double(1, start) + _bytes(3, VERSION.encode())))
        for row in rows:
            seconds = float(row.get("seconds", seconds))
            values = b"".join(
                _bytes(1, _bytes(1, tag_of(name, row).encode()) + _float(2, float(row[name])))
                for name in SHOWN
                if isinstance(row.get(name), int | float)
            )
            if values:
                event = _double(1, start + seconds) + _varint_field(2, int(row["step"])) + _bytes(5, values)
                file.write(record(event))


def tag_of(name: str, row: dict[str, Any]) -> str:
    """Where TensorBoard shows a figure."""
    return f"validation/{name}" if "wer" in row else f"training/{name}"


def record(data: bytes) -> bytes:
    """One record: its length, the length's checksum, the data, the data's checksum."""
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", _masked(length)) + data + struct.pack("<I", _masked(data))


def crc32c(data: bytes) -> int:
    """The Castagnoli checksum; of b"123456789" it is 0xE3069283."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _masked(data: bytes) -> int:
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def _entry(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ (_POLYNOMIAL if byte & 1 else 0)
    return byte


_TABLE = [_entry(byte) for byte in range(256)]


def _varint(number: int) -> bytes:
    parts = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def _varint_field(field: int, number: int) -> bytes:
    return _varint(field << 3) + _varint(number)


def _double(field: int, number: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", number)


def _float(field: int, number: float) -> bytes:
    return _varint(field << 3 | 5) + struct.pack("<f", number)


def _bytes(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data
