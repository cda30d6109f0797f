"""Samples in, features out: decoding, resampling, and what each family's checkpoint calls its features."""
