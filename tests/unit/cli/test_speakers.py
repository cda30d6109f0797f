"""`auricle transcribe --speakers`: what the flags ask for, and what is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

import auricle.cli.transcribe as command
from auricle.cli import app
from auricle.errors import AuricleError
from auricle.results import Segment, SpeakerTurn, Transcript, Word


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["transcribe", *map(str, arguments)])


class Talk:
    """Hears lines of a file, "Ann: text", as turns of two seconds."""

    name = "fake"
    dialect = SimpleNamespace(times={None: None, "segment": "segment", "word": "word"})

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    def transcripts(self, sources: Any, **parameters: Any) -> Iterator[Transcript | AuricleError]:
        self.asked = parameters
        return (self.told(Path(source).read_text().splitlines()) for source in sources)

    def told(self, lines: list[str]) -> Transcript:
        segments = []
        for at, line in enumerate(lines):
            name, _, text = line.partition(": ")
            words = tuple(
                Word(f" {w}", 2 * at + 0.4 * n, 2 * at + 0.4 * n + 0.3, 0.9, name) for n, w in enumerate(text.split())
            )
            segments.append(Segment(f" {text}", words[0].start, words[-1].end, words, speaker=name))
        turns = tuple(SpeakerTurn(str(one.speaker), one.start, float(one.end or 0)) for one in segments)
        text = "".join(one.text for one in segments).strip()
        found = Transcript(text, tuple(segments), duration=2.0 * len(lines), turns=turns)
        if "speakers" in self.asked:
            return found
        return replace(found, turns=(), segments=tuple(replace(one, speaker=None) for one in segments))


@pytest.fixture
def talk(monkeypatch: pytest.MonkeyPatch) -> Talk:
    made = Talk()
    monkeypatch.setattr(command, "load", lambda order: made)
    return made


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "a talk.wav"
    path.write_text("Ann: How are you?\nBob: Fine, thanks.")
    return path


def test_each_turn_is_a_line_that_names_its_speaker(talk: Talk, recording: Path) -> None:
    assert run(recording, "--speakers").stdout == "Ann: How are you?\nBob: Fine, thanks.\n"
    assert talk.asked["speakers"] is True
    assert run(recording).stdout == "How are you? Fine, thanks.\n"
    assert "speakers" not in talk.asked


def test_flags_about_speakers_ask_for_them(talk: Talk, recording: Path, tmp_path: Path) -> None:
    voice = tmp_path / "ann.wav"
    voice.write_text("x")
    run(recording, "--num-speakers", 2)
    assert talk.asked["speakers"] == {"num_speakers": 2}
    run(recording, "--min-speakers", 1, "--max-speakers", 4, "--known-speaker", f"Ann Lee={voice}")
    assert talk.asked["speakers"] == {"min_speakers": 1, "max_speakers": 4, "known": {"Ann Lee": str(voice)}}
    run(recording, "--speakers", "--diarization-model", "me/voices")
    assert talk.asked["speakers"] == {"model": "me/voices"}


def test_every_format_is_written_with_speakers(talk: Talk, recording: Path, tmp_path: Path) -> None:
    forms = "txt,json,srt,vtt,ttml,lrc,ass,tsv,textgrid,rttm"
    assert run(recording, "--speakers", "-f", forms, "-o", tmp_path / "out", "-q").exit_code == 0
    written = {path.suffix[1:]: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert set(written) == set(forms.split(","))
    assert all("Ann" in content for content in written.values())
    assert written["rttm"].startswith("SPEAKER a_talk 1 0.000 1.100 <NA> <NA> Ann <NA> <NA>\n")


def test_rows_of_several_recordings_name_recording_and_speaker(talk: Talk, recording: Path, tmp_path: Path) -> None:
    other = tmp_path / "b.wav"
    other.write_text("Cid: Yes.")
    assert run(recording, other, "--speakers").stdout.splitlines() == [
        f"{recording}\tAnn: How are you?",
        f"{recording}\tBob: Fine, thanks.",
        f"{other}\tCid: Yes.",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--known-speaker", "Ann"], "--known-speaker 'Ann' is not NAME=FILE"),
        (["--known-speaker", "Ann=none.wav"], "there is no file 'none.wav'"),
        (["--format", "rttm"], "add --speakers"),
        (["--option", "speakers=2"], "--speakers"),
    ],
)
def test_wrong_flags_are_refused(talk: Talk, recording: Path, arguments: list[str], message: str) -> None:
    result = run(recording, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_name_that_is_given_twice_is_refused(talk: Talk, recording: Path) -> None:
    result = run(recording, "--known-speaker", f"Ann={recording}", "--known-speaker", f"Ann={recording}")
    assert "given twice" in result.stderr
