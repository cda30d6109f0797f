"""How well the weights do on rows that do not teach: texts, and the figures that are kept of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from auricle.evaluation import ErrorCounts
from auricle.training.objective import Objective
from auricle.training.options import FinetuneOptions
from auricle.training.order import pack
from auricle.training.prepared import Prepared
from auricle.training.world import World

N_SHOWN = 5  # pairs that are kept in the log


def transcribed(
    objective: Objective,
    data: Prepared,
    options: FinetuneOptions,
    world: World,
    progress: Callable[[int, int], None],
) -> tuple[list[str], list[str]]:
    """References and texts, in the data's order; every process transcribes its share."""
    objective.set_training(False)
    durations = [entry.duration for entry in data.entries]
    order = sorted(range(len(data)), key=lambda place: (durations[place], place))
    groups = pack(order, durations, options.batch_seconds / world.size)
    found: dict[int, str] = {}
    own = groups[world.rank :: world.size]
    for number, places in enumerate(own, 1):
        batch = objective.collate([data[place] for place in places], None).to(world.device)
        with torch.autocast(world.device.type, torch.bfloat16, enabled=options.bf16):
            found |= zip(places, objective.transcribe(batch), strict=True)
        if world.is_first:
            progress(number, len(own))
    whole: dict[int, str] = {}
    for part in world.gather(found):
        whole |= part
    return [entry.text for entry in data.entries], [whole[place] for place in range(len(data))]


def evaluation_row(
    step: int, words: ErrorCounts, characters: ErrorCounts, references: Sequence[str], texts: Sequence[str]
) -> dict[str, Any]:
    """What the log says of an evaluation: rates, counts and a few pairs."""
    pairs = list(zip(references, texts, strict=True))
    shown = [pairs[place] for place in range(0, len(pairs), max(1, len(pairs) // N_SHOWN))][:N_SHOWN]
    return {
        "step": step,
        "wer": round(words.rate, 5),
        "cer": round(characters.rate, 5),
        "errors": words.errors,
        "words": words.words,
        "pairs": [list(pair) for pair in shown],
    }
