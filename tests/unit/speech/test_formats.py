"""What is written is read back by others' libraries, and the times and texts are those of the cues."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from types import MappingProxyType
from typing import Any

import pysubs2
import pytest
import webvtt

from auricle.errors import OptionError
from auricle.results import Character, Provenance, Segment, Transcript, Word
from auricle.speech.formats import FORMATS, MEDIA_TYPES, SHAPED_FORMATS, TIMED_FORMATS, WriteOptions, as_dict, write
from auricle.speech.formats.cues import clock, ticked
from auricle.speech.subtitles import Cue, SubtitleRules, shape

JOINER = "\u2060"


def words(text: str, start: float = 0.0) -> tuple[Word, ...]:
    """Each word takes 0.4 s and a breath of 0.1 s."""
    return tuple(
        Word(f" {word}", start + 0.5 * place, start + 0.5 * place + 0.4, 0.9) for place, word in enumerate(text.split())
    )


def segment(text: str, start: float = 0.0, **more: Any) -> Segment:
    spoken = words(text, start)
    return Segment(f" {text}", start, spoken[-1].end, spoken, **more)


def transcript(*segments: Segment, **more: Any) -> Transcript:
    return Transcript("".join(one.text for one in segments), segments, language="en", **more)


TALK = transcript(
    segment("We left the town early in the morning, and nobody spoke a single word.", 1.0),
    segment("Why not? Because we were all tired.", 11.23456),
    segment("At the end.", 3600 * 98 + 59.9996),
)
ODD = transcript(
    segment("<i>Tom & Jerry</i> --> 3 < 4 && 5 > 4", 0.0),
    segment(r"{\an8}brace\Nyes \h {not} C:\new [00:12.00]x <00:13.00>", 20.0),
    segment("שלום עולם، مرحبا 👩‍👩‍👧 e\u0301 naïve 東京", 40.0),
    Segment("one\n\n  two\x00\x1b\r\n42\n\n", 60.0, 62.0),
    segment("NOTE this; 'quoted' \"text\"", 80.0),
)
CASES = pytest.mark.parametrize("spoken", [TALK, ODD], ids=["talk", "odd"])


def shown(given: Transcript, per_second: int = 1000) -> list[tuple[int, int, tuple[str, ...]]]:
    return [(tick.start, tick.end, tick.cue.lines) for tick in ticked(shape(given), per_second)]


def by_pysubs2(content: str, form: str) -> list[tuple[int, int, tuple[str, ...]]]:
    read = pysubs2.SSAFile.from_string(content, format_=form)
    return [(event.start, event.end, tuple(event.plaintext.replace(JOINER, "").split("\n"))) for event in read]


# No two players agree on how these are escaped.
LOOKALIKES = str.maketrans("{}", "｛｝")


@CASES
def test_srt_is_read_back_by_pysubs2(spoken: Transcript) -> None:
    expected = [
        (start, end, tuple(line.replace("-->", "->").translate(LOOKALIKES) for line in lines))
        for start, end, lines in shown(spoken)
    ]
    assert by_pysubs2(write(spoken, "srt"), "srt") == expected


@CASES
@pytest.mark.parametrize("word_cues", [False, True])
def test_ass_is_read_back_by_pysubs2(spoken: Transcript, word_cues: bool) -> None:
    expected = [
        (10 * start, 10 * end, tuple(line.translate(LOOKALIKES) for line in lines))
        for start, end, lines in shown(spoken, 100)
    ]
    assert by_pysubs2(write(spoken, "ass", WriteOptions(word_cues=word_cues)), "ass") == expected


def test_ttml_and_vtt_are_read_back_by_pysubs2() -> None:
    assert by_pysubs2(write(TALK, "ttml"), "ttml") == shown(TALK)
    assert by_pysubs2(write(TALK, "vtt"), "vtt") == shown(TALK)


@pytest.mark.parametrize(
    ("form", "times"),
    [
        ("srt", "100:00:00,500 --> 100:00:01,400"),
        ("vtt", "100:00:00.500 --> 100:00:01.400"),
        ("ttml", 'begin="100:00:00.500" end="100:00:01.400"'),
        ("ass", "100:00:00.50,100:00:01.40"),
        ("lrc", "[6000:00.50]"),
        ("tsv", "360000500\t360001400"),
    ],
)
def test_hours_and_minutes_may_have_more_digits(form: str, times: str) -> None:
    # Not by pysubs2, which knows two digits of hours.
    assert times in write(transcript(segment("At last.", 360_000.5)), form)


@CASES
def test_ttml_is_xml_in_the_namespaces_of_the_standard(spoken: Transcript) -> None:
    names = {"tt": "http://www.w3.org/ns/ttml", "xml": "http://www.w3.org/XML/1998/namespace"}
    root = ET.fromstring(write(spoken, "ttml", WriteOptions(source='a & b "<c>".wav')).encode())
    assert root.tag == f"{{{names['tt']}}}tt"
    assert root.get(f"{{{names['xml']}}}lang") == "en"
    assert root.get("{http://www.w3.org/ns/ttml#parameter}profile") == "http://www.w3.org/ns/ttml/profile/imsc1/text"
    assert root.find(".//{http://www.w3.org/ns/ttml#metadata}title").text == 'a & b "<c>".wav'  # type: ignore[union-attr]
    read = []
    for p in root.iterfind("tt:body/tt:div/tt:p", names):
        read.append((to_ms(p.attrib["begin"]), to_ms(p.attrib["end"]), (p.text, *(br.tail for br in p))))
    assert read == shown(spoken)
    regions = {region.get(f"{{{names['xml']}}}id") for region in root.iterfind("tt:head/tt:layout/tt:region", names)}
    assert {div.get("region") for div in root.iterfind("tt:body/tt:div", names)} == regions


@CASES
@pytest.mark.parametrize("word_cues", [False, True])
def test_vtt_is_read_back_by_webvtt(spoken: Transcript, word_cues: bool) -> None:
    content = write(spoken, "vtt", WriteOptions(word_cues=word_cues))
    read = [
        (to_ms(caption.start), to_ms(caption.end), tuple(unescaped(caption.text).split("\n")))
        for caption in webvtt.from_string(content)
    ]
    assert read == shown(spoken)


def to_ms(time: str) -> int:
    hours, minutes, seconds = time.split(":")
    return round(1000 * (3600 * int(hours) + 60 * int(minutes) + float(seconds)))


def unescaped(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def test_vtt_word_cues_have_the_words_times_which_grow_within_the_cue() -> None:
    content = write(transcript(segment("so be it", 1.0)), "vtt", WriteOptions(word_cues=True))
    assert content == (
        "WEBVTT\n\n00:00:01.000 --> 00:00:02.400\n<c>so</c><00:00:01.500><c> be</c><00:00:02.000><c> it</c>\n"
    )
    for caption in webvtt.from_string(write(ODD, "vtt", WriteOptions(word_cues=True))):
        times = [to_ms(time) for time in re.findall(r"<([\d:.]+)>", caption.raw_text)]
        assert times == sorted(set(times))
        assert all(to_ms(caption.start) < time < to_ms(caption.end) for time in times)


def test_karaoke_of_ass_lasts_from_the_cue_to_the_last_words_end() -> None:
    spoken = transcript(segment("so be it", 1.0))
    event = write(spoken, "ass", WriteOptions(word_cues=True)).splitlines()[-1]
    assert event == r"Dialogue: 0,0:00:01.00,0:00:02.40,Default,,0,0,0,,{\k40}so{\k10}{\k40} be{\k10}{\k40} it"


def test_ass_has_the_sections_that_the_format_needs() -> None:
    read = pysubs2.SSAFile.from_string(write(TALK, "ass", WriteOptions(source="talk\nover.wav")), format_="ass")
    assert read.info["ScriptType"] == "v4.00+"
    assert read.info["Title"] == "talk over.wav"
    assert list(read.styles) == ["Default"]
    assert {event.style for event in read} == {"Default"}


# As published: [mm:ss.xx] before a line, <mm:ss.xx> before a word, [name:value] for what else is known.
LRC_LINE = re.compile(r"\[(\d{2,}):(\d{2})\.(\d{2})\](.*)")
LRC_WORD = re.compile(r"<(\d{2,}):(\d{2})\.(\d{2})>([^<]*)")


def by_lrc(content: str) -> tuple[dict[str, str], list[tuple[int, str]]]:
    tags, lines = {}, []
    for line in content.splitlines():
        timed = LRC_LINE.fullmatch(line)
        if timed is None:
            name, value = re.fullmatch(r"\[([a-z]+):(.*)\]", line).groups()  # type: ignore[union-attr]
            tags[name] = value
        else:
            lines.append((hundredths(timed), timed[4]))
    return tags, lines


def hundredths(time: re.Match[str]) -> int:
    return (60 * int(time[1]) + int(time[2])) * 100 + int(time[3])


@CASES
def test_lrc_is_read_back_line_by_line(spoken: Transcript) -> None:
    expected = [(tick.start, tick.cue.text) for tick in ticked(shape(spoken), 100)]
    _, lines = by_lrc(write(spoken, "lrc"))
    safe = [(start, re.sub(r"[\[<](\d+:[\d.]+)[\]>]", r"(\1)", text)) for start, text in expected]
    assert [(start, text) for start, text in lines if text] == safe
    ends = {tick.end for tick in ticked(shape(spoken), 100)}
    assert {start for start, text in lines if not text} <= ends
    assert lines == sorted(lines, key=lambda line: line[0])


def test_lrc_clears_a_line_before_a_silence_and_at_the_end() -> None:
    spoken = transcript(segment("so be it", 1.0), segment("or not at all", 2.5), segment("now then", 8.0))
    assert by_lrc(write(spoken, "lrc", WriteOptions(unit="segment")))[1] == [
        (100, "so be it"),
        (250, "or not at all"),
        (440, ""),
        (800, "now then"),
        (890, ""),
    ]


def test_enhanced_lrc_has_the_times_of_words_and_of_the_last_ones_end() -> None:
    spoken = transcript(segment("so be it", 1.0), duration=62.4)
    tags, lines = by_lrc(write(spoken, "lrc", WriteOptions(word_cues=True, source="a.wav")))
    assert tags == {"ti": "a.wav", "length": "01:02"}
    assert [line for _, line in lines] == ["<00:01.00>so <00:01.50>be <00:02.00>it<00:02.40>", ""]
    timed = [(hundredths(word), word[4]) for word in LRC_WORD.finditer(lines[0][1])]
    assert timed == [(100, "so "), (150, "be "), (200, "it"), (240, "")]


@pytest.mark.parametrize("form", sorted(SHAPED_FORMATS))
def test_subtitles_follow_the_rules_that_are_given(form: str) -> None:
    rules = SubtitleRules(max_line_length=10, max_lines=1, speakers="none")
    content = write(TALK, form, WriteOptions(rules=rules))
    assert all(cue.text in content for cue in shape(TALK, rules))
    assert content != write(TALK, form)


def test_a_unit_asks_for_the_recognizers_own_pieces() -> None:
    talk = transcript(segment("one two", 0.0), segment("three " * 20, 1.0))
    read = by_pysubs2(write(talk, "srt", WriteOptions(unit="segment")), "srt")
    assert [(start, end) for start, end, _ in read] == [(0, 900), (1000, 10900)]
    assert read[1][2] == (" ".join(["three"] * 20),)
    assert [text for _, _, text in by_pysubs2(write(talk, "srt", WriteOptions(unit="word")), "srt")][:2] == [
        ("one",),
        ("two",),
    ]
    spelled = transcript(Segment("ab", 0.0, 1.0, characters=(Character("a", 0.0, 0.4), Character("b", 0.4, 1.0))))
    assert by_pysubs2(write(spelled, "srt", WriteOptions(unit="char")), "srt") == [
        (0, 400, ("a",)),
        (400, 1000, ("b",)),
    ]


def test_rounding_never_makes_cues_overlap() -> None:
    cues = [Cue(start, end, ()) for start, end in [(0.0, 0.0), (0.0004, 0.0005), (0.0005, 0.00149), (0.00149, 0.5)]]
    assert [(tick.start, tick.end) for tick in ticked(cues, 1000)] == [(0, 1), (1, 2), (2, 3), (3, 500)]


def test_channels_that_overlap_in_seconds_may_overlap_in_raw_pieces() -> None:
    both = transcript(Segment("a", 0.0, 2.0, channel=0), Segment("b", 1.0, 3.0, channel=1))
    assert write(both, "tsv") == "start\tend\ttext\n0\t2000\ta\n1000\t3000\tb\n"


def test_times_before_the_recording_are_its_start() -> None:
    assert clock(-0.0, ".") == clock(-0.0004, ".") == clock(-3.0, ".") == "00:00:00.000"
    early = Transcript("a", (Segment("a", -0.0, 1.0),))
    assert "-0" not in write(early, "json")


EMPTY = {
    "txt": "\n",
    "srt": "",
    "vtt": "WEBVTT\n",
    "lrc": "",
    "tsv": "start\tend\ttext\n",
}


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_silence_is_a_whole_file_without_cues(form: str) -> None:
    content = write(Transcript(""), form)
    assert content == EMPTY.get(form, content)
    if form in ("ass", "ttml"):
        assert by_pysubs2(content, form) == []
    if form == "json":
        assert json.loads(content)["segments"] == []


def test_every_format_has_a_media_type() -> None:
    assert set(MEDIA_TYPES) == set(FORMATS)
    assert set(FORMATS) >= TIMED_FORMATS


@pytest.mark.parametrize("form", sorted(FORMATS.keys() - {"rttm"}))
def test_every_file_ends_its_lines_alike_and_has_no_control_characters(form: str) -> None:
    content = write(ODD, form)
    assert form in ("txt", "json") or not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", content)
    assert content.endswith("\n")


def test_json_has_everything_that_is_known() -> None:
    provenance = Provenance(
        "me/model", "abc", "reference", "cpu", "float32", "0.1.0", "2.13",
        MappingProxyType({"beta": 0.000012345, "hotwords": ("a", "b"), "penalty": float("inf"), "lm": None}),
        "ff",
    )  # fmt: skip
    spoken = Transcript(
        "hm", (Segment("hm", 0.0, 1.0, channel=1, avg_logprob=float("nan")),), language="en",
        language_probability=0.98765, language_probabilities=MappingProxyType({"en": 0.98765, "de": 0.01}),
        provenance=provenance,
    )  # fmt: skip
    value = json.loads(write(spoken, "json", WriteOptions(source="a.wav", model="me/model")))
    assert value["language_probabilities"] == {"en": 0.9877, "de": 0.01}
    assert value["segments"][0]["channel"] == 1
    assert value["segments"][0]["avg_logprob"] is None
    assert value["provenance"]["revision"] == "abc"
    assert value["provenance"]["options"] == {"beta": 0.000012345, "hotwords": ["a", "b"], "penalty": "inf", "lm": None}
    assert value == as_dict(spoken, WriteOptions(source="a.wav", model="me/model"))


def test_paragraphs_end_at_long_pauses_and_after_some_sentences() -> None:
    pause = transcript(segment("It rained.", 0.0), segment("Then the sun came. It was warm.", 5.0))
    assert write(pause, "txt", WriteOptions(paragraphs=True)) == "It rained.\n\nThen the sun came. It was warm.\n"
    many = transcript(*(segment("Here is one.", 2.0 * number) for number in range(12)))
    assert write(many, "txt", WriteOptions(paragraphs=True)).rstrip("\n").split("\n\n") == [
        " ".join(["Here is one."] * 5), " ".join(["Here is one."] * 5), " ".join(["Here is one."] * 2)
    ]  # fmt: skip
    breathless = transcript(*(segment("Here is one.", 1.5 * number) for number in range(12)))
    assert write(breathless, "txt", WriteOptions(paragraphs=True)).rstrip("\n").split("\n\n") == [
        " ".join(["Here is one."] * 10),
        " ".join(["Here is one."] * 2),
    ]
    unfinished = transcript(segment("We came and", 0.0), segment("left.", 4.0))
    assert write(unfinished, "txt", WriteOptions(paragraphs=True)) == "We came and left.\n"


def test_paragraphs_of_channels_begin_with_their_number() -> None:
    both = transcript(
        segment("Hello?", 0.0, channel=0), segment("Yes.", 1.0, channel=1), segment("Hm.", 2.0, channel=1)
    )
    assert write(both, "txt", WriteOptions(paragraphs=True)) == "[1] Hello?\n\n[2] Yes. Hm.\n"


@pytest.mark.parametrize(
    ("form", "options", "message"),
    [
        ("srtt", {}, "'srtt' is none of txt, json, srt, vtt, ttml, lrc, ass, tsv, textgrid, rttm; did you mean 'srt'"),
        ("srt", {"word_cues": True}, "word_cues does nothing in srt; it is for ass, lrc, vtt"),
        ("vtt", {"paragraphs": True}, "paragraphs does nothing in vtt; it is for txt"),
        ("json", {"rules": SubtitleRules()}, "rules does nothing in json; it is for ass, lrc, srt, ttml, vtt"),
        ("srt", {"unit": "words"}, "unit='words'; expected none, word, segment, char; did you mean 'word'"),
        ("srt", {"unit": "word", "rules": SubtitleRules()}, "give one of them"),
        ("vtt", {"unit": "word", "word_cues": True}, "a word has no words within"),
        ("txt", {"unit": "word", "paragraphs": True}, "paragraphs have no times"),
    ],
)
def test_what_a_format_cannot_do_is_refused_by_name(form: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=re.escape(message)):
        write(TALK, form, WriteOptions(**options))


def test_word_cues_are_never_made_up() -> None:
    with pytest.raises(OptionError, match="the transcript has none; transcribe with word times"):
        write(transcript(Segment("one two", 0.0, 1.0)), "vtt", WriteOptions(word_cues=True))
    assert write(Transcript(""), "vtt", WriteOptions(word_cues=True)) == "WEBVTT\n"


def test_options_for_several_formats_are_for_one_at_least() -> None:
    options = WriteOptions(word_cues=True, paragraphs=True, rules=SubtitleRules())
    options.check("txt", "vtt")
    assert options.only_for("txt") == WriteOptions(paragraphs=True)
    assert options.only_for("srt") == WriteOptions(rules=SubtitleRules())
    with pytest.raises(OptionError, match="paragraphs does nothing in vtt, srt"):
        options.check("vtt", "srt")
