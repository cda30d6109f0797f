"""A JSON body whose "inputs" may be gigabytes of base64: that text goes to a file as it arrives, the rest is parsed.

Only a text at the first level counts; what is deeper, and every other value, stays in the rest.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from auricle.server.errors import Refused

MAX_REST_BYTES = 64 << 20  # of everything but "inputs"
_KEY = b"inputs"
_STRING_ENDS = re.compile(rb'["\\]')
_STRUCTURE = re.compile(rb'["{}\[\]:,]')
_DATA_URL = re.compile(rb"\A\s*data:[\w.+/;=-]*,")
_CHUNK = 1 << 20


class InputsScanner:
    """Takes a JSON text piece by piece and puts what stands in its "inputs" aside, still escaped."""

    def __init__(self, sink: BinaryIO) -> None:
        self.sink = sink
        self.has_inputs = False
        self._rest = bytearray()
        self._depth = 0
        self._mode = "structure"  # or "string", or "inputs"
        self._escaped = False
        self._key = bytearray()  # the string that was read last
        self._is_value = False  # whether what comes next at the first level is a value

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            Refused: 413, the rest is too large.
        """
        at = 0
        while at < len(data):
            if self._mode == "structure":
                at = self._structure(data, at)
            else:
                at = self._text(data, at)
            if len(self._rest) > MAX_REST_BYTES:
                raise Refused(
                    413,
                    f"the JSON without its 'inputs' has more than {MAX_REST_BYTES} bytes; send recordings as raw bytes",
                    code="body_too_large",
                )

    def value(self) -> Any:
        """Return the whole as JSON, with "inputs" empty if it was put aside.

        Raises:
            Refused: 400, it is no JSON.
        """
        try:
            return json.loads(bytes(self._rest).decode("utf-8"))
        except ValueError as error:
            raise Refused(400, f"the body begins like JSON and is none: {error}", code="invalid_json") from None
        except RecursionError:
            raise Refused(400, "the JSON is nested too deeply", code="invalid_json") from None

    def _structure(self, data: bytes, at: int) -> int:
        found = _STRUCTURE.search(data, at)
        if found is None:
            self._rest += data[at:]
            return len(data)
        sign, end = found[0], found.end()
        self._rest += data[at:end]
        if sign == b'"':
            is_inputs = self._depth == 1 and self._is_value and bytes(self._key) == _KEY and not self.has_inputs
            self._mode = "inputs" if is_inputs else "string"
            self.has_inputs |= is_inputs
            self._key.clear()
        elif sign in b"{[":
            self._depth += 1
            self._is_value = False
            if sign == b"[" and self._depth == 1:
                self._depth += 1  # an object in a list is not the first level
        elif sign in b"}]":
            self._depth -= 1
        elif self._depth == 1:
            self._is_value = sign == b":"
        return end

    def _text(self, data: bytes, at: int) -> int:
        if self._escaped:
            self._escaped = False
            self._put(data[at : at + 1])
            return at + 1
        found = _STRING_ENDS.search(data, at)
        if found is None:
            self._put(data[at:])
            return len(data)
        if found[0] == b"\\":
            self._put(data[at : found.end()])
            self._escaped = True
            return found.end()
        self._put(data[at : found.start()])
        self._rest += b'"'
        self._mode = "structure"
        return found.end()

    def _put(self, data: bytes) -> None:
        if self._mode == "inputs":
            self.sink.write(data)
            return
        self._rest += data
        if len(self._key) <= len(_KEY):
            self._key += data[: len(_KEY) + 1]


def unescaped(file: BinaryIO) -> str:
    """Return a text that the scanner put aside."""
    file.seek(0)
    text: str = json.loads(b'"' + file.read() + b'"')
    return text


def decoded(file: BinaryIO) -> Iterator[bytes]:
    """Give the bytes that base64 in a file stands for: the plain alphabet or that of URLs, data: URLs, line breaks.

    Raises:
        Refused: 400, it is no base64.
    """
    file.seek(0)
    head = file.read(256)
    found = _DATA_URL.match(head)
    file.seek(found.end() if found else 0)
    left = b""
    while chunk := file.read(_CHUNK):
        text = left + chunk.replace(b"\\n", b"").replace(b"\\r", b"").replace(b"\\/", b"/")
        text = b"".join(text.split()).replace(b"-", b"+").replace(b"_", b"/")
        # An escape may be cut in two.
        cut = len(text) - len(text) % 4 - (4 if text[-1:] == b"\\" else 0)
        left = text[cut:]
        yield _bytes(text[:cut])
    yield _bytes(left.rstrip(b"=") + b"=" * (-len(left.rstrip(b"=")) % 4))


def _bytes(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Refused(
            400,
            f"'inputs' is no base64 (near {text[:24].decode('ascii', 'replace')!r}); send the recording's bytes in "
            "base64, or as the raw body",
            code="invalid_base64",
        ) from None
