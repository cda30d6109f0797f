"""Training a Whisper decoder from nothing upon a frozen encoder's stored states: one visible loop.

As in `pretrain_ctc` the rate follows the time spent: a run ends finished after its budget of minutes.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

import torch
from torch import nn

from auricle.evaluation.wer import word_errors
from auricle.models.whisper import Whisper, WhisperConfig
from auricle.speech.whisper_tokens import WhisperTokenizer, read_tokens
from auricle.text import open_tokenizer
from auricle.training.muon import StackedMuon
from auricle.training.precision import fast_dtype
from auricle.training.pretrain_ctc import rate_at
from auricle.training.run_file import read_run, write_run
from auricle.training.whisper_batches import Batch, epochs
from auricle.training.whisper_clips import read_clips
from auricle.training.whisper_export import export_whisper
from auricle.training.whisper_prepare import CONFIG
from auricle.training.whisper_states import States, load_encoder, read_pack
from auricle.training.whisper_student import LossOptions, Student, student_loss, write_greedily
from auricle.training.whisper_targets import TargetOptions, Vocabulary, frequent_tokens

N_SCORED = 30  # windows of a held-out pack that score a checkpoint while training waits
LEAST_COUNT = 10  # a token that the clips hold less often is spelled by others


@dataclass(frozen=True)
class Places:
    """Where a run reads and writes."""

    data: Path  # clips, and packs of encoded windows
    run: Path  # log and state
    out: Path  # the checkpoint folder
    encoder: Path
    tokenizer: Path


@dataclass(frozen=True)
class DecoderOptions:
    """What a run is told."""

    minutes: float  # of training in all, over all its runs
    batch_size: int = 16  # windows
    matrix_rate: float = 2e-3  # peak learning rate of the layers' matrices (Muon)
    other_rate: float = 1e-3  # peak learning rate of everything else (AdamW)
    weight_decay: float = 0.05
    averaging: float = 0.998  # decay of the weights' moving average, which is what is exported
    seed: int = 1
    save_minutes: float = 10.0
    loss: LossOptions = field(default_factory=LossOptions)
    targets: TargetOptions = field(default_factory=TargetOptions)


@dataclass
class DecoderRun:
    """Everything that a killed run needs to go on."""

    student: Student
    average: Student
    optimizers: list[torch.optim.Optimizer]
    vocabulary: Vocabulary
    options: DecoderOptions
    step: int = 0
    epoch: int = 0
    seconds: float = 0.0  # spent training
    audio_seconds: float = 0.0  # heard, repeats included


def make_vocabulary(data: Path, run: Path, tokenizer_folder: Path) -> Vocabulary:
    """The vocabulary of a run: from its own file or, at its beginning, from the clips."""
    # Of the protocol of every tokenizer; those of this family know their special tokens by name, too.
    tokenizer = cast(WhisperTokenizer, open_tokenizer(tokenizer_folder, "whisper", None))
    generation = json.loads((tokenizer_folder / "generation_config.json").read_text(encoding="utf-8"))
    path = run / "vocabulary.json"
    if not path.exists():
        files = [file for file in (data / "speech.jsonl", data / "synthetic.jsonl") if file.exists()]
        words = [word for file in files for clip in read_clips(file) for word in clip.words]
        path.write_text(json.dumps(frequent_tokens(words, tokenizer, LEAST_COUNT)), encoding="utf-8")
    return Vocabulary(json.loads(path.read_text(encoding="utf-8")), tokenizer, read_tokens(generation, tokenizer))


def start_run(options: DecoderOptions, vocabulary: Vocabulary, config: WhisperConfig = CONFIG) -> DecoderRun:
    """A fresh decoder with its optimizers."""
    torch.manual_seed(options.seed)
    student = Student(config, vocabulary)
    matrices = [parameter for parameter in student.layers.parameters() if parameter.dim() == 2]
    chosen = {id(parameter) for parameter in matrices}
    others = [parameter for parameter in student.parameters() if id(parameter) not in chosen]
    optimizers: list[torch.optim.Optimizer] = [
        StackedMuon(matrices, lr=0.0, weight_decay=options.weight_decay, dtype=fast_dtype()),
        torch.optim.AdamW(others, lr=0.0, betas=(0.9, 0.98), weight_decay=0.01, fused=True),
    ]
    return DecoderRun(student, copy.deepcopy(student).eval(), optimizers, vocabulary, options)


def save_run(run: DecoderRun, folder: Path) -> None:
    """Write the whole run to `folder`/run.pt; a kill while writing leaves the one before."""
    state = {
        "student": run.student.state_dict(),
        "average": run.average.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in run.optimizers],
        "options": asdict(run.options),
        "counts": (run.step, run.epoch, run.seconds, run.audio_seconds),
    }
    write_run(folder, state)


def resume_run(
    folder: Path, options: DecoderOptions, vocabulary: Vocabulary, config: WhisperConfig = CONFIG
) -> DecoderRun:
    """The run that `folder` holds, under the options given now; else a fresh one."""
    run = start_run(options, vocabulary, config)
    state = read_run(folder)
    if state is not None:
        run.student.load_state_dict(state["student"])
        run.average.load_state_dict(state["average"])
        for optimizer, saved in zip(run.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        run.step, epoch, run.seconds, run.audio_seconds = state["counts"]
        run.epoch = epoch + 1
    return run


def attention_weight(progress: float, peak: float) -> float:
    """Of the supervised heads at a share of the budget: whole for the first 40 %, then down to a tenth at 70 %."""
    return peak * (1.0 - 0.9 * min(1.0, max(0.0, (progress - 0.4) / 0.3)))


def train_step(run: DecoderRun, batch: Batch) -> dict[str, float]:
    """One update; the parts of the loss and the norm of the gradient before clipping."""
    options, progress = run.options, run.seconds / (60 * run.options.minutes)
    for optimizer, peak in zip(run.optimizers, (options.matrix_rate, options.other_rate), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = peak * rate_at(progress)
    weight = attention_weight(progress, options.loss.attention)
    told = LossOptions(options.loss.smoothing, options.loss.dropout, weight)
    loss, parts = student_loss(run.student, batch, told)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(run.student.parameters(), 5.0)
    for optimizer in run.optimizers:
        if torch.isfinite(norm):
            optimizer.step()
        optimizer.zero_grad()
    decay = min(options.averaging, (1 + run.step) / (10 + run.step))
    with torch.no_grad():
        torch._foreach_lerp_(list(run.average.parameters()), list(run.student.parameters()), 1 - decay)
    run.step += 1
    run.audio_seconds += batch.seconds
    return {**parts, "loss": float(loss.detach()), "norm": float(norm)}


def score(model: Whisper, pack: Path, vocabulary: Vocabulary, width: int, write: Callable[[list[int]], str]) -> float:
    """Greedy word error rate, without timestamps, on a pack of single clips."""
    windows, states = read_pack(pack)[:N_SCORED], States(width)
    tokens = vocabulary.tokens
    prompt = [tokens.start, tokens.languages["en"], tokens.tasks["transcribe"], tokens.no_timestamps]
    texts: list[str] = []
    for at in range(0, len(windows), 10):
        heard = states(windows[at : at + 10]).float()
        with torch.autocast("cpu", torch.bfloat16, enabled=fast_dtype() == torch.bfloat16):
            texts += [write(ids) for ids in write_greedily(model, heard, prompt, tokens.eos, 100)]
    said = [" ".join(word for one in window.spoken for word in one.words) for window in windows]
    return word_errors(said, [" ".join(text.split()) for text in texts]).rate


def publish(run: DecoderRun, model: Whisper, places: Places) -> dict[str, float]:
    """Export the averaged weights; their word error rates on the held-out packs."""
    run.average.into(model, run.vocabulary)
    card = {
        "name": "whisper-small-decoder",
        "summary": f"{run.student.config.decoder_layers} decoder layers trained {run.seconds / 60:.0f} minutes, "
        f"{run.audio_seconds / 3600:.0f} hours of audio heard, upon a frozen encoder; lower-case English",
    }
    export_whisper(model, places.tokenizer, places.out, card)
    write = open_tokenizer(places.tokenizer, "whisper", None).decode
    packs = sorted((places.data / "packs").glob("held-out*"))
    width = run.student.config.d_model
    return {pack.name: round(score(model, pack, run.vocabulary, width, write), 4) for pack in packs}


def export(places: Places, config: WhisperConfig = CONFIG) -> dict[str, float]:
    """Publish the state that a run was last saved in."""
    vocabulary = make_vocabulary(places.data, places.run, places.tokenizer)
    run = resume_run(places.run, DecoderOptions(minutes=1.0), vocabulary, config)
    return publish(run, load_encoder(places.encoder, config), places)


def train(places: Places, options: DecoderOptions, config: WhisperConfig = CONFIG) -> DecoderRun:
    """Train, or go on training, until the budget is spent; state, log and checkpoint are renewed while it goes on."""
    torch.set_num_threads(1)
    places.run.mkdir(parents=True, exist_ok=True)
    vocabulary = make_vocabulary(places.data, places.run, places.tokenizer)
    run = resume_run(places.run, options, vocabulary, config)
    model = load_encoder(places.encoder, config)
    run.student.train()
    saved, rows, clock = run.seconds, [], time.monotonic()
    packs, size = places.data / "packs", options.batch_size
    for epoch, batch in epochs(packs, vocabulary, options.targets, size, config.d_model, options.seed, run.epoch):
        run.epoch = epoch
        rows.append(train_step(run, batch))
        now = time.monotonic()
        run.seconds, clock = run.seconds + now - clock, now
        if run.step % 25 == 0:
            means = {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}
            _log(run, places.run, means)
            rows.clear()
        done = run.seconds >= 60 * options.minutes
        if done or run.seconds - saved >= 60 * options.save_minutes:
            saved = run.seconds
            save_run(run, places.run)
            _log(run, places.run, publish(run, model, places))
            clock = time.monotonic()
        if done:
            break
    return run


def _log(run: DecoderRun, folder: Path, values: dict[str, float]) -> None:
    row = {"step": run.step, "epoch": run.epoch, "minutes": round(run.seconds / 60, 2)}
    row |= {key: round(value, 4) if math.isfinite(value) else -1 for key, value in values.items()}
    with (folder / "log.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps(row) + "\n")
