"""Speaker turns as RTTM, the field's exchange format: one line a turn, times in seconds."""

from __future__ import annotations

import re
from collections.abc import Iterable

from auricle.results import SpeakerTurn


def rttm(turns: Iterable[SpeakerTurn], name: str, confidence: bool = False) -> str:
    """Write turns of the recording `name`; fields are divided by spaces, so that spaces within one become "_".

    With `confidence` it stands in its column, elsewhere there is "<NA>".

    >>> rttm([SpeakerTurn("Ann", 0.42, 3.1)], "meeting")
    'SPEAKER meeting 1 0.420 2.680 <NA> <NA> Ann <NA> <NA>\\n'

    Source: NIST, "The 2009 (RT-09) Rich Transcription Meeting Recognition Evaluation Plan", appendix A.
    """
    return "".join(_line(turn, _field(name), confidence) for turn in turns)


def _line(turn: SpeakerTurn, name: str, confidence: bool) -> str:
    # The end is what is told to a millisecond; the length of a rounded start would move it.
    start = round(turn.start, 3)
    sure = f"{turn.confidence:.3f}" if confidence and turn.confidence is not None else "<NA>"
    speaker = _field(turn.speaker)
    return f"SPEAKER {name} 1 {start:.3f} {round(turn.end, 3) - start:.3f} <NA> <NA> {speaker} {sure} <NA>\n"


def _field(text: str) -> str:
    return re.sub(r"\s+", "_", text.strip()) or "<NA>"
