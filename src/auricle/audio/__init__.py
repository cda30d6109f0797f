"""Samples in, features out: decoding, resampling, and what each model family's checkpoint calls its features."""
