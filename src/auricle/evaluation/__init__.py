"""How good a model is: error rates over collections of recordings."""

from __future__ import annotations

from auricle.evaluation.wer import ErrorCounts, character_errors, word_errors

__all__ = ["ErrorCounts", "character_errors", "word_errors"]
