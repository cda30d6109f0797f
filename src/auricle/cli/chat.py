"""`auricle chat`: a conversation with a model that writes, on the terminal or through a pipe."""

from __future__ import annotations

import importlib
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auricle.cli.border import border, say, write_utf8
from auricle.cli.order import read_options
from auricle.cli.startup import quick_imports
from auricle.errors import AuricleError, OptionError, nearest

if TYPE_CHECKING:
    from auricle.pipelines.text_generation import TextGenerationPipeline
    from auricle.pipelines.writer import Writing

COMMANDS = {
    "/reset": "begin anew; the system's message stays",
    "/system": "/system TEXT sets what the model is told before the chat, and begins anew",
    "/help": "this list",
    "/exit": "end, as Ctrl-D does",
}

# Parameters that --option cannot set, and why.
OWN = {name: f"what sets it is --{name.replace('_', '-')}" for name in ("max_new_tokens", "temperature", "seed")}


@dataclass
class Conversation:
    """A chat so far, and how it is gone on with."""

    pipeline: TextGenerationPipeline
    parameters: dict[str, Any]
    system: str | None = None
    messages: list[dict[str, str]] = field(default_factory=list)

    def chat(self) -> list[dict[str, str]]:
        """Return all messages as the model reads them."""
        told = [] if self.system is None else [{"role": "system", "content": self.system}]
        return [*told, *self.messages]

    def answer(self, text: str) -> None:
        """Write the model's answer to a message on stdout while it comes; Ctrl-C stops the answer."""
        self.messages.append({"role": "user", "content": text})
        try:
            writing = self.pipeline.write(self.chat(), **self.parameters)
        except AuricleError:
            self.messages.pop()
            raise
        with _stopped_by_ctrl_c(writing):
            for piece in writing:
                sys.stdout.write(piece.text)
                sys.stdout.flush()
        sys.stdout.write("" if writing.text.endswith("\n") else "\n")
        sys.stdout.flush()
        self.messages.append({"role": "assistant", "content": writing.text})
        if writing.finish_reason == "length":
            say(f"auricle: the answer was cut at {writing.n_new} tokens; --max-new-tokens allows more")


def chat(
    prompt: Annotated[
        str | None, typer.Argument(help="Answer this and end; piped text follows it.", show_default=False)
    ] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="A model's folder or Hub name.")] = None,
    system: Annotated[str | None, typer.Option("--system", "-s", help="What the model is told before.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Tokens of an answer at most.")] = 1024,
    temperature: Annotated[
        float | None, typer.Option(min=0, help="0: the most probable words. (default: the model's own)")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The same answers each time.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps. (default: the best)")] = None,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    engine: Annotated[str, typer.Option(help="auto, or reference: plain and slow.")] = "auto",
    option: Annotated[
        list[str] | None,
        typer.Option(help="Any parameter of the pipeline, the value as JSON or text.", metavar="NAME=VALUE"),
    ] = None,
) -> None:
    """Chat with a model that writes.

    On a terminal, line by line: Ctrl-C stops an answer, Ctrl-D ends; /help lists the commands. With piped input, that
    is one message, and the answer goes to stdout. Exit codes: 0 all is well, 1 an answer failed, 2 wrong usage, 3 no
    model, 130 Ctrl-C.
    """
    with border():
        given = {"temperature": temperature, "seed": seed}
        parameters: dict[str, Any] = {"max_new_tokens": max_new_tokens}
        parameters |= {name: value for name, value in given.items() if value is not None}
        parameters |= read_options(option or [], parameters, OWN)
        write_utf8()
        pipeline = load(model, {"device": device, "dtype": dtype, "engine": engine}, parameters)
        conversation = Conversation(pipeline, parameters, system)
        if sys.stdin.isatty() and prompt is None:
            converse(conversation)
        else:
            conversation.answer(_message(prompt))


def load(model: str | None, settings: dict[str, Any], parameters: dict[str, Any]) -> TextGenerationPipeline:
    """Make the pipeline; a wrong parameter is refused before anything is asked. This is where torch is loaded."""
    with quick_imports():
        from auricle.pipelines import pipeline

        chosen = {name: value for name, value in settings.items() if value is not None}
        made: Any = pipeline("text-generation", model, **chosen)
        if getattr(made, "is_bridged", False):
            made.write()  # refuses
        made.read_call(parameters, None, None)
        return made


def converse(conversation: Conversation) -> None:
    """Ask for messages and answer them until the input ends."""
    try:
        importlib.import_module("readline")  # arrows and the history, where the system has them
    except ImportError:
        say("auricle: this Python has no readline, so that lines cannot be edited")
    say(f"auricle: {conversation.pipeline.name}; /help lists the commands, Ctrl-D ends")
    while True:
        try:
            line = input("> ").strip()
        except EOFError:
            sys.stdout.write("\n")
            return
        except KeyboardInterrupt:
            sys.stdout.write("\n")
            say("auricle: Ctrl-D or /exit ends")
            continue
        if line == "/exit":
            return
        try:
            if line.startswith("/"):
                command(conversation, line)
            elif line:
                conversation.answer(line)
        except AuricleError as error:
            say(f"auricle: {error}")


def command(conversation: Conversation, line: str) -> None:
    """Do what a line that begins with a slash says.

    Raises:
        OptionError: if there is no such command.
    """
    name, _, rest = line.partition(" ")
    if name == "/reset":
        conversation.messages.clear()
    elif name == "/system":
        conversation.system = rest.strip() or None
        conversation.messages.clear()
    elif name == "/help":
        for known, meaning in COMMANDS.items():
            say(f"{known}: {meaning}")
    else:
        raise OptionError(f"there is no command {name}{nearest(name, COMMANDS) or '; /help lists them'}")


def _message(prompt: str | None) -> str:
    """Return what was given as argument, then what is piped."""
    piped = "" if sys.stdin.isatty() else sys.stdin.read().strip()
    message = "\n\n".join(one for one in (prompt, piped) if one)
    if not message:
        raise OptionError("no message arrived, neither as argument nor on stdin; give one, or chat on a terminal")
    return message


@contextmanager
def _stopped_by_ctrl_c(writing: Writing) -> Iterator[None]:
    """End the answer on Ctrl-C, and go on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda *_: writing.close())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
