"""What training exports is read by transformers with the same text, logits and tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import ParakeetFeatureExtractor, ParakeetForCTC, ParakeetTokenizer

from auricle.errors import OptionError
from auricle.loading import load
from auricle.models.parakeet import ParakeetConfig, ParakeetCTC
from auricle.training.export import export, letter_tokenizer, mean_of
from auricle.training.text import ALPHABET

# The weights are stored in float16 and read by both in float32: the same numbers, sums in another order.
TOLERANCE = 1e-4


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    encoder = ParakeetCTC.tiny(subsampling_factor=4, conv_kernel_size=15).encoder_config
    config = ParakeetConfig(len(ALPHABET) + 1, len(ALPHABET), encoder)
    export(ParakeetCTC(config).state_dict(), config, tmp_path, {"name": "test", "summary": "random"})
    return tmp_path


def test_letters_survive_the_tokenizer() -> None:
    tokenizer = letter_tokenizer()
    assert tokenizer.decode(tokenizer.encode("it's a new day").ids) == "it's a new day"
    assert tokenizer.encode("a b").ids == [ALPHABET.index(letter) for letter in "a b"]


def test_export_loads_in_transformers_with_the_same_logits(exported: Path) -> None:
    recording = np.random.default_rng(0).standard_normal(20000).astype(np.float32) * 0.1
    loaded = load(exported)
    features = loaded.features([recording])
    theirs = ParakeetForCTC.from_pretrained(exported, dtype=torch.float32).eval()
    extractor = ParakeetFeatureExtractor.from_pretrained(exported)
    with torch.inference_mode():
        logits, _ = loaded.model(features.values, features.lengths)
        inputs = extractor(recording, sampling_rate=16000, return_tensors="pt")
        expected = theirs(**inputs).logits
    torch.testing.assert_close(logits[0], expected[0, : logits.shape[1]], atol=TOLERANCE, rtol=0)


def test_exported_tokenizer_decodes_as_theirs(exported: Path) -> None:
    ids = [ALPHABET.index(letter) for letter in "he said it's so"]
    theirs = ParakeetTokenizer.from_pretrained(exported)
    assert load(exported).tokenizer.decode(ids) == "he said it's so"
    assert theirs.decode(ids, group_tokens=False) == "he said it's so"


@pytest.mark.parametrize(("folders", "nearer"), [(0, 3.0), (1, 1.5), (2, 1.0)])
def test_the_mean_lies_between_a_run_and_folders(exported: Path, folders: int, nearer: float) -> None:
    began = load(exported).model.state_dict()
    run = {name: one + 3 if one.is_floating_point() else one for name, one in began.items()}

    found = mean_of(run, [exported] * folders)

    assert found.keys() == began.keys()
    for name, one in began.items():
        torch.testing.assert_close(found[name], one + nearer if one.is_floating_point() else one)


def test_the_mean_with_another_shape_is_refused(exported: Path) -> None:
    run = dict(load(exported).model.state_dict())
    run.popitem()
    with pytest.raises(OptionError, match="other names or shapes than the run's"):
        mean_of(run, [exported])
