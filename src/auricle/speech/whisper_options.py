"""How Whisper transcribes: every choice a caller has, with OpenAI's meaning and default unless stated."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from auricle.decoding.generate import GenerateOptions
from auricle.errors import OptionError, nearest
from auricle.speech.voice import VoiceOptions

TASKS = ("transcribe", "translate")
SCHEDULES = ("sequential", "batched")
# Eighty words of read English shrink by 1.56 to 1.92: below this every window would count as a repetition. What is
# given there is a ratio of tokens, as transformers' are; of these speech has about 1.
LOWEST_RATIO = 1.5
LONGEST_S, SHORTEST_S = 30.0, 1.0  # of a window
TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
RESET = 0.5
PREPENDED = "\"'“¿([{-"
APPENDED = "\"'.。,，!！?？:：”)]}、"


@dataclass(frozen=True)
class WhisperOptions:
    """Options of a transcription. The text depends on none of those about times."""

    # What is said, and what is wanted of it.
    language: str | None = None  # code or English name; None: the checkpoint's own, else detected
    task: Literal["transcribe", "translate"] | None = None  # None: the checkpoint's own, else transcribe
    multilingual: bool = False  # the language may change from window to window
    language_detection_segments: int = 3  # windows of speech whose probabilities are averaged
    language_detection_threshold: float | None = 0.5  # a less probable language makes it hear as many again; None: off
    return_timestamps: Literal[False, "segment", "word"] = False  # "word" adds words to the segments
    without_timestamps: bool = False  # decode with <|notimestamps|>: windows of 30 s, cut wherever they end

    # In which order windows are decoded.
    schedule: Literal["sequential", "batched"] | None = None  # None: sequential, one window after the other
    batch_size: int | None = None  # windows decoded together; None: one of each recording, or 8 if batched
    chunk_length_s: float = 0.0  # windows decoded together are at most so long; 0: 30 s, in the order of `schedule`
    clip_timestamps: tuple[float, ...] | str | None = None  # start,end,start,end... in seconds: hear only these

    # Where voice is. Without voice nothing is decoded, and improbable text is not believed.
    vad: bool | None = None  # None: above 30 s; shorter recordings are decoded whole
    vad_threshold: float = 0.5  # probability from which on a frame counts as voice
    min_silence_s: float | None = None  # shorter silences do not part voice; None: the detector's default
    speech_pad_s: float | None = None  # added on both sides of voice; None: the detector's default

    # How each window is searched at temperature 0.
    n_beams: int = 1
    n_beam_groups: int = 1  # above 1: diverse beam search
    diversity_penalty: float | None = None  # between groups of beams; None: 0.5 if there are groups
    patience: float = 1.0  # finished hypotheses to wait for, as a multiple of n_beams
    length_penalty: float = 1.0  # hypotheses are ranked by sum_logprob / n_tokens ** length_penalty
    early_stopping: bool | Literal["never"] = True  # stop a beam search when enough hypotheses are finished
    renormalize: bool = True  # beams: probabilities sum to one again after the rules (transformers: False)
    penalty_alpha: float = 0.0  # contrastive search among top_k tokens: weight of the similarity; 0: off

    # What is tried when a window looks wrong, and how samples are drawn above temperature 0.
    temperature: float | tuple[float, ...] = TEMPERATURES  # in this order, until one looks right
    do_sample: bool | None = None  # True: only temperatures above 0, False: only 0; None: as they are
    best_of: int = 5  # samples at each temperature above 0, of which the most probable is kept
    top_k: int = 0  # sample among the k most probable tokens only; 0: all
    top_p: float = 1.0  # among the most probable that together have this probability; 1: all
    typical_p: float = 1.0  # among those about as surprising as expected, with this probability; 1: all
    epsilon_cutoff: float = 0.0  # among those at least this probable; 0: all
    eta_cutoff: float = 0.0  # the same, and less where the distribution is flat; 0: all
    seed: int = 0  # the same seed draws the same samples for the same window, whatever it is batched with
    # zlib shrinks repetitions more than this; below 1.5 it is the tokens' bytes that shrink, else the text's; None: off
    compression_ratio_threshold: float | None = 2.4
    logprob_threshold: float | None = -1.0  # less probable text, on average per token, is wrong; None: off
    no_speech_threshold: float | None = 0.6  # a window above it, and improbable, is silence; None: off
    hallucination_silence_threshold: float | None = None  # seconds of silence around odd words to skip; None: off

    # What comes before, and what may not come.
    condition_on_previous_text: bool | None = None  # tell windows the text before; None: if sequential
    prompt_reset_on_temperature: float = RESET  # a window that needed more than this tells the next nothing
    hotwords: tuple[str, ...] = ()  # names and terms that every window is told
    initial_prompt: str | None = None  # text before the recording: names, spelling; its last 223 tokens
    prompt_ids: tuple[int, ...] | None = None  # the same as tokens, as the Hub's processors give them
    carry_initial_prompt: bool = False  # every window is told the initial prompt, not only the first
    prefix: str | None = None  # how the first window's text begins; not repeated in the result
    suppress_blank: bool = True  # no window begins with a space or the end
    suppress_tokens: tuple[int, ...] | None = None  # None: the checkpoint's list; -1: non-speech symbols
    max_initial_timestamp: float | None = 1.0  # seconds by which a window's text begins; None: no limit

    # Limits of generation, per window; the ones of new tokens win over those that count the prompt.
    max_new_tokens: int | None = None  # None: what fits (OpenAI: 224, which cuts dense text)
    min_new_tokens: int | None = None
    max_length: int | None = None
    min_length: int | None = None
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    use_cache: bool = True  # False computes every prefix anew: the same text, slowly

    # Which punctuation belongs to the next and to the previous word when words are timed.
    prepend_punctuations: str = PREPENDED
    append_punctuations: str = APPENDED

    def __post_init__(self) -> None:
        object.__setattr__(self, "temperature", self._temperatures())
        object.__setattr__(self, "clip_timestamps", _clips(self.clip_timestamps))
        object.__setattr__(self, "hotwords", _hotwords(self.hotwords))
        if self.chunk_length_s and self.schedule is None:
            object.__setattr__(self, "schedule", "batched")
        if self.suppress_tokens is not None:
            object.__setattr__(self, "suppress_tokens", tuple(self.suppress_tokens))
        if self.prompt_ids is not None:
            object.__setattr__(self, "prompt_ids", tuple(self.prompt_ids))
        self._check_times()
        self._check_temperatures()
        self._check_thresholds()
        self._check_schedule()
        self._check_languages()
        if min(self.suppress_tokens or (0,)) < -1:
            raise OptionError(
                f"suppress_tokens={self.suppress_tokens}; expected the numbers of tokens, or -1 for non-speech symbols"
            )
        self.voice()  # its options check the rest

    @property
    def temperatures(self) -> tuple[float, ...]:
        """The temperatures to try, in order."""
        assert isinstance(self.temperature, tuple)
        return self.temperature

    @property
    def is_batched(self) -> bool:
        """Whether windows of one recording are decoded together."""
        return self.schedule == "batched"

    @property
    def is_conditioned(self) -> bool:
        """Whether windows are told the text before them."""
        asked = self.condition_on_previous_text
        return not self.is_batched if asked is None else asked

    @property
    def clips(self) -> list[tuple[float, float | None]]:
        """The spans to hear, in seconds; an end of None is the recording's. Without clips: all of it."""
        times = self.clip_timestamps or (0.0,)
        assert isinstance(times, tuple)
        ends = [*times[1::2], None] if len(times) % 2 else times[1::2]
        return list(zip(times[::2], ends, strict=True))

    def voice(self) -> VoiceOptions:
        """How voice is detected."""
        given = {"min_silence_s": self.min_silence_s, "pad_s": self.speech_pad_s, "longest_s": self.longest_s}
        return VoiceOptions(
            threshold=self.vad_threshold, **{name: value for name, value in given.items() if value is not None}
        )

    @property
    def longest_s(self) -> float:
        """Seconds of the longest window."""
        return self.chunk_length_s or LONGEST_S

    def search(self, eos: int, temperature: float) -> GenerateOptions:
        """How to generate at one temperature: beams or candidates at 0, samples above."""
        common = {
            name: getattr(self, name)
            for name in (
                "max_new_tokens", "min_new_tokens", "max_length", "min_length", "length_penalty",
                "early_stopping", "renormalize", "repetition_penalty", "no_repeat_ngram_size",
            )
        }  # fmt: skip
        if temperature > 0:
            drawn = ("best_of", "top_k", "top_p", "typical_p", "epsilon_cutoff", "eta_cutoff")
            chosen = {name: getattr(self, name) for name in drawn}
        else:
            searched = ("n_beams", "n_beam_groups", "diversity_penalty", "patience", "penalty_alpha")
            chosen = {name: getattr(self, name) for name in searched}
            chosen["top_k"] = self.top_k if self.penalty_alpha else 0
        return GenerateOptions(eos=eos, temperature=temperature, **common, **chosen)

    def _temperatures(self) -> tuple[float, ...]:
        given = self.temperature if isinstance(self.temperature, Iterable) else (self.temperature,)
        asked = tuple(float(one) for one in given)
        if self.do_sample is None:
            return asked
        kept = tuple(one for one in asked if (one > 0) == self.do_sample)
        # The default has both kinds, of which the caller wants one; what he wrote himself is all meant.
        if not kept or (asked != TEMPERATURES and kept != asked):
            raise OptionError(
                f"do_sample={self.do_sample} and temperature={self.temperature!r} contradict each other: above 0 "
                "samples are drawn, at 0 the most probable text is searched; leave one of them out"
            )
        return kept

    def _check_times(self) -> None:
        if self.return_timestamps == "char":
            raise OptionError(
                "return_timestamps='char': Whisper times no characters; expected False, 'segment' or 'word'"
            )
        if self.return_timestamps not in (False, "segment", "word"):
            raise OptionError(f"return_timestamps={self.return_timestamps!r}; expected False, 'segment' or 'word'")
        for name in ("max_initial_timestamp", "hallucination_silence_threshold"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise OptionError(f"{name}={value}; expected seconds of 0 or more, or None")

    def _check_temperatures(self) -> None:
        if not self.temperatures or any(not 0 <= one < math.inf for one in self.temperatures):
            raise OptionError(f"temperature={self.temperature!r}; expected one or more numbers of 0 or more")
        at_zero = {"n_beams": 1, "n_beam_groups": 1, "diversity_penalty": None, "patience": 1.0, "penalty_alpha": 0.0}
        for name, neutral in at_zero.items():
            if 0.0 not in self.temperatures and getattr(self, name) != neutral:
                raise OptionError(
                    f"{name}={getattr(self, name)} is for temperature 0, which is not in "
                    f"temperature={self.temperature}; add it, or leave {name} out"
                )
        above = {"top_p": 1.0, "typical_p": 1.0, "epsilon_cutoff": 0.0, "eta_cutoff": 0.0}
        if not self.penalty_alpha:
            above["top_k"] = 0
        for name, neutral in above.items():
            if self.temperatures == (0.0,) and getattr(self, name) != neutral:
                raise OptionError(f"{name}={getattr(self, name)} is for sampling; add a temperature above 0")
        for temperature in self.temperatures:
            self.search(0, temperature)  # its options check the rest

    def _check_thresholds(self) -> None:
        ratio, silence = self.compression_ratio_threshold, self.no_speech_threshold
        if ratio is not None and not ratio >= 1.0:
            raise OptionError(
                f"compression_ratio_threshold={ratio}; expected {LOWEST_RATIO} or more, such as 2.4, of the text as "
                "openai/whisper's; 1 or more, such as 1.35, of the tokens as transformers'; or None to switch it off"
            )
        if self.logprob_threshold is not None and math.isnan(self.logprob_threshold):
            raise OptionError("logprob_threshold=nan; expected a number, such as -1.0, or None to switch it off")
        if silence is not None and not silence >= 0:
            raise OptionError(f"no_speech_threshold={silence}; expected 0 or more, or None to switch it off")

    def _check_schedule(self) -> None:
        if self.schedule not in (None, *SCHEDULES):
            raise OptionError(
                f"schedule={self.schedule!r}; expected 'sequential' or 'batched'"
                f"{nearest(str(self.schedule), SCHEDULES)}"
            )
        chunk = self.chunk_length_s
        if chunk and not SHORTEST_S <= chunk <= LONGEST_S:
            raise OptionError(
                f"chunk_length_s={chunk}; expected {SHORTEST_S:g} to {LONGEST_S:g} seconds, which is what Whisper "
                "hears at once, or 0 for its own windows"
            )
        if chunk and not self.is_batched:
            raise OptionError(
                f"chunk_length_s={chunk:g} means schedule='batched', not {self.schedule!r}; give one of them"
            )
        if self.is_batched and self.condition_on_previous_text:
            raise OptionError(
                "condition_on_previous_text=True and schedule='batched': windows decoded together cannot be told the "
                "text before them; leave one of them out"
            )
        if self.prompt_reset_on_temperature != RESET and not self.is_conditioned:
            raise OptionError(
                f"prompt_reset_on_temperature={self.prompt_reset_on_temperature}, but no window is told the text "
                "before it; leave it out, or set condition_on_previous_text=True with schedule='sequential'"
            )
        if self.batch_size is not None and not self.batch_size >= 1:
            raise OptionError(f"batch_size is {self.batch_size!r}; expected 1 or more, or None")
        if self.prompt_ids is not None and self.initial_prompt:
            raise OptionError("prompt_ids and initial_prompt are two prompts; give one of them")
        if self.carry_initial_prompt and not (self.initial_prompt or self.prompt_ids):
            raise OptionError("carry_initial_prompt=True, but there is no initial_prompt; give one, or leave it out")
        detects = {"vad_threshold": 0.5, "min_silence_s": None, "speech_pad_s": None}
        for name, neutral in detects.items():
            if self.vad is False and getattr(self, name) != neutral:
                raise OptionError(f"{name}={getattr(self, name)} detects voice, and vad=False does not; leave one out")

    def _check_languages(self) -> None:
        if self.task not in (None, *TASKS):
            raise OptionError(
                f"task={self.task!r}; expected 'transcribe' or 'translate'{nearest(str(self.task), TASKS)}"
            )
        if self.multilingual and self.language is not None:
            raise OptionError(
                f"multilingual=True finds the language of every window and language={self.language!r} fixes it; "
                "leave one of them out"
            )
        least, windows = self.language_detection_threshold, self.language_detection_segments
        if least is not None and not 0 <= least <= 1:
            raise OptionError(f"language_detection_threshold={least}; expected a probability of 0 to 1, or None")
        if not windows >= 1:
            raise OptionError(f"language_detection_segments={windows}; expected 1 window or more")
        detects = {"language_detection_threshold": 0.5, "language_detection_segments": 3}
        for name, neutral in detects.items():
            if self.language is not None and getattr(self, name) != neutral:
                raise OptionError(
                    f"{name}={getattr(self, name)} is about detecting the language, and language={self.language!r} "
                    "says it; leave one of them out"
                )


def _clips(given: tuple[float, ...] | str | None) -> tuple[float, ...] | None:
    """Clips as numbers; OpenAI's command line writes them with commas between."""
    parts = given.split(",") if isinstance(given, str) else given
    if not parts:
        return None
    try:
        times = tuple(float(one) for one in parts)
    except (TypeError, ValueError) as error:
        raise OptionError(f"clip_timestamps={given!r}; expected seconds: start,end,start,end...") from error
    rising = all(one <= other for one, other in pairwise(times))
    empty = any(start == end for start, end in zip(times[::2], times[1::2], strict=False))
    if not rising or empty or not all(0 <= one < math.inf for one in times):
        raise OptionError(
            f"clip_timestamps={given!r}; expected rising seconds of 0 or more: start,end,start,end... The last end "
            "may be left out and is then the recording's"
        )
    return times


def _hotwords(given: Iterable[str]) -> tuple[str, ...]:
    if isinstance(given, str):
        raise OptionError(f"hotwords={given!r} is one text; give a list of words or phrases")
    return tuple(word.strip() for word in given if word.strip())
