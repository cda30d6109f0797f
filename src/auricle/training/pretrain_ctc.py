"""Training a CTC model from nothing: one visible loop over stored features.

Dimension key: B batch, F feature frames, T encoder frames, V vocabulary.

The rate follows the time spent, not the steps made: a run has a budget of minutes, warms up in its first 3 % and falls
as a cosine to nothing at its end, so that a slow machine ends with a finished model of fewer steps. Minutes are those
that a processor worked for the loop: what a run waits, or is stopped, takes nothing from its budget.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.checkpoints.tensors import load_tensors, read_tensors
from auricle.errors import CheckpointError, OptionError
from auricle.models.parakeet import EncoderConfig, ParakeetConfig, ParakeetCTC
from auricle.training.batches import Batch, epochs
from auricle.training.muon import StackedMuon
from auricle.training.precision import fast_dtype
from auricle.training.run_file import read_run, write_run
from auricle.training.shared_dropout import drop_branches
from auricle.training.splices import WordPlaces
from auricle.training.store import FeatureStore
from auricle.training.teacher import TeacherStates, at_frames, distance
from auricle.training.text import ALPHABET
from auricle.training.world import World, join_world, leave_world

BLANK = len(ALPHABET)

ENCODER = EncoderConfig(
    hidden_size=192,
    num_hidden_layers=10,
    num_attention_heads=4,
    intermediate_size=768,
    conv_kernel_size=15,
    # Letters come up to 15 a second: 25 frames a second leave room for blanks between them, 12.5 would not.
    subsampling_factor=4,
    subsampling_conv_channels=32,
    dropout=0.0,
    attention_dropout=0.0,
    activation_dropout=0.0,
)
CONFIG = ParakeetConfig(vocab_size=BLANK + 1, pad_token_id=BLANK, encoder_config=ENCODER)


@dataclass(frozen=True)
class TrainOptions:
    """What a run is told; kept in its checkpoints."""

    minutes: float  # of training in all, over all its runs, while a processor worked
    max_frames: int = 12800  # padded feature frames in a batch, 10 ms each
    matrix_rate: float = 2e-3  # peak learning rate of the blocks' matrices (Muon)
    other_rate: float = 2e-3  # peak learning rate of everything else (AdamW)
    weight_decay: float = 0.05
    middle_weight: float = 0.3  # share of the loss taken from the middle of the encoder
    peak: float = 1.0  # share of these rates that a run rises to: less, where it begins with trained weights
    averaging: float = 0.999  # decay of the weights' moving average, which is what is kept
    teacher_weight: float = 1.0  # of the distance to a teacher's states, where there is a teacher
    seed: int = 1
    snapshot_minutes: float = 10.0
    weights: dict[str, float] = field(default_factory=dict)  # corpus to the share of its rows used in an epoch
    clean_share: float = 0.25  # of the recordings heard: as they are, the others in rooms and noise
    spliced_share: float = 0.0  # of the recordings heard: made of words of several, where their places are known
    dropout: float = 0.0  # of what each part of a block adds

    def __post_init__(self) -> None:
        below_one = all(0 <= share < 1 for share in (self.middle_weight, self.averaging, self.dropout))
        shares = all(0 <= share <= 1 for share in (self.clean_share, self.spliced_share))
        if self.minutes <= 0 or not below_one or not 0 < self.peak <= 1 or not shares:
            raise OptionError(
                "expected minutes > 0, middle_weight, averaging and dropout in [0, 1), peak in (0, 1], clean_share and "
                f"spliced_share in [0, 1]; got minutes={self.minutes}, middle_weight={self.middle_weight}, "
                f"averaging={self.averaging}, dropout={self.dropout}, peak={self.peak}, "
                f"clean_share={self.clean_share}, spliced_share={self.spliced_share}"
            )


@dataclass
class Run:
    """Everything that a killed run needs to go on."""

    model: ParakeetCTC
    average: ParakeetCTC
    optimizers: list[torch.optim.Optimizer]
    options: TrainOptions
    guide: nn.Linear | None = None  # from a late block's states to a teacher's, in training only
    step: int = 0
    epoch: int = 0
    seconds: float = 0.0  # spent training
    audio_seconds: float = 0.0  # heard, repeats included


def start_run(options: TrainOptions, config: ParakeetConfig = CONFIG, teacher_width: int | None = None) -> Run:
    """A fresh model with its optimizers; with a teacher's width, a layer that predicts its states."""
    torch.manual_seed(options.seed)
    model = ParakeetCTC(config)
    for name, parameter in model.named_parameters():
        if name.endswith(("bias_u", "bias_v")):
            nn.init.normal_(parameter, std=0.02)
    # Everything the blocks' linear layers hold is a matrix to orthogonalise; the rest is not.
    blocks = model.encoder.layers.named_parameters()
    matrices = [p for name, p in blocks if p.dim() == 2 and "bias" not in name]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    guide = None if teacher_width is None else nn.Linear(config.encoder_config.hidden_size, teacher_width)
    if guide is not None:
        others += list(guide.parameters())
    optimizers: list[torch.optim.Optimizer] = [
        StackedMuon(matrices, lr=0.0, weight_decay=options.weight_decay, dtype=fast_dtype()),
        torch.optim.AdamW(others, lr=0.0, betas=(0.9, 0.98), weight_decay=options.weight_decay, fused=True),
    ]
    # Depthwise convolutions are a third faster backwards in this layout.
    model.encoder.subsampling.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(model).eval()
    drop_branches(model.encoder.layers, options.dropout)
    return Run(model, average, optimizers, options, guide)


def rate_at(progress: float) -> float:
    """The share of the peak rate at a share of the budget: linear up to 3 %, then half a cosine down to zero."""
    if progress < 0.03:
        return progress / 0.03 + 1e-3
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - 0.03) / 0.97)))


def losses_of(
    model: ParakeetCTC, batch: Batch, middle_weight: float, guide: nn.Linear | None = None
) -> tuple[Tensor, Tensor]:
    """Mean negative log-likelihood per label, partly of the middle block's states read by the same head.

    Beside it the distance of what `guide` makes of the states before the last two blocks to the teacher's; 0 without.
    Rows without a label count for the distance alone.

    Source: intermediate CTC, arXiv 2102.03216.
    """
    with torch.autocast("cpu", torch.bfloat16, enabled=fast_dtype() == torch.bfloat16):
        x, frames, positions, mask, valid = model.encoder.start(batch.features, batch.lengths)
        middle, late = None, torch.zeros(())
        for index, layer in enumerate(model.encoder.layers, 1):
            x = layer(x, positions, mask, valid)
            if index == len(model.encoder.layers) // 2:
                middle = model.head(x)
            if guide is not None and index == max(1, len(model.encoder.layers) - 2):
                late = guide(x)  # (B, T, teacher's width)
        logits = model.head(x)  # (B, T, V)
    total = torch.zeros(())
    parts = [(logits, 1 - middle_weight)] + ([(middle, middle_weight)] if middle is not None else [])
    for scores, weight in parts:
        log_probs = scores.float().log_softmax(-1).transpose(0, 1)  # (T, B, V)
        each = F.ctc_loss(
            log_probs, batch.labels, frames, batch.label_lengths, BLANK, reduction="none", zero_infinity=True
        )  # (B,)
        # Without labels nothing is known; the loss would have blanks only.
        total = total + weight * each.where(batch.label_lengths > 0, 0.0).sum()
    total = total / batch.label_lengths.sum().clamp(min=1)
    if guide is None:
        return total, torch.zeros(())
    return total, distance(late, *at_frames(batch.states, frames, late.shape[1], guide.out_features))


def train_step(run: Run, batch: Batch, world: World | None = None) -> tuple[float, float, float]:
    """One update; the loss, the distance to the teacher and the norm of the gradient before clipping.

    Several processes, each with its own batch, make the same update of the mean of their gradients.
    """
    rate = run.options.peak * rate_at(run.seconds / (60 * run.options.minutes))
    for optimizer, peak in zip(run.optimizers, (run.options.matrix_rate, run.options.other_rate), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = peak * rate
    loss, away = losses_of(run.model, batch, run.options.middle_weight, run.guide)
    (loss + run.options.teacher_weight * away).backward()
    told = float(loss.detach()), float(away.detach())
    parameters = [*run.model.parameters(), *(run.guide.parameters() if run.guide is not None else ())]
    if world is not None and world.size > 1:
        torch._foreach_div_(world.add_gradients(parameters), world.size)
    norm = nn.utils.clip_grad_norm_(parameters, 5.0)
    if not torch.isfinite(norm):
        for parameter in parameters:
            parameter.grad = None
        return *told, math.inf
    for optimizer in run.optimizers:
        optimizer.step()
        optimizer.zero_grad()
    # Early weights are far from the late ones: the average forgets them faster.
    decay = min(run.options.averaging, (1 + run.step) / (10 + run.step))
    with torch.no_grad():
        ours, theirs = list(run.average.state_dict().values()), list(run.model.state_dict().values())
        floats = [(a, b) for a, b in zip(ours, theirs, strict=True) if a.is_floating_point()]
        torch._foreach_lerp_([a for a, _ in floats], [b for _, b in floats], 1 - decay)
    run.step += 1
    return *told, float(norm)


def save_run(run: Run, folder: Path) -> None:
    """Write the whole run to `folder`/run.pt; a kill while writing leaves the one before."""
    state = {
        "model": run.model.state_dict(),
        "average": run.average.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in run.optimizers],
        "options": asdict(run.options),
        "counts": (run.step, run.epoch, run.seconds, run.audio_seconds),
        "guide": None if run.guide is None else run.guide.state_dict(),
    }
    write_run(folder, state)


def resume_run(
    folder: Path, options: TrainOptions, start_from: Path | None = None, teacher_width: int | None = None
) -> Run:
    """The run that `folder` holds, under the options given now; else a fresh one, of a checkpoint's weights if given.

    Raises:
        TensorError: the checkpoint in `start_from` is of another shape, or cannot be read.
        OptionError: the run had a teacher and now has none, or the other way round.
    """
    run = start_run(options, teacher_width=teacher_width)
    if start_from is not None:
        trained = ParakeetCTC(run.model.config)
        load_tensors(trained, read_tensors(start_from), where=str(start_from))
        # Copied, since the optimizers hold the run's own parameters.
        run.model.load_state_dict(trained.state_dict())
        run.average.load_state_dict(trained.state_dict())
        run.epoch = 1  # the first one has the shortest recordings first, for weights that know nothing
    state = read_run(folder)
    if state is not None:
        guide = state.get("guide")
        if (guide is None) != (run.guide is None):
            raise OptionError(
                f"{folder} holds a run {'without' if guide is None else 'with'} a teacher; go on likewise"
            )
        if run.guide is not None and guide is not None:
            run.guide.load_state_dict(guide)
        run.model.load_state_dict(state["model"])
        run.average.load_state_dict(state["average"])
        for optimizer, saved in zip(run.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        run.step, epoch, run.seconds, run.audio_seconds = state["counts"]
        # An epoch's order depends on its number; repeating its start would favour what comes first in it.
        run.epoch = epoch + 1
    return run


def train(
    features: Path,
    folder: Path,
    options: TrainOptions,
    start_from: Path | None = None,
    teacher: Path | None = None,
    words: Path | None = None,
) -> Run:
    """Train, or go on training, until the budget of minutes is spent; `folder` keeps the log and the checkpoints.

    `teacher` is a folder that `teach` wrote, `words` a file that `align` wrote.

    A resumed run goes on with the epoch after the one in which it was stopped. Processes that torchrun started train
    together; the first one writes.

    Raises:
        CheckpointError: the teacher heard none of the recordings, or `words` is absent.
    """
    folder.mkdir(parents=True, exist_ok=True)
    store, states = FeatureStore(features), TeacherStates(teacher) if teacher is not None else None
    if states is not None and not any(utterance.source in states for utterance in store.select("train")):
        raise CheckpointError(f"{teacher} knows none of the recordings in {features}; prepare and teach the same ones")
    run = resume_run(folder, options, start_from, states.width if states is not None else None)
    run.model.train()
    world = join_world("cpu")
    torch.manual_seed(options.seed + 1000 * run.epoch + world.rank)  # of dropout: another mask in each process
    losses: list[tuple[float, float]] = []
    saved = run.seconds
    clock = time.thread_time()
    places = WordPlaces(words) if words is not None else None
    told = options.weights, options.max_frames, options.seed, run.epoch, states, options.clean_share
    for epoch, batch in epochs(store, *told, places, options.spliced_share, (world.rank, world.size)):
        run.epoch = epoch
        loss, away, norm = train_step(run, batch, world)
        now = time.thread_time()
        # All have to agree on the time, since the rate and the end follow it.
        spent = torch.tensor([(now - clock) / world.size, float(batch.lengths.sum()) / 100], dtype=torch.float64)
        world.add([spent])
        clock = now
        run.seconds, run.audio_seconds = run.seconds + float(spent[0]), run.audio_seconds + float(spent[1])
        losses.append((loss, away))
        if run.step % 50 == 0:
            if world.is_first:
                _log(run, folder, [sum(part) / len(losses) for part in zip(*losses, strict=True)], norm)
            losses.clear()
        done = run.seconds >= 60 * options.minutes
        if done or run.seconds - saved >= 60 * options.snapshot_minutes:
            saved = run.seconds
            if world.is_first:
                save_run(run, folder)
                torch.save(run.average.state_dict(), folder / f"average-{round(run.seconds / 60):04d}.pt")
        if done:
            if world.is_first:
                (folder / f"finished-{options.minutes:g}").touch()
            break
    leave_world(world)
    return run


def _log(run: Run, folder: Path, losses: Sequence[float], norm: float) -> None:
    row = {
        "step": run.step,
        "epoch": run.epoch,
        "minutes": round(run.seconds / 60, 2),
        "audio_hours": round(run.audio_seconds / 3600, 3),
        "loss": round(losses[0], 4),
        "teacher_distance": round(losses[1], 4),
        "gradient_norm": round(norm, 3),
    }
    with (folder / "log.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps(row) + "\n")
