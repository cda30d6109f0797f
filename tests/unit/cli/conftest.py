"""A recognizer that hears what is written in a file, so that the command line is tested without a model."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import auricle.cli.transcribe as command
from auricle.errors import AudioFormatError, AudioNotFoundError, AuricleError, OptionError
from auricle.results import Segment, Transcript, Warning, Word


class FakePipeline:
    """Reads each source as text: its transcript. "broken" is no recording, "slow" takes a minute."""

    name = "fake"

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    def transcripts(self, sources: Any, **parameters: Any) -> Iterator[Transcript | AuricleError]:
        self.asked = parameters
        if parameters.get("language") == "xx":
            raise OptionError("language='xx' is refused by a CTC model")
        return (self.hear(source) for source in sources)

    def hear(self, source: str) -> Transcript | AuricleError:
        if not source.startswith(("http", "-")) and not Path(source).is_file():
            return AudioNotFoundError(f"no file {source!r} is here; look at the path")
        text = Path(source).read_text() if Path(source).is_file() else f"heard {source}"
        if text == "broken":
            return AudioFormatError(f"{source!r} holds no sound")
        if text == "slow":
            time.sleep(60)
        words = tuple(Word(word, 0.5 * number, 0.5 * number + 0.4, 0.9) for number, word in enumerate(text.split()))
        segments = (Segment(text, 0.0, 1.5, words),) if text else ()
        warnings = (Warning("silence", "nothing was heard", 1.0, 2.0),) if text == "" else ()
        return Transcript(text, segments, language="en", duration=2.0, warnings=warnings)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakePipeline:
    made = FakePipeline()
    monkeypatch.setattr(command, "load", lambda order: made)
    return made
