"""Models that classify recordings = transformers: states, logits, labels with scores.

Where the states of all layers are summed, those of the last layer of pre-norm encoders are normalised, as in
transformers up to 4, with which such checkpoints were trained; transformers 5 leaves that out unless it is told.

Every variant from a tiny configuration with every number drawn at random, norms, biases and layer weights too.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from auricle import pipeline
from auricle.audio.features import Features
from auricle.engines import make_engine
from auricle.errors import AudioInputError, AudioTooLargeError, ConfigError, OptionError, TaskError
from auricle.loading import load, task_of
from auricle.models.wav2vec2 import Wav2Vec2CTC

# float32 sums in another order.
TOLERANCE = 1e-4
# Of the largest logit; products of 16-bit integers.
FAST_TOLERANCE = 5e-3
WEIGHTED = {"use_weighted_layer_sum": True}
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
HEAD = {"num_labels": 7, "classifier_proj_size": 24}
WHISPER = {
    "vocab_size": 120,
    "d_model": 32,
    "encoder_layers": 2,
    "num_hidden_layers": 2,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_layers": 1,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 64,
    "pad_token_id": 100,
    "bos_token_id": 100,
    "eos_token_id": 100,
    "decoder_start_token_id": 101,
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "wav2vec2": ("Wav2Vec2", {}),
    "wav2vec2, all layers": ("Wav2Vec2", WEIGHTED),
    "wav2vec2 large, all layers": ("Wav2Vec2", {**LARGE, **WEIGHTED}),
    "hubert": ("Hubert", {}),
    "hubert large, all layers": ("Hubert", {**LARGE, **WEIGHTED}),
    "wavlm, all layers": ("WavLM", WEIGHTED),
    "wavlm large": ("WavLM", LARGE),
    "whisper": ("Whisper", {}),
    "whisper, all layers": ("Whisper", WEIGHTED),
}


def randomized(model: Any) -> Any:
    """Draw every weight, so that none is 0 or 1 by chance."""
    torch.manual_seed(0)
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            if key.endswith(("original0", "weight_g")):
                tensor.uniform_(0.5, 2.0)
            elif tensor.dim() >= 2 and tensor[0].numel() > 1 and "embed_positions" not in key:
                tensor.copy_(torch.randn_like(tensor) * tensor[0].numel() ** -0.5)
            elif tensor.is_floating_point() and "embed_positions" not in key:
                tensor.add_(torch.randn_like(tensor) * 0.3)
    return model.eval()


def theirs_of(family: str, changes: dict[str, Any], **sizes: Any) -> tuple[Any, Any]:
    """A random model of transformers, and its feature extractor."""
    if family == "Whisper":
        config = transformers.WhisperConfig(**{**WHISPER, **HEAD, **changes, **sizes})
        return randomized(transformers.WhisperForAudioClassification(config)), transformers.WhisperFeatureExtractor()
    small = vars(Wav2Vec2CTC.tiny()) if not sizes else {}
    names = set(getattr(transformers, f"{family}Config")().to_dict())
    given = {name: value for name, value in small.items() if name in names}
    config = getattr(transformers, f"{family}Config")(**{**given, **HEAD, **changes, **sizes})
    model = randomized(getattr(transformers, f"{family}ForSequenceClassification")(config))
    return model, transformers.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False)


@pytest.fixture(params=VARIANTS)
def theirs(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, Any, Path]:
    """A model of transformers, its feature extractor, and the folder that both are saved in."""
    model, extractor = theirs_of(*VARIANTS[request.param])
    model.save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    model.config.tie_last_hidden_states = True  # as in transformers 4
    return model, extractor, tmp_path


def waveforms(*n_samples: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [(rng.standard_normal(n) * np.linspace(0.01, 0.3, n) + 0.02).astype(np.float32) for n in n_samples]


def inputs_of(extractor: Any, waveform: np.ndarray) -> torch.Tensor:
    made = extractor(waveform, sampling_rate=16000, return_tensors="pt")
    return made["input_values" if "input_values" in made else "input_features"]


@torch.inference_mode()
def test_three_depths_equal_transformers(theirs: tuple[Any, Any, Path]) -> None:
    model, extractor, folder = theirs
    ours = load(folder)
    assert task_of(folder) == "audio-classification"
    for waveform in waveforms(16000, 7001, 401):
        expected = inputs_of(extractor, waveform)
        features = ours.features([waveform])
        torch.testing.assert_close(features.values, expected, atol=TOLERANCE, rtol=0)
        outputs = model(expected, output_hidden_states=True)
        states, _ = ours.model.encode(features.values, features.lengths)
        assert len(outputs.hidden_states) == 3
        if model.config.use_weighted_layer_sum:
            shares = model.layer_weights.softmax(-1)
            all_states = sum(share * one for share, one in zip(shares, outputs.hidden_states, strict=True))
        else:
            all_states = outputs.hidden_states[-1]
        torch.testing.assert_close(states, all_states, atol=TOLERANCE, rtol=1e-4)
        logits = ours.model(features.values, features.lengths)
        torch.testing.assert_close(logits, outputs.logits, atol=TOLERANCE, rtol=1e-4)


def test_pipeline_equals_transformers(theirs: tuple[Any, Any, Path]) -> None:
    model, extractor, folder = theirs
    their_pipeline = transformers.pipeline("audio-classification", model=model, feature_extractor=extractor)
    ours = pipeline("audio-classification", folder, engine="reference")
    for top_k, function in ((5, None), (None, "sigmoid"), (100, "none"), (2, "softmax")):
        for waveform in waveforms(16000, 5000):
            expected = their_pipeline(waveform.copy(), function_to_apply=function, top_k=top_k)
            found = ours(waveform, function_to_apply=function, top_k=top_k)
            assert [item["label"] for item in found] == [item["label"] for item in expected]
            assert [item["score"] for item in found] == pytest.approx(
                [item["score"] for item in expected], abs=1e-5, rel=1e-4
            )


@torch.inference_mode()
def test_a_batch_gives_what_each_gives_alone_on_every_engine(theirs: tuple[Any, Any, Path], every_engine: str) -> None:
    loaded = load(theirs[2])
    features = loaded.features(waveforms(16000, 401, 7001))
    expected = loaded.model(features.values, features.lengths)
    engine = make_engine(loaded.model, dtype="float32" if every_engine == "cuda" else "auto")
    together = engine.classify(features.values, features.lengths)
    tolerance = FAST_TOLERANCE * float(expected.abs().max())
    torch.testing.assert_close(together, expected, atol=tolerance, rtol=0)
    for row, n in enumerate(features.lengths.tolist()):
        is_waveform = features.values.dim() == 2
        values = features.values[row : row + 1, :n] if is_waveform else features.values[row : row + 1]
        alone = engine.classify(values, torch.tensor([n]))
        torch.testing.assert_close(together[row], alone[0], atol=TOLERANCE, rtol=1e-4)


@pytest.mark.parametrize("family", ["Wav2Vec2", "Whisper"])
@torch.inference_mode()
def test_true_size_equals_transformers(family: str, tmp_path: Path) -> None:
    # wav2vec2-base-superb-ks has 12 labels, and sums all layers; the Whisper is of tiny's size.
    size = {"hidden_size": 768} if family == "Wav2Vec2" else {"d_model": 384, "encoder_layers": 4}
    if family == "Whisper":
        size |= {"num_hidden_layers": 4, "encoder_attention_heads": 6, "encoder_ffn_dim": 1536}
    model, extractor = theirs_of(family, {**WEIGHTED, "num_labels": 12, "classifier_proj_size": 256}, **size)
    model.save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    ours = load(tmp_path)
    (waveform,) = waveforms(16000)
    expected = model(inputs_of(extractor, waveform)).logits
    features = ours.features([waveform])
    found = ours.model(features.values, features.lengths)
    error = float((found - expected).abs().max() / expected.abs().max())
    print(f"{family} classifier | logits {error:.1e}")
    assert error < TOLERANCE


def test_scores_of_several_labels_are_each_by_itself(tmp_path: Path) -> None:
    model, extractor = theirs_of("Hubert", {"problem_type": "multi_label_classification"})
    model.save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    found = pipeline(model=tmp_path)(waveforms(8000)[0], top_k=None)
    assert len(found) == 7
    assert sum(item["score"] for item in found) != pytest.approx(1)
    expected = transformers.pipeline("audio-classification", model=model, feature_extractor=extractor)
    theirs = expected(waveforms(8000)[0], top_k=7)
    assert [item["score"] for item in found] == pytest.approx([item["score"] for item in theirs], abs=1e-3)


@pytest.fixture(scope="module")
def keywords(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keywords")
    model, extractor = theirs_of("Wav2Vec2", {"id2label": dict(enumerate("yes no up down left right on".split()))})
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return folder


def test_inputs_are_those_of_speech_recognition(keywords: Path) -> None:
    spot = pipeline("audio-classification", keywords, top_k=1)
    recording = Path(__file__).parents[2] / "samples" / "jfk.flac"
    expected = spot(str(recording))
    several = spot([recording, recording.read_bytes(), {"path": str(recording)}], batch_size=2)
    lazy = list(spot({"audio": {"path": str(recording)}} for _ in range(2)))
    for found in [*several, *lazy]:
        assert found == [{"label": expected[0]["label"], "score": pytest.approx(expected[0]["score"], abs=1e-5)}]
    assert expected[0]["label"] in "yes no up down left right on".split()


def test_what_cannot_be_classified_is_told(keywords: Path, tmp_path: Path) -> None:
    spot = pipeline("audio-classification", keywords)
    with pytest.raises(AudioInputError, match="399 samples arrived, and the model's first frame alone hears 400"):
        spot(np.zeros(399, np.float32))
    with pytest.raises(AudioTooLargeError, match="lasts longer than 600 s"):
        spot(np.zeros(601 * 16000, np.float32))
    error, good = spot([np.zeros(9, np.float32), waveforms(8000)[0]], on_error="return", batch_size=2)
    assert error["error_type"] == "AudioInputError"
    assert len(good) == 5
    with pytest.raises(OptionError, match=r"unknown parameter 'topk'.*did you mean 'top_k'"):
        spot(waveforms(8000)[0], topk=3)
    with pytest.raises(TaskError, match="classifies no recordings"):
        pipeline("audio-classification", "bundled")


def test_a_whisper_says_that_it_hears_30_seconds(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model, extractor = theirs_of("Whisper", {})
    model.save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    tell = pipeline("audio-classification", tmp_path)
    (waveform,) = waveforms(31 * 16000)
    with caplog.at_level(logging.WARNING, "auricle"):
        assert tell(waveform) == tell(waveform[: 30 * 16000])
    assert "31.0 s is classified by its first 30 s" in caplog.text


def test_convolutions_after_the_encoder_are_refused(tmp_path: Path) -> None:
    model, _ = theirs_of("Wav2Vec2", {})
    model.config.add_adapter = True
    model.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="add_adapter is true"):
        load(tmp_path)


def test_features_of_another_window_are_refused(tmp_path: Path) -> None:
    model, extractor = theirs_of("Whisper", {})
    model.save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    loaded = load(tmp_path)
    with pytest.raises(ConfigError, match="takes windows of 80 mel bins and 3000 frames"):
        loaded.model.encode(Features(torch.zeros(1, 80, 100), torch.tensor([100])).values, torch.tensor([100]))
