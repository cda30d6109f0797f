"""The bundled model stopped in the middle of a recording, and begun again from what it left on disk."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import auricle
from auricle.audio.decode import load_audio
from auricle.pipelines.journal import FileJournal

SAMPLES = Path(__file__).parents[3] / "samples"


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """About 50 s: two readers in turn, with pauses in which a stretch may end."""
    clips = [load_audio(path) for path in sorted(SAMPLES.iterdir()) if path.suffix in (".flac", ".ogg")]
    pause = np.zeros(5 * 16000, np.float32)
    return np.concatenate([part for clip in (*clips, *clips) for part in (clip, pause)])


@pytest.mark.parametrize("split", [False, True])
def test_bundled_model_goes_on_to_exactly_the_same_transcript(
    speech: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: bool
) -> None:
    pipe: Any = auricle.pipeline("automatic-speech-recognition", model="bundled", device="cpu", batch_size=1)
    recording = np.stack([speech, np.roll(speech, len(speech) // 2)]) if split else speech
    given = {"channels": "split" if split else "mix", "resume": tmp_path / "journal.jsonl"}
    whole = FileJournal.append
    steps = itertools.count()

    def interrupted(journal: FileJournal, channel: int, entry: dict[str, Any]) -> None:
        whole(journal, channel, entry)
        if next(steps) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(FileJournal, "append", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(pipe.transcripts([recording], **given))
    monkeypatch.setattr(FileJournal, "append", whole)
    seen: list[int] = []
    heard = pipe.recognizer.engine.ctc
    monkeypatch.setattr(pipe.recognizer.engine, "ctc", lambda features: seen.append(1) or heard(features))
    (resumed,) = pipe.transcripts([recording], **given)
    n_resumed = len(seen)
    (uninterrupted,) = pipe.transcripts([recording], channels=given["channels"])
    assert resumed == uninterrupted
    assert len(resumed.segments) > 2
    assert n_resumed < len(seen) - n_resumed
