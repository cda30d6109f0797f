"""Algorithms over whole recordings."""
