"""Time and memory of a training step beside transformers' Trainer: the same random model of wav2vec2-base's shape.

    python benchmarks/train_step.py [--short] [--steps 6] [--out FILE]

Both learn the same recordings, made up, of 2 to 12 s, feature encoder frozen, masks over time as the model's
configuration says, batches of 60 s, in float32 and, where the processor has it, in bfloat16 autocast. auricle reads
what the frozen convolutions give from disk, where it was computed once (its time is told beside), and puts recordings
of like length together; Trainer groups by length, too (its LengthGroupedSampler), and computes the convolutions in
every step. Each is a process of its own, in turns; the figure is seconds of computing for a second of sound, the median
of the rounds.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import commit, has_bfloat16, machine

RESULTS = Path(__file__).parent / "results"
RATE, BATCH_SECONDS, N_ROWS = 16000, 60.0, 48
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SHAPES: dict[str, dict[str, Any]] = {"base": {}, "short": {"num_hidden_layers": 2}}


def recordings(seed: int = 0) -> list[tuple[np.ndarray, str]]:
    """Noise of 2 to 12 s and random text of 8 letters a second, which costs as much as speech."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(N_ROWS):
        seconds = float(rng.uniform(2, 12))
        text = "".join(rng.choice(list(LETTERS + "  "), int(8 * seconds)))
        made.append((rng.normal(0, 0.1, int(seconds * RATE)).astype(np.float32), " ".join(text.split())))
    return made


def checkpoint(folder: Path, shape: str) -> None:
    """A random wav2vec2 with a vocabulary, in the Hub's format."""
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    from auricle.training.vocabulary import build_vocabulary

    torch.manual_seed(0)
    vocabulary = build_vocabulary([LETTERS])
    config = Wav2Vec2Config(vocab_size=len(vocabulary), pad_token_id=vocabulary.blank, **SHAPES[shape])
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    vocabulary.save(folder)
    settings = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "do_normalize": True, "sampling_rate": RATE}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")


def auricles(folder: Path, bf16: bool) -> tuple[Any, dict[str, float]]:
    """What makes some steps and gives the seconds of sound in them; and what was computed before."""
    from dataclasses import dataclass

    from auricle.training.finetuning import Silent
    from auricle.training.methods import open_objective
    from auricle.training.options import FinetuneOptions
    from auricle.training.prepared import prepare_rows
    from auricle.training.trainer import Trainer
    from auricle.training.world import World

    @dataclass
    class Row:
        id: str
        audio: Any
        text: str
        start: None = None
        end: None = None
        language: None = None
        speaker: None = None

        def source(self) -> Any:
            return self.audio

    rows = [Row(str(n), {"array": w, "sampling_rate": RATE}, text) for n, (w, text) in enumerate(recordings())]
    # The rate never falls within a measurement, and no snapshot is written in one.
    endless = {"steps": 10**6, "evaluate_every": 10**6, "save_minutes": 1e6}
    options = FinetuneOptions(batch_seconds=BATCH_SECONDS, bf16=bf16, **endless)  # type: ignore[arg-type]
    objective, base = open_objective(folder, options, rows)  # type: ignore[arg-type]
    started = time.perf_counter()
    prepared = prepare_rows(objective, rows, folder / f"auricle-{bf16}" / "rows")  # type: ignore[arg-type]
    once = time.perf_counter() - started
    resolved = options.resolved(base.family, 1)
    place = folder / f"auricle-{bf16}"
    trainer = Trainer(objective, prepared, None, resolved, place, World(), Silent(), lambda made: None)

    def work(n_steps: int) -> float:
        before = trainer.state.audio_seconds
        for _ in range(n_steps):
            groups = trainer._epoch(trainer.state.epoch)
            if trainer.state.place >= len(groups):
                trainer.state.epoch, trainer.state.place = trainer.state.epoch + 1, 0
                groups = trainer._epoch(trainer.state.epoch)
            trainer._step(groups[trainer.state.place])
        return trainer.state.audio_seconds - before

    return work, {"once_seconds_a_second": once / sum(len(w) / RATE for w, _ in recordings())}


def transformers_(folder: Path, bf16: bool) -> tuple[Any, dict[str, float]]:
    """The same with Trainer, as the documentation's recipe for CTC has it."""
    from transformers import Trainer, TrainingArguments, Wav2Vec2ForCTC, Wav2Vec2Processor
    from transformers.trainer_pt_utils import LengthGroupedSampler

    processor = Wav2Vec2Processor.from_pretrained(folder)
    model = Wav2Vec2ForCTC.from_pretrained(folder, ctc_loss_reduction="mean", ctc_zero_infinity=True)
    model.freeze_feature_encoder()
    rows = []
    for wave, text in recordings():
        values = processor(wave, sampling_rate=RATE).input_values[0]
        rows.append({"input_values": values, "labels": processor(text=text).input_ids, "length": len(wave)})
    mean = sum(row["length"] for row in rows) / len(rows) / RATE
    seconds: list[float] = []

    def collate(features: list[dict[str, Any]]) -> dict[str, Any]:
        seconds.append(sum(len(one["input_values"]) for one in features) / RATE)
        values = [{"input_values": one["input_values"]} for one in features]
        batch = processor.pad(values, padding=True, return_tensors="pt")
        ids = [{"input_ids": one["labels"]} for one in features]
        labels = processor.pad(labels=ids, padding=True, return_tensors="pt")
        batch["labels"] = labels["input_ids"].masked_fill(labels["attention_mask"].ne(1), -100)
        return batch

    class Grouped(Trainer):  # type: ignore[misc]
        """Groups by length, which it does by itself for datasets of the library `datasets` alone."""

        def _get_train_sampler(self, *_: Any) -> Any:
            return LengthGroupedSampler(self.args.train_batch_size, lengths=[row["length"] for row in rows])

    def work(n_steps: int) -> float:
        seconds.clear()
        arguments = TrainingArguments(
            output_dir=str(folder / "theirs"),
            per_device_train_batch_size=max(1, round(BATCH_SECONDS / mean)),
            max_steps=n_steps,
            learning_rate=1e-4,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            bf16=bf16,
        )
        trainer = Grouped(model=model, args=arguments, train_dataset=rows, data_collator=collate)
        started = time.perf_counter()
        trainer.train()
        work.seconds = time.perf_counter() - started  # type: ignore[attr-defined]
        return sum(seconds[:n_steps])

    return work, {}


CONTESTANTS = {
    "auricle": (auricles, False),
    "transformers": (transformers_, False),
    "auricle bfloat16": (auricles, True),
    "transformers bfloat16": (transformers_, True),
}


def contestant(name: str, folder: Path, pipe: Connection) -> None:
    """A process of its own: prepare, then steps whenever asked; its peak memory is its own."""
    make, bf16 = CONTESTANTS[name]
    work, told = make(folder, bf16)
    work(1)  # kernels, and memory that stays
    pipe.send(told)
    while (n_steps := pipe.recv()) is not None:
        started = time.perf_counter()
        sound = work(n_steps)
        spent = getattr(work, "seconds", None) or time.perf_counter() - started
        pipe.send((spent, sound, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def main() -> None:
    """Measure in turns, write and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="2 layers instead of 12")
    parser.add_argument("--steps", type=int, default=6, help="in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS / "train-step-wav2vec2-base.json")
    arguments = parser.parse_args()
    shape = "short" if arguments.short else "base"
    # Emulated, bfloat16 takes minutes a step, and nobody would train in it.
    chosen = [name for name, (_, bf16) in CONTESTANTS.items() if has_bfloat16() or not bf16]
    context = multiprocessing.get_context("spawn")
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint(folder, shape)
        pipes = {}
        for one in chosen:
            pipes[one], theirs = context.Pipe()
            context.Process(target=contestant, args=(one, folder, theirs), daemon=True).start()
            theirs.close()  # so that a contestant that fails is not waited for
            found[one] = {**pipes[one].recv(), "rounds": []}
        for _ in range(arguments.rounds):
            for one, pipe in pipes.items():
                pipe.send(arguments.steps)
                spent, sound, found[one]["peak_mib"] = pipe.recv()
                found[one]["rounds"].append(round(spent / sound, 4))
        for pipe in pipes.values():
            pipe.send(None)
    for one in found.values():
        one["seconds_a_second"] = statistics.median(one["rounds"])
    result = {
        "what": "seconds of computing for a second of sound in a training step; less is better",
        "shape": shape,
        "times_faster": {
            name: round(found[theirs]["seconds_a_second"] / found[ours]["seconds_a_second"], 2)
            for name, ours, theirs in (
                ("float32", "auricle", "transformers"),
                ("bfloat16", "auricle bfloat16", "transformers bfloat16"),
            )
            if ours in found
        },
        **found,
        "machine": machine(),
        "commit": commit(),
    }
    if not arguments.short:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
