"""What a run of `auricle transcribe` is to do; conflicts are refused here, before anything is loaded."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from auricle.cli.sources import Source
from auricle.errors import OptionError, nearest
from auricle.speech.formats import FORMATS, SHAPED_FORMATS, TIMED_FORMATS, UNITS, WriteOptions
from auricle.speech.journal import ENDING
from auricle.speech.subtitles import SubtitleRules

# Parameters of the pipeline's call that --option of `auricle transcribe` cannot set, and why.
_OWN = {
    "batch_size": "what sets it is --batch-size",
    "channels": "what sets it is --channels",
    "speakers": "what sets it is --speakers",
    "return_timestamps": "what sets it is --timestamps",
    "resume": "what sets it is --resume",
    "on_error": "what sets it is nothing: a recording that fails is told and the others go on",
    "progress": "what sets it is nothing: it is shown on a terminal",
}


@dataclass(frozen=True)
class Order:
    """What a run is to do."""

    model: str | None  # None: the bundled one, with a line that says so
    model_settings: dict[str, Any]  # device, dtype, revision, token, target_lang; only those that were given
    parameters: dict[str, Any]  # of the pipeline's call, only those that were given
    formats: tuple[str, ...]  # of FORMATS, without repetition
    timestamps: str | None  # of UNITS; None: as each format has it by itself
    output_dir: Path | None  # None: everything goes to stdout
    rules: dict[str, Any] = field(default_factory=dict)  # of SubtitleRules, only those that were given
    word_cues: bool = False
    paragraphs: bool = False
    batch_size: int | None = None
    allow_private_urls: bool = False
    resume: bool = False
    overwrite: bool = False
    quiet: bool = False

    def __post_init__(self) -> None:
        if not self.formats:
            raise OptionError(f"--format is empty; give one or more of {', '.join(FORMATS)}")
        for form in self.formats:
            if form not in FORMATS:
                raise OptionError(f"--format {form!r} is none of {', '.join(FORMATS)}{nearest(form, FORMATS)}")
        timed = sorted(TIMED_FORMATS.intersection(self.formats))
        if self.timestamps is not None and self.timestamps not in UNITS:
            raise OptionError(f"--timestamps {self.timestamps!r} is none of {', '.join(UNITS)}")
        if self.timestamps == "none" and timed:
            raise OptionError(f"--timestamps none leaves nothing to write in {timed[0]}; leave one of them out")
        if self.output_dir is None and len(self.formats) > 1:
            raise OptionError(
                f"stdout takes one format, and {', '.join(self.formats)} were given; add --output-dir FOLDER"
            )
        if self.rules and not self.is_shaped:
            flag = f"--{next(iter(self.rules)).replace('_', '-')}"
            cause = f"--timestamps {self.timestamps} asks for" if self.timestamps else f"{', '.join(self.formats)} has"
            raise OptionError(f"{flag} shapes subtitles, and {cause} other pieces; give it with --format srt alone")
        if "rttm" in self.formats and "speakers" not in self.parameters:
            raise OptionError("--format rttm has speakers' turns; add --speakers")
        self.writing("", "").check(*self.formats)

    @property
    def is_shaped(self) -> bool:
        """Whether subtitles are cut from words."""
        return self.timestamps in (None, "none") and bool(SHAPED_FORMATS.intersection(self.formats))

    def unit(self, times: Sequence[str | None]) -> str:
        """The times that the recognizer is asked for, of those it has: words for subtitles and their cues.

        Raises:
            OptionError: words are to be shown one by one, and it times none.
        """
        if self.word_cues and "word" not in times:
            raise OptionError("--word-cues needs the times of words, and this model has none; leave it out")
        if (self.is_shaped or self.word_cues) and "word" in times:
            return "word"
        return self.timestamps or ("segment" if TIMED_FORMATS.intersection(self.formats) else "none")

    def writing(self, source: str, model: str) -> WriteOptions:
        """How a transcript is written in any of the formats."""
        rules = SubtitleRules(**self.rules) if self.rules else None
        return WriteOptions(self.timestamps or "none", source, model, rules, self.word_cues, self.paragraphs)

    def outputs(self, folder: Path, source: Source) -> list[Path]:
        """The files of a recording, one for each format."""
        # Not with_suffix(): it would take the end of a name such as "Dr. No".
        return [folder / f"{source.output}.{form}" for form in self.formats]

    def journal(self, source: Source) -> Path | None:
        """Where the finished windows of a recording are kept: beside its results, else, when asked for, here."""
        name = f".{source.output.name}{ENDING}"
        if self.output_dir is not None:
            return self.output_dir / source.output.parent / name
        return Path(name) if self.resume else None


def read_options(values: Sequence[str], given: dict[str, Any], own: Mapping[str, str] = _OWN) -> dict[str, Any]:
    """Return NAME=VALUE options as parameters; a value is JSON, or else text. `own` says why some are refused.

    >>> read_options(["top_k=5", "temperature=[0, 0.4]", "prefix=Hello"], {})
    {'top_k': 5, 'temperature': [0, 0.4], 'prefix': 'Hello'}

    Raises:
        OptionError: no "=", or a name that is given twice or has a flag of its own.
    """
    found: dict[str, Any] = {}
    for value in values:
        name, sign, text = value.partition("=")
        name = name.strip().replace("-", "_")
        if not (sign and name):
            raise OptionError(f"--option {value!r} is not NAME=VALUE; expected such as --option top_k=5")
        if name in own:
            raise OptionError(f"--option {name}: {own[name]}")
        if name in found or name in given:
            raise OptionError(f"--option {name} says again what was said; give it once")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found


def read_temperature(value: str | None) -> float | tuple[float, ...] | None:
    """Return one temperature, or several that commas divide.

    Raises:
        OptionError: one is no number.
    """
    if value is None:
        return None
    try:
        numbers = tuple(float(one) for one in value.split(","))
    except ValueError:
        raise OptionError(f"--temperature {value!r}; expected a number, or several with commas: 0,0.2,0.4") from None
    return numbers[0] if len(numbers) == 1 else numbers


def read_channels(value: str | None) -> str | int | None:
    """Return a channel's number as one; the pipeline refuses other text by name."""
    return int(value) if value is not None and value.isascii() and value.isdecimal() else value


def read_formats(values: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names that commas divide, each once; txt where none was given."""
    names = [name.strip() for value in values or ["txt"] for name in value.split(",")]
    return tuple(dict.fromkeys(name for name in names if name))


def read_speakers(
    wanted: bool, counts: dict[str, Any], known: Sequence[str] | None, model: str | None
) -> bool | dict[str, Any] | None:
    """Return the parameter that the flags about speakers make; each of them asks for speakers.

    Raises:
        OptionError: a known speaker has no name, no file, or two files.
    """
    found: dict[str, Any] = {**counts, **({} if model is None else {"model": model})}
    recordings = read_known(known or (), "--known-speaker")
    if recordings:
        found["known"] = recordings
    return found or wanted or None


def read_known(values: Sequence[str], flag: str) -> dict[str, str]:
    """Read NAME=FILE of each speaker who is known; a shell leaves the ~ of a file behind a name as it is.

    Raises:
        OptionError: a name or a file is left out, a name is given twice, or there is no such file.
    """
    known: dict[str, str] = {}
    for value in values:
        name, _, file = value.partition("=")
        name, file = name.strip(), os.path.expanduser(file.strip())
        if not (name and file):
            raise OptionError(f"{flag} {value!r} is not NAME=FILE; expected NAME=FILE, such as {flag} Ann=ann.wav")
        if name in known:
            raise OptionError(f"{flag} {name}: the name is given twice; give each name once, with one recording")
        if "://" not in file and not os.path.isfile(file):
            raise OptionError(f"{flag} {name}: there is no file {file!r}; give a recording of that voice alone")
        known[name] = file
    return known


def read_folder(folder: Path | None) -> Path | None:
    """Return the output folder: a shell leaves the ~ of --output-dir=~/texts as it is."""
    return Path(os.path.expanduser(folder)) if folder is not None else None
