"""The fast way to search with a language model, where there is one: native code, and the same text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from auricle.decoding.compact_ngram import CompactNGram
from auricle.decoding.ctc import BeamOptions, Hypothesis, align
from auricle.engines.cpu.ctc_search import CTCSearch, Weights, aligned, fits


def native_search(
    pieces: Sequence[str], blank: int, options: BeamOptions
) -> Callable[[Tensor], list[Hypothesis]] | None:
    """Return a search that finds what `BeamSearch` finds first, or None where only that one can search.

    It needs kernels, a compact language model, a vocabulary that divides words by spaces, and no hot words.
    """
    lm = options.lm
    if not isinstance(lm, CompactNGram) or options.hotwords or not fits(pieces):
        return None
    weights = Weights(
        options.beam_width,
        options.alpha,
        options.beta,
        options.unknown_penalty,
        options.min_token_log_prob,
        options.max_beam_distance,
    )
    search = CTCSearch(pieces, blank, weights, lm.arrays, (lm.start_word, lm.end_word))

    def best(log_probs: Tensor) -> list[Hypothesis]:
        frames = log_probs.double().numpy()
        ids, score, fusion_score = search(frames)
        return [Hypothesis(align(frames, ids, blank, aligned), score, fusion_score)]

    return best
