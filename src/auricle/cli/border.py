"""The border between our errors and the shell: one line on stderr and an exit code, never a traceback.

Exit codes: 0 all is well · 1 some inputs failed, or a check did · 2 wrong usage · 3 a model, or something it
needs, could not be loaded · 130 interrupted by Ctrl-C · 141 whoever read our output stopped reading.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

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


def say_as_it_is(text: str) -> None:
    """Print a table or a list on stderr: its lines, and the spaces they begin with, are kept."""
    print(text, file=sys.stderr, flush=True)


def write_utf8() -> None:
    """Make stdout UTF-8 whatever the locale; file names that are not valid UTF-8 pass as they are."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(encoding="utf-8", errors="surrogateescape")


@contextmanager
def border() -> Iterator[None]:
    """Turn what a command raises into one line on stderr and an exit code."""
    try:
        with _interrupts_kept():
            yield
        sys.stdout.flush()
    except AuricleError as error:
        say(f"auricle: {error}")
        raise typer.Exit(next(code for kind, code in EXIT_CODES if isinstance(error, kind))) from None
    except KeyboardInterrupt as interrupt:
        say(f"auricle: interrupted; {str(interrupt) or 'what was finished is kept'}")
        raise typer.Exit(INTERRUPTED) from None
    except OSError as error:
        raise typer.Exit(lost_output(error)) from None


@contextmanager
def _interrupts_kept() -> Iterator[None]:
    """Raise KeyboardInterrupt for an error that comes after Ctrl-C: a library that is being imported may swallow it."""
    arrived: list[int] = []

    def keep(number: int, frame: FrameType | None) -> None:
        arrived.append(number)
        signal.default_int_handler(number, frame)

    before = signal.getsignal(signal.SIGINT)
    is_ours = threading.current_thread() is threading.main_thread() and before is signal.default_int_handler
    if is_ours:
        signal.signal(signal.SIGINT, keep)
    try:
        yield
    except typer.Exit:
        raise
    except Exception as error:
        if arrived:
            raise KeyboardInterrupt from error
        raise
    finally:
        if is_ours:
            signal.signal(signal.SIGINT, before)


def lost_output(error: OSError) -> int:
    """Say what could not be written, unless its reader is gone, and return the exit code."""
    # Python flushes stdout once more when it ends, which would complain again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return READER_GONE
    say(f"auricle: {error.filename or 'the output'}: {error.strerror or error}")
    return SOME_FAILED


def reopen_closed_streams() -> None:
    """Give what the shell has closed, as `>&-` does, its number back before some other file gets it.

    Writing to such a stdout fails as it would have; what goes to such a stderr is lost, and such a stdin is empty.
    """
    for number, mode in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # takes the lowest number that is free, which is this one
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
