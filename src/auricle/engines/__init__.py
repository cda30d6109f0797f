"""One surface, several ways to run a model; reference.py is the definition of correct."""
