"""`auricle listen`: words on the terminal while they are said."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from auricle.cli.border import border, say, write_utf8
from auricle.cli.startup import quick_imports
from auricle.errors import OptionError, nearest

if TYPE_CHECKING:
    from auricle.pipelines.automatic_speech_recognition import AutomaticSpeechRecognitionPipeline
    from auricle.speech.streaming import StreamUpdate

FORMATS = ("text", "jsonl")


@dataclass(frozen=True)
class Order:
    """What to hear and how; conflicts are refused here, before anything is loaded."""

    source: str
    model: str | None  # None: the bundled one, with a line that says so
    device: str | None
    form: str  # of FORMATS
    latency: float
    raw: bool
    sample_rate: int | None
    parameters: dict[str, Any]  # of the pipeline's call, only those that were given
    allow_private_urls: bool = False

    def __post_init__(self) -> None:
        if self.form not in FORMATS:
            raise OptionError(f"--format {self.form!r} is none of {', '.join(FORMATS)}{nearest(self.form, FORMATS)}")
        if self.raw and self.sample_rate is None:
            raise OptionError("--raw needs --sample-rate: samples without a header do not say theirs")
        if self.sample_rate is not None and not self.raw:
            raise OptionError(f"--sample-rate {self.sample_rate} is of --raw samples; add --raw, or leave it out")


def listen(
    source: Annotated[
        str, typer.Argument(help="mic, - for stdin, a named pipe, a file or a URL.", metavar="[SOURCE]")
    ] = "mic",
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="A model's folder or Hub name. (default: the bundled one)"),
    ] = None,
    latency: Annotated[float, typer.Option(help="Seconds of new sound before words are looked for again.")] = 1.0,
    language: Annotated[str | None, typer.Option(help="The language spoken, such as en (Whisper).")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="The source is 16-bit mono samples without a header.")] = False,
    sample_rate: Annotated[int | None, typer.Option(help="Of --raw samples, in hertz.")] = None,
    form: Annotated[
        str, typer.Option("--format", "-f", help="text, or jsonl: one object for every change, with times.")
    ] = "text",
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps. (default: the best)")] = None,
    allow_private_urls: Annotated[
        bool, typer.Option("--allow-private-urls", help="Fetch from private addresses, too.")
    ] = False,
) -> None:
    """Write down speech while it comes in, until the source ends or Ctrl-C.

    On a terminal, words that may still change are dim. Elsewhere each utterance is a line once it has ended.
    Exit codes: 0 the source ended, 1 it failed, 2 wrong usage, 3 no model, 130 Ctrl-C; what was said is written.
    """
    with border():
        order = Order(
            source=source,
            model=model,
            device=device,
            form=form,
            latency=latency,
            raw=raw,
            sample_rate=sample_rate,
            parameters={"language": language} if language is not None else {},
            allow_private_urls=allow_private_urls,
        )
        run(order)


def run(order: Order) -> None:
    """Hear the source to its end and show every update."""
    write_utf8()
    updates: Any = load(order).stream(
        order.source, latency=order.latency, raw=order.raw, sampling_rate=order.sample_rate, **order.parameters
    )
    if order.source == "mic":
        say("auricle: listening; Ctrl-C ends it")
    with closing(updates):  # the source, too, whoever stops reading what is said
        if order.form == "jsonl":
            for update in updates:
                sys.stdout.write(json.dumps(event(update), ensure_ascii=False) + "\n")
                sys.stdout.flush()
            return
        with _display() as display:
            for update in updates:
                display.show(update)


def load(order: Order) -> AutomaticSpeechRecognitionPipeline:
    """Make the pipeline. This is where torch is loaded."""
    with quick_imports():
        from auricle.audio.limits import AudioLimits
        from auricle.pipelines import pipeline

        given = {} if order.device is None else {"device": order.device}
        limits = AudioLimits(allow_private_urls=order.allow_private_urls)
        made: Any = pipeline("automatic-speech-recognition", order.model, limits=limits, **given)
        return made


def event(update: StreamUpdate) -> dict[str, Any]:
    """Return an update as a line of JSON has it; times and latencies in seconds, to the millisecond."""
    return {
        "final": [
            {**_word(word), "latency": round(latency, 3)}
            for word, latency in zip(update.final, update.latencies_s, strict=True)
        ],
        "tentative": [_word(word) for word in update.tentative],
        "text": update.text,
        "start": round(update.start, 3),
        "end": round(update.end, 3),
        "moment": round(update.moment, 3),
        "ends_utterance": update.ends_utterance,
    }


def _word(word: Any) -> dict[str, Any]:
    return {
        "text": word.text,
        "start": round(word.start, 3),
        "end": round(word.end, 3),
        "confidence": round(word.confidence, 4),
    }


class Display(Protocol):
    """Where text goes."""

    def show(self, update: StreamUpdate) -> None:
        """Show what an update says that is new."""
        ...

    def close(self) -> None:
        """Leave what is final, with its line ended."""
        ...


class Lines:
    """Each utterance as a line once it has ended."""

    def __init__(self) -> None:
        self._n_written = 0  # characters of the final text
        self._final = ""

    def show(self, update: StreamUpdate) -> None:
        self._final = update.final_text
        if update.ends_utterance:
            self.close()

    def close(self) -> None:
        line = self._final[self._n_written :].strip()
        self._n_written = len(self._final)
        if line:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()


class Screen:
    """The utterance that is going on at the bottom of a terminal, its tentative words dim; full lines above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(highlight=False, markup=False, emoji=False)
        self._live = Live(console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        self._live.start()
        self._n_written = 0  # characters of the final text that will not be redrawn
        self._final = ""

    def show(self, update: StreamUpdate) -> None:
        self._final = update.final_text
        lines = []
        while len(self._rest) > self._console.width:
            n_fit = self._rest.rfind(" ", 0, self._console.width)
            lines.append(self._take(n_fit if n_fit > 0 else self._console.width))
        if update.ends_utterance:
            lines.append(self._take(len(self._rest)))
        self._draw(lines, update.tentative_text)

    def close(self) -> None:
        self._draw([self._take(len(self._rest))], "")
        self._live.stop()

    @property
    def _rest(self) -> str:
        return self._final[self._n_written :].lstrip()

    def _take(self, n_characters: int) -> str:
        """Return the next characters, which are then not redrawn any more."""
        rest = self._rest
        self._n_written = len(self._final) - len(rest) + n_characters
        return rest[:n_characters].strip()

    def _draw(self, lines: list[str], tentative: str) -> None:
        """Print full lines for good, and what is still going on below them."""
        from rich.text import Text

        rest = self._rest
        open_line = Text.assemble(rest, (tentative if rest else tentative.lstrip(), "dim"))
        self._live.update(open_line, refresh=True)
        for line in filter(None, lines):
            self._console.print(line, soft_wrap=True)


@contextmanager
def _display() -> Iterator[Display]:
    display = Screen() if sys.stdout.isatty() else Lines()
    try:
        yield display
    finally:
        display.close()
