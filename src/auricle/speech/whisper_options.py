"""How Whisper transcribes: every choice a caller has, with OpenAI's meaning and default unless stated."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from auricle.decoding.generate import GenerateOptions
from auricle.errors import OptionError, nearest

TASKS = ("transcribe", "translate")
# Eighty words of read English shrink by 1.56 to 1.92: below this every window would count as a repetition.
LOWEST_RATIO = 1.5
TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
PREPENDED = "\"'“¿([{-"
APPENDED = "\"'.。,，!！?？:：”)]}、"


@dataclass(frozen=True)
class WhisperOptions:
    """Options of a transcription. The text depends on none of those about times."""

    # What is said, and what is wanted of it.
    language: str | None = None  # code or English name; None: the checkpoint's own, else detected
    task: Literal["transcribe", "translate"] | None = None  # None: the checkpoint's own, else transcribe
    return_timestamps: Literal[False, "segment", "word"] = False  # "word" adds words to the segments
    without_timestamps: bool = False  # decode with <|notimestamps|>: windows of 30 s, cut wherever they end

    # How each window is searched at temperature 0.
    n_beams: int = 1
    patience: float = 1.0  # finished hypotheses to wait for, as a multiple of n_beams
    length_penalty: float = 1.0  # hypotheses are ranked by sum_logprob / n_tokens ** length_penalty
    early_stopping: bool | Literal["never"] = True  # stop a beam search when enough hypotheses are finished
    renormalize: bool = True  # beams: probabilities sum to one again after the rules (transformers: False)

    # What is tried when a window looks wrong.
    temperature: float | tuple[float, ...] = TEMPERATURES  # in this order, until one looks right
    best_of: int = 5  # samples at each temperature above 0, of which the most probable is kept
    top_k: int = 0  # sample among the k most probable tokens only; 0: all
    seed: int = 0  # the same seed draws the same samples for the same window, whatever it is batched with
    compression_ratio_threshold: float | None = 2.4  # zlib shrinks repetitions more than this; None: off
    logprob_threshold: float | None = -1.0  # less probable text, on average per token, is wrong; None: off
    no_speech_threshold: float | None = 0.6  # a window above it, and improbable, is silence; None: off

    # What comes before, and what may not come.
    condition_on_previous_text: bool = True  # each window is told the text before it
    prompt_reset_on_temperature: float = 0.5  # a window that needed more than this tells the next nothing
    initial_prompt: str | None = None  # text before the recording: names, spelling; its last 223 tokens
    prefix: str | None = None  # how the first window's text begins; not repeated in the result
    suppress_blank: bool = True  # no window begins with a space or the end
    suppress_tokens: tuple[int, ...] | None = None  # None: the checkpoint's list; -1: non-speech symbols
    max_initial_timestamp: float | None = 1.0  # seconds by which a window's text begins; None: no limit

    # Limits of generation.
    max_new_tokens: int | None = None  # per window; None: what fits (OpenAI: 224, which cuts dense text)
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0

    # Which punctuation belongs to the next and to the previous word when words are timed.
    prepend_punctuations: str = PREPENDED
    append_punctuations: str = APPENDED

    def __post_init__(self) -> None:
        given = self.temperature if isinstance(self.temperature, Iterable) else (self.temperature,)
        object.__setattr__(self, "temperature", tuple(float(one) for one in given))
        if self.suppress_tokens is not None:
            object.__setattr__(self, "suppress_tokens", tuple(self.suppress_tokens))
        self._check_times()
        self._check_temperatures()
        if self.task not in (None, *TASKS):
            raise OptionError(
                f"task={self.task!r}; expected 'transcribe' or 'translate'{nearest(str(self.task), TASKS)}"
            )
        ratio, silence = self.compression_ratio_threshold, self.no_speech_threshold
        if ratio is not None and not ratio >= LOWEST_RATIO:
            raise OptionError(
                f"compression_ratio_threshold={ratio}; expected {LOWEST_RATIO} or more, such as 2.4, or None to switch "
                "it off. It is of the text, as openai/whisper's; transformers measures token ids, where 1.35 is usual"
            )
        if silence is not None and not silence >= 0:
            raise OptionError(f"no_speech_threshold={silence}; expected 0 or more, or None to switch it off")

    @property
    def temperatures(self) -> tuple[float, ...]:
        """The temperatures to try, in order."""
        assert isinstance(self.temperature, tuple)
        return self.temperature

    def search(self, eos: int, temperature: float) -> GenerateOptions:
        """How to generate at one temperature: beams at 0, samples above."""
        sampling = temperature > 0
        return GenerateOptions(
            eos=eos,
            max_new_tokens=self.max_new_tokens,
            n_beams=1 if sampling else self.n_beams,
            patience=1.0 if sampling else self.patience,
            length_penalty=self.length_penalty,
            early_stopping=self.early_stopping,
            renormalize=self.renormalize,
            temperature=temperature,
            top_k=self.top_k if sampling else 0,
            best_of=self.best_of if sampling else 1,
            repetition_penalty=self.repetition_penalty,
            no_repeat_ngram_size=self.no_repeat_ngram_size,
        )

    def _check_times(self) -> None:
        if self.return_timestamps == "char":
            raise OptionError(
                "return_timestamps='char': Whisper times no characters; expected False, 'segment' or 'word'"
            )
        if self.return_timestamps not in (False, "segment", "word"):
            raise OptionError(f"return_timestamps={self.return_timestamps!r}; expected False, 'segment' or 'word'")
        latest = self.max_initial_timestamp
        if latest is not None and not 0 <= latest < math.inf:
            raise OptionError(f"max_initial_timestamp={latest}; expected seconds of 0 or more, or None")

    def _check_temperatures(self) -> None:
        if not self.temperatures or any(not 0 <= one < math.inf for one in self.temperatures):
            raise OptionError(f"temperature={self.temperature!r}; expected one or more numbers of 0 or more")
        if 0.0 not in self.temperatures and (self.n_beams > 1 or self.patience != 1.0):
            raise OptionError(
                f"n_beams={self.n_beams} and patience={self.patience} are for temperature 0, which is not in "
                f"temperature={self.temperature}; add it, or leave them out"
            )
        if self.top_k > 0 and self.temperatures == (0.0,):
            raise OptionError(f"top_k={self.top_k} is for sampling; add a temperature above 0")
        for temperature in self.temperatures:
            self.search(0, temperature)  # its options check the rest
