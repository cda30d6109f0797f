"""Running text cut where a thought ends: at long pauses, where somebody else speaks, and after a few sentences."""

from __future__ import annotations

from auricle.results import Transcript
from auricle.speech.phrases import ends_sentence
from auricle.speech.subtitles import name_prefix
from auricle.speech.timed_words import TimedWord, timed_words

# A pause this long ends a paragraph after a finished sentence, and twice as long anywhere.
PAUSE_S = 2.0
# After so many sentences the next pause that one can hear ends a paragraph, and after twice as many any end does.
N_SENTENCES = 5
HEARD_PAUSE_S = 0.3


def paragraphs(transcript: Transcript, only_turns: bool = False) -> list[str]:
    """Return the paragraphs' texts; together they are the words of the transcript, in order.

    A segment without words has no pauses within. A paragraph of another speaker begins with the name and a colon, one
    of another channel with the channel's number from 1 in brackets. `only_turns` begins one nowhere else.
    """
    timed = timed_words(transcript)
    many = len({word.voice for word in timed}) > 1
    texts: list[str] = []
    n_sentences = 0
    for before, after in zip([None, *timed], timed, strict=False):
        turn = before is None or before.voice != after.voice
        if before is not None:
            finished = ends_sentence(before.word.text, after.word.text)
            n_sentences += finished
            pause = after.word.start - before.word.end
        if before is None or turn or (not only_turns and _ends(pause, finished, n_sentences)):
            texts.append(_label(after, many) if turn else "")
            n_sentences = 0
        texts[-1] += after.word.text
    return [text.strip() for text in texts]


def _label(word: TimedWord, many: bool) -> str:
    """Name a speaker always, since a name was asked for; a channel where there are several."""
    if word.speaker is not None:
        return name_prefix(word.speaker).rstrip()
    return f"[{word.channel + 1}]" if many and word.channel is not None else ""


def _ends(pause: float, finished: bool, n_sentences: int) -> bool:
    if not finished:
        return pause >= 2 * PAUSE_S
    return pause >= PAUSE_S or (n_sentences >= N_SENTENCES and pause >= HEARD_PAUSE_S) or n_sentences >= 2 * N_SENTENCES
