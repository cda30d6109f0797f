"""RTTM lines: nine spaces, times to a millisecond."""

from __future__ import annotations

from auricle.results import SpeakerTurn
from auricle.speech.rttm import rttm


def test_a_turn_is_a_line() -> None:
    turns = [SpeakerTurn("Ann", 0.42, 3.1, 0.9), SpeakerTurn("SPEAKER_00", 2.0, 2.0016)]
    assert rttm(turns, "my meeting") == (
        "SPEAKER my_meeting 1 0.420 2.680 <NA> <NA> Ann <NA> <NA>\n"
        "SPEAKER my_meeting 1 2.000 0.002 <NA> <NA> SPEAKER_00 <NA> <NA>\n"
    )


def test_confidence_has_its_column_and_names_have_no_spaces() -> None:
    assert rttm([SpeakerTurn("Ann  Lee", 0.0, 1.0, 0.9)], "x", confidence=True).split() == [
        *("SPEAKER", "x", "1", "0.000", "1.000", "<NA>", "<NA>", "Ann_Lee", "0.900", "<NA>")
    ]


def test_ends_stay_where_they_are() -> None:
    fields = rttm([SpeakerTurn("A", 0.0004, 1.0006)], "x").split()
    assert float(fields[3]) + float(fields[4]) == 1.001
