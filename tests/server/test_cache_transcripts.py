"""Transcripts survive JSON without a change."""

from __future__ import annotations

import json

import pytest

from auricle.results import Character, Provenance, Segment, Transcript, Warning, Word
from auricle.server.transcripts import transcript_from_json, transcript_to_json

FULL = Transcript(
    text="ein Wört \udce9",
    segments=(
        Segment(
            "ein Wört",
            0.1 + 0.2,
            1 / 3,
            words=(Word(" ein", 0.1, 0.2, 1e-17), Word(" Wört", 0.2, 1 / 3, 0.99)),
            characters=(Character("e", 0.1, 0.15),),
            confidence=0.5,
            language="de",
            language_probability=0.7,
            channel=1,
            tokens=(1, 50257),
            temperature=0.0,
            avg_logprob=float("-inf"),
            compression_ratio=1.1,
            no_speech_prob=0.01,
        ),
        Segment("", 2.0, None),
    ),
    language="de",
    language_probability=0.7,
    duration=12.345678901234567,
    warnings=(Warning("skipped", "no voice", 1.0, 2.0), Warning("clipped", "loud")),
    language_probabilities={"de": 0.7, "en": 0.3},
    provenance=Provenance(
        model="org/name",
        revision=None,
        engine="cpu",
        device="cpu",
        dtype="float32",
        auricle_version="0.1.0",
        torch_version="2.13",
        options={"temperature": [0.0, 0.2], "channels": "mix", "nested": {"seed": None}},
        audio_sha256="ab" * 32,
    ),
)


@pytest.mark.parametrize("transcript", [FULL, Transcript("")], ids=["full", "empty"])
def test_a_transcript_comes_back_exactly(transcript: Transcript) -> None:
    text = json.dumps(transcript_to_json(transcript))
    assert transcript_from_json(json.loads(text)) == transcript


def test_to_json_shares_nothing_with_the_transcript() -> None:
    value = transcript_to_json(FULL)
    value["language_probabilities"]["fr"] = 1.0
    value["provenance"]["options"]["channels"] = "split"
    assert FULL.language_probabilities == {"de": 0.7, "en": 0.3}
    assert FULL.provenance is not None
    assert FULL.provenance.options["channels"] == "mix"
