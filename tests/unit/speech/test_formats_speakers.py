"""Who speaks, in every format: read back by others' libraries where there are any."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import Any

import pysubs2
import pytest
import webvtt

from auricle.errors import OptionError
from auricle.results import Segment, SpeakerTurn, Transcript, Word
from auricle.speech.formats import WriteOptions, write
from auricle.speech.subtitles import SubtitleRules


def segment(text: str, start: float, speaker: str | None, **more: Any) -> Segment:
    """Each word takes 0.4 s and a breath of 0.1 s."""
    words = tuple(
        Word(f" {word}", start + 0.5 * place, start + 0.5 * place + 0.4, 0.9, speaker)
        for place, word in enumerate(text.split())
    )
    return Segment(f" {text}", start, words[-1].end, words, speaker=speaker, **more)


PARTS = (
    segment("Good morning.", 0.0, "Ann"),
    segment("Did you sleep well?", 1.5, "Ann"),
    segment("Hello <Ann> & you?", 4.0, "Bob & Co"),
    segment("Fine.", 6.5, "Ann"),
)
TALK = Transcript(
    "Good morning. Did you sleep well? Hello <Ann> & you? Fine.",
    PARTS,
    language="en",
    duration=8.0,
    turns=(SpeakerTurn("Ann", 0.0, 3.6), SpeakerTurn("Bob & Co", 4.0, 6.0), SpeakerTurn("Ann", 6.5, 7.0)),
)
PLAIN = replace(
    TALK,
    turns=(),
    segments=tuple(
        replace(one, speaker=None, words=tuple(replace(word, speaker=None) for word in one.words)) for one in PARTS
    ),
)


def test_text_has_a_line_for_each_turn() -> None:
    assert write(TALK, "txt") == ("Ann: Good morning. Did you sleep well?\nBob & Co: Hello <Ann> & you?\nAnn: Fine.\n")
    assert write(TALK, "txt", WriteOptions(paragraphs=True)).split("\n\n")[1] == "Bob & Co: Hello <Ann> & you?"
    lines = write(TALK, "txt", WriteOptions(unit="segment")).splitlines()
    assert lines[2] == "[00:00:04.000 --> 00:00:05.900] Bob & Co: Hello <Ann> & you?"
    assert write(TALK, "txt", WriteOptions(unit="word")).splitlines()[0] == "[00:00:00.000 --> 00:00:00.400] Good"


def test_subrip_names_the_speaker_where_another_begins() -> None:
    read = [event.plaintext for event in pysubs2.SSAFile.from_string(write(TALK, "srt"), format_="srt")]
    assert read[0].startswith("Ann: Good morning.")
    named = [text for text in read if text.startswith(("Ann: ", "Bob & Co: "))]
    assert [text.partition(":")[0] for text in named] == ["Ann", "Bob & Co", "Ann"]
    assert not any("Ann: " in text and "Bob" in text for text in read)


def test_subrip_does_as_the_rules_say() -> None:
    def begins(how: str) -> list[str]:
        content = write(TALK, "srt", WriteOptions(rules=SubtitleRules(speakers=how)))
        return [event.plaintext[:3] for event in pysubs2.SSAFile.from_string(content, format_="srt")]

    assert begins("dash").count("- G") == begins("dash").count("- H") == begins("dash").count("- F") == 1
    assert begins("label")[0] == "Ann"
    assert begins("none")[0] == "Goo"


def test_one_speaker_alone_is_named_in_text_and_needs_no_name_in_subtitles() -> None:
    alone = replace(TALK, segments=PARTS[:2])
    assert write(alone, "txt").startswith("Ann: ")
    assert "Ann" not in write(alone, "srt")
    assert "<v Ann>" in write(alone, "vtt")


@pytest.mark.parametrize("word_cues", [False, True])
def test_webvtt_has_a_voice_for_every_cue(word_cues: bool) -> None:
    content = write(TALK, "vtt", WriteOptions(word_cues=word_cues))
    read = list(webvtt.from_string(content))
    assert [cue.voice for cue in read] == [*["Ann"] * (len(read) - 2), "Bob &amp; Co", "Ann"]
    assert "<v Bob &amp; Co>" in content
    assert read[-1].text.strip() == "Fine."
    assert "Ann:" not in content
    assert [event.plaintext.strip() for event in pysubs2.SSAFile.from_string(content, format_="vtt")][-1] == "Fine."


def test_ttml_has_agents_that_its_cues_refer_to() -> None:
    content = write(TALK, "ttml")
    metadata, body = "{http://www.w3.org/ns/ttml#metadata}", "{http://www.w3.org/ns/ttml}"
    root = ET.fromstring(content)
    agents = {
        agent.get("{http://www.w3.org/XML/1998/namespace}id"): agent.findtext(f"{metadata}name")
        for agent in root.iter(f"{metadata}agent")
    }
    assert agents == {"speaker1": "Ann", "speaker2": "Bob & Co"}
    said = [agents[one.get(f"{metadata}agent")] for one in root.iter(f"{body}p")]
    assert said[-2:] == ["Bob & Co", "Ann"]


def test_substation_has_names() -> None:
    renamed = replace(TALK, segments=(*PARTS[:2], replace(PARTS[2], speaker="Bob, Co"), PARTS[3]))
    read = pysubs2.SSAFile.from_string(write(renamed, "ass"), format_="ass")
    assert [event.name for event in read][-2:] == ["Bob， Co", "Ann"]
    assert read[-1].plaintext == "Fine."


def test_lyrics_have_names_in_their_lines() -> None:
    assert "]Bob & Co: Hello" in write(TALK, "lrc")


def test_table_has_a_column_of_speakers() -> None:
    rows = [row.split("\t") for row in write(TALK, "tsv").splitlines()]
    assert rows[0] == ["start", "end", "speaker", "text"]
    assert rows[3] == ["4000", "5900", "Bob & Co", "Hello <Ann> & you?"]
    assert write(PLAIN, "tsv").splitlines()[0] == "start\tend\ttext"


def test_json_has_speakers_where_there_are_any() -> None:
    found = json.loads(write(TALK, "json"))
    assert found["segments"][2]["speaker"] == found["segments"][2]["words"][0]["speaker"] == "Bob & Co"
    assert found["turns"][0] == {"speaker": "Ann", "start": 0.0, "end": 3.6, "confidence": None}
    assert "speaker" not in write(PLAIN, "json")
    assert "turns" not in write(PLAIN, "json")


def test_textgrid_has_a_tier_for_each_speaker() -> None:
    content = write(TALK, "textgrid")
    assert 'name = "Bob & Co"' in content
    tier = content[content.index('name = "Bob & Co"') :]
    assert "intervals: size = 3" in tier
    assert 'text = "Hello <Ann> & you?"' in tier


def test_rttm_has_turns_and_refuses_transcripts_without() -> None:
    lines = write(TALK, "rttm", WriteOptions(source="a/my talk.wav")).splitlines()
    assert lines[1] == "SPEAKER my_talk 1 4.000 2.000 <NA> <NA> Bob_&_Co <NA> <NA>"
    assert write(TALK, "rttm", WriteOptions(source="a\\b.c.mp3")).startswith("SPEAKER b.c 1 ")
    assert len(write(replace(TALK, turns=()), "rttm").splitlines()) == 4
    with pytest.raises(OptionError, match="transcribe with speakers"):
        write(PLAIN, "rttm")


def test_channels_without_speakers_are_written_as_before() -> None:
    both = replace(PLAIN, segments=tuple(replace(one, channel=at % 2) for at, one in enumerate(PLAIN.segments)))
    assert "- Good" in write(both, "srt")
    assert write(both, "txt") == TALK.text + "\n"
    assert "<v" not in write(both, "vtt")
