"""What a prefix of a beam search earns beside its sound: language model, word bonus, hot words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from auricle.decoding.hotwords import HotWords, Spelling
from auricle.decoding.ngram import LanguageModel
from auricle.errors import OptionError


class Context:
    """What fusion knows of one prefix: the model's state, the word being spelled, the score so far."""

    __slots__ = ("children", "lm_score", "lm_state", "score", "spelling", "word")

    def __init__(self, word: str, lm_state: Any, lm_score: float, spelling: Spelling | None) -> None:
        self.word = word
        self.lm_state = lm_state
        self.lm_score = lm_score  # of the finished words, weighted
        self.spelling = spelling
        self.score = 0.0  # everything that is added to the acoustic score while the prefix is open
        self.children: dict[int, Context] = {}


class Fusion:
    """Scores prefixes of one vocabulary; the language model speaks at word boundaries.

    A word in progress that no known word begins with bears the unknown word's penalty at once, so that the
    beam need not wait for its end. Words end where a piece holds a space; in a vocabulary without spaces each
    piece is a word.
    """

    def __init__(
        self,
        pieces: Sequence[str],
        lm: LanguageModel | None,
        weights: tuple[float, float, float],
        hotwords: Sequence[str],
        hotword_weight: float,
    ) -> None:
        """Take what each id writes, and `weights`: alpha, beta and the penalty of unknown words.

        Raises: OptionError for hot words with letters that no piece writes.
        """
        self._pieces = pieces
        self._lm = lm
        self._alpha, self._beta, self._unknown_penalty = weights
        self._spaced = any(" " in piece for piece in pieces)
        self._hotwords = HotWords(hotwords, hotword_weight, self._spaced) if hotwords else None
        letters = {letter for piece in pieces for letter in piece.casefold()} | {" "}
        for phrase in hotwords:
            missing = sorted(set(phrase.casefold()) - letters)
            if missing:
                raise OptionError(
                    f"hotwords holds {phrase!r}, but the model's vocabulary cannot write "
                    f"{''.join(missing)!r}; spell it with the letters that the model writes"
                )

    @property
    def is_empty(self) -> bool:
        """Whether there is neither a language model nor a hot word, so that every score is zero."""
        return self._lm is None and self._hotwords is None

    def start(self) -> Context:
        """Return the context of the empty prefix."""
        return Context(
            "",
            self._lm.start() if self._lm else None,
            0.0,
            self._hotwords.start() if self._hotwords else None,
        )

    def extend(self, context: Context, id: int) -> Context:
        """Return the context after one more token; computed once for each prefix."""
        if self.is_empty:
            return context
        child = context.children.get(id)
        if child is None:
            child = context.children[id] = self._extend(context, self._pieces[id] if id < len(self._pieces) else "")
        return child

    def finish(self, context: Context) -> float:
        """Return the score of the whole text: the last word is closed and the sentence ended."""
        score = 0.0
        if self._lm is not None:
            word_score, lm_state = self._finished_word(context.lm_state, context.word)
            score = context.lm_score + word_score + self._alpha * self._lm.end(lm_state)
        if self._hotwords is not None and context.spelling is not None:
            score += self._hotwords.finish(context.spelling)
        return score

    def _extend(self, context: Context, piece: str) -> Context:
        child = Context(context.word, context.lm_state, context.lm_score, context.spelling)
        if self._lm is not None:
            *closed, child.word = (context.word + piece).split(" ") if self._spaced else (piece, "")
            for word in closed:
                word_score, child.lm_state = self._finished_word(child.lm_state, word)
                child.lm_score += word_score
            child.score = child.lm_score
            if child.word and not self._lm.may_become_word(child.word):
                child.score += self._unknown_penalty
        if self._hotwords is not None and context.spelling is not None:
            child.spelling = self._hotwords.add(context.spelling, piece)
            child.score += child.spelling.earned + child.spelling.share
        return child

    def _finished_word(self, lm_state: Any, word: str) -> tuple[float, Any]:
        """Return the weighted score of one more word and the state after it; an empty word is none."""
        if not word or self._lm is None:
            return 0.0, lm_state
        score, following, known = self._lm.score_word(lm_state, word)
        return self._alpha * score + self._beta + (0.0 if known else self._unknown_penalty), following
