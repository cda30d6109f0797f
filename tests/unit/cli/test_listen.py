"""`auricle listen` with a stream that is constructed, and once as a process that hears a pipe."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import auricle.cli.listen as command
from auricle.cli import app
from auricle.errors import AudioFormatError, OptionError
from auricle.results import Word
from auricle.speech.streaming import StreamUpdate

SAMPLE = Path(__file__).parents[3] / "samples" / "librispeech-1320-122612-0008.ogg"


def word(text: str, end: float) -> Word:
    return Word(text, end - 0.4, end, 0.9)


def update(final: list[Word], tentative: list[Word], before: str, end: float, ends: bool = False) -> StreamUpdate:
    fixed = " ".join([*before.split(), *(one.text for one in final)])
    text = " ".join([*fixed.split(), *(one.text for one in tentative)])
    return StreamUpdate(tuple(final), tuple(tentative), text, text[len(fixed) :], 0.0, end, end + 0.25, ends)


UPDATES = [
    update([], [word("good", 0.5)], "", 1.0),
    update([word("good", 0.5)], [word("mourning", 1.5)], "", 2.0),
    update([word("morning", 1.5)], [], "good", 3.0, ends=True),
    update([word("and", 4.0), word("welcome", 4.5)], [word("hom", 5.0)], "good morning", 5.0),
]


class FakePipeline:
    """Streams constructed updates, and then ends as it is told to."""

    def __init__(self, error: BaseException | None = None, updates: list[StreamUpdate] = UPDATES) -> None:
        self.error, self.updates = error, updates
        self.asked: dict[str, Any] = {}

    def stream(self, source: Any, **parameters: Any) -> Iterator[StreamUpdate]:
        self.asked = {"source": source, **parameters}
        if parameters.get("language") == "xx":
            raise OptionError("language='xx' is refused by a CTC model")
        return self.hear()

    def hear(self) -> Iterator[StreamUpdate]:
        yield from self.updates
        if self.error is not None:
            raise self.error


def run(monkeypatch: pytest.MonkeyPatch, fake: FakePipeline, *arguments: object) -> Any:
    monkeypatch.setattr(command, "load", lambda order: fake)
    return CliRunner().invoke(app, ["listen", *map(str, arguments)])


@pytest.mark.parametrize("form", ["text", "jsonl"])
def test_a_source_is_closed_when_nobody_reads_what_is_said(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    closed: list[bool] = []

    class Kept(FakePipeline):
        def hear(self) -> Iterator[StreamUpdate]:
            try:
                yield from self.updates
            finally:
                closed.append(True)

    def refuse(*_: object) -> None:
        assert not closed
        raise BrokenPipeError

    monkeypatch.setattr(command, "event", refuse)
    monkeypatch.setattr(command.Lines, "show", refuse)
    monkeypatch.setattr("auricle.cli.border.lost_output", lambda error: 141)
    made = Kept()
    kept = made.hear()
    made.hear = lambda: kept  # type: ignore[method-assign]
    assert run(monkeypatch, made, "a.wav", "-f", form).exit_code == 141
    assert closed == [True]


def test_every_utterance_is_a_line_once_it_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, FakePipeline(updates=UPDATES[:3]), "a.wav")
    assert result.stdout == "good morning\n"
    assert result.stderr == ""
    assert result.exit_code == 0


def test_ctrl_c_leaves_everything_final_on_a_line_and_gives_exit_code_130(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, FakePipeline(KeyboardInterrupt()))
    assert result.stdout == "good morning\nand welcome\n"
    assert result.exit_code == 130
    assert "Traceback" not in result.stderr


def test_a_source_that_breaks_off_leaves_what_was_final(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, FakePipeline(AudioFormatError("a.wav breaks off")), "a.wav")
    assert result.stdout == "good morning\nand welcome\n"
    assert result.stderr == "auricle: a.wav breaks off\n"
    assert result.exit_code == 1


def test_jsonl_is_an_object_for_every_change_with_times_and_latencies(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, FakePipeline(), "a.wav", "--format", "jsonl")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert events[1] == {
        "final": [{"text": "good", "start": 0.1, "end": 0.5, "confidence": 0.9, "latency": 1.75}],
        "tentative": [{"text": "mourning", "start": 1.1, "end": 1.5, "confidence": 0.9}],
        "text": "good mourning",
        "start": 0.0,
        "end": 2.0,
        "moment": 2.25,
        "ends_utterance": False,
    }
    assert [event["ends_utterance"] for event in events] == [False, False, True, False]


def test_microphone_is_the_default_source_and_only_given_parameters_reach_the_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = FakePipeline()
    result = run(monkeypatch, fake)
    assert fake.asked == {"source": "mic", "latency": 1.0, "raw": False, "sampling_rate": None}
    assert result.stderr == "auricle: listening; Ctrl-C ends it\n"
    run(monkeypatch, fake, "-", "--raw", "--sample-rate", 8000, "--latency", 0.5, "--language", "en")
    assert fake.asked == {"source": "-", "latency": 0.5, "raw": True, "sampling_rate": 8000, "language": "en"}


@pytest.mark.parametrize(
    "arguments",
    [["--format", "srt"], ["--raw"], ["--sample-rate", "8000"], ["--language", "xx"], ["--frobnicate"], ["a", "b"]],
)
def test_wrong_usage_gives_exit_code_2(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    result = run(monkeypatch, FakePipeline(), *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


def test_microphone_that_is_not_installed_gives_exit_code_3(monkeypatch: pytest.MonkeyPatch) -> None:
    from auricle.audio.live import open_live

    class Real(FakePipeline):
        def stream(self, source: Any, **parameters: Any) -> Iterator[StreamUpdate]:
            open_live(source)
            return iter(())

    monkeypatch.setitem(sys.modules, "sounddevice", None)
    result = run(monkeypatch, Real())
    assert result.exit_code == 3
    assert result.stderr.startswith("auricle: the microphone needs the package sounddevice")


DRIVER = """
import sys
sys.path.insert(0, {folder!r})
import auricle.cli.listen as command
from test_listen import FakePipeline
command.load = lambda order: FakePipeline()
from auricle.__main__ import main
main()
"""


def test_terminal_shows_tentative_words_dim_and_keeps_final_ones() -> None:
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER.format(folder=str(Path(__file__).parent)), "listen", "a.wav"],
        stdout=end,
        stderr=subprocess.PIPE,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "20"},
    )
    os.close(end)
    shown = b""
    # A terminal whose other end was closed gives an error where a pipe gives nothing.
    with contextlib.suppress(OSError):
        while part := os.read(terminal, 1 << 16):
            shown += part
    os.close(terminal)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    text = shown.decode()
    assert "good\x1b[2m mourning\x1b[0m" in text
    assert "and welcome\x1b[2m hom\x1b[0m" in text
    lines = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line).strip("\r") for line in text.split("\n")]
    assert [line.split("\r")[-1] for line in lines if line][:2] == ["good morning", "and welcome"]


def test_raw_samples_from_a_pipe_are_heard_as_the_pipeline_hears_them() -> None:
    from auricle import pipeline
    from auricle.audio.decode import load_audio

    samples = load_audio(SAMPLE)
    content = np.round(samples * 32767).astype("<i2").tobytes()
    result = subprocess.run(
        [sys.executable, "-m", "auricle", "listen", "-", "--raw", "--sample-rate", "16000", "-m", "bundled"],
        input=content,
        capture_output=True,
        timeout=120,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == b""
    assert "the eyes of the whole party" in result.stdout.decode()
    *_, last = pipeline(model="bundled").stream(content, raw=True, sampling_rate=16000)
    # A pipe is read as far as it has come, which moves the places where words are looked for.
    piped, streamed = set(result.stdout.decode().split()), set(last.text.split())
    assert len(piped & streamed) >= 0.6 * len(streamed)
