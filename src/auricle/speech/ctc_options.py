"""Options of a transcription with a CTC model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from auricle.errors import OptionError
from auricle.speech.voice import VoiceOptions

WINDOW_S = 30.0  # a stretch of voice is at most so long unless chunk_length_s says otherwise
WEIGHTS = (0.5, 1.5, -10.0)  # of a language model: alpha, beta and unknown_penalty
MAX_BEAM_WIDTH = 10_000  # far beyond any use: a mistyped number is not to fill the memory


@dataclass(frozen=True)
class CTCOptions:
    """How to cut and decode; checked when it is made."""

    vad: bool | None = None  # decode only where voice is; None: above 30 s, unless windows are given; False: all
    vad_threshold: float = 0.5  # probability of voice from which on a region begins
    min_silence_s: float = 0.4  # a shorter pause ends no region of voice
    speech_pad_s: float = 0.2  # heard before and after a region of voice
    chunk_length_s: float = 0.0  # length of a window; 0: one pass up to 40 s, else 30 s; with vad=True, at most
    stride_length_s: float | tuple[float, float] | None = None  # overlap on each side; None: a sixth, or 2.5 s
    batch_size: int | None = None  # windows in one forward pass; None: as many as recordings are given
    beam_width: int | None = None  # 1: greedy; None: greedy, or 50 with a language model or hot words
    lm: str | Path | bool | None = None  # ARPA file, KenLM binary or compact model of words; None: the model's own
    alpha: float | None = None  # weight of the language model's log-probability; None: as the model says, or 0.5
    beta: float | None = None  # added for each word with a language model; None: as the model says, or 1.5
    unknown_penalty: float | None = None  # added for each word that it does not know; None: as the model says, or -10
    hotwords: tuple[str, ...] = ()  # words or phrases to prefer; case is ignored
    hotword_weight: float = 10.0  # natural log added for each hot word of 7 letters or more; in proportion below
    punctuate: bool = False  # marks and capitals for English that the model writes without: speech/punctuation.py
    own_lm: str | None = None  # the file of the language model that came with the checkpoint; no caller's to give
    own_weights: tuple[float, float, float] = WEIGHTS  # its alpha, beta and unknown_penalty

    def __post_init__(self) -> None:
        self._check_windows()
        self._check_search()
        if self.voice is not None and self.vad and self.stride_length_s is not None:
            raise OptionError(
                f"stride_length_s={self.stride_length_s!r} has no effect with vad=True: recordings are cut in "
                "pauses, without overlap; leave one of them out"
            )
        for name, given in (("vad_threshold", 0.5), ("min_silence_s", 0.4), ("speech_pad_s", 0.2)):
            if self.voice is None and getattr(self, name) != given:
                reason = "vad=False" if self.vad is False else "chunk_length_s or stride_length_s but with vad=True"
                raise OptionError(f"{name}={getattr(self, name)!r} has no effect with {reason}; leave it out")
        # Lists are welcome, but options are compared and kept as keys.
        stride = self.stride_length_s
        object.__setattr__(self, "hotwords", tuple(self.hotwords))
        object.__setattr__(self, "stride_length_s", tuple(stride) if isinstance(stride, list) else stride)

    @property
    def voice(self) -> VoiceOptions | None:
        """How voice is found; None where everything is decoded, whether voice is in it or not."""
        windowed = self.chunk_length_s > 0 or self.stride_length_s is not None
        if self.vad is False or (self.vad is None and windowed):
            return None
        return VoiceOptions(
            threshold=self.vad_threshold,
            min_silence_s=self.min_silence_s,
            pad_s=self.speech_pad_s,
            longest_s=self.chunk_length_s or WINDOW_S,
        )

    @property
    def search_lm(self) -> str | Path | None:
        """The language model that the search uses: the one given, or the checkpoint's own unless it is switched off."""
        if self.lm is None:
            return None if self.beam_width == 1 else self.own_lm
        return None if isinstance(self.lm, bool) else self.lm

    @property
    def weights(self) -> tuple[float, float, float]:
        """alpha, beta and unknown_penalty with their defaults resolved."""
        usual = self.own_weights if self.lm is None else WEIGHTS
        given = (self.alpha, self.beta, self.unknown_penalty)
        alpha, beta, penalty = (one if one is not None else other for one, other in zip(given, usual, strict=True))
        return alpha, beta, penalty

    def _check_windows(self) -> None:
        stride = self.stride_length_s
        sides = tuple(stride) if isinstance(stride, (tuple, list)) else (stride or 0.0,) * 2
        for name, numbers in (("chunk_length_s", (self.chunk_length_s,)), ("stride_length_s", sides)):
            for number in numbers:
                _refuse_other_numbers(name, getattr(self, name), number)
        if len(sides) != 2 or min(self.chunk_length_s, *sides) < 0:
            raise OptionError(
                f"chunk_length_s={self.chunk_length_s!r}, stride_length_s={stride!r}; expected seconds from 0 "
                "on, the stride as one number for both sides or as (left, right)"
            )
        if self.vad and 0 < self.chunk_length_s < 1:
            raise OptionError(
                f"chunk_length_s={self.chunk_length_s!r} with vad=True; expected 1 second or more, or 0 for the default"
            )

    def _check_search(self) -> None:
        self._check_lm()
        _refuse_other_numbers("hotword_weight", self.hotword_weight, self.hotword_weight)
        for name, value in (("batch_size", self.batch_size), ("beam_width", self.beam_width)):
            if value is not None and (type(value) is not int or value < 1):
                raise OptionError(f"{name}={value!r}; expected a whole number from 1 on, or None")
        if self.beam_width is not None and self.beam_width > MAX_BEAM_WIDTH:
            raise OptionError(f"beam_width={self.beam_width}; expected at most {MAX_BEAM_WIDTH}")
        if isinstance(self.hotwords, str) or not all(isinstance(word, str) for word in self.hotwords):
            raise OptionError(f"hotwords={self.hotwords!r}; expected a list of strings, such as ['auricle']")
        if self.beam_width == 1 and (self.lm or self.hotwords):
            raise OptionError(
                "beam_width=1 is greedy decoding, which uses no lm and no hotwords; leave it out or raise it"
            )
        if not self.hotwords and self.hotword_weight != type(self).hotword_weight:
            raise OptionError(
                f"hotword_weight={self.hotword_weight!r} has no effect without hotwords; give hotwords, too"
            )

    def _check_lm(self) -> None:
        for name in ("alpha", "beta", "unknown_penalty"):
            if getattr(self, name) is not None:
                _refuse_other_numbers(name, getattr(self, name), getattr(self, name))
        is_file = isinstance(self.lm, str | Path) and Path(self.lm).is_file()
        if not (self.lm is None or self.lm is False or is_file):
            raise OptionError(
                f"lm={self.lm!r} is no file; expected the path of an ARPA file, a KenLM binary or a compact model, or "
                "False for none"
            )
        for name in ("alpha", "beta", "unknown_penalty"):
            if getattr(self, name) is not None and self.search_lm is None:
                raise OptionError(f"{name}={getattr(self, name)!r} has no effect without lm; give lm, too")


def _refuse_other_numbers(name: str, value: object, number: object) -> None:
    if type(number) not in (int, float) or not math.isfinite(number):  # type: ignore[arg-type]
        raise OptionError(f"{name}={value!r}; expected a finite number")
