"""Subtitles for players: SubRip, WebVTT and TTML."""

from __future__ import annotations

import html
import re
from xml.sax.saxutils import escape, quoteattr

from auricle.results import Transcript
from auricle.speech.formats.cues import (
    WITHOUT_COMMANDS,
    WORD_JOINER,
    Tick,
    chosen_cues,
    clock_ms,
    ticked,
    word_ticks,
)
from auricle.speech.formats.options import WriteOptions
from auricle.speech.timed_words import plain

MILLISECONDS = 1000
# SubRip has no escapes, and many players take tags and commands of other formats for their own.
_SRT_TAG = re.compile(r"<(?=[A-Za-z/])")


def srt(transcript: Transcript, options: WriteOptions) -> str:
    """Write SubRip: numbered blocks, a comma before the milliseconds."""
    blocks = (
        f"{number}\n{clock_ms(tick.start, ',')} --> {clock_ms(tick.end, ',')}\n{_srt_lines(tick)}\n"
        for number, tick in enumerate(_ticks(transcript, options), start=1)
    )
    return "\n".join(blocks)


def _srt_lines(tick: Tick) -> str:
    # An arrow within the text would be taken for a line of times.
    text = "\n".join(tick.cue.lines).replace("-->", "->")
    return _SRT_TAG.sub("<" + WORD_JOINER, text).translate(WITHOUT_COMMANDS)


def vtt(transcript: Transcript, options: WriteOptions) -> str:
    """Write WebVTT, with a time before each word if asked for, and a voice tag where speakers are told apart.

    Source: W3C WebVTT, section 4.2.2 (a cue's timestamps lie within it and grow; &, < and > are escaped; a voice that
    spans the whole cue needs no end tag).
    """
    blocks = []
    for tick in _ticks(transcript, options, names_apart=True):
        lines = _vtt_word_lines(tick) if options.word_cues else [_vtt_text(line) for line in tick.cue.lines]
        times = f"{clock_ms(tick.start, '.')} --> {clock_ms(tick.end, '.')}"
        blocks.append(f"\n{times}\n" + _vtt_voice(tick) + "\n".join(lines) + "\n")
    return "WEBVTT\n" + "".join(blocks)


def _vtt_voice(tick: Tick) -> str:
    """Return the tag that says who speaks; it lasts to the cue's end."""
    name = plain(tick.cue.speaker or "")
    return f"<v {_vtt_text(name)}>" if name else ""


def _vtt_text(text: str) -> str:
    return html.escape(text, quote=False)


def _vtt_word_lines(tick: Tick) -> list[str]:
    lines = []
    latest = tick.start
    for row in word_ticks(tick, MILLISECONDS):
        line = ""
        for text, start, _ in row:
            written = _vtt_text(text if line else text.lstrip())
            if latest < start < tick.end:
                line += f"<{clock_ms(start, '.')}><c>{written}</c>"
                latest = start
            else:
                line += f"<c>{written}</c>"
        lines.append(line)
    return [_vtt_text(tick.cue.prefix) + lines[0], *lines[1:]]


_TTML_HEAD = """\
<?xml version="1.0" encoding="UTF-8"?>
<tt xmlns="http://www.w3.org/ns/ttml" xmlns:ttm="http://www.w3.org/ns/ttml#metadata" \
xmlns:ttp="http://www.w3.org/ns/ttml#parameter" xmlns:tts="http://www.w3.org/ns/ttml#styling" \
ttp:profile="http://www.w3.org/ns/ttml/profile/imsc1/text" ttp:timeBase="media" xml:lang={language}>
  <head>
    <metadata>
      <ttm:title>{title}</ttm:title>
{agents}    </metadata>
    <styling>
      <style xml:id="speech" tts:fontFamily="proportionalSansSerif" tts:fontSize="100%" tts:textAlign="center" \
tts:color="white" tts:backgroundColor="black"/>
    </styling>
    <layout>
      <region xml:id="bottom" tts:origin="10% 70%" tts:extent="80% 25%" tts:displayAlign="after"/>
    </layout>
  </head>
  <body>
    <div region="bottom" style="speech">
"""
_TTML_END = """\
    </div>
  </body>
</tt>
"""


def ttml(transcript: Transcript, options: WriteOptions) -> str:
    """Write TTML 1 in the text profile of IMSC 1.0.1, times as clock times with milliseconds; speakers are agents.

    Source: W3C TTML 1, sections 12.1.4 to 12.1.6 and 12.2.1 (ttm:agent, ttm:name, ttm:desc).
    """
    paragraphs = []
    ticks = _ticks(transcript, options, names_apart=True)
    names = list(dict.fromkeys(tick.cue.speaker for tick in ticks if tick.cue.speaker))
    for number, tick in enumerate(ticks, start=1):
        text = "<br/>".join(escape(line) for line in tick.cue.lines)
        times = f'begin="{clock_ms(tick.start, ".")}" end="{clock_ms(tick.end, ".")}"'
        agent = f' ttm:agent="speaker{names.index(tick.cue.speaker) + 1}"' if tick.cue.speaker in names else ""
        paragraphs.append(f'      <p xml:id="cue{number}" {times}{agent}>{text}</p>\n')
    agents = "".join(
        f'      <ttm:agent xml:id="speaker{number}" type="person">\n'
        f'        <ttm:name type="full">{escape(plain(name))}</ttm:name>\n      </ttm:agent>\n'
        for number, name in enumerate(names, start=1)
    )
    head = _TTML_HEAD.format(
        language=quoteattr(transcript.language or ""), title=escape(plain(options.source)), agents=agents
    )
    return head + "".join(paragraphs) + _TTML_END


def _ticks(transcript: Transcript, options: WriteOptions, names_apart: bool = False) -> list[Tick]:
    return ticked(chosen_cues(transcript, options, names_apart), MILLISECONDS)
