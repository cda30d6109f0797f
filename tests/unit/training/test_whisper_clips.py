"""Which recordings become clips, and when their words were said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from auricle.errors import CheckpointError, OptionError
from auricle.training import whisper_clips
from auricle.training.whisper_clips import Clip, make_clips, read_clips, wanted_rows

SPEECH = Path(__file__).parents[4] / "shared" / "speech"
ROWS = [
    {"path": "a.wav", "text": "One, two.", "split": "train", "corpus": "read"},
    {"path": "b.wav", "text": "Ein Wort.", "split": "train", "corpus": "read", "language": "de"},
    {"path": "c.wav", "text": "Room 12", "split": "train", "corpus": "read"},
    {"path": "d.wav", "text": "three", "split": "train", "corpus": "other"},
    {"path": "e.wav", "text": "four", "split": "train", "corpus": "read"},
    {"path": "f.wav", "text": "Four!", "split": "test", "corpus": "read"},
]


def test_english_rows_whose_words_are_known_and_not_tested_teach(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    wanted = list(wanted_rows(manifest, ["read"], whisper_clips.tested_forms(manifest)))
    assert [(row["path"], row["words"]) for row in wanted] == [("a.wav", ["one", "two"])]


@pytest.mark.skipif(not SPEECH.is_dir(), reason="needs the recordings of ../shared/speech")
def test_words_are_found_where_a_forced_alignment_has_them(tmp_path: Path) -> None:
    rows = wanted_rows(SPEECH / "manifest.jsonl", ["librispeech_train_clean_100_4spk"], frozenset())
    row = next(row for row in rows if float(str(row["duration"])) < 8)
    make_clips([{**row, "word_times": None}], SPEECH, tmp_path / "found.jsonl")
    make_clips([row], SPEECH, tmp_path / "given.jsonl")
    (found,), (given,) = read_clips(tmp_path / "found.jsonl"), read_clips(tmp_path / "given.jsonl")
    assert found.words == given.words
    errors = np.abs(np.array(found.times) - np.array(given.times))
    assert np.median(errors) < 0.06
    assert errors.max() < 0.4


def test_a_word_without_a_time_is_refused() -> None:
    with pytest.raises(OptionError, match="2 words and 1 times"):
        Clip("a.wav", ("one", "two"), ((0.0, 1.0),), "read", "s", 2.0)


def test_absent_clips_name_the_step_that_makes_them(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="whisper-decoder clips"):
        read_clips(tmp_path / "speech.jsonl")
