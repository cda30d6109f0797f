"""Alarms on real tiny trainings that are made to fail, and silence on one that does not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.training.alarms import MOST_NOT_FINITE, SMOOTHED, Alarm, Alarms

N_FRAMES, WIDTH, N_LETTERS = 30, 8, 6  # the blank is letter 0
N_STEPS = 120


def speech(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Rows (n, T, D) in which each of four letters sounds for six frames, and their labels (n, 4)."""
    generator = torch.Generator().manual_seed(seed)
    sounds = torch.randn(N_LETTERS, WIDTH, generator=torch.Generator().manual_seed(99))
    labels = torch.stack([torch.randperm(N_LETTERS - 1, generator=generator)[:4] + 1 for _ in range(n)])
    features = 0.1 * torch.randn(n, N_FRAMES, WIDTH, generator=generator)
    for place in range(4):
        features[:, 3 + 6 * place : 9 + 6 * place] += sounds[labels[:, place]][:, None]
    return features, labels


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(WIDTH, 16), nn.ReLU(), nn.Linear(16, N_LETTERS))


def decode(log_probs: Tensor) -> list[str]:
    return ["".join(chr(96 + int(id)) for id in torch.unique_consecutive(row) if id) for row in log_probs.argmax(-1)]


def run(
    rate: float,
    *,
    model: nn.Module | None = None,
    shuffled: bool = False,
    data: tuple[Tensor, Tensor] | None = None,
    held: tuple[Tensor, Tensor] | None = None,
    n_steps: int = N_STEPS,
) -> list[Alarm]:
    """Train with SGD as the loop does, and collect what the alarms say."""
    model = model or network()
    features, labels = data or speech(16, 1)
    held = held or speech(8, 2)
    optimizer = torch.optim.SGD(model.parameters(), rate)
    alarms, said = Alarms("ctc"), []
    generator = torch.Generator().manual_seed(3)
    for step in range(1, n_steps + 1):
        # Shuffled anew in every step, nothing of the labels can be learned.
        order = torch.randperm(len(labels), generator=generator) if shuffled else torch.arange(len(labels))
        targets = torch.randint(1, N_LETTERS, labels.shape, generator=generator) if shuffled else labels[order]
        log_probs = model(features).log_softmax(-1)
        sizes = torch.full((len(labels),), N_FRAMES), torch.full((len(labels),), 4)
        loss = F.ctc_loss(log_probs.transpose(0, 1), targets, *sizes, reduction="sum") / targets.numel()
        optimizer.zero_grad()
        loss.backward()
        norm = float(nn.utils.clip_grad_norm_(model.parameters(), 1e9))
        finite = bool(loss.isfinite()) and norm == norm and norm != float("inf")
        if finite:
            optimizer.step()
        row: dict[str, Any] = {
            "step": step,
            "loss": loss.item() if bool(loss.isfinite()) else None,
            "gradient_norm": norm if finite else None,
            "learning_rate": rate,
            "blank_share": float((log_probs.argmax(-1) == 0).float().mean()),
        }
        said += alarms.step(row, [f"row{place}" for place in range(8)])
        if any(alarm.stops for alarm in said):
            break
        if step % 10 == 0:
            with torch.no_grad():
                texts = decode(model(held[0]).log_softmax(-1))
            references = ["".join(chr(96 + int(id)) for id in row) for row in held[1]]
            wrong = sum(a != b for a, b in zip(texts, references, strict=True)) / len(texts)
            said += alarms.evaluation({"step": step, "wer": wrong}, references, texts, step / n_steps)
    return said


def test_a_training_that_learns_is_let_alone() -> None:
    assert run(0.3) == []


def test_a_rate_far_too_high_is_called_a_divergence() -> None:
    said = run(10.0)
    assert said
    assert {alarm.kind for alarm in said} & {"divergence", "not finite"}
    assert "--learning-rate" in said[0].advice + said[0].message


def test_steps_without_a_number_name_their_rows_and_stop_in_the_end() -> None:
    model = network()
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    said = run(0.1, model=model)
    assert [alarm.stops for alarm in said] == [False, True]
    assert "step 1" in said[0].message
    assert "row0, row1, row2, row3, row4 and 3 more" in said[0].advice
    assert f"{MOST_NOT_FINITE} steps in a row" in said[1].message
    assert "0.1" in said[1].advice


def test_labels_of_other_recordings_teach_nothing_and_are_noticed() -> None:
    said = run(0.1, shuffled=True)
    assert {alarm.kind for alarm in said} & {"no learning", "blanks"}
    assert "whether texts belong to their recordings" in said[0].advice


def test_a_rate_far_too_low_is_noticed_after_a_quarter_of_the_run() -> None:
    [alarm] = run(1e-9)
    assert alarm.kind == "no learning"
    assert "after 25% of the run" in alarm.message


def test_a_model_that_writes_blanks_alone_is_noticed_at_the_third_evaluation() -> None:
    model = network()
    with torch.no_grad():
        list(model.parameters())[-1].copy_(torch.tensor([6.0, 0, 0, 0, 0, 0]))
    said = [alarm for alarm in run(1e-6, model=model) if alarm.kind == "blanks"]
    assert len(said) == 1
    assert "100.0% of the frames" in said[0].message
    assert "step 40" in said[0].message or "step 30" in said[0].message
    assert "--freeze encoder" in said[0].advice


def test_a_model_that_learns_by_heart_is_noticed() -> None:
    alarms = Alarms()
    said = []
    for step in range(1, 101):
        said += alarms.step({"step": step, "loss": 3.0 / step, "gradient_norm": 1.0, "learning_rate": 1e-3})
        if step % 10 == 0:
            rate = 0.5 - 0.1 * (step // 10) if step <= 30 else 0.2 + 0.02 * (step // 10 - 3)
            said += alarms.evaluation(
                {"step": step, "wer": rate}, ["a b", "c", "d", "e"], ["a", "c", "d", "f"], step / 100
            )
    assert [alarm.kind for alarm in said] == ["overfitting"]
    assert "from 20.0%" in said[0].message


def test_one_text_for_all_is_noticed_the_second_time() -> None:
    alarms = Alarms("seq2seq")
    references = ["one", "two", "three", "four"]
    row = {"step": 5, "wer": 1.0}
    assert alarms.evaluation(row, references, ["thank you"] * 4, 0.1) == []
    [alarm] = alarms.evaluation(row, references, ["thank you"] * 4, 0.2)
    assert alarm.kind == "one text"
    assert alarms.evaluation(row, references, ["thank you"] * 4, 0.2) == []  # said once
    assert alarms.evaluation(row, ["same"] * 4, ["same"] * 4, 0.2) == []  # and true where all say it


@pytest.mark.parametrize("n_steps", [100, None])
def test_a_run_that_goes_on_does_not_say_it_again(n_steps: int | None) -> None:
    rows: list[dict[str, Any]] = [{"step": step, "loss": 2.0, "gradient_norm": 1.0} for step in range(1, SMOOTHED + 2)]
    rows += [{"step": step, "loss": None, "gradient_norm": None} for step in (30, 31)]
    alarms = Alarms()
    alarms.replay(rows, n_steps)
    assert alarms.step({"step": 32, "loss": None, "gradient_norm": None}, ["x"]) == []
    assert Alarms().step({"step": 32, "loss": None, "gradient_norm": None}, ["x"])[0].kind == "not finite"
