"""Running text cut where a thought ends: at long pauses, at changes of channel, and after a few sentences."""

from __future__ import annotations

from auricle.results import Transcript
from auricle.speech.phrases import ends_sentence
from auricle.speech.timed_words import timed_words

# A pause this long ends a paragraph after a finished sentence, and twice as long anywhere.
PAUSE_S = 2.0
# After so many sentences the next pause that one can hear ends a paragraph, and after twice as many any end does.
N_SENTENCES = 5
HEARD_PAUSE_S = 0.3


def paragraphs(transcript: Transcript) -> list[str]:
    """Return the paragraphs' texts; together they are the words of the transcript, in order.

    A segment without words has no pauses within. A paragraph of another channel begins with the channel's number
    from 1 in brackets.
    """
    timed = timed_words(transcript)
    many = len({word.channel for word in timed}) > 1
    texts: list[str] = []
    n_sentences = 0
    for before, after in zip([None, *timed], timed, strict=False):
        turn = before is None or before.channel != after.channel
        if before is not None:
            finished = ends_sentence(before.word.text, after.word.text)
            n_sentences += finished
            pause = after.word.start - before.word.end
        if before is None or turn or _ends(pause, finished, n_sentences):
            texts.append(f"[{after.channel + 1}]" if many and turn and after.channel is not None else "")
            n_sentences = 0
        texts[-1] += after.word.text
    return [text.strip() for text in texts]


def _ends(pause: float, finished: bool, n_sentences: int) -> bool:
    if not finished:
        return pause >= 2 * PAUSE_S
    return pause >= PAUSE_S or (n_sentences >= N_SENTENCES and pause >= HEARD_PAUSE_S) or n_sentences >= 2 * N_SENTENCES
