"""The loop learns, its rate rises and falls, and a killed run goes on."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from auricle.errors import OptionError
from auricle.models.parakeet import ParakeetConfig, ParakeetCTC
from auricle.training import pretrain_ctc
from auricle.training.batches import epochs, make_batch
from auricle.training.export import export
from auricle.training.pretrain_ctc import (
    BLANK,
    TrainOptions,
    rate_at,
    resume_run,
    save_run,
    start_run,
    train,
    train_step,
)
from auricle.training.score import score
from auricle.training.store import FeatureStore, write_store
from auricle.training.world import World

ENCODER = ParakeetCTC.tiny(subsampling_factor=4, dropout=0.0, attention_dropout=0.0, activation_dropout=0.0)
CONFIG = ParakeetConfig(BLANK + 1, BLANK, ENCODER.encoder_config)


@pytest.fixture
def features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two words that look different, and a network small enough to learn them in seconds."""
    monkeypatch.setattr(pretrain_ctc, "CONFIG", CONFIG)
    monkeypatch.setattr(start_run, "__defaults__", (CONFIG, None))
    rng = np.random.default_rng(0)
    patterns = {"a": rng.standard_normal((120, 80)), "b": rng.standard_normal((120, 80))}
    items = []
    for index in range(40):
        text = "ab"[index % 2]
        fields = {"text": text, "corpus": "toy", "speaker": "s", "split": "train", "variant": "clean"}
        items.append((patterns[text] + 0.1 * rng.standard_normal((120, 80)), fields))
    write_store(tmp_path / "features", items, 80)
    return tmp_path / "features"


def test_rate_rises_then_falls_to_nothing() -> None:
    rates = [rate_at(progress / 100) for progress in range(101)]
    assert rates[0] < 0.01
    assert max(rates) == pytest.approx(1.0, abs=0.01)
    assert rates.index(max(rates)) == 3
    assert rates[-1] == pytest.approx(0.0, abs=1e-6)


def test_steps_learn_two_words(features: Path, tmp_path: Path) -> None:
    run = start_run(TrainOptions(minutes=1.0, averaging=0.9, other_rate=1e-2, matrix_rate=1e-2))
    run.model.train()
    store = FeatureStore(features)
    batch = make_batch(store, store.utterances[:10], 200, None)
    for step in range(400):
        run.seconds = 60 * step / 400
        loss, _, norm = train_step(run, batch)
    assert loss < 0.2
    assert norm < float("inf")
    torch.save(run.average.state_dict(), tmp_path / "average.pt")
    # It saw ten of the forty; which of the others it takes for the other word depends on the processor's arithmetic.
    assert score(tmp_path / "average.pt", CONFIG, features, "train")["toy"] <= 0.05


def test_a_run_ends_with_its_budget_and_leaves_a_log_and_checkpoints(features: Path, tmp_path: Path) -> None:
    run = train(features, tmp_path / "run", TrainOptions(minutes=0.02, max_frames=1200))
    assert run.seconds >= 1.2
    assert (tmp_path / "run" / "run.pt").exists()
    assert len(list((tmp_path / "run").glob("average-*.pt"))) == 1
    assert resume_run(tmp_path / "run", run.options).step == run.step


def test_a_saved_run_goes_on_where_it_was(features: Path, tmp_path: Path) -> None:
    options = TrainOptions(minutes=1.0)
    run = start_run(options)
    run.step, run.epoch, run.seconds, run.audio_seconds = 7, 2, 30.0, 99.0
    with torch.no_grad():
        run.model.ctc_head.bias.fill_(3.0)
    save_run(run, tmp_path)
    resumed = resume_run(tmp_path, options)
    assert (resumed.step, resumed.epoch, resumed.seconds, resumed.audio_seconds) == (7, 3, 30.0, 99.0)
    for name, tensor in run.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], tensor)


@pytest.mark.parametrize(
    "changes", [{"minutes": 0}, {"middle_weight": 1.0}, {"averaging": 1.0}, {"peak": 1.5}, {"dropout": 1.0}]
)
def test_impossible_options_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(OptionError, match="expected minutes > 0"):
        TrainOptions(**{"minutes": 1.0, **changes})


def test_a_run_starts_from_the_weights_of_a_checkpoint(features: Path, tmp_path: Path) -> None:
    trained = start_run(TrainOptions(minutes=1.0, seed=5)).model
    export(trained.state_dict(), CONFIG, tmp_path / "checkpoint", {"name": "test"})
    run = resume_run(tmp_path / "run", TrainOptions(minutes=1.0), tmp_path / "checkpoint")
    stored = trained.ctc_head.weight.half().float()
    assert torch.equal(run.model.ctc_head.weight, stored)
    assert torch.equal(run.average.ctc_head.weight, stored)
    assert (run.step, run.epoch) == (0, 1)
    loss, _, _ = train_step(run, make_batch(FeatureStore(features), FeatureStore(features).utterances[:4], 200, None))
    assert loss > 0
    assert not torch.equal(run.model.ctc_head.weight, stored)


def test_the_rates_rise_to_their_share(features: Path) -> None:
    run = start_run(TrainOptions(minutes=1.0, peak=0.25, matrix_rate=2e-3, other_rate=4e-3))
    run.seconds = 60 * 0.03
    store = FeatureStore(features)
    train_step(run, make_batch(store, store.utterances[:2], 200, None))
    assert [optimizer.param_groups[0]["lr"] for optimizer in run.optimizers] == pytest.approx([5e-4, 1e-3], rel=1e-2)


class Twin(World):
    """A second process whose batches are the same: every sum is twice what this one has."""

    def add(self, tensors: Sequence[Tensor]) -> None:
        for tensor in tensors:
            tensor.mul_(2)


def test_processes_step_by_the_mean_of_their_gradients(features: Path) -> None:
    store = FeatureStore(features)
    batch = make_batch(store, store.utterances[:4], 200, None)
    runs = []
    for world in (None, Twin(0, 2)):
        run = start_run(TrainOptions(minutes=1.0))
        run.seconds = 30.0
        run.model.train()
        train_step(run, batch, world)
        runs.append(run)
    for name, tensor in runs[0].model.state_dict().items():
        torch.testing.assert_close(runs[1].model.state_dict()[name], tensor, rtol=1e-3, atol=1e-5)


def test_processes_share_the_batches_of_an_epoch(features: Path) -> None:
    store = FeatureStore(features)

    def lengths(part: tuple[int, int]) -> list[Tensor]:
        found = []
        for epoch, batch in epochs(store, {}, 600, 1, 1, clean_share=0.25, part=part):
            if epoch > 1:
                return found
            found.append(batch.labels)
        return found

    whole, first, second = lengths((0, 1)), lengths((0, 2)), lengths((1, 2))
    assert len(first) + len(second) == len(whole) > 4
    assert all(torch.equal(one, other) for one, other in zip(whole[::2], first, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(whole[1::2], second, strict=True))


def _train_one_of_two(features: Path, folder: Path, rank: int, port: int) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    pretrain_ctc.CONFIG = CONFIG
    start_run.__defaults__ = (CONFIG, None)
    run = train(features, folder, TrainOptions(minutes=0.03, max_frames=1200, dropout=0.1))
    torch.save([run.step, run.model.state_dict()], folder / f"rank{rank}.pt")


def test_two_processes_end_with_the_same_weights(features: Path, tmp_path: Path) -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = int(one.getsockname()[1])
    context = multiprocessing.get_context("spawn")
    folder = tmp_path / "run"
    pair = [context.Process(target=_train_one_of_two, args=(features, folder, rank, port)) for rank in range(2)]
    for process in pair:
        process.start()
    for process in pair:
        process.join(120)
    assert [process.exitcode for process in pair] == [0, 0]
    (steps, first), (others, second) = (torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2))
    assert steps == others > 0
    for name, tensor in first.items():
        if "running" not in name:  # each counts the mean and the deviation of its own batches
            assert torch.equal(second[name], tensor)
    assert len(list(folder.glob("average-*.pt"))) == 1
    assert (folder / "finished-0.03").exists()
