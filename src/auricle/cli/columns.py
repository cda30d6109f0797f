"""The bar of a terminal: what its columns say."""

from __future__ import annotations

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


def columns_on(console: Console) -> Progress:
    """Make the bar, not started yet."""
    return Progress(
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
        transient=True,
        # rich would move what is printed to stderr's console; stdout is for the text alone.
        redirect_stdout=False,
    )
