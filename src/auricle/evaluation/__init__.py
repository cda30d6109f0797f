"""Scores: word error rate and how it is measured."""
