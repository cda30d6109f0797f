"""Who may do what: tokens and their scopes, rate limits, and which pages may call.

`wiring.guard` puts all of it around an application; `tokens` alone serves the command line and needs no web library.
"""
