"""How far the work is, in seconds of audio, on a terminal's stderr and nowhere else."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from auricle.cli.sources import Source

if TYPE_CHECKING:
    from rich.progress import Progress


class Bar:
    """A bar over the audio of a whole run; without a terminal on stderr, or when quiet, nothing."""

    def __init__(self, quiet: bool) -> None:
        self._progress = None if quiet else _progress()

    @property
    def live(self) -> bool:
        """Whether anything is shown."""
        return self._progress is not None

    def __enter__(self) -> Bar:
        if self._progress is not None:
            self._task = self._progress.add_task("listening", total=None)
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def expect(self, seconds: float | None) -> None:
        """Say how many seconds of audio there are; None if that cannot be known."""
        if self._progress is not None:
            self._progress.update(self._task, total=seconds)

    def heard(self, seconds: float) -> None:
        """Say how many seconds of audio are done, of all."""
        if self._progress is not None:
            self._progress.update(self._task, completed=seconds)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Take the bar away while something is printed on stdout, if that is the same terminal."""
        if self._progress is None or not sys.stdout.isatty():
            yield
            return
        self._progress.stop()
        try:
            yield
        finally:
            sys.stdout.flush()
            self._progress.start()


def _progress() -> Progress | None:
    # Asked before rich is loaded, which is only needed on a terminal.
    if not sys.stderr.isatty():
        return None
    from rich.console import Console

    from auricle.cli.columns import columns_on

    console = Console(stderr=True)
    return columns_on(console) if console.is_terminal else None


def total_duration(sources: Sequence[Source]) -> float | None:
    """Return the seconds of audio in all sources, as their headers state.

    One that states none counts as the mean of the others; None if no source states any. URLs and stdin are
    not opened for it, and a file that cannot be opened is left to say so when its turn comes.
    """
    from auricle.audio.decode import open_audio
    from auricle.errors import AudioError

    known = []
    n_unknown = 0
    for source in sources:
        duration = None
        if source.given != "-" and "://" not in source.given:
            try:
                with open_audio(source.given) as audio:
                    duration = audio.duration
            except AudioError:
                continue
        if duration is None:
            n_unknown += 1
        else:
            known.append(duration)
    return sum(known) * (1 + n_unknown / len(known)) if known else None
