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

MAX_REST_BYTES = 16 << 20  # of everything but "inputs"
_NAME = "inputs"
_KEY = _NAME.encode()
_STRING_ENDS = re.compile(rb'["\\]')
_STRUCTURE = re.compile(rb'["{}\[\]:,]')
_CHUNK = 1 << 20
_ESCAPE = re.compile(rb"\\(?:u([0-9A-Fa-f]{4})|([^u]))", re.DOTALL)
_LONGEST_ESCAPE = len(rb"\uFFFF")
# Escapes that may stand within base64; any other stays as it is, and is refused.
_ESCAPED = {b"/": b"/", b"n": b"\n", b"r": b"\r", b"t": b"\t", b'"': b'"'}
_DATA_URL = re.compile(rb"\s*data:[^,]{0,500},")
_ALPHABET = bytes.maketrans(b"-_", b"+/")
_SPACE = b" \t\r\n"
_QUAD = 4  # characters that stand for three bytes


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
            value = json.loads(bytes(self._rest).decode("utf-8-sig"))
        except ValueError as error:
            raise Refused(400, f"the body begins like JSON and is none: {error}", code="invalid_json") from None
        except RecursionError:
            raise Refused(400, "the JSON is nested too deeply", code="invalid_json") from None
        if isinstance(value, dict) and value.get(_NAME):
            if self.has_inputs:
                raise Refused(400, "the JSON has several 'inputs'; give one", code="invalid_json")
            if isinstance(value[_NAME], str):
                # Its key was written with escapes.
                self.sink.write(json.dumps(value[_NAME])[1:-1].encode())
                self.has_inputs, value[_NAME] = True, ""
        return value

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
    left = b""
    for text in _without_escapes(file):
        text = left + text.translate(_ALPHABET, _SPACE)
        # The last four may be padded, and nothing before them.
        cut = max(0, (len(text) - 1) // _QUAD * _QUAD)
        left = text[cut:]
        yield _bytes(text[:cut], is_last=False)
    left = left.rstrip(b"=")
    yield _bytes(left + b"=" * (-len(left) % _QUAD), is_last=True)


def _without_escapes(file: BinaryIO) -> Iterator[bytes]:
    """Give a text piece by piece with its escapes resolved, and without the head of a data: URL."""
    file.seek(0)
    left, is_first = b"", True
    while chunk := file.read(_CHUNK):
        text = left + chunk
        # An escape may be cut in two.
        cut = text.rfind(b"\\", max(0, len(text) - _LONGEST_ESCAPE + 1))
        left = text[cut:] if cut >= 0 else b""
        plain = _ESCAPE.sub(_unescape, text[:cut] if cut >= 0 else text)
        if is_first and (found := _DATA_URL.match(plain)):
            plain = plain[found.end() :]
        is_first = False
        yield plain
    yield _ESCAPE.sub(_unescape, left)


def _unescape(escape: re.Match[bytes]) -> bytes:
    if escape[1] is not None:
        code = int(escape[1], 16)
        return bytes([code]) if code < 128 else escape[0]
    return _ESCAPED.get(escape[2], escape[0])


def _bytes(text: bytes, is_last: bool) -> bytes:
    try:
        if not is_last and b"=" in text:
            raise ValueError("padding in the middle")
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Refused(
            400,
            f"'inputs' is no base64 (near {text[:24].decode('ascii', 'replace')!r}); send the recording's bytes in "
            "base64, or as the raw body",
            code="invalid_base64",
        ) from None
