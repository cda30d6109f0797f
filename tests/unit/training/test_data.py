"""From text and waveforms to stored features and batches."""

from __future__ import annotations

import json
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from auricle.audio.parakeet_mel import ParakeetFeatures
from auricle.errors import CheckpointError, ConfigError
from auricle.training.augment import add_noise, change_speed, mask_spectrum, place_in_room, stretch_and_warp
from auricle.training.batches import epochs, make_batch, pack, weigh
from auricle.training.data import UNWRITTEN, Row, read_manifest, read_unwritten, taught_rows
from auricle.training.store import FeatureStore, Utterance, write_store
from auricle.training.synthesize import HELD_OUT_VOICES, Reading, as_read, plan, put_in_place, without_tested
from auricle.training.text import ALPHABET, sentences, spoken_form


def utterance(n_frames: int, corpus: str = "a", text: str = "yes") -> Utterance:
    return Utterance(0, n_frames, text, corpus, "speaker", "train", "clean")


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("“Don’t go,” he said.", "don't go he said"),
        ("It's the dogs' 'home'", "it's the dogs home"),
        ("Café—naïve", "cafe naive"),
        ("In 1861", None),
        ("5 % of it", None),
        ("...", None),
    ],
)
def test_spoken_form(written: str, spoken: str | None) -> None:
    assert spoken_form(written) == spoken
    assert spoken is None or set(spoken) <= set(ALPHABET)


def test_sentences_come_once_and_without_digits(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("It was a dark night. There were 12 men there. It was a dark night. No.")
    (tmp_path / "b.txt").write_bytes("The caf\xe9 was very old.".encode("latin-1"))
    (tmp_path / "SOURCE.txt").write_text("This says where it came from.")
    assert list(sentences(tmp_path)) == ["It was a dark night.", "The café was very old."]


def test_plan_repeats_itself_and_never_uses_a_held_out_voice() -> None:
    written = [f"sentence number {word}" for word in "abcdefgh"]
    readings = plan(written, {"espeak": 20, "flite": 20, "festival": 5}, seed=3)
    assert readings == plan(written, {"espeak": 20, "flite": 20, "festival": 5}, seed=3)
    assert len(readings) == len({reading.path for reading in readings}) == 45
    assert not set(HELD_OUT_VOICES.values()) & {reading.voice for reading in readings}


def test_every_other_reading_by_flite_and_festival_is_a_womans() -> None:
    readings = plan(["yes"], {"espeak": 4, "flite": 40, "festival": 10}, seed=3)
    men, women = (
        [one for one in readings if one.size == 1.0 and not one.voice.startswith("espeak/")],
        [one for one in readings if one.size < 1.0],
    )
    assert (len(men), len(women)) == (25, 25)
    assert max(one.hertz or 0 for one in men) <= 150 <= min(one.hertz or 0 for one in women)
    assert all(one.hertz is None for one in readings if one.voice.startswith("espeak/"))


def test_a_smaller_voice_is_played_faster(tmp_path: Path) -> None:
    reading = Reading("a.wav", "ah", "flite/awb", rate=1.0, pitch=0.5, size=0.8, hertz=200.0)
    tone = 8000 * np.sin(2 * np.pi * 160 * np.arange(16000) / 16000)
    with wave.open(str(as_read(tmp_path / reading.path)), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(tone.astype("<i2").tobytes())
    put_in_place(reading, tmp_path / reading.path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
    with wave.open(str(tmp_path / "a.wav"), "rb") as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        assert (file.getframerate(), len(samples)) == (16000, 12800)
    assert np.abs(np.fft.rfft(samples)).argmax() * 16000 / 12800 == 200


def test_sentences_of_tested_recordings_are_left_out(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.jsonl"
    rows = [
        {"path": "a", "split": "test", "text": "IT WILL BE CLEAR TO YOU FROM WHAT I HAVE SAID"},
        {"path": "b", "split": "train", "text": "Nothing is known of this man in town."},
    ]
    manifest.write_text("\n".join(map(json.dumps, rows)))
    written = ["Clear to you, from what?", "It was clear to all.", "Nothing is known of this man in town."]
    assert without_tested(written, manifest) == written[1:]


def test_manifest_keeps_english_training_rows_and_named_test_corpora(tmp_path: Path) -> None:
    rows = [
        {"path": "a.wav", "text": "one", "corpus": "x", "split": "train", "language": "en"},
        {"path": "b.wav", "text": "two", "corpus": "x", "split": "train", "language": "de"},
        {"path": "c.wav", "text": "three", "corpus": "x", "split": "test", "language": "en"},
        {"path": "d.wav", "text": "four", "corpus": "y", "split": "test", "language": "en"},
        {"path": "e.wav", "text": "five", "corpus": "fsdd_digits", "split": "train", "language": "en"},
        {"path": "f.wav", "corpus": "x", "split": "train", "language": "en"},
    ]
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("\n".join(map(json.dumps, rows)))
    kept = read_manifest(manifest, frozenset({"y"}))
    assert [(row.path.name, row.split) for row in kept] == [("a.wav", "train"), ("d.wav", "test")]
    manifest.write_text('{"text": "one"}')
    with pytest.raises(ConfigError, match="line 1: expected the keys path and split"):
        read_manifest(manifest, frozenset())


def test_training_rows_in_other_languages_have_no_letters(tmp_path: Path) -> None:
    rows = [
        {"path": "a.wav", "text": "oui", "language": "fr", "split": "train", "corpus": "x", "speaker": "s"},
        {"path": "b.wav", "text": "ja", "language": "de", "split": "test", "corpus": "x", "speaker": "t"},
        {"path": "c.wav", "text": "yes", "language": "en", "split": "train", "corpus": "x", "speaker": "u"},
        {"path": "d.wav", "text": "no", "split": "train", "corpus": "x", "speaker": "u"},
    ]
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("\n".join(map(json.dumps, rows)))
    assert read_unwritten(manifest) == [Row(tmp_path / "a.wav", "", UNWRITTEN, "s", "train")]
    assert [(row.path.name, row.text) for row in taught_rows(tmp_path, None)] == [
        ("c.wav", "yes"),
        ("d.wav", "no"),
        ("a.wav", ""),
    ]


def test_speed_changes_length_and_room_keeps_length_and_loudness() -> None:
    rng = np.random.default_rng(0)
    waveform = rng.standard_normal(16000).astype(np.float32)
    assert abs(len(change_speed(waveform, 1.25, 16000)) - 12800) <= 2
    wet = place_in_room(waveform, np.array([0.0, 1.0, 0.5, 0.25], np.float32))
    assert wet.shape == waveform.shape
    assert np.mean(wet**2) == pytest.approx(np.mean(waveform**2), rel=1e-3)


def test_noise_is_added_at_the_ratio_asked_for() -> None:
    rng = np.random.default_rng(0)
    waveform = rng.standard_normal(16000).astype(np.float32)
    noise = 7 * rng.standard_normal(3000).astype(np.float32)
    added = add_noise(waveform, noise, 10.0, rng) - waveform
    assert 10 * np.log10(np.mean(waveform**2) / np.mean(added**2)) == pytest.approx(10.0, abs=0.1)


def test_stretching_keeps_bins_and_respects_the_longest_length() -> None:
    generator = torch.Generator().manual_seed(0)
    lengths = [len(stretch_and_warp(torch.randn(100, 80), 105, generator)) for _ in range(50)]
    assert max(lengths) == 105
    assert min(lengths) < 95
    assert stretch_and_warp(torch.randn(100, 80), 105, generator).shape[1] == 80


def test_masks_blank_bands_and_spans_but_not_everything() -> None:
    masked = mask_spectrum(torch.ones(600, 80), torch.Generator().manual_seed(1))
    share = float((masked == 0).float().mean())
    assert 0.02 < share < 0.6


def test_groups_hold_every_utterance_once_and_fit() -> None:
    utterances = [utterance(n) for n in range(50, 1950, 7)]
    groups = pack(utterances, 4000, torch.Generator().manual_seed(0))
    assert sorted(u.n_frames for _, group in groups for u in group) == [u.n_frames for u in utterances]
    assert all(u.n_frames <= length for length, group in groups for u in group)
    assert all(length * len(group) <= 4000 for length, group in groups)
    assert all(length % 100 == 0 for length, _ in groups)


def test_weights_thin_out_a_corpus() -> None:
    utterances = [utterance(100, "a") for _ in range(1000)] + [utterance(100, "b") for _ in range(1000)]
    kept = weigh(utterances, {"b": 0.25}, torch.Generator().manual_seed(0))
    counts = {corpus: sum(u.corpus == corpus for u in kept) for corpus in "ab"}
    assert counts["a"] == 1000
    assert 200 < counts["b"] < 300


def test_a_share_of_what_is_heard_is_as_it_is() -> None:
    variants = ["clean", "slow, disturbed", "fast, disturbed", "disturbed"]
    utterances = [replace(utterance(100, "a"), variant=variant) for variant in variants for _ in range(1000)]
    kept = weigh(utterances, {"a": 0.25}, torch.Generator().manual_seed(0), clean_share=0.6)
    n_clean = sum(u.variant == "clean" for u in kept)
    assert 950 < len(kept) < 1050
    assert 560 < n_clean < 640


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    rng = np.random.default_rng(0)
    fields = {"corpus": "a", "speaker": "s", "split": "train", "variant": "clean"}
    items = [(rng.standard_normal((n, 80)), {**fields, "text": text}) for n, text in [(90, "yes"), (130, "no no")]]
    write_store(tmp_path, items, 80)
    return FeatureStore(tmp_path)


def test_store_gives_back_what_was_written(store: FeatureStore) -> None:
    assert [(u.offset, u.n_frames, u.text) for u in store.utterances] == [(0, 90, "yes"), (90, 130, "no no")]
    first = np.random.default_rng(0).standard_normal((90, 80)).astype(np.float16)
    assert np.array_equal(store.features(store.utterances[0]), first)


def test_a_folder_without_features_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"expected index\.json; prepare the data first"):
        FeatureStore(tmp_path)


def test_a_batch_is_normalised_padded_and_labelled(store: FeatureStore) -> None:
    batch = make_batch(store, store.utterances, 200, None)
    assert batch.features.shape == (2, 200, 80)
    assert batch.lengths.tolist() == [90, 130]
    assert (batch.features[0, 90:] == 0).all()
    assert [ALPHABET[label] for label in batch.labels] == list("yesno no")
    row = torch.from_numpy(store.features(store.utterances[0]).astype("float32"))
    torch.testing.assert_close(batch.features[0, :90], ParakeetFeatures.normalize(row))


def test_an_epoch_depends_on_its_number_alone(store: FeatureStore) -> None:
    late = epochs(store, {}, 400, seed=1, first=3)
    early = epochs(store, {}, 400, seed=1, first=2)
    batches = [next(early) for _ in range(10)]
    third = next(batch for epoch, batch in batches if epoch == 3)
    assert torch.equal(next(late)[1].features, third.features)
