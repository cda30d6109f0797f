"""The files that a transcript becomes, against files written by hand."""

from __future__ import annotations

import json

import pytest

from auricle.results import Character, Segment, Transcript, Warning, Word
from auricle.speech.formats import WriteOptions, write
from auricle.speech.formats.cues import clock

SPOKEN = Transcript(
    " Tom & Jerry --> here.\n\nAgain",
    (
        Segment(
            " Tom & Jerry --> here.",
            0.0,
            2.5,
            words=(Word(" Tom", 0.0, 0.41234, 0.987654), Word(" &", 0.5, 0.5, 0.5)),
            characters=(Character("T", 0.0, 0.1), Character(" ", 0.1, 0.2)),
        ),
        Segment("\n\nAgain", 3659.0, None),
        Segment("  ", 3659.5, 3660.0),
    ),
    language="en",
    duration=3661.0619,
    warnings=(Warning("skipped", "no voice", 2.5, 3659.0),),
)
SILENT = Transcript("")


def written(form: str, unit: str = "none", transcript: Transcript = SPOKEN) -> str:
    return write(transcript, form, WriteOptions(unit, "a.wav", "me/model"))


def test_srt_numbers_its_blocks_and_keeps_blank_lines_and_arrows_out_of_the_text() -> None:
    assert written("srt") == (
        "1\n00:00:00,000 --> 00:00:02,500\nTom & Jerry -> here.\n\n2\n01:00:59,000 --> 01:01:01,062\nAgain\n"
    )


def test_vtt_escapes_what_would_be_markup() -> None:
    assert written("vtt") == (
        "WEBVTT\n"
        "\n00:00:00.000 --> 00:00:02.500\nTom &amp; Jerry --&gt; here.\n"
        "\n01:00:59.000 --> 01:01:01.062\nAgain\n"
    )


def test_tsv_has_milliseconds_and_one_line_per_segment() -> None:
    assert written("tsv") == "start\tend\ttext\n0\t2500\tTom & Jerry --> here.\n3659000\t3661062\tAgain\n"


def test_txt_is_the_text() -> None:
    assert written("txt") == "Tom & Jerry --> here.\n\nAgain\n"


def test_units_choose_what_has_a_line() -> None:
    assert written("tsv", "word") == "start\tend\ttext\n0\t412\tTom\n500\t501\t&\n"
    assert written("tsv", "char") == "start\tend\ttext\n0\t100\tT\n"


def test_json_holds_segments_words_and_warnings_rounded() -> None:
    value = json.loads(written("json"))
    assert value["source"] == "a.wav"
    assert value["language"] == "en"
    assert value["duration"] == 3661.062
    assert value["segments"][0]["words"][0] == {
        "text": " Tom",
        "start": 0.0,
        "end": 0.412,
        "confidence": 0.9877,
    }
    assert "characters" not in value["segments"][0]
    assert value["segments"][1]["end"] is None
    assert value["warnings"][0]["kind"] == "skipped"
    assert json.loads(written("json", "char"))["segments"][0]["characters"][0]["text"] == "T"


@pytest.mark.parametrize(
    ("form", "content"), [("txt", "\n"), ("srt", ""), ("vtt", "WEBVTT\n"), ("tsv", "start\tend\ttext\n")]
)
def test_silence_is_an_empty_file_of_its_kind(form: str, content: str) -> None:
    assert written(form, transcript=SILENT) == content


def test_clock_carries_and_grows() -> None:
    assert clock(59.9996, ".") == "00:01:00.000"
    assert clock(360_000.5, ",") == "100:00:00,500"
