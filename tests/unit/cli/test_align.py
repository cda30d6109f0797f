"""`auricle align` as a shell sees it, with an aligner that puts each word half a second after the last."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import auricle.cli.align as command
from auricle.cli import app
from auricle.errors import AudioNotFoundError, TaskError
from auricle.results import Segment, Transcript, Warning, Word


class FakeAligner:
    name = "fake"

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    def __call__(self, recording: str, text: str, **parameters: Any) -> Transcript:
        if not Path(recording).is_file():
            raise AudioNotFoundError(f"no file {recording!r} is here")
        self.asked = {"text": text, **parameters}
        words = tuple(Word(word, 0.5 * place, 0.5 * place + 0.4, 0.9) for place, word in enumerate(text.split()))
        whole = " ".join(text.split())
        warnings = (Warning("unaligned", "a word was not found", 0.5, 0.9),)
        return Transcript(whole, (Segment(whole, 0.0, words[-1].end, words),), duration=9.0, warnings=warnings)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeAligner:
    made = FakeAligner()
    monkeypatch.setattr(command, "load", lambda order: made)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.wav").write_bytes(b"sound")
    return made


def run(*arguments: str, stdin: str | None = None) -> Any:
    return CliRunner().invoke(app, ["align", *arguments], input=stdin)


def test_words_of_a_file_are_written_as_json(fake: FakeAligner) -> None:
    Path("a.txt").write_text("\ufeffgood day", encoding="utf-8")

    result = run("a.wav", "a.txt", "--language", "de", "--by", "line")

    assert result.exit_code == 0
    (segment,) = json.loads(result.stdout)["segments"]
    assert [word["text"] for word in segment["words"]] == ["good", "day"]
    assert (fake.asked["text"], fake.asked["language"], fake.asked["by"]) == ("good day", "de", "line")
    assert "a.wav: unaligned at 0.5 s: a word was not found" in result.stderr


def test_the_text_may_come_from_stdin_or_the_command_line(fake: FakeAligner) -> None:
    assert (
        run("a.wav", "-", "--quiet", "-f", "tsv", stdin="one two").stdout
        == run("a.wav", "--text", "one two", "--quiet", "-f", "tsv").stdout
        == "start\tend\ttext\n0\t400\tone\n500\t900\ttwo\n"
    )


@pytest.mark.parametrize(
    ("flag", "lines"),
    [("--words", ["one", "two"]), ("--segments", ["one two"])],
)
def test_subtitles_show_the_asked_unit(fake: FakeAligner, flag: str, lines: list[str]) -> None:
    shown = run("a.wav", "--text", "one two", "-f", "srt", flag).stdout

    assert [line for line in shown.splitlines() if line.startswith(("one", "two"))] == lines


def test_an_ending_in_capitals_is_the_same_format(fake: FakeAligner) -> None:
    assert run("a.wav", "--text", "one two", "-o", "a.SRT", "--quiet").exit_code == 0
    assert Path("a.SRT").read_text(encoding="utf-8").startswith("1\n00:00:")


def test_a_file_is_written_in_the_format_of_its_ending(fake: FakeAligner) -> None:
    result = run("a.wav", "--text", "one two", "-o", "out/a.TextGrid", "--quiet")

    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    assert Path("out/a.TextGrid").read_text(encoding="utf-8").startswith('File type = "ooTextFile"')


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.wav"], "neither was given"),
        (["a.wav", "a.txt", "--text", "x"], "both were given"),
        (["-", "-"], "stdin is one stream"),
        (["a.wav", "--text", "x", "-f", "srr"], "did you mean 'srt'"),
        (["a.wav", "--text", "x", "-f", "xyz"], "none of txt, json, srt, vtt, ttml, lrc, ass, tsv, textgrid\n"),
        (["a.wav", "--text", "x", "-f", "rttm"], "--format 'rttm' is none of"),
        (["a.wav", "--text", "x", "-f", "textgrid", "--words"], "textgrid has segments and words anyway"),
        (["a.wav", "--text", "x", "--words", "--chars"], "give one of them"),
        (["a.wav", "missing.txt"], "cannot be read: No such file"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(fake: FakeAligner, arguments: list[str], message: str) -> None:
    result = run(*arguments)

    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not fake.asked


@pytest.mark.parametrize(
    ("output", "message"),
    [("a.wav/words.srt", "give another --output"), (".", "--output '.' is a folder; give a file")],
)
def test_an_output_that_cannot_be_written_is_refused_before_anything_is_heard(
    fake: FakeAligner, output: str, message: str
) -> None:
    result = run("a.wav", "--text", "good day", "--format", "srt", "--output", output)

    assert (result.exit_code, fake.asked) == (2, {})
    assert message in result.stderr
    assert "--output-dir" not in result.stderr


def test_a_text_that_is_not_utf_8_is_refused(fake: FakeAligner) -> None:
    Path("a.txt").write_bytes("käse".encode("latin-1"))

    assert "is not UTF-8 (byte 1)" in run("a.wav", "a.txt").stderr


def test_a_missing_recording_is_exit_code_1(fake: FakeAligner) -> None:
    assert run("b.wav", "--text", "x").exit_code == 1


def test_a_model_of_another_kind_is_exit_code_3(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(order: command.Order) -> None:
        raise TaskError("only CTC models align a given text")

    monkeypatch.setattr(command, "load", refuse)

    assert run("a.wav", "--text", "x").exit_code == 3
