"""How good a model is: error rates over collections of recordings, and results side by side."""

from __future__ import annotations

from auricle.evaluation.normalizers import Normalizer, normalizer
from auricle.evaluation.predictions import Prediction
from auricle.evaluation.scoring import Score, score
from auricle.evaluation.wer import ErrorCounts, character_errors, word_errors

__all__ = [
    "ErrorCounts",
    "Normalizer",
    "Prediction",
    "Score",
    "character_errors",
    "normalizer",
    "score",
    "word_errors",
]
