"""The checkpoint inside the package: within its limits, and the same in transformers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import ParakeetFeatureExtractor, ParakeetForCTC, ParakeetTokenizer

from auricle import pipeline
from auricle.audio.decode import load_audio
from auricle.evaluation.wer import word_errors
from auricle.hub import BUNDLED, locate
from auricle.loading import load
from auricle.text.normalize import normalize_english

SAMPLE = Path(__file__).parents[2] / "samples" / "jfk.flac"
HEARD_WELL = SAMPLE.with_name("librispeech-1320-122612-0008.ogg")
SAID = (
    "the eyes of the whole party followed the unexpected movement and read their success in the air of triumph that "
    "the youth assumed"
)
# 22 % when it was made: a change of the audio path shows, a rounding does not.
SAMPLE_WER = 0.35
# float32 sums in another order, over 10 blocks.
TOLERANCE = 1e-4
MAX_BYTES = 35_000_000


def test_it_is_small() -> None:
    folder = locate(BUNDLED)
    assert sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) < MAX_BYTES
    # Beside the recogniser: its language model, the networks that tell who speaks, and the one of punctuation.
    for beside in ("language_model", "diarization", "punctuation"):
        assert 0 < sum(path.stat().st_size for path in (folder / beside).rglob("*") if path.is_file()) < 15_000_000
    n_parameters = sum(parameter.numel() for parameter in load(BUNDLED).model.parameters())
    assert 5_000_000 <= n_parameters <= 20_000_000


@torch.inference_mode()
def test_transformers_computes_the_same_logits_and_text() -> None:
    folder, waveform = locate(BUNDLED), load_audio(SAMPLE)
    loaded = load(BUNDLED)
    features = loaded.features([waveform])
    logits, _ = loaded.model(features.values, features.lengths)
    theirs = ParakeetForCTC.from_pretrained(folder, dtype=torch.float32).eval()
    inputs = ParakeetFeatureExtractor.from_pretrained(folder)(waveform, sampling_rate=16000, return_tensors="pt")
    expected = theirs(**inputs).logits
    torch.testing.assert_close(logits, expected[:, : logits.shape[1]], atol=TOLERANCE, rtol=0)
    ids = expected[0, : logits.shape[1]].argmax(-1).tolist()
    text = ParakeetTokenizer.from_pretrained(folder).decode(ids)
    # transformers knows nothing of the language model beside it.
    assert pipeline("automatic-speech-recognition", model=BUNDLED, lm=False)(SAMPLE)["text"] == text.strip()


def test_the_sample_is_recognisable() -> None:
    text = pipeline("automatic-speech-recognition", model=BUNDLED)(HEARD_WELL)["text"]
    assert word_errors([SAID], [normalize_english(text)]).rate <= SAMPLE_WER


def test_the_default_announces_itself(capsys: pytest.CaptureFixture[str]) -> None:
    pipeline("automatic-speech-recognition")
    announcement = capsys.readouterr().err
    assert "% word errors" in announcement
    assert "choose another with model=" in announcement
    assert announcement.count("\n") == 1
