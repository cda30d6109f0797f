"""`auricle diarize`: what it takes, what it writes, and what it refuses before anything is loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from auricle.cli import app, diarize
from auricle.errors import AudioNotFoundError
from auricle.results import SpeakerTurn, Warning
from auricle.speech.diarization import Diarization

FOUND = Diarization(
    (SpeakerTurn("Ann", 0.5, 2.25, 0.875), SpeakerTurn("SPEAKER_00", 3661.0, 3662.5, 0.5)),
    ("Ann", "SPEAKER_00"),
    3700.0,
    warnings=(Warning("speakers", "2 speakers were found, where 3 or more were asked for"),),
)


class MadeUp:
    """Takes what the pipeline takes, and finds the same in every recording."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    def diarizations(self, sources: list[str], **asked: Any) -> Iterator[Any]:
        self.asked = asked
        for source in sources:
            yield AudioNotFoundError(f"{source} is not there") if "nowhere" in source else FOUND


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> MadeUp:
    one = MadeUp()
    monkeypatch.setattr(diarize, "load", lambda order: one)
    return one


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["diarize", *arguments])


def test_text_is_a_line_a_turn(made: MadeUp) -> None:
    result = run("talk.wav")
    assert result.stdout == "0:00:00.50 - 0:00:02.25  Ann\n1:01:01.00 - 1:01:02.50  SPEAKER_00\n"
    assert "talk.wav: speakers: 2 speakers were found" in result.stderr


def test_rttm_names_the_recording(made: MadeUp) -> None:
    result = run("a/talk.wav", "talk2.mp3", "-f", "rttm", "-q")
    assert [line.split()[1] for line in result.stdout.splitlines()] == ["talk", "talk", "talk2", "talk2"]
    assert result.stderr == ""


def test_json_is_an_object_or_a_line_each(made: MadeUp) -> None:
    one = json.loads(run("talk.wav", "-f", "json").stdout)
    assert one["file"] == "talk.wav"
    assert one["turns"][0] == {"speaker": "Ann", "start": 0.5, "end": 2.25, "confidence": 0.875}
    lines = run("talk.wav", "b.wav", "-f", "json").stdout.splitlines()
    assert [json.loads(line)["file"] for line in lines] == ["talk.wav", "b.wav"]


def test_a_file_takes_its_format_from_its_ending(made: MadeUp, tmp_path: Path) -> None:
    assert run("talk.wav", "-o", str(tmp_path / "talk.rttm")).exit_code == 0
    assert (tmp_path / "talk.rttm").read_text().startswith("SPEAKER talk 1 0.500 1.750")
    assert run("talk.wav", "-o", str(tmp_path / "talk.JSON")).exit_code == 0
    assert json.loads((tmp_path / "talk.JSON").read_text())["file"] == "talk.wav"


def test_what_is_finished_is_in_the_file_when_ctrl_c_ends_the_run(made: MadeUp, tmp_path: Path) -> None:
    def interrupted(sources: list[str], **_: Any) -> Iterator[Any]:
        yield FOUND
        raise KeyboardInterrupt

    made.diarizations = interrupted  # type: ignore[method-assign]
    result = run("talk.wav", "more.wav", "-o", str(tmp_path / "all.rttm"), "-q")
    assert (result.exit_code, result.stderr) == (130, "auricle: interrupted; what was finished is kept\n")
    assert {line.split()[1] for line in (tmp_path / "all.rttm").read_text().splitlines()} == {"talk"}


def test_what_is_asked_for_arrives(made: MadeUp, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("ann=1.wav", "bo.wav"):
        (tmp_path / name).touch()
    run("talk.wav", "--speakers", "3", "--known", "Ann=ann=1.wav", "--known", "Bo=bo.wav", "--exclusive")
    assert made.asked["num_speakers"] == 3
    assert made.asked["known_speakers"] == {"Ann": "ann=1.wav", "Bo": "bo.wav"}
    assert made.asked["exclusive"] is True
    assert "min_speakers" not in made.asked


def test_a_known_voice_in_the_home_folder_is_found(
    made: MadeUp, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "ann.wav").touch()
    run("talk.wav", "--known", "Ann=~/ann.wav")
    assert made.asked["known_speakers"] == {"Ann": str(tmp_path / "ann.wav")}


def test_one_that_fails_is_told_and_the_rest_is_written(made: MadeUp) -> None:
    result = run("nowhere.wav", "talk.wav")
    assert result.exit_code == 1
    assert "nowhere.wav is not there" in result.stderr
    assert result.stdout.count("talk.wav\t") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-f", "rtm"], "--format 'rtm' is none of text, rttm, json; did you mean 'rttm'?"),
        (["--known", "Ann"], "expected NAME=FILE"),
        (["--known", f"Ann={__file__}", "--known", "Ann=b.wav"], "each name once"),
        (["--known", "Ann=nowhere.wav"], "--known Ann: there is no file 'nowhere.wav'"),
        (["b/talk.mp3", "-f", "rttm"], "talk.wav and b/talk.mp3 are both called 'talk' in RTTM"),
        (["--speakers", "2", "--min-speakers", "3"], "num_speakers=2 is not between"),
        (["--min-speakers", "3", "--max-speakers", "2"], "min_speakers=3 is more than max_speakers=2"),
    ],
)
def test_wrong_usage_is_refused_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.setattr(diarize, "load", None)
    result = run("talk.wav", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_recording_in_which_nobody_speaks_is_told(made: MadeUp, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = Diarization((), (), 3.0)
    monkeypatch.setattr(made, "diarizations", lambda sources, **_: iter([silent] * len(sources)))
    result = run("talk.wav")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "talk.wav: nobody is heard to speak" in result.stderr
    assert run("talk.wav", "-q").stderr == ""
