"""What a caller can choose of a search, with transformers' meaning unless stated, and which choices go together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from auricle.errors import OptionError

# Beams, samples and candidates are rows with keys and values of their own; more could only fill the memory.
MAX_ROWS = 256

# Lengths to a higher power are no numbers any more, and rank nothing.
STEEPEST_LENGTH_PENALTY = 100.0

# In the middle of what Vijayakumar et al. 2016, section 5, find to work for most tasks: 0.2 to 0.8.
DIVERSITY_PENALTY = 0.5


@dataclass(frozen=True)
class GenerateOptions:
    """How to search. Defaults are greedy; beam search has transformers' meaning, patience is added to it."""

    eos: int  # the token that ends a row; -1: none
    more_ends: tuple[int, ...] = ()  # further tokens that end a row
    # Lengths; those of new tokens win over those that count the prompt, too.
    max_new_tokens: int | None = None  # None: as many as the step has room for
    min_new_tokens: int | None = None  # a row cannot end before
    max_length: int | None = None  # prompt included
    min_length: int | None = None  # prompt included
    # Beams.
    n_beams: int = 1  # above 1: beam search
    n_beam_groups: int = 1  # above 1: diverse beam search in groups of n_beams / n_beam_groups
    diversity_penalty: float | None = None  # of a token, for each beam of earlier groups that chose it; None: 0.5
    patience: float = 1.0  # finished hypotheses to keep, as a multiple of the beams of a group
    length_penalty: float = 1.0  # hypotheses are ranked by sum_logprob / n_tokens ** length_penalty
    early_stopping: bool | Literal["never"] = False  # True: stop when enough are finished; else when none can win
    renormalize: bool = False  # beams: probabilities sum to one again after the filters
    # Samples.
    do_sample: bool | None = None  # None: if the temperature is above 0
    temperature: float | None = None  # sample from softmax(logits / temperature); None: 1 with do_sample, else 0
    top_k: int = 0  # among the k most probable tokens only; 0: among all
    top_p: float = 1.0  # among the most probable tokens that together have this probability; 1: among all
    min_p: float = 0.0  # among tokens at least this share as probable as the most probable one; 0: among all
    typical_p: float = 1.0  # among tokens about as surprising as expected, with this probability; 1: among all
    epsilon_cutoff: float = 0.0  # among tokens at least this probable; 0: among all
    eta_cutoff: float = 0.0  # the same, and less where the distribution is flat; 0: among all
    best_of: int = 1  # independent samples of each row, of which the best-ranked is kept
    # Contrastive search among the top_k candidates.
    penalty_alpha: float = 0.0  # weight of the similarity to earlier tokens against the probability; 0: off
    # Repetitions.
    repetition_penalty: float = 1.0  # above 1: tokens that occurred become less probable
    no_repeat_ngram_size: int = 0  # above 0: no n-gram of this size occurs twice
    presence_penalty: float = 0.0  # taken from the logit of each token that was generated before
    frequency_penalty: float = 0.0  # the same, once for each time it was
    # Single tokens and sequences of them.
    logit_bias: tuple[tuple[int, float], ...] = ()  # token, and what is added to its logit
    bad_words: tuple[tuple[int, ...], ...] = ()  # sequences that are never completed

    def __post_init__(self) -> None:
        self._check_ranges()
        self._check_lengths()
        self._check_beams()
        self._check_samples()
        self._check_contrastive()

    @property
    def sampling_temperature(self) -> float:
        """What logits are divided by before a token is drawn; 0: the most probable one is taken."""
        if self.temperature is None:
            return 1.0 if self.do_sample else 0.0
        return self.temperature

    def most_new_tokens(self, n_prompt: int, room: int) -> int:
        """How many tokens may follow a prompt of `n_prompt`, where the step has `room` for more.

        Raises:
            OptionError: if the prompt alone has max_length tokens.
        """
        if self.max_new_tokens is not None:
            return min(self.max_new_tokens, room)
        if self.max_length is None:
            return room
        if self.max_length <= n_prompt:
            raise OptionError(
                f"max_length={self.max_length} counts the prompt, which alone has {n_prompt} tokens; raise it, or give "
                "max_new_tokens, which counts only what is generated"
            )
        return min(self.max_length - n_prompt, room)

    def fewest_new_tokens(self, n_prompt: int) -> int:
        """How many tokens follow a prompt of `n_prompt` at least, as far as there is room."""
        if self.min_new_tokens is not None:
            return self.min_new_tokens
        return max((self.min_length or 0) - n_prompt, 0)

    def _check_ranges(self) -> None:
        checks = [
            (self.max_new_tokens is None or self.max_new_tokens >= 1, "max_new_tokens", "1 or more, or None"),
            (self.min_new_tokens is None or self.min_new_tokens >= 0, "min_new_tokens", "0 or more, or None"),
            (self.max_length is None or self.max_length >= 1, "max_length", "1 or more, or None"),
            (self.min_length is None or self.min_length >= 0, "min_length", "0 or more, or None"),
            (1 <= self.n_beams <= MAX_ROWS, "n_beams", f"1 to {MAX_ROWS}"),
            (1 <= self.n_beam_groups <= self.n_beams, "n_beam_groups", f"1 to n_beams, which is {self.n_beams}"),
            (0 <= (self.diversity_penalty or 0) < math.inf, "diversity_penalty", "0 or more, or None"),
            (0 < self.patience < math.inf, "patience", "a number above 0"),
            (
                abs(self.length_penalty) <= STEEPEST_LENGTH_PENALTY,
                "length_penalty",
                f"-{STEEPEST_LENGTH_PENALTY:g} to {STEEPEST_LENGTH_PENALTY:g}",
            ),
            (self.early_stopping in (True, False, "never"), "early_stopping", "True, False or 'never'"),
            (self.do_sample in (None, True, False), "do_sample", "True, False or None"),
            (0 <= (self.temperature or 0) < math.inf, "temperature", "0 or more"),
            (self.top_k >= 0, "top_k", "0 (off) or more"),
            (0 <= self.top_p <= 1, "top_p", "0 to 1, where 1 is off"),
            (0 <= self.min_p <= 1, "min_p", "0 (off) to 1"),
            (0 < self.typical_p <= 1, "typical_p", "above 0 and at most 1, where 1 is off"),
            (0 <= self.epsilon_cutoff < 1, "epsilon_cutoff", "0 (off) or more, and below 1"),
            (0 <= self.eta_cutoff < 1, "eta_cutoff", "0 (off) or more, and below 1"),
            (1 <= self.best_of <= MAX_ROWS, "best_of", f"1 to {MAX_ROWS}"),
            (0 <= self.penalty_alpha <= 1, "penalty_alpha", "0 (off) to 1"),
            (0 < self.repetition_penalty < math.inf, "repetition_penalty", "a number above 0"),
            (self.no_repeat_ngram_size >= 0, "no_repeat_ngram_size", "0 (off) or more"),
            (math.isfinite(self.presence_penalty), "presence_penalty", "a finite number, such as 0.5"),
            (math.isfinite(self.frequency_penalty), "frequency_penalty", "a finite number, such as 0.5"),
            (all(words for words in self.bad_words), "bad_words", "sequences of one token or more"),
        ]
        for valid, name, expected in checks:
            if not valid:
                raise OptionError(f"{name} is {getattr(self, name)!r}; expected {expected}")

    def _check_lengths(self) -> None:
        for least, most in (("min_new_tokens", "max_new_tokens"), ("min_length", "max_length")):
            fewest, limit = getattr(self, least), getattr(self, most)
            if fewest is not None and limit is not None and fewest > limit:
                raise OptionError(f"{least}={fewest} is more than {most}={limit}; lower the one or raise the other")

    def _check_beams(self) -> None:
        if self.n_beams == 1 and self.patience != 1.0:
            raise OptionError(f"patience={self.patience} belongs to beam search; set n_beams above 1")
        if self.n_beams % self.n_beam_groups:
            raise OptionError(
                f"n_beams={self.n_beams} cannot be divided into n_beam_groups={self.n_beam_groups} of equal size; "
                f"give a multiple of {self.n_beam_groups} beams"
            )
        if self.n_beam_groups == 1 and self.diversity_penalty:
            raise OptionError(
                f"diversity_penalty={self.diversity_penalty} is between groups of beams; set n_beam_groups above 1"
            )
        if self.n_beam_groups > 1 and self.sampling_temperature > 0:
            raise OptionError(
                f"n_beam_groups={self.n_beam_groups} searches different continuations and "
                f"{self._why_sampling()} draws them; choose one"
            )

    def _check_samples(self) -> None:
        if self.do_sample and self.temperature == 0:
            raise OptionError("do_sample=True draws tokens and temperature=0 takes the best; leave one of them out")
        if self.do_sample is False and self.sampling_temperature > 0:
            raise OptionError(
                f"do_sample=False takes the most probable token and temperature={self.temperature} draws one; leave "
                "out temperature to search, or do_sample to sample"
            )
        if self.sampling_temperature > 0:
            if self.best_of > 1 and self.n_beams > 1:
                raise OptionError(
                    f"best_of={self.best_of} draws independent samples and n_beams={self.n_beams} beams of them; "
                    "choose one"
                )
            return
        off = {"top_p": 1.0, "min_p": 0.0, "typical_p": 1.0, "epsilon_cutoff": 0.0, "eta_cutoff": 0.0, "best_of": 1}
        if self.penalty_alpha == 0:
            off["top_k"] = 0
        for name, neutral in off.items():
            if getattr(self, name) != neutral:
                raise OptionError(
                    f"{name}={getattr(self, name)} chooses among samples, but the temperature is 0; set a temperature "
                    f"above 0 or do_sample=True, or leave {name} out"
                )

    def _check_contrastive(self) -> None:
        if self.penalty_alpha == 0:
            return
        given = f"penalty_alpha={self.penalty_alpha} (contrastive search)"
        if self.n_beams > 1:
            raise OptionError(f"{given} follows one hypothesis and n_beams={self.n_beams} several; choose one")
        if self.sampling_temperature > 0:
            raise OptionError(f"{given} draws no samples and {self._why_sampling()} does; choose one")
        if not 2 <= self.top_k <= MAX_ROWS:
            raise OptionError(
                f"{given} chooses among top_k={self.top_k} tokens; give top_k of 2 to {MAX_ROWS}, such as 4"
            )

    def _why_sampling(self) -> str:
        return "do_sample=True" if self.temperature is None else f"temperature={self.temperature}"
