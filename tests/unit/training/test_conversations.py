"""Made conversations: what is heard is where it is said to be, and the losses know no names."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch

from auricle.errors import CheckpointError, OptionError
from auricle.models.pyannet import PyanNet, powerset
from auricle.models.wespeaker import WeSpeakerResNet
from auricle.training.data import Sounds
from auricle.training.diarization_pool import Pool, make_pool
from auricle.training.export_diarization import export
from auricle.training.mixtures import Manners, conversation
from auricle.training.pretrain_diarization import frame_centres, start_segmentation, start_speakers
from auricle.training.pretrain_segmentation import (
    SegmentationOptions,
    batch_of,
    class_targets,
    segmentation_loss,
    train_segmentation,
)
from auricle.training.pretrain_speakers import (
    SpeakerOptions,
    Speakers,
    equal_error_rate,
    prototype_loss,
    train_speakers,
)
from auricle.training.voices import FRAME_SAMPLES, SAMPLE_RATE, Voice, VoiceStore, prepare_voices

SAMPLES = Path(__file__).parents[3] / "samples"
DRY = Manners(room=0.0, noise=0.0, quietest_db=0.0)


@pytest.fixture
def store(tmp_path: Path) -> VoiceStore:
    """Four speakers, each a tone of their own, silent in the second of every three parts."""
    frames = 1500
    rows, samples, activity = [], [], []
    for number in range(4):
        active = np.ones(frames, bool)
        active[500:560] = False
        tone = np.sin(2 * np.pi * (300 + 250 * number) * np.arange(frames * FRAME_SAMPLES) / SAMPLE_RATE)
        samples.append((8000 * tone * np.repeat(active, FRAME_SAMPLES)).astype(np.int16))
        activity.append(active)
        half = frames // 2 * FRAME_SAMPLES
        rows += [
            {"offset": place * half, "n_samples": half, "speaker": f"s{number}", "corpus": "tones", "split": "train"}
            for place in (2 * number, 2 * number + 1)
        ]
    (tmp_path / "samples.i16").write_bytes(np.concatenate(samples).tobytes())
    (tmp_path / "activity.u8").write_bytes(np.concatenate(activity).astype(np.uint8).tobytes())
    (tmp_path / "index.json").write_text(json.dumps(rows))
    return VoiceStore(tmp_path)


def test_a_conversation_is_loud_exactly_where_somebody_speaks(store: VoiceStore) -> None:
    speakers = list(store.by_speaker("train").values())
    mixed, active = conversation(store, speakers[:3], 20.0, Sounds(), np.random.default_rng(3), DRY)
    assert mixed.shape == (20 * SAMPLE_RATE,)
    assert active.shape == (3, 2000)
    loud = np.abs(mixed).reshape(-1, FRAME_SAMPLES).max(1) > 1e-3
    # A turn fades in and out over half a frame, and a tone played faster ends a frame sooner.
    assert np.mean(loud != active.any(0)) < 0.02
    assert active.any(1).all()
    assert (active.sum(0) > 1).any()


def test_the_same_seed_makes_the_same_conversation(store: VoiceStore) -> None:
    speakers = list(store.by_speaker("train").values())[:2]
    one, other = (conversation(store, speakers, 5.0, Sounds(), np.random.default_rng(1)) for _ in range(2))
    assert np.array_equal(one[0], other[0])
    assert np.array_equal(one[1], other[1])


def test_stretches_of_a_pool_hold_no_more_speakers_than_asked(store: VoiceStore, tmp_path: Path) -> None:
    make_pool(store, "train", Sounds(), tmp_path / "pool", hours=3 / 60, seed=1, n_workers=1)
    pool = Pool(tmp_path / "pool")
    assert pool.n_rows == 3
    rng = np.random.default_rng(0)
    for _ in range(20):
        samples, active = pool.stretch(4.0, 2, rng)
        assert samples.shape == (4 * SAMPLE_RATE,)
        assert active.shape == (2, 400)
    with pytest.raises(CheckpointError, match=r"expected index\.json"):
        Pool(tmp_path / "nothing")


def test_frames_have_the_class_of_who_speaks_under_each_naming() -> None:
    activity = torch.tensor([[[1, 1, 0, 0, 1], [0, 1, 1, 0, 1], [0, 0, 0, 0, 1]]]).bool()
    targets = class_targets(activity, powerset(3, 2))  # (1, 6, 5)
    # Nobody, a, b, c, ab, ac, bc; of the three at the end, the two who speak longest are taken.
    assert targets[0, 0].tolist() == [1, 4, 2, 0, 4]
    assert sorted(tuple(row) for row in targets[0].tolist()) == sorted(
        (1 + p.index(0), pair, 1 + p.index(1), 0, pair)
        for p in permutations(range(3))
        for pair in [4 + [{0, 1}, {0, 2}, {1, 2}].index({p.index(0), p.index(1)})]
    )


def test_the_loss_is_that_of_the_best_naming() -> None:
    classes = powerset(3, 2)
    activity = torch.rand(2, 3, 40, generator=torch.Generator().manual_seed(1)) > 0.6
    right = class_targets(activity, classes)
    for naming in range(6):
        log_probs = torch.nn.functional.one_hot(right[:, naming], 7).float().mul(20).log_softmax(-1)
        assert segmentation_loss(log_probs, activity, classes) < 1e-6
    wrong = torch.nn.functional.one_hot((right[:, 0] + 1) % 7, 7).float().mul(20).log_softmax(-1)
    assert segmentation_loss(wrong, activity, classes) > 1.0


def test_recordings_of_one_speaker_are_to_find_each_other() -> None:
    one = torch.eye(6)
    scale = torch.tensor(10.0)
    # By hand: a cosine of 1 for the right one and of 0 for five others.
    expected = math.log(math.exp(10) + 5) - 10
    assert float(prototype_loss(one, 3 * one, scale)) == pytest.approx(expected, abs=1e-6)
    assert prototype_loss(one, one.roll(1, 0), scale) > 9.0


def test_equal_error_rates_of_perfect_and_of_random_vectors() -> None:
    speakers = torch.arange(200) // 10
    perfect = torch.nn.functional.one_hot(speakers).float()
    assert equal_error_rate(perfect, speakers) < 0.01
    random = torch.randn(200, 32, generator=torch.Generator().manual_seed(0))
    assert equal_error_rate(random, speakers) == pytest.approx(0.5, abs=0.06)


def test_both_networks_learn_a_little_and_go_on_where_they_were(store: VoiceStore, tmp_path: Path) -> None:
    make_pool(store, "train", Sounds(), tmp_path / "pool", hours=2 / 60, seed=1, n_workers=1)
    config, embedding = PyanNet.tiny(), WeSpeakerResNet.tiny()
    options, voices = SegmentationOptions(minutes=0.02, batch_size=2), SpeakerOptions(minutes=0.02, batch_size=3)
    run = start_segmentation(options, config)
    pool, centres, classes = Pool(tmp_path / "pool"), frame_centres(config), powerset(3, 2)
    assert len(centres) == config.n_frames(config.chunk_samples)
    waveforms, activity = batch_of(pool, centres, 3, config.duration, 2, Sounds(), np.random.default_rng(0))
    assert run.model(waveforms).shape[:2] == activity.shape[::2]
    train_segmentation(run, pool, centres, classes, config.duration, Sounds(), tmp_path / "runs" / "segmentation")
    assert run.step > 0
    again = start_segmentation(options, config)
    train_segmentation(again, pool, centres, classes, config.duration, Sounds(), tmp_path / "runs" / "segmentation")
    assert again.step == run.step
    assert torch.equal(again.average.classifier.weight, run.average.classifier.weight)
    speakers = Speakers(store, "train", Sounds(), voices.seconds)
    assert len(speakers.rows) == 4
    assert [part.shape for part in speakers.draw(3, np.random.default_rng(0))] == [(3, 32000)] * 2
    heard = start_speakers(voices, embedding)
    train_speakers(heard, speakers, tmp_path / "runs" / "speakers")
    assert heard.step > 0
    export(tmp_path / "runs", tmp_path / "out", (config, embedding), 0.7, {"name": "made"})
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "auricle.json",
        "config.yaml",
        "embedding",
        "segmentation",
    }
    with pytest.raises(CheckpointError, match="holds no run"):
        export(tmp_path, tmp_path / "out", (config, embedding), 0.7, {})


def test_a_budget_is_spent_while_a_processor_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count()
    # Whatever else passes: each look at the processor's clock is a second later.
    monkeypatch.setattr("auricle.training.budget_run.time.thread_time", lambda: float(next(clock)))
    run = start_segmentation(SegmentationOptions(minutes=3 / 60), PyanNet.tiny())
    run.train(tmp_path, lambda rng: run.model.classifier.weight.square().sum(), clip=1.0)
    assert (run.step, run.seconds) == (3, 3.0)


def test_options_that_cannot_work_are_refused() -> None:
    with pytest.raises(OptionError, match="minutes > 0"):
        SegmentationOptions(minutes=0)
    with pytest.raises(OptionError, match="batch_size >= 2"):
        SpeakerOptions(minutes=1, batch_size=1)


def test_voices_know_their_samples(store: VoiceStore) -> None:
    voices = store.by_speaker("train")["s1"]
    assert [type(voice) for voice in voices] == [Voice, Voice]
    assert store.samples(voices[0]).shape == (voices[0].n_samples,)
    assert sum(int(store.activity(voice).sum()) for voice in voices) == 1440


def test_test_clips_of_common_voice_are_no_voices(tmp_path: Path) -> None:
    rows = [
        {"path": "jfk.flac", "corpus": corpus, "split": split, "speaker": corpus}
        for corpus, split in (
            ("common_voice_6_1_sample", "test"),
            ("common_voice_en_extra", "train"),
            ("librispeech_test_clean", "test"),
            ("ami_debug", "test"),
        )
    ]
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shutil.copy(SAMPLES / "jfk.flac", tmp_path)
    prepare_voices(tmp_path, tmp_path / "voices")
    store = VoiceStore(tmp_path / "voices")
    assert list(store.by_speaker("train")) == ["common_voice_en_extra"]
    assert list(store.by_speaker("test")) == ["librispeech_test_clean"]
