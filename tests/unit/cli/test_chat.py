"""`auricle chat`: one message through a pipe, a conversation on a terminal, and Ctrl-C in between."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

import auricle.cli.chat as command
from auricle.cli import app
from auricle.errors import OptionError


class Writing:
    """Gives the words of an answer; `closed_after` is when somebody ends it."""

    def __init__(self, words: list[str], interrupts: bool = False) -> None:
        self.words, self.interrupts = words, interrupts
        self.text, self.finish_reason, self.n_new = "", "stop", len(words)

    def __iter__(self) -> Any:
        for word in self.words:
            if self.finish_reason == "cancelled":
                return
            self.text += word
            yield SimpleNamespace(text=word)
            if self.interrupts:
                os.kill(os.getpid(), signal.SIGINT)

    def close(self) -> None:
        self.finish_reason = "cancelled"


class Pipeline:
    """Answers with the number of messages, and notes what it was asked."""

    name = "robot"

    def __init__(self, interrupts: bool = False) -> None:
        self.asked: list[tuple[list[dict[str, str]], dict[str, Any]]] = []
        self.interrupts = interrupts

    def write(self, chat: list[dict[str, str]], **parameters: Any) -> Writing:
        self.asked.append((chat, parameters))
        if chat[-1]["content"] == "wrong":
            raise OptionError("this cannot be answered")
        return Writing([f"answer to {len(chat)}", " and more"], self.interrupts)


@pytest.fixture
def robot(monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    made = Pipeline()
    monkeypatch.setattr(command, "load", lambda *_: made)
    return made


def converse(monkeypatch: pytest.MonkeyPatch, pipeline: Pipeline, *lines: str | type[BaseException]) -> Any:
    typed = iter([*lines, EOFError])

    def ask(_: str) -> str:
        line = next(typed)
        if isinstance(line, str):
            return line
        raise line

    monkeypatch.setattr("builtins.input", ask)
    conversation = command.Conversation(pipeline, {"max_new_tokens": 5})  # type: ignore[arg-type]
    command.converse(conversation)
    return conversation


def test_a_piped_message_is_answered_on_stdout(robot: Pipeline) -> None:
    found = CliRunner().invoke(app, ["chat", "--seed", "3", "-s", "be kind"], input="hello\nyou\n")
    assert (found.exit_code, found.stdout) == (0, "answer to 2 and more\n")
    ((chat, parameters),) = robot.asked
    assert chat == [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hello\nyou"}]
    assert parameters == {"max_new_tokens": 1024, "seed": 3}


def test_an_argument_comes_before_what_is_piped(robot: Pipeline) -> None:
    CliRunner().invoke(app, ["chat", "translate", "--option", "top_k=5"], input="hello")
    ((chat, parameters),) = robot.asked
    assert chat[-1]["content"] == "translate\n\nhello"
    assert parameters["top_k"] == 5


def test_no_message_at_all_is_wrong_usage(robot: Pipeline) -> None:
    found = CliRunner().invoke(app, ["chat"], input="")
    assert (found.exit_code, robot.asked) == (2, [])
    assert "no message arrived" in found.stderr


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("max_new_tokens=5", "--option max_new_tokens: what sets it is --max-new-tokens"),
        ("batch_size=2", "unknown parameter 'batch_size'"),
        ("resume=x", "unknown parameter 'resume'"),
    ],
)
def test_options_that_chat_has_not_are_refused_without_flags_of_other_commands(
    text_checkpoint: Path, option: str, message: str
) -> None:
    found = CliRunner().invoke(app, ["chat", "hello", "-m", str(text_checkpoint), "--option", option])
    assert found.exit_code == 2
    assert message in found.stderr


def test_a_conversation_grows_and_can_begin_anew(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = Pipeline()
    converse(monkeypatch, pipeline, "one", "", "two", "/system be kind", "three", "/reset", "four")
    told = [[message["role"] for message in chat] for chat, _ in pipeline.asked]
    assert told == [["user"], ["user", "assistant", "user"], ["system", "user"], ["system", "user"]]
    assert "answer to 3 and more\n" in capsys.readouterr().out


def test_errors_are_sentences_and_the_chat_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = Pipeline()
    conversation = converse(monkeypatch, pipeline, "/rest", "wrong", "right")
    said = capsys.readouterr().err
    assert "there is no command /rest; did you mean '/reset'" in said
    assert "this cannot be answered" in said
    assert [one["content"] for one in conversation.messages] == ["right", "answer to 1 and more"]


def test_ctrl_c_stops_the_answer_and_not_the_program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = Pipeline(interrupts=True)
    conversation = converse(monkeypatch, pipeline, "one", KeyboardInterrupt, "two", "/exit", "never")
    assert len(pipeline.asked) == 2
    assert [one["content"] for one in conversation.messages] == ["one", "answer to 1", "two", "answer to 3"]
    assert "Ctrl-D or /exit ends" in capsys.readouterr().err


def test_a_model_whose_results_come_whole_is_refused_before_a_message_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from auricle.errors import TaskError

    def refuse() -> None:
        raise TaskError("'robot' is run by transformers, whose results come whole")

    bridged = SimpleNamespace(is_bridged=True, write=refuse)
    monkeypatch.setattr("auricle.pipelines.pipeline", lambda *_, **__: bridged)
    found = CliRunner().invoke(app, ["chat", "-m", "robot"], input="")
    assert found.exit_code == 3
    assert "whose results come whole" in found.stderr


def test_a_closed_stdin_is_an_empty_one(text_checkpoint: Path) -> None:
    given = [sys.executable, "-m", "auricle", "chat", "-m", str(text_checkpoint), "--max-new-tokens", "2"]
    for prompt, code, told in (([], 2, b"no message arrived"), (["hello"], 0, b"")):
        done = subprocess.run(
            [*given, *prompt], preexec_fn=lambda: os.close(0), capture_output=True, timeout=120, check=False
        )
        assert (done.returncode, b"Traceback" in done.stderr) == (code, False), done.stderr
        assert told in done.stderr


def test_bytes_that_are_no_text_are_refused_in_a_sentence(text_checkpoint: Path) -> None:
    given = [sys.executable, "-m", "auricle", "chat", "-m", str(text_checkpoint), "--device", "cpu"]
    done = subprocess.run(given, input=b"\xff\xfe", capture_output=True, timeout=120, check=False)
    assert done.returncode == 2
    assert b"half of a character" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_terminal_chats_with_a_real_model(text_checkpoint: Path) -> None:
    master, slave = pty.openpty()
    words = [
        sys.executable,
        "-m",
        "auricle",
        "chat",
        "-m",
        str(text_checkpoint),
        "--seed",
        "1",
        "--max-new-tokens",
        "8",
    ]
    process = subprocess.Popen(words, stdin=slave, stdout=slave, stderr=subprocess.PIPE, start_new_session=True)
    os.close(slave)
    try:
        os.write(master, b"hello\n")
        os.write(master, b"/exit\n")
        deadline = time.monotonic() + 200
        shown = b""
        while process.poll() is None and time.monotonic() < deadline:
            try:
                shown += os.read(master, 1000)
            except OSError:  # the other end is closed
                break
        assert process.wait(20) == 0
    finally:
        process.kill()
        os.close(master)
    assert b"> " in shown
    assert process.stderr is not None
    assert b"the answer was cut at 8 tokens" in process.stderr.read()
    process.stderr.close()
