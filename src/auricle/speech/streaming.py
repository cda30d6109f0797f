"""Speech as it comes in: words that are final as soon as two hypotheses agree on them.

Sound is held from where an utterance begins. Every `latency` seconds all of it is transcribed anew; the words
that this hypothesis and the one before agree on are final, and so is what they dispute for too long. A pause
ends the utterance and makes the rest final; where no voice is detected nothing is decoded. In long utterances
the sound of final words is let go of, so that memory and the time for one hypothesis are bounded.

Any recognizer that times words will do: one pass knows nothing of the one before but, for models with a
prompt, the final text whose sound is gone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from auricle.audio.decode import open_audio
from auricle.audio.vad import DETECTOR_RATE, FRAME_SAMPLES
from auricle.errors import OptionError
from auricle.results import Transcript, Word
from auricle.speech.agreement import LocalAgreement
from auricle.speech.voice import VoiceOptions

PIECE_S = 0.1  # voice is looked for this often
TOUCH_S = 0.1  # a word that ends this near to the end of the sound may be cut off there
ONSET_FRAMES = 3  # of 32 ms in a row with voice begin an utterance; clicks are shorter
COMFORTABLE = 0.6  # of the longest sound held; beyond it, sound of final words is let go of
PROMPT_CHARACTERS = 200  # of final text before the sound held, told to models that take a prompt
SURE_LANGUAGE = 0.5  # a language this probable, heard in at least so many seconds, holds for the utterance
SURE_LANGUAGE_S = 2.0
LIMITS = {
    "latency": (PIECE_S, 5.0),
    "overdue_s": (0.5, 30.0),
    "pause_s": (0.2, 5.0),
    "pad_s": (0.0, 2.0),
    "buffer_s": (2.0, 30.0),
    "threshold": (0.01, 0.99),
}


class Recognizer(Protocol):
    """What turns recordings into transcripts with words."""

    def transcribe(self, audios: Any, options: Any) -> list[Transcript]:
        """Return one transcript for each recording, in order."""
        ...


@dataclass(frozen=True)
class StreamOptions:
    """When to listen and when to decide; seconds."""

    latency: float = 1.0  # of new sound between two hypotheses
    overdue_s: float = 2.0  # beyond `latency`; a word with so much sound after it is final without agreement
    pause_s: float = 0.6  # a silence that ends an utterance
    pad_s: float = 0.3  # of sound before the first voice and after the last that is decoded, too
    buffer_s: float = 20.0  # the longest sound that is decoded at once
    threshold: float = 0.5  # the probability from which on there is voice

    def __post_init__(self) -> None:
        for name, (least, most) in LIMITS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
                raise OptionError(f"{name}={value!r}; expected a number from {least:g} to {most:g}")
        longest = max(self.latency, self.pause_s)
        if self.buffer_s < 4 * longest:
            raise OptionError(
                f"buffer_s={self.buffer_s:g} is too short for latency={self.latency:g} and pause_s={self.pause_s:g}; "
                f"expected {4 * longest:g} or more"
            )


@dataclass(frozen=True)
class StreamUpdate:
    """What became known with the last sound; times in seconds from the beginning of the stream."""

    final: tuple[Word, ...]  # words that are new and will not change
    tentative: tuple[Word, ...]  # what follows them as far as it is known; the next update may say otherwise
    text: str  # everything final so far, then what is tentative
    tentative_text: str  # the end of `text`, with the space before it
    start: float  # of the utterance
    end: float  # of the sound received
    moment: float  # when this was ready, for a source in real time: the sound waited for, and the computing
    ends_utterance: bool = False  # a pause follows, or the stream's end; nothing is tentative

    @property
    def final_text(self) -> str:
        """Everything final so far."""
        return self.text.removesuffix(self.tentative_text)

    @property
    def latencies_s(self) -> tuple[float, ...]:
        """For each word of `final`, how long after its end in the sound it became final."""
        return tuple(self.moment - word.end for word in self.final)

    @property
    def latency_s(self) -> float | None:
        """The longest of `latencies_s`; None without a final word."""
        return max(self.latencies_s, default=None)


@dataclass(frozen=True)
class Utterance:
    """An utterance that begins, or has ended; seconds from the beginning of the stream."""

    start: float  # of what is decoded of it
    end: float | None = None  # of the sound received when it ended; None: it begins
    is_empty: bool = False  # it has ended, and no update tells so, since nothing was understood


class VoiceGate:
    """Where voice is in a stream, by the probabilities of a detector; positions in samples."""

    def __init__(self, detector: Callable[[np.ndarray], np.ndarray], threshold: float, sample_rate: int) -> None:
        self.detector, self.sample_rate = detector, sample_rate
        self.threshold, self.lower_threshold = threshold, VoiceOptions(threshold).lower_threshold
        self.onset: int | None = None  # where the voice that has not ended began
        self.last_voice = 0  # the end of the last frame with voice
        self._n_frames = self._n_voiced = 0

    def __call__(self, samples: np.ndarray) -> None:
        """Listen to the next samples."""
        for probability in self.detector(samples):
            self._n_frames += 1
            voiced = probability >= (self.threshold if self.onset is None else self.lower_threshold)
            self._n_voiced = self._n_voiced + 1 if voiced else 0
            if self.onset is None and self._n_voiced >= ONSET_FRAMES:
                self.onset = self._position(self._n_frames - self._n_voiced)
            if self.onset is not None and voiced:
                self.last_voice = self._position(self._n_frames)

    def close(self) -> None:
        """Say that the utterance has ended."""
        self.onset, self._n_voiced = None, 0

    def _position(self, n_frames: int) -> int:
        return n_frames * FRAME_SAMPLES * self.sample_rate // DETECTOR_RATE


class StreamingTranscriber:
    """Takes the sound of one stream, block by block, and gives updates."""

    def __init__(
        self,
        recognizer: Recognizer,
        options: Any,
        sample_rate: int,
        how: StreamOptions | None = None,
        *,
        detector: Callable[[np.ndarray], np.ndarray] | None = None,
        clock: Callable[[], float] = time.perf_counter,
        on_utterance: Callable[[Utterance], None] | None = None,
    ) -> None:
        """`options` are the recognizer's own, such that it gives words.

        `detector` takes successive samples and returns the probability of voice of each 32 ms that is complete;
        without one everything counts as voice, and only the stream's end ends an utterance. `on_utterance` is told
        when one begins, at once, and when it has ended, before the updates of the block are returned.
        """
        self.how = how or StreamOptions()
        self._recognizer, self._options, self._rate, self._clock = recognizer, options, sample_rate, clock
        self._on_utterance = on_utterance
        self._gate = VoiceGate(detector, self.how.threshold, sample_rate) if detector is not None else None
        self._agreement = LocalAgreement()
        self._sound = np.zeros(0, np.float32)  # from sample `_start` on
        self._start = 0
        self._open = False  # whether an utterance is going on
        self._begin = 0.0  # of the utterance, in seconds
        self._decoded = 0  # sample up to which the last hypothesis heard
        self._shown: tuple[Word, ...] = ()  # what the last update called tentative
        self._said = False  # whether the utterance has had an update
        self._text, self._past, self._glue = "", "", " "
        self._language: str | None = None
        self._now, self._entered = 0.0, 0.0  # the stream's clock, and ours when it was set

    @property
    def received(self) -> float:
        """Seconds of sound taken so far."""
        return (self._start + len(self._sound)) / self._rate

    @property
    def held(self) -> float:
        """Seconds of sound that are in memory."""
        return len(self._sound) / self._rate

    def feed(self, block: np.ndarray) -> list[StreamUpdate]:
        """Take the next mono float32 samples, any number, and return what became known with them.

        Of a long block, as from a source that had to wait, no hypothesis is made but at its end, except where
        utterances end in it or the sound held reaches its bound.
        """
        self._enter(self.received + len(block) / self._rate)
        updates: list[StreamUpdate] = []
        size = round(PIECE_S * self._rate)
        for at in range(0, len(block), size):
            updates += self._take(block[at : at + size], at + size >= len(block))
        self._now += self._clock() - self._entered
        return updates

    def end(self) -> list[StreamUpdate]:
        """Make everything that was heard final. Nothing may be fed after it."""
        self._enter(self.received)
        return self._close() if self._open else []

    def _enter(self, received: float) -> None:
        # In real time the sound is here neither before it was made nor before we are done with what came before.
        self._now, self._entered = max(self._now, received), self._clock()

    def _take(self, piece: np.ndarray, is_last: bool) -> list[StreamUpdate]:
        """Add up to `PIECE_S` of sound, and do what is due."""
        self._sound = np.concatenate((self._sound, piece))
        end = self._start + len(self._sound)
        if self._gate is not None:
            self._gate(piece)
        if not self._open and not self._opened():
            return []
        if self._gate is not None and end - self._gate.last_voice >= self.how.pause_s * self._rate:
            return self._close()
        is_full = len(self._sound) + round(PIECE_S * self._rate) > self.how.buffer_s * self._rate
        is_due = is_last and end - self._decoded >= self.how.latency * self._rate
        # Silence adds nothing to what was said; it only ends it.
        is_news = self._gate is None or self._gate.last_voice > self._decoded
        return self._step() if is_full or (is_due and is_news) else []

    def _opened(self) -> bool:
        """Begin an utterance if voice has; else keep only what may turn out to be its beginning."""
        pad = round(self.how.pad_s * self._rate)
        voice = self._gate is None or self._gate.onset is not None
        if voice:
            onset = self._start if self._gate is None else self._gate.onset or 0
            self._let_go(onset - pad)
            self._open, self._begin, self._decoded = True, self._start / self._rate, self._start
            self._tell(Utterance(self._begin))
        else:
            # The detector lags by the frames that it wants to have and the one that is open.
            lag = round((ONSET_FRAMES + 1) * FRAME_SAMPLES * self._rate / DETECTOR_RATE)
            self._let_go(self._start + len(self._sound) - pad - lag)
        return voice

    def _step(self) -> list[StreamUpdate]:
        """Make a hypothesis of all sound held, and compare it with the last one."""
        final = self._listen(self._start + len(self._sound))
        return self._update(final + self._make_room())

    def _close(self) -> list[StreamUpdate]:
        """End the utterance: all of it is final, and its sound is let go of."""
        end = self._start + len(self._sound)
        last = end if self._gate is None else self._gate.last_voice
        heard = min(end, last + round(self.how.pad_s * self._rate))
        final = self._listen(heard) if self._decoded < heard else ()
        final += self._agreement.settle(math.inf)
        self._forget(math.inf)
        self._let_go(max(last, end - round(self.how.pad_s * self._rate)))
        self._open, self._language = False, None
        if self._gate is not None:
            self._gate.close()
        updates = self._update(final, ends_utterance=True)
        self._tell(Utterance(self._begin, end / self._rate, not updates))
        return updates

    def _tell(self, utterance: Utterance) -> None:
        if self._on_utterance is not None:
            self._on_utterance(utterance)

    def _listen(self, end: int) -> tuple[Word, ...]:
        """Transcribe the sound held up to a sample; return the words that are final by it."""
        sound, offset = self._sound[: end - self._start], self._start / self._rate
        options = self._options
        if self._past and getattr(options, "condition_on_previous_text", False) is not False:
            options = replace(options, initial_prompt=f"{options.initial_prompt or ''} {self._past}".strip())
        if self._language is not None:
            options = replace(options, language=self._language)
        transcript = self._recognizer.transcribe([open_audio(sound, self._rate)], options)[0]
        self._decoded = end
        texts = [word.text for word in transcript.words]
        if len(texts) > 1:
            self._glue = "" if "".join(texts).strip() == transcript.text.strip() else " "
        probability = transcript.language_probability
        if probability is not None and probability >= SURE_LANGUAGE and len(sound) >= SURE_LANGUAGE_S * self._rate:
            self._language = transcript.language
        words = [replace(word, start=word.start + offset, end=word.end + offset) for word in transcript.words]
        heard = end / self._rate
        overdue = heard - self.how.overdue_s - self.how.latency
        return self._agreement.update(words, heard - TOUCH_S, heard, overdue)

    def _make_room(self) -> tuple[Word, ...]:
        """Let go of sound where much is held; return the words that became final for it without agreement."""
        if self.held <= COMFORTABLE * self.how.buffer_s:
            return ()
        cut = widest_gap(self._agreement.kept, self._start / self._rate + self.held / 3)
        if cut is not None:
            self._let_go_at(cut)
        if self.held <= self.how.buffer_s - max(self.how.latency, self.how.pause_s) - 2 * PIECE_S:
            return ()
        middle = self._start / self._rate + self.held / 2
        words = self._agreement.settle(middle)
        self._let_go_at(self._agreement.final_end if words else middle)
        return words

    def _let_go_at(self, seconds: float) -> None:
        self._forget(seconds)
        self._let_go(round(seconds * self._rate))

    def _forget(self, before: float) -> None:
        """Add final words whose sound is let go of to the prompt."""
        self._past = self._joined(self._past, self._agreement.forget(before))[-PROMPT_CHARACTERS:]

    def _let_go(self, sample: int) -> None:
        n_gone = min(max(0, sample - self._start), len(self._sound))
        self._sound = self._sound[n_gone:].copy()
        self._start += n_gone

    def _joined(self, text: str, words: Sequence[Word]) -> str:
        for word in words:
            glue = "" if word.text[:1].isspace() else self._glue
            text = f"{text}{glue}{word.text}" if text else word.text.lstrip()
        return text

    def _update(self, final: tuple[Word, ...], ends_utterance: bool = False) -> list[StreamUpdate]:
        """Say what is new, if anything is."""
        tentative = self._agreement.tentative
        changed = final or tentative != self._shown
        if not changed and not (ends_utterance and self._said):
            return []
        self._text, self._shown = self._joined(self._text, final), tentative
        self._said = not ends_utterance
        text = self._joined(self._text, tentative)
        moment = self._now + self._clock() - self._entered
        tail = text[len(self._text) :]
        return [StreamUpdate(final, tentative, text, tail, self._begin, self.received, moment, ends_utterance)]


def widest_gap(words: Sequence[Word], earliest: float) -> float | None:
    """Return the middle of the widest gap between two words, in seconds, the later of two alike.

    Those from `earliest` on are preferred. Sound is cut there so that at least one of the words is heard again.
    """
    gaps = [((before.end + after.start) / 2, after.start - before.end) for before, after in pairwise(words)]
    late = [gap for gap in gaps if gap[0] >= earliest]
    if not gaps:
        return None
    return max(late, key=lambda gap: (gap[1], gap[0]))[0] if late else gaps[-1][0]
