"""Lyrics and styled subtitles: LRC and Advanced SubStation Alpha. Both count hundredths of a second."""

from __future__ import annotations

import re

from auricle.results import Transcript
from auricle.speech.formats.cues import WITHOUT_COMMANDS, Tick, chosen_cues, ticked, word_ticks
from auricle.speech.formats.options import WriteOptions
from auricle.speech.timed_words import plain

HUNDREDTHS = 100
# A line of lyrics is cleared only before a silence that one can see.
SHOWN_SILENCE = HUNDREDTHS // 2
_LRC_TIME = re.compile(r"[\[<](\d+:[\d.:]+)[\]>]")


def lrc(transcript: Transcript, options: WriteOptions) -> str:
    """Write LRC: [mm:ss.xx] before each line and, with word cues, <mm:ss.xx> before each word and at the end.

    A line without text tells that nothing is heard until the next one. Minutes may pass 99.
    """
    lines = []
    if options.source:
        lines.append(f"[ti:{_lrc_text(options.source)}]")
    if transcript.duration is not None:
        minutes, seconds = divmod(round(transcript.duration), 60)
        lines.append(f"[length:{minutes:02d}:{seconds:02d}]")
    ticks = ticked(chosen_cues(transcript, options), HUNDREDTHS)
    for place, tick in enumerate(ticks):
        lines.append(f"[{_lrc_clock(tick.start)}]" + (_lrc_words(tick) if options.word_cues else _lrc_line(tick)))
        if place + 1 == len(ticks) or ticks[place + 1].start - tick.end >= SHOWN_SILENCE:
            lines.append(f"[{_lrc_clock(tick.end)}]")
    return "".join(line + "\n" for line in lines)


def _lrc_clock(hundredths: int) -> str:
    minutes, hundredths = divmod(hundredths, 60 * HUNDREDTHS)
    return f"{minutes:02d}:{hundredths // HUNDREDTHS:02d}.{hundredths % HUNDREDTHS:02d}"


def _lrc_line(tick: Tick) -> str:
    return _lrc_text(tick.cue.text)


def _lrc_words(tick: Tick) -> str:
    line = _lrc_text(tick.cue.prefix)
    end = tick.start
    begun = False
    for row in word_ticks(tick, HUNDREDTHS):
        for text, start, word_end in row:
            space = " " if begun and text.startswith(" ") else ""
            line += f"{space}<{_lrc_clock(start)}>{_lrc_text(text)}"
            begun, end = True, word_end
    return line + f"<{_lrc_clock(end)}>"


def _lrc_text(text: str) -> str:
    """Keep text that looks like a time from being one: there are no escapes."""
    return _LRC_TIME.sub(r"(\1)", plain(text))


_ASS_HEAD = """\
[Script Info]
Title: {title}
ScriptType: v4.00+
WrapStyle: 0
ScaledBorderAndShadow: yes
PlayResX: 1920
PlayResY: 1080

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,60,&H00FFFFFF,&H00909090,&H00000000,&H80000000,0,0,0,0,100,100,0,0,1,3,1,2,96,96,54,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


def ass(transcript: Transcript, options: WriteOptions) -> str:
    r"""Write Advanced SubStation Alpha v4.00+; with word cues each word has its \k, in hundredths of a second."""
    events = []
    for tick in ticked(chosen_cues(transcript, options, names_apart=True), HUNDREDTHS):
        text = _ass_words(tick) if options.word_cues else r"\N".join(map(_ass_text, tick.cue.lines))
        events.append(
            f"Dialogue: 0,{_ass_clock(tick.start)},{_ass_clock(tick.end)},Default,{_ass_name(tick)},0,0,0,,{text}\n"
        )
    # A first line that begins with a semicolon or holds a line break would end the title.
    return _ASS_HEAD.format(title=plain(options.source)) + "".join(events)


def _ass_name(tick: Tick) -> str:
    """Return who speaks; a comma would end the field."""
    if tick.cue.speaker:
        return plain(tick.cue.speaker).replace(",", "，")
    return f"Channel {tick.cue.channel + 1}" if tick.cue.channel is not None else ""


def _ass_clock(hundredths: int) -> str:
    minutes, hundredths = divmod(hundredths, 60 * HUNDREDTHS)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{hundredths // HUNDREDTHS:02d}.{hundredths % HUNDREDTHS:02d}"


def _ass_text(text: str) -> str:
    return text.translate(WITHOUT_COMMANDS)


def _ass_words(tick: Tick) -> str:
    """Give every word the time from its start to its end, and silences a syllable without text."""
    rows = []
    sung = tick.start
    for row in word_ticks(tick, HUNDREDTHS):
        line = ""
        for place, (text, start, end) in enumerate(row):
            if start > sung:
                line += rf"{{\k{start - sung}}}"
            line += rf"{{\k{end - start}}}" + _ass_text(text if place else text.lstrip())
            sung = end
        rows.append(line)
    return _ass_text(tick.cue.prefix) + r"\N".join(rows)
