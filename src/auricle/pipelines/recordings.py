"""Opened recordings on their way through a recognizer: a row for each channel that is heard by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from auricle.audio.decode import Audio
from auricle.audio.sources import Recording
from auricle.errors import AudioError, AuricleError
from auricle.pipelines.journal import ChannelJournal, FileJournal
from auricle.results import Transcript, Warning
from auricle.speech.channels import merge_channels
from auricle.speech.clipping import ClippingDetector


class GuardedAudio:
    """A recording that ends where it breaks off and keeps the error: its batch is not to suffer. Notes clipping."""

    def __init__(self, audio: Audio) -> None:
        self.audio = audio
        self.sample_rate = audio.sample_rate
        self.duration = audio.duration
        self.name = audio.name
        self.error: AudioError | None = None
        self.clipping = ClippingDetector(audio.sample_rate)

    def blocks(self) -> Iterator[np.ndarray]:
        """Mono float32 samples, up to the end or to where the recording breaks off."""
        try:
            for block in self.audio.blocks():
                self.clipping(block)
                yield block
        except AudioError as error:
            self.error = error

    def read(self) -> np.ndarray:
        """Return everything that `blocks` gives."""
        blocks = list(self.blocks())
        return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


@dataclass
class Opened:
    """One recording, ready to be heard."""

    rows: list[GuardedAudio]  # one, or one for each channel
    is_split: bool = False
    again: list[Recording] = field(default_factory=list)  # of each row, where it is to be read twice
    sha256: str | None = None
    journal: FileJournal | None = None

    def journals(self) -> list[ChannelJournal | None]:
        """Return the journal of each row."""
        return [None if self.journal is None else self.journal.channel(row.audio.channel or 0) for row in self.rows]

    def result(self, transcripts: Sequence[Transcript]) -> Transcript | AuricleError:
        """Return the recording's transcript, of one for each row; the error if it broke off."""
        whole = []
        for row, transcript in zip(self.rows, transcripts, strict=True):
            if row.error is not None:
                return row.error
            # What is wrong with the recording itself stands before what the recognizer found.
            found = [Warning("recording", message) for message in row.audio.warnings] + [*row.clipping.warnings()]
            whole.append(replace(transcript, warnings=(*found, *transcript.warnings)) if found else transcript)
        return merge_channels(whole, [row.audio.channel or 0 for row in self.rows]) if self.is_split else whole[0]

    def close(self) -> None:
        """Close the recording and its journal."""
        for row in self.rows:
            row.audio.close()
        for recording in self.again:
            recording.close()
        if self.journal is not None:
            self.journal.close()


class Meter:
    """Adds what a batch reports to what the batches before it had, in seconds of recordings."""

    def __init__(self, report: Callable[[float], None]) -> None:
        self.report = report
        self.before = self.latest = 0.0
        self.share = 1.0

    def begin(self, batch: Sequence[Opened]) -> None:
        """Expect reports on a batch; channels that are heard apart count as one recording, and so do two readings."""
        self.share = len(batch) / sum(len(one.rows) + len(one.again) for one in batch)

    def __call__(self, seconds: float) -> None:
        self.latest = max(self.latest, self.before + seconds * self.share)
        self.report(self.latest)

    def end(self, seconds: float) -> None:
        """Take the whole of the batch as done."""
        self.before += seconds
        self.latest = max(self.latest, self.before)
        self.report(self.latest)
