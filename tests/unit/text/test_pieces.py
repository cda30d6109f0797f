"""Text while it is written: no torn characters, no text behind what stops it, and the whole in the end."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from auricle.text.pieces import Pieces, Stops


def bytes_to_text(ids: Sequence[int]) -> str:
    return bytes(ids).decode("utf-8", errors="replace")


@pytest.mark.parametrize("text", ["plain", "naïve café", "漢字かな", "👩‍👩‍👧 family", "e\u0301 \u202e", ""])
def test_no_piece_ends_within_a_character(text: str) -> None:
    pieces = Pieces(bytes_to_text)
    told = [pieces.add(byte) for byte in text.encode()]
    assert "".join(told) == text
    assert pieces.end() == ""
    assert not any("\ufffd" in piece for piece in told)


def test_what_is_no_character_is_told_once_it_cannot_become_one() -> None:
    pieces = Pieces(bytes_to_text)
    told = [pieces.add(byte) for byte in b"a\xff\xfeb\xe6\xbc"]
    assert told[:4] == ["a", "", "", "\ufffd\ufffdb"]
    assert pieces.end() == "\ufffd"


@pytest.mark.parametrize("seed", range(20))
def test_pieces_join_to_what_all_ids_say(seed: int) -> None:
    ids = random.Random(seed).choices(range(256), k=60)
    pieces = Pieces(bytes_to_text)
    assert "".join([*map(pieces.add, ids), pieces.end()]) == bytes_to_text(ids)


def test_a_run_of_single_bytes_is_decoded_as_one() -> None:
    # As SentencePiece does it: bytes that are no text together are none of them.
    def decode(ids: Sequence[int]) -> str:
        try:
            return bytes(ids).decode()
        except UnicodeDecodeError:
            return "\ufffd" * len(ids)

    pieces = Pieces(decode, joined=range(128, 256))
    ids = [*"né".encode()[1:], 0xFF]
    assert [pieces.add(id) for id in ids] == ["", "", ""]
    assert pieces.end() == "\ufffd" * 3


def test_the_space_before_the_first_word_is_kept_where_a_word_stands_before_it() -> None:
    words = {0: " a", 1: " big", 2: " dog"}

    def decode(ids: Sequence[int]) -> str:  # as vocabularies in the manner of Llama 2 do it
        return "".join(words[id] for id in ids).removeprefix(" ")

    assert Pieces(decode).add(2) == "dog"
    assert Pieces(decode, before=[0, 1]).add(2) == " dog"


def test_a_stop_string_that_comes_in_parts_is_never_told() -> None:
    stops = Stops(["STOP"])
    told = [stops.add(piece) for piece in ["one S", "TO", "Y ST", "OP and more"]]
    assert told == ["one ", "", "STOY ", ""]
    assert stops.found == "STOP"
    assert stops.end() == ""
    assert stops.add("later") == ""


def test_what_only_began_like_a_stop_string_comes_in_the_end() -> None:
    stops = Stops(["\n\nQ:"])
    assert stops.add("yes\n\nQ") == "yes"
    assert stops.end() == "\n\nQ"


def test_the_first_of_several_stop_strings_counts() -> None:
    stops = Stops(["ef", "cd"])
    assert stops.add("abcdef") == "ab"
    assert stops.found == "cd"


def test_a_stop_string_is_kept_where_that_is_asked_for() -> None:
    stops = Stops(["lo w"], is_kept=True)
    assert [stops.add(piece) for piece in ["hel", "lo ", "world"]] == ["hel", "lo ", "world"]
    assert stops.found == "lo w"


@pytest.mark.parametrize("seed", range(30))
def test_the_text_ends_where_a_search_in_the_whole_finds_the_string(seed: int) -> None:
    draw = random.Random(seed)
    text = "".join(draw.choices("ab", k=40))
    strings = ["".join(draw.choices("ab", k=draw.randint(2, 6))) for _ in range(2)]
    stops, told, rest = Stops(strings), "", text
    while rest and stops.found is None:
        n = draw.randint(1, 5)
        told, rest = told + stops.add(rest[:n]), rest[n:]
    told += stops.end()
    places = [text.find(one) for one in strings if one in text]
    assert told == (text[: min(places)] if places else text)
