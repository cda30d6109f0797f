"""Entries of journals: what comes back from JSON is what was written, to the last bit."""

from __future__ import annotations

import json

from auricle.results import Character, Segment, Warning, Word
from auricle.speech.journal_entries import segment_from_json, segment_to_json, warning_from_json, warning_to_json


def test_segments_and_warnings_come_back_exactly() -> None:
    segment = Segment(
        text="über 1/3",
        start=1 / 3,
        end=None,
        words=(Word("über", 0.1, 0.2 + 0.1, 1 / 7), Word(" 1/3", 1e-9, 2.0, 1.0)),
        characters=(Character("ü", 0.1, 1e300),),
        confidence=2 / 3,
        language="de",
        language_probability=0.1 + 0.2,
        channel=1,
        tokens=(3, 1, 4),
        temperature=0.2,
        avg_logprob=-1 / 3,
        compression_ratio=1.7,
        no_speech_prob=1e-20,
    )
    for one in (segment, Segment("", 0.0, 1.0)):
        assert segment_from_json(json.loads(json.dumps(segment_to_json(one)))) == one
    for warning in (Warning("skipped", "nobody", 0.1 + 0.2, None), Warning("recording", "damaged")):
        assert warning_from_json(json.loads(json.dumps(warning_to_json(warning)))) == warning
