"""The border of a command: what Ctrl-C becomes where something on the way swallows it."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

import pytest
import typer

import auricle.__main__ as entry
from auricle.cli.border import INTERRUPTED, border


@pytest.fixture(autouse=True)
def _as_from_a_shell() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def swallowing(then: BaseException) -> None:
    """Be interrupted as an import inside try: ... except: is, and go on to fail."""
    with border():
        with contextlib.suppress(BaseException):
            signal.raise_signal(signal.SIGINT)
        raise then


def test_error_after_an_interrupt_that_a_library_swallowed_is_an_interrupt(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as left:
        swallowing(AttributeError("module 'numpy' has no attribute 'iterable'"))
    assert left.value.exit_code == INTERRUPTED
    assert capsys.readouterr().err == "auricle: interrupted; what was finished is kept\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_error_without_an_interrupt_stays_what_it_is() -> None:
    with pytest.raises(AttributeError, match="iterable"), border():
        raise AttributeError("iterable")


def test_exit_code_of_a_finished_command_stays_what_it_is() -> None:
    with pytest.raises(typer.Exit) as left:
        swallowing(typer.Exit(1))
    assert left.value.exit_code == 1


def test_interrupt_while_modules_are_loaded_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(entry, "_run", interrupted)
    with pytest.raises(SystemExit) as left:
        entry.main()
    assert left.value.code == INTERRUPTED
