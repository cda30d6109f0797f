"""A teacher's states lie where their recordings are, and a student learns to predict them."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
import torch

from auricle.audio.decode import load_audio
from auricle.errors import CheckpointError, OptionError
from auricle.models.parakeet import ParakeetConfig, ParakeetCTC
from auricle.models.whisper import Whisper
from auricle.training import teacher as teaching
from auricle.training.batches import Batch, make_batch
from auricle.training.pretrain_ctc import (
    BLANK,
    TrainOptions,
    losses_of,
    resume_run,
    save_run,
    start_run,
    train,
    train_step,
)
from auricle.training.store import FeatureStore, write_store
from auricle.training.teacher import FRAME, GAP, TeacherStates, at_frames, distance, join_clips, teach

RATE = 16000
WIDTH = 32


@pytest.fixture
def encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A random encoder of one layer, as files."""
    torch.manual_seed(0)
    config = Whisper.tiny(d_model=WIDTH, encoder_layers=1, encoder_attention_heads=2, num_mel_bins=80)
    monkeypatch.setattr(teaching, "CONFIG", config)
    folder = tmp_path / "encoder"
    folder.mkdir()
    for name, values in Whisper(config).model.encoder.state_dict().items():
        np.save(folder / f"{name.replace('.', '_')}_fp16.npy", values.half().numpy())
    return folder


def recordings(folder: Path, *seconds: float) -> list[tuple[str, Path]]:
    """Noise of these lengths."""
    rng, made = np.random.default_rng(1), []
    for index, length in enumerate(seconds):
        path = folder / f"{index}.wav"
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, RATE, 0, "NONE", ""))
            file.writeframes((3000 * rng.standard_normal(round(length * RATE))).astype("<i2").tobytes())
        made.append((f"toy/{index}", path))
    return made


def test_clips_fill_windows_in_order_and_long_ones_are_left_out(tmp_path: Path) -> None:
    clips = recordings(tmp_path, 12.0, 12.0, 25.0, 4.0, 10.0)
    windows = list(join_clips([*clips, clips[0]], 20 * RATE))
    assert [[name for name, _ in window] for window in windows] == [["toy/0", "toy/1", "toy/3"], ["toy/4"]]


def test_states_are_those_of_the_place_in_the_window(tmp_path: Path, encoder: Path) -> None:
    clips = recordings(tmp_path, 3.01, 2.0)
    teach(clips, encoder, tmp_path / "states")
    held = TeacherStates(tmp_path / "states")
    assert held.width == WIDTH
    assert [len(held.states(name)) for name, _ in clips] == [76, 50]
    assert "toy/2" not in held
    whole = np.zeros(30 * RATE, np.float32)
    for start, (_, path) in zip((0, 76 * FRAME + GAP), clips, strict=True):
        waveform = load_audio(path, RATE)
        whole[start : start + len(waveform)] = waveform
    model = teaching.load_encoder(encoder, teaching.CONFIG)
    with torch.inference_mode():
        states = model.model.encoder(teaching.WhisperFeatures(80)([whole]).values)[0]
    expected = states.view(750, 2, WIDTH).mean(1)[86:136]
    second = held.states("toy/1") * held._deviation + held._mean
    torch.testing.assert_close(second, expected, atol=2e-3, rtol=1e-2)
    both = torch.cat([held.states(name) for name, _ in clips])
    torch.testing.assert_close(both.mean(0), torch.zeros(WIDTH), atol=1e-2, rtol=0)
    torch.testing.assert_close(both.std(0), torch.ones(WIDTH), atol=2e-2, rtol=0)


def test_states_stretch_with_the_recording() -> None:
    ramp = torch.arange(10.0)[:, None].expand(10, 4)
    targets, there = at_frames([ramp, None, ramp], torch.tensor([10, 7, 20]), 20, 4)
    assert torch.equal(targets[0, :10], ramp)
    assert there.sum(1).tolist() == [10, 0, 20]
    assert torch.allclose(targets[2, 4:16, 0], torch.arange(4, 16) / 2 - 0.25)


def test_the_distance_is_nothing_where_all_agree_and_where_there_is_no_teacher() -> None:
    targets, there = torch.randn(2, 5, 4), torch.ones(2, 5, dtype=torch.bool)
    assert float(distance(targets, targets, there)) == pytest.approx(0.0, abs=1e-6)
    assert float(distance(-targets, targets, there)) > 2
    assert float(distance(-targets, targets, ~there)) == 0.0


def test_a_student_comes_nearer_to_its_teacher_and_goes_on_after_a_stop(tmp_path: Path, encoder: Path) -> None:
    clips = recordings(tmp_path, 2.0, 2.0, 2.0)
    teach(clips, encoder, tmp_path / "states")
    rng = np.random.default_rng(0)
    items = [
        (rng.standard_normal((200, 80)), {"text": "ab", "corpus": "toy", "speaker": "s", "split": "train",
                                          "variant": "clean", "source": name})
        for name in ("toy/0", "toy/1", "toy/none")
    ]  # fmt: skip
    write_store(tmp_path / "features", items, 80)
    store, teacher = FeatureStore(tmp_path / "features"), TeacherStates(tmp_path / "states")
    batch = make_batch(store, store.utterances, 200, None, teacher)
    assert [states is None for states in batch.states] == [False, False, True]
    tiny = ParakeetCTC.tiny(subsampling_factor=4, dropout=0.0, attention_dropout=0.0, activation_dropout=0.0)
    options = TrainOptions(minutes=1.0, other_rate=1e-2, matrix_rate=1e-2)
    run = start_run(options, ParakeetConfig(BLANK + 1, BLANK, tiny.encoder_config), WIDTH)
    run.model.train()
    far = []
    for step in range(60):
        run.seconds = 10 + step / 10
        far.append(train_step(run, batch)[1])
    assert far[-1] < 0.7 * far[0]
    save_run(run, tmp_path)
    with pytest.raises(OptionError, match="holds a run with a teacher"):
        resume_run(tmp_path, options)
    write_store(tmp_path / "others", items[2:], 80)
    with pytest.raises(CheckpointError, match="knows none of the recordings"):
        train(tmp_path / "others", tmp_path / "another", options, teacher=tmp_path / "states")


def test_a_row_without_letters_counts_for_the_teacher_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = ParakeetCTC.tiny(subsampling_factor=4, dropout=0.0, attention_dropout=0.0, activation_dropout=0.0)
    run = start_run(TrainOptions(minutes=1.0), ParakeetConfig(BLANK + 1, BLANK, encoder.encoder_config), WIDTH)
    model = run.model.eval()  # so that no row changes another one's normalisation
    features, states = torch.randn(2, 80, 80), list(torch.randn(2, 20, WIDTH))
    said = torch.tensor([5, 6])

    def losses(rows: list[int]) -> list[float]:
        n_said = torch.tensor([2 if row == 0 else 0 for row in rows])
        labels = torch.cat([said if row == 0 else said[:0] for row in rows])
        batch = Batch(features[rows], torch.full((len(rows),), 80), labels, n_said, [states[row] for row in rows])
        return [float(one.detach()) for one in losses_of(model, batch, 0.3, run.guide)]

    both, first, second = losses([0, 1]), losses([0]), losses([1])
    assert second[0] == 0.0
    assert both[0] == pytest.approx(first[0], rel=1e-2)
    assert first[0] > 1
    assert both[1] == pytest.approx((first[1] + second[1]) / 2, rel=1e-2)


def test_what_cannot_teach_is_refused(tmp_path: Path, encoder: Path) -> None:
    with pytest.raises(CheckpointError, match="encode them first"):
        TeacherStates(tmp_path)
    with pytest.raises(OptionError, match="at most 30 s"):
        teach([], encoder, tmp_path / "states", 31.0)
