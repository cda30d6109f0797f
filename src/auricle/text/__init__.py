"""Ids to text and back: tokenizers, character vocabularies, normalisation for scoring."""
