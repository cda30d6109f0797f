"""A recognizer that hears what is written in a file, so that the command line is tested without a model."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import auricle.cli.transcribe as command
from auricle.errors import AudioFormatError, AudioNotFoundError, AuricleError, OptionError
from auricle.results import Segment, Transcript, Warning, Word


class FakePipeline:
    """Reads each source as text: its transcript. "broken" is no recording, "slow" takes a minute."""

    name = "fake"
    dialect = SimpleNamespace(times={None: None, "segment": "segment", "word": "word"})

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
        warnings = (Warning("no_speech", "nothing was heard", 1.0, 2.0),) if text == "" else ()
        return Transcript(text, segments, language="en", duration=2.0, warnings=warnings)


@dataclass(frozen=True)
class LevelOptions:
    louder: bool = False
    batch_size: int | None = None


class Levels:
    """Says the level of each second in hundredths and keeps it.

    At the second that the file STOP names it stays for ever; at that of the file CTRL_C it is interrupted.
    """

    def transcribe(self, audios: Any, options: Any, progress: Any = None, journals: Any = None) -> list[Transcript]:
        found = []
        for audio, journal in zip(audios, journals or [None] * len(audios), strict=True):
            samples = audio.read()
            words = [] if journal is None else [entry["word"] for entry in journal.entries()]
            for second in range(len(words), len(samples) // 16000):
                if Path("STOP").exists() and second == int(Path("STOP").read_text()):
                    time.sleep(600)
                if Path("CTRL_C").exists() and second == int(Path("CTRL_C").read_text()):
                    raise KeyboardInterrupt
                with Path("DECODED").open("a") as file:
                    print(second, file=file)
                words.append(str(round(float(samples[second * 16000]) * 100)))
                if journal is not None:
                    journal.append({"word": words[-1]})
            segments = tuple(Segment(word, float(at), at + 1.0) for at, word in enumerate(words))
            found.append(Transcript(" ".join(words), segments, duration=len(samples) / 16000))
        return found


def level_pipeline(order: object) -> Any:
    """A whole pipeline around `Levels`, in the place of `command.load`."""
    # Other processes of these tests do without torch.
    from auricle.pipelines.automatic_speech_recognition import AutomaticSpeechRecognitionPipeline
    from auricle.pipelines.speech_parameters import Dialect

    times = {None: None, "segment": "segment"}
    dialect = Dialect("a fake", LevelOptions, {"louder": "louder"}, {}, times, has_windows=True)
    return AutomaticSpeechRecognitionPipeline(Levels(), dialect, name="me/fake")


@pytest.fixture
def levels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "load", level_pipeline)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakePipeline:
    made = FakePipeline()
    monkeypatch.setattr(command, "load", lambda order: made)
    return made
