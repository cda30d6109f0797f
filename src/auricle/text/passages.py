"""A given text as words in passages: its sentences, lines or paragraphs.

Words are what white space divides; characters of scripts without spaces stand each for itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from auricle.errors import OptionError, nearest
from auricle.text.spoken_tables import ABBREVIATIONS

DIVISIONS = ("sentence", "line", "paragraph")
SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’»)\]」』]*$")
FULL_STOP = re.compile(r"([^\s.]+(?:\.[^\s.]+)*)\.[\"'”’»)\]]*$")
# Han, kana and Thai: written without spaces. A mark behind a character belongs to it.
UNSPACED = r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0e30\u0e32\u0e33\u0e40-\u0e46]"
WORD = re.compile(
    rf"[「『（]*{UNSPACED}(?:(?!{UNSPACED})[^\w\s]|[\u0e31\u0e34-\u0e3a\u0e47-\u0e4e])*|(?:(?!{UNSPACED})\S)+"
)


@dataclass(frozen=True)
class Passage:
    """Words that belong together, and how they are written: `text` has them in order, with single spaces."""

    text: str
    words: tuple[str, ...]


def split_text(text: str, by: str = "sentence") -> list[Passage]:
    """Divide a text; blank lines divide always, single line ends only by "line".

    Example: `split_text("Mr. Li came. He saw.")` has two passages.

    Raises: OptionError for another `by`, and for a text without a word.
    """
    if by not in DIVISIONS:
        raise OptionError(f"by={by!r} is none of {', '.join(DIVISIONS)}{nearest(by, DIVISIONS)}")
    blocks = text.splitlines() if by == "line" else re.split(r"\n\s*\n", text.replace("\r\n", "\n"))
    blocks = [" ".join(block.split()) for block in blocks]
    pieces = [piece for block in blocks if block for piece in (_sentences(block) if by == "sentence" else [block])]
    passages = [Passage(piece, tuple(match[0] for match in WORD.finditer(piece))) for piece in pieces]
    if not passages:
        raise OptionError("the text has no word; give the words that the recording holds")
    return passages


def _sentences(block: str) -> Iterator[str]:
    begin = word = 0
    for match in re.finditer(r"(?<=[。！？])(?![\s\"'”’»)\]」』。！？])|\s", block):
        if _ends_sentence(block, word, match.start(), match.end()):
            yield block[begin : match.start()]
            begin = word = match.end()
        elif match[0]:
            word = match.end()
    if begin < len(block):
        yield block[begin:]


def _ends_sentence(block: str, word: int, end: int, after: int) -> bool:
    """Say whether a sentence ends with the word at [word, end): not with "Mr.", an initial, or before a small letter.

    What follows begins at `after`. Nothing else of the block is looked at, whose length may be that of hours.
    """
    before = block[word:end]
    if not SENTENCE_END.search(before):
        return False
    first = next((block[place] for place in range(after, len(block)) if block[place].isalnum()), "")
    if first.islower():
        return False
    stopped = FULL_STOP.search(before)
    if stopped is None:
        return True
    last = stopped[1].lstrip("([\"'“‘«").lower()
    if last == "no" and first.isdigit():
        return False
    # "a.m." and "etc." can end a sentence; a title and an initial stand before something.
    is_initial = len(last) == 1 and last.isalpha() and last != "i"
    return not is_initial and (
        last not in ABBREVIATIONS or last in ("etc", "no", "inc", "ltd", "co", "jr", "sr", "corp")
    )
