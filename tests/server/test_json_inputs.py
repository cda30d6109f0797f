"""Base64 out of JSON as it arrives: the same whatever the pieces, the alphabet and the escapes, and never guessed."""

from __future__ import annotations

import base64
import io
import json
import random
import tracemalloc
from typing import Any

import pytest

from auricle.server import json_inputs
from auricle.server.errors import Refused
from auricle.server.json_inputs import InputsScanner, decoded, unescaped

BYTES = bytes(range(256)) * 3 + b"\xfb\xff\xfe"  # whose base64 has + and /
BASE64 = base64.b64encode(BYTES).decode()
WAYS = {
    "plain": BASE64,
    "of URLs": base64.urlsafe_b64encode(BYTES).decode(),
    "without padding": BASE64.rstrip("="),
    "in lines": "\n".join(BASE64[at : at + 76] for at in range(0, len(BASE64), 76)),
    "in lines of Windows": "\r\n".join(BASE64[at : at + 64] for at in range(0, len(BASE64), 64)) + "\r\n",
    "in a data URL": f"data:audio/flac;base64,{BASE64}",
    "in a data URL with parameters": f'data:audio/webm;codecs="opus";base64,{BASE64}',
}


def scanned(text: bytes, size: int | None = None) -> tuple[Any, io.BytesIO, bool]:
    """Feed a text in pieces of a size; the rest, what was put aside, and whether something was."""
    sink = io.BytesIO()
    scanner = InputsScanner(sink)
    for at in range(0, len(text), size or len(text)):
        scanner.feed(text[at : at + (size or len(text))])
    return scanner.value(), sink, scanner.has_inputs


def read(text: bytes, size: int | None = None) -> bytes:
    return b"".join(decoded(scanned(text, size)[1]))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64, None])
def test_every_way_to_write_base64_gives_the_bytes(way: str, size: int | None) -> None:
    text = json.dumps({"inputs": WAYS[way], "parameters": {"a": 1}}).encode()
    assert read(text, size) == BYTES
    assert scanned(text, size)[0] == {"inputs": "", "parameters": {"a": 1}}


@pytest.mark.parametrize("escape", [r"\u002B", r"\u002b"])
def test_escapes_of_other_json_writers_give_the_bytes(escape: str) -> None:
    # .NET escapes the plus, PHP the slash, Gson the equals sign.
    text = BASE64.replace("+", escape).replace("/", r"\/").replace("=", r"\u003d")
    assert "+" in BASE64
    assert "/" in BASE64
    assert read(f'{{"inputs": "{text}"}}'.encode(), 1) == BYTES
    assert read(f'{{"inputs":"data:audio\\/wav;base64,{text}"}}'.encode()) == BYTES


def test_escapes_cut_by_the_pieces_in_which_the_file_is_read_give_the_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(rf"\u{ord(letter):04x}" for letter in BASE64)
    for size in range(1, 40):
        monkeypatch.setattr(json_inputs, "_CHUNK", size)
        assert read(f'{{"inputs":"{text}"}}'.encode()) == BYTES
        assert read(json.dumps({"inputs": WAYS["in lines"]}).encode()) == BYTES


@pytest.mark.parametrize(
    "text",
    [
        "QUJD*",
        "QUJDé",
        "QUJDR",
        "QQ==QUJD",
        "QUI=QUJDQUJD",
        "=QUJ",
        r"QUJD\\",
        r"QUJD\"",
        r"QUJD\u00e9",
        "a b:c",
        "QU.J",
    ],
)
def test_what_is_no_base64_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="no base64") as caught:
        read(f'{{"inputs": "{text}"}}'.encode())
    assert caught.value.status == 400


def test_padding_between_pieces_of_the_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for size in (1, 2, 3, 4, 5, 8):
        monkeypatch.setattr(json_inputs, "_CHUNK", size)
        with pytest.raises(Refused, match="no base64"):
            read(b'{"inputs":"QQ==QUJDQUJDQUJDQUJD"}')


def documents() -> list[Any]:
    """JSON values with "inputs" in every place, and strings full of what JSON is made of."""
    generator = random.Random(5)

    def value(depth: int) -> Any:
        kind = generator.randrange(7 if depth else 4)
        if kind == 0:
            return generator.choice([None, True, False, 0, -1.5e-7, 12345678901234567890])
        if kind in (1, 2, 3):
            return "".join(generator.choice('inputs"\\{}[]:,é😀\n\x01 ') for _ in range(generator.randrange(12)))
        if kind == 4:
            return [value(depth - 1) for _ in range(generator.randrange(4))]
        names = ["inputs", "inputs ", "input", "parameters", 'in"puts', "\\inputs", "", "é"]
        return {generator.choice(names): value(depth - 1) for _ in range(generator.randrange(5))}

    return [value(4) for _ in range(400)]


@pytest.mark.parametrize("is_ascii", [True, False])
def test_any_json_is_read_as_json_reads_it(is_ascii: bool) -> None:
    n_inputs = 0
    for document in documents():
        text = json.dumps(document, ensure_ascii=is_ascii).encode()
        has_text = isinstance(document, dict) and isinstance(document.get("inputs"), str)
        n_inputs += has_text
        for size in (1, 3, None):
            rest, sink, has_inputs = scanned(text, size)
            assert has_inputs == has_text
            assert rest == ({**document, "inputs": ""} if has_text else document)
            if has_text:
                assert unescaped(sink) == document["inputs"]
    assert n_inputs > 10


def test_a_key_written_with_escapes_is_the_key() -> None:
    rest, sink, has_inputs = scanned(b'{"\\u0069nputs": "QU\\/J"}')
    assert (rest, unescaped(sink), has_inputs) == ({"inputs": ""}, "QU/J", True)


def test_only_the_first_level_counts() -> None:
    rest, _, has_inputs = scanned(b'{"a": {"inputs": "QUJD"}, "b": [{"inputs": "QUJD"}], "c": "inputs", "d": "x"}')
    assert not has_inputs
    assert rest["a"] == {"inputs": "QUJD"}


def test_two_recordings_are_refused() -> None:
    with pytest.raises(Refused, match="several 'inputs'"):
        scanned(b'{"inputs": "QUJD", "inputs": "REVG"}')


def test_a_mark_of_byte_order_is_no_part_of_the_json() -> None:
    assert scanned(b'\xef\xbb\xbf{"a": 1}')[0] == {"a": 1}


@pytest.mark.parametrize(
    "text",
    [b"{", b'{"inputs": "QUJD', b'{"inputs": "QUJD"', b'{"a": 1}}', b"[1,", b'{"a": \xff}', b'{"a": 1} x', b"{]"],
)
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(Refused, match="begins like JSON and is none") as caught:
        scanned(text, 1)
    assert caught.value.status == 400


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(Refused, match="nested too deeply"):
        scanned(b"[" * 200_000)


def test_everything_but_the_recording_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_inputs, "MAX_REST_BYTES", 1000)
    scanned(json.dumps({"inputs": "A" * 4000, "a": "A" * 900}).encode(), 100)
    with pytest.raises(Refused, match="raw bytes") as caught:
        scanned(json.dumps({"inputs": "A" * 4000, "a": "A" * 1100}).encode(), 100)
    assert caught.value.status == 413


def test_a_large_recording_takes_no_memory(tmp_path: Any) -> None:
    piece, n_pieces = base64.b64encode(bytes(3 << 18)), 64
    with (tmp_path / "sink").open("w+b") as sink:
        scanner = InputsScanner(sink)
        tracemalloc.start()
        scanner.feed(b'{"inputs": "')
        for _ in range(n_pieces):
            scanner.feed(piece)
        scanner.feed(b'"}')
        n_bytes = sum(map(len, decoded(sink)))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert n_bytes == n_pieces * (3 << 18)
    assert peak < 12 << 20, f"{peak / 2**20:.0f} MiB for {n_bytes / 2**20:.0f} MiB"
