"""How far the work is, in seconds of audio, on a terminal's stderr and nowhere else."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from auricle.cli.sources import Source
from auricle.speech.formats.cues import clock


class AudioColumn(ProgressColumn):
    """Seconds of audio done, of how many."""

    def render(self, task: Task) -> Text:
        total = f" / {clock(task.total, '.')[:8]}" if task.total is not None else ""
        return Text(f"{clock(task.completed, '.')[:8]}{total} of audio", style="progress.download")


class SpeedColumn(ProgressColumn):
    """Seconds of audio done in a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}x" if task.speed else "", style="progress.percentage")


class Bar:
    """A bar over the audio of a whole run; without a terminal on stderr, or when quiet, nothing."""

    def __init__(self, quiet: bool) -> None:
        console = Console(stderr=True)
        self.live = console.is_terminal and not quiet
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            # On 80 columns the bar gives way, not the words.
            AudioColumn(table_column=Column(no_wrap=True)),
            SpeedColumn(table_column=Column(no_wrap=True)),
            TimeRemainingColumn(),
            console=console,
            # A window may take 10 s; rich's own 30 s would show a speed that jumps.
            speed_estimate_period=300.0,
            disable=not self.live,
            transient=True,
            # rich would move what is printed to stderr's console; stdout is for the text alone.
            redirect_stdout=False,
        )
        self._task = self._progress.add_task("listening", total=None)

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def expect(self, seconds: float | None) -> None:
        """Say how many seconds of audio there are; None if that cannot be known."""
        self._progress.update(self._task, total=seconds)

    def heard(self, seconds: float) -> None:
        """Say how many seconds of audio are done, of all."""
        self._progress.update(self._task, completed=seconds)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Take the bar away while something is printed on stdout, if that is the same terminal."""
        if not (self.live and sys.stdout.isatty()):
            yield
            return
        self._progress.stop()
        try:
            yield
        finally:
            sys.stdout.flush()
            self._progress.start()


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
