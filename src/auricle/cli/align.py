"""`auricle align`: a recording and its text in, the text with times out."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auricle.cli.border import border, write_utf8
from auricle.cli.outputs import check_file, say_warnings, write_whole
from auricle.cli.startup import quick_imports
from auricle.errors import OptionError, nearest
from auricle.results import Transcript
from auricle.speech import formats
from auricle.speech.formats import SHAPED_FORMATS, WriteOptions

if TYPE_CHECKING:
    from auricle.pipelines.align import Aligner

FORMATS = tuple(form for form in formats.FORMATS if form != "rttm")  # which has speakers and no text


@dataclass(frozen=True)
class Order:
    """What to align and how to write it; conflicts are refused here, before anything is loaded."""

    recording: str
    text_file: str | None
    text: str | None
    model: str | None  # None: the bundled one
    form: str  # of FORMATS
    unit: str | None  # "word", "segment", "char"; None: as the format has it by itself
    output: Path | None
    language: str = "en"
    by: str = "sentence"
    device: str | None = None
    dtype: str = "auto"
    target_lang: str | None = None
    revision: str | None = None
    token: str | None = None
    allow_private_urls: bool = False
    quiet: bool = False

    def __post_init__(self) -> None:
        if (self.text is None) == (self.text_file is None):
            given = "both were" if self.text is not None else "neither was"
            raise OptionError(f"give the text as a file (or - for stdin) or with --text; {given} given")
        if self.recording == self.text_file == "-":
            raise OptionError("stdin is one stream: it can be the recording or the text; give one of them as a file")
        if self.form not in FORMATS:
            raise OptionError(f"--format {self.form!r} is none of {', '.join(FORMATS)}{nearest(self.form, FORMATS)}")
        if self.form == "textgrid" and self.unit in ("word", "segment"):
            raise OptionError(f"textgrid has segments and words anyway; leave --{self.unit}s out, or take --chars")

    @property
    def written_unit(self) -> str:
        """What has times of its own in the file."""
        if self.unit is not None:
            return self.unit
        # Lines that someone has divided stay as they are; sentences are shaped to subtitles.
        if self.form in SHAPED_FORMATS and self.by != "line":
            return "none"
        return {"tsv": "word", "json": "word"}.get(self.form, "segment")


def align(
    recording: Annotated[str, typer.Argument(help="A file, a URL, or - for stdin.")],
    text_file: Annotated[
        str | None, typer.Argument(metavar="[TEXT]", help="A file with its text, or - for stdin.")
    ] = None,
    text: Annotated[str | None, typer.Option(help="The text itself, instead of a file.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="A CTC model's folder or Hub name. (default: the bundled one)")
    ] = None,
    language: Annotated[str, typer.Option(help="The text's language: how its numbers are spoken.")] = "en",
    target_lang: Annotated[str | None, typer.Option(help="The adapter to load, such as fra (MMS).")] = None,
    form: Annotated[
        str | None,
        typer.Option("--format", "-f", help="json, srt, vtt, tsv, txt, ttml, lrc, ass, textgrid. (default: json)"),
    ] = None,
    by: Annotated[str, typer.Option(help="What a segment is: sentence, line or paragraph of the text.")] = "sentence",
    words: Annotated[bool, typer.Option("--words", help="Write each word with its times.")] = False,
    segments: Annotated[bool, typer.Option("--segments", help="Write each segment with its times.")] = False,
    chars: Annotated[bool, typer.Option("--chars", help="Write each character with its times.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write this file; its ending is the format.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps. (default: the best)")] = None,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    allow_private_urls: Annotated[
        bool, typer.Option("--allow-private-urls", help="Fetch from private addresses, too.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="On stderr, only errors.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub model.")] = None,
    token: Annotated[str | None, typer.Option(help="Hub token. (default: the one stored, or HF_TOKEN)")] = None,
) -> None:
    """Find out when each word of a text is spoken in a recording. Times go to stdout, everything else to stderr.

    The text keeps its spelling; numbers and signs are found as they are spoken. Words that are not in the sound get
    times between their neighbours' and are told on stderr.
    Exit codes: 0 all is well, 1 the recording failed, 2 wrong usage, 3 no model, 130 interrupted.
    """
    with border():
        units = [name for name, given in (("word", words), ("segment", segments), ("char", chars)) if given]
        if len(units) > 1:
            raise OptionError(f"{' and '.join(f'--{unit}s' for unit in units)}: give one of them")
        order = Order(
            recording=recording,
            text_file=text_file,
            text=text,
            model=model,
            form=form or _form_of(output),
            unit=units[0] if units else None,
            output=output.expanduser() if output is not None else None,
            language=language,
            by=by,
            device=device,
            dtype=dtype,
            target_lang=target_lang,
            revision=revision,
            token=token,
            allow_private_urls=allow_private_urls,
            quiet=quiet,
        )
        run(order)


def run(order: Order) -> None:
    """Align one recording and write the result."""
    from auricle.cli.progress import Bar

    write_utf8()
    if order.output is not None:
        check_file(order.output)
    text = order.text if order.text is not None else read_text(order.text_file or "-")
    aligner = load(order)
    with Bar(order.quiet) as bar:
        bar.expect(None)
        transcript = aligner(order.recording, text, language=order.language, by=order.by, progress=bar.heard)
    if not order.quiet:
        say_warnings(order.recording, transcript)
    content = written(order, transcript, aligner.name)
    if order.output is None:
        sys.stdout.write(content)
        sys.stdout.flush()
    else:
        write_whole({order.output: content}, "--output")


def load(order: Order) -> Aligner:
    """Make the aligner. This is where torch is loaded."""
    with quick_imports():
        from auricle.audio.limits import AudioLimits
        from auricle.pipelines.align import Aligner

        return Aligner(
            order.model,
            device=order.device,
            dtype=order.dtype,
            revision=order.revision,
            token=order.token,
            target_lang=order.target_lang,
            limits=AudioLimits(allow_private_urls=order.allow_private_urls),
        )


def read_text(place: str) -> str:
    """Read a text from a file or stdin.

    Raises: OptionError if it is not there, or not UTF-8.
    """
    try:
        data = sys.stdin.buffer.read() if place == "-" else Path(place).expanduser().read_bytes()
    except OSError as error:
        raise OptionError(
            f"the text {place!r} cannot be read: {error.strerror}; give a file, or the text itself with --text"
        ) from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise OptionError(f"the text {place!r} is not UTF-8 (byte {error.start}); convert it first") from None


def written(order: Order, transcript: Transcript, model: str) -> str:
    """The content of the file."""
    if order.form == "textgrid":
        from auricle.speech.textgrid import textgrid

        return textgrid(transcript, characters=order.unit == "char")
    return formats.write(transcript, order.form, WriteOptions(order.written_unit, order.recording, model))


def _form_of(output: Path | None) -> str:
    ending = output.suffix[1:].lower() if output is not None else ""
    return ending or "json"
