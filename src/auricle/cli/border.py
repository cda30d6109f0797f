"""The border between our errors and the shell: one line on stderr and an exit code, never a traceback.

Exit codes: 0 all is well · 1 some inputs failed, or a check did · 2 wrong usage · 3 a model, or something it
needs, could not be loaded · 130 interrupted by Ctrl-C · 141 whoever read our output stopped reading.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from auricle.errors import AuricleError, CheckpointError, MissingExtraError, OptionError, TaskError

SOME_FAILED = 1
USAGE = 2
NO_MODEL = 3
INTERRUPTED = 130
READER_GONE = 141

# The first class that fits decides.
EXIT_CODES: tuple[tuple[type[AuricleError], int], ...] = (
    (OptionError, USAGE),
    (CheckpointError, NO_MODEL),
    (TaskError, NO_MODEL),
    (MissingExtraError, NO_MODEL),
    (AuricleError, SOME_FAILED),
)


def say(message: str) -> None:
    """Print one line on stderr."""
    print(" ".join(message.split()), file=sys.stderr, flush=True)


def write_utf8() -> None:
    """Make stdout UTF-8 whatever the locale; file names that are not valid UTF-8 pass as they are."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(encoding="utf-8", errors="surrogateescape")


@contextmanager
def border() -> Iterator[None]:
    """Turn what a command raises into one line on stderr and an exit code."""
    try:
        yield
        sys.stdout.flush()
    except AuricleError as error:
        say(f"auricle: {error}")
        raise typer.Exit(next(code for kind, code in EXIT_CODES if isinstance(error, kind))) from None
    except KeyboardInterrupt:
        say("auricle: interrupted; what was finished is kept")
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        _close_stdout()
        raise typer.Exit(READER_GONE) from None
    except OSError as error:
        _close_stdout()
        say(f"auricle: {error.filename or 'the output'}: {error.strerror or error}")
        raise typer.Exit(SOME_FAILED) from None


def _close_stdout() -> None:
    # Python flushes stdout once more when it ends, which would complain again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
