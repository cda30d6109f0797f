"""The options of `auricle transcribe`, as its help shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

_MODEL, _HEARING, _DECODING, _WRITING = "Model", "Recordings", "Text", "Output"
_SPEAKERS = "Speakers"


def any_parameter(panel: str) -> Any:
    """Return the option that takes any parameter of a pipeline, for a panel of a command's help."""
    return typer.Option(
        help="Any parameter of the pipeline as NAME=VALUE, the value as JSON or text; may be repeated.",
        metavar="NAME=VALUE",
        rich_help_panel=panel,
    )


Sources = Annotated[
    list[str] | None, typer.Argument(help="Files, folders (with their subfolders), globs, URLs, or - for stdin.")
]

Model = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", help="A model's folder or Hub name. (default: the bundled one)", rich_help_panel=_MODEL
    ),
]
TargetLang = Annotated[str | None, typer.Option(help="The adapter to load, such as fra (MMS).", rich_help_panel=_MODEL)]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps. (default: the best)", rich_help_panel=_MODEL)]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.", rich_help_panel=_MODEL)]
Engine = Annotated[str, typer.Option(help="auto, or reference: plain and slow.", rich_help_panel=_MODEL)]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub model.", rich_help_panel=_MODEL)]
Token = Annotated[
    str | None, typer.Option(help="Hub token. (default: the one stored, or HF_TOKEN)", rich_help_panel=_MODEL)
]

Channels = Annotated[
    str | None,
    typer.Option(
        help="mix (their mean), split (each by itself, merged by time), or one's number from 0. (default: mix)",
        rich_help_panel=_HEARING,
    ),
]
Vad = Annotated[
    bool | None,
    typer.Option(
        "--vad/--no-vad",
        help="Decode only where voice is detected. (default: in recordings above 30 s)",
        rich_help_panel=_HEARING,
    ),
]
Schedule = Annotated[
    str | None,
    typer.Option(
        help="sequential: each window knows the text before it; batched: faster (Whisper).",
        rich_help_panel=_HEARING,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Recordings, or windows of them, computed together. (default: 1; 8 windows with --schedule batched)",
        rich_help_panel=_HEARING,
    ),
]
ChunkLength = Annotated[float | None, typer.Option(help="Seconds computed at once.", rich_help_panel=_HEARING)]
AllowPrivateURLs = Annotated[
    bool,
    typer.Option("--allow-private-urls", help="Fetch from private addresses, too.", rich_help_panel=_HEARING),
]

Language = Annotated[
    str | None, typer.Option(help="The language spoken, such as en (Whisper).", rich_help_panel=_DECODING)
]
Task = Annotated[
    str | None, typer.Option(help="transcribe, or translate to English (Whisper).", rich_help_panel=_DECODING)
]
Beams = Annotated[int | None, typer.Option(min=1, help="Beams of the search; 1 is greedy.", rich_help_panel=_DECODING)]
Temperature = Annotated[
    str | None,
    typer.Option(help="0 searches, above 0 samples; several with commas, tried in turn.", rich_help_panel=_DECODING),
]
Hotword = Annotated[
    list[str] | None, typer.Option(help="A word to favour; may be repeated.", rich_help_panel=_DECODING)
]
LanguageModel = Annotated[
    Path | None,
    typer.Option(
        help="An n-gram language model, ARPA or KenLM (CTC); default: the model's own.", rich_help_panel=_DECODING
    ),
]
Punctuate = Annotated[
    bool,
    typer.Option(
        "--punctuate", help="Add punctuation and capitals to English text without any (CTC).", rich_help_panel=_DECODING
    ),
]
InitialPrompt = Annotated[
    str | None, typer.Option(help="Text that sets style and names (Whisper).", rich_help_panel=_DECODING)
]
Prefix = Annotated[str | None, typer.Option(help="How the text begins (Whisper).", rich_help_panel=_DECODING)]
Condition = Annotated[
    bool | None,
    typer.Option(
        "--condition/--no-condition",
        help="Tell each window the text before it (Whisper). (default: in the sequential schedule)",
        rich_help_panel=_DECODING,
    ),
]
Option = Annotated[list[str] | None, any_parameter(_DECODING)]

Speakers = Annotated[
    bool, typer.Option("--speakers", help="Tell who says what; the text stays the same.", rich_help_panel=_SPEAKERS)
]
NumSpeakers = Annotated[int | None, typer.Option(min=1, help="Exactly so many.", rich_help_panel=_SPEAKERS)]
MinSpeakers = Annotated[int | None, typer.Option(min=1, help="At least so many.", rich_help_panel=_SPEAKERS)]
MaxSpeakers = Annotated[int | None, typer.Option(min=1, help="At most so many.", rich_help_panel=_SPEAKERS)]
KnownSpeaker = Annotated[
    list[str] | None,
    typer.Option(
        help="A speaker's name and a recording of that voice alone; may be repeated.",
        metavar="NAME=FILE",
        rich_help_panel=_SPEAKERS,
    ),
]
DiarizationModel = Annotated[
    str | None,
    typer.Option(help="What tells speakers apart. (default: the bundled one)", rich_help_panel=_SPEAKERS),
]

Timestamps = Annotated[str | None, typer.Option(help="none, word, segment or char.", rich_help_panel=_WRITING)]
Formats = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        "-f",
        help="txt, json, srt, vtt, ttml, lrc, ass, tsv, textgrid, rttm; several with commas.",
        rich_help_panel=_WRITING,
    ),
]
OutputDir = Annotated[
    Path | None,
    typer.Option("--output-dir", "-o", help="Write files here and nothing on stdout.", rich_help_panel=_WRITING),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Go on where an interrupted run stopped; without --output-dir, also keep what this one finishes.",
        rich_help_panel=_WRITING,
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Write files anew that exist; else they are skipped.", rich_help_panel=_WRITING),
]
Paragraphs = Annotated[
    bool, typer.Option("--paragraphs", help="Divide plain text into paragraphs.", rich_help_panel=_WRITING)
]
WordCues = Annotated[
    bool,
    typer.Option("--word-cues", help="Times of words within subtitles (vtt, lrc, ass).", rich_help_panel=_WRITING),
]
MaxLineLength = Annotated[
    int | None, typer.Option(help="Columns of a line of subtitles. (default: 42)", rich_help_panel=_WRITING)
]
MaxLines = Annotated[int | None, typer.Option(help="Lines of a subtitle. (default: 2)", rich_help_panel=_WRITING)]
MaxCharsPerSecond = Annotated[
    float | None, typer.Option(help="Reading speed of subtitles. (default: 17)", rich_help_panel=_WRITING)
]
MinGap = Annotated[
    float | None, typer.Option(help="Seconds between two subtitles. (default: 0.083)", rich_help_panel=_WRITING)
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="On stderr, only errors.", rich_help_panel=_WRITING)]
