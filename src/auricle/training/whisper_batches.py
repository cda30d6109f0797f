"""Batches of encoded windows with what is to be written for them.

Dimension key: B windows, T encoder frames, S tokens, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from auricle.training.whisper_states import N_FRAMES, LabelledWindow, States, packs_in, read_pack
from auricle.training.whisper_targets import Example, TargetOptions, Vocabulary, make_example

LENGTH_STEP = 16  # padded lengths are multiples of it, so that few shapes occur


@dataclass(frozen=True)
class Batch:
    """B windows and what is written for them, in a vocabulary's numbers."""

    states: Tensor  # (B, T, D) bfloat16
    inputs: Tensor  # (B, S)
    outputs: Tensor  # (B, S)
    weights: Tensor  # (B, S) float32, 0 where nothing is to be learnt
    spans: Tensor  # (B, S, 2) frames [first, end); equal where nothing is heard
    seconds: float  # of sound in all


def mask_states(states: Tensor, generator: torch.Generator) -> Tensor:
    """Blank spans of up to 0.4 s, about one for every 2 s, and a twentieth of the channels: (B, T, D), changed."""
    n_rows, n_frames, width = states.shape
    for row in states:
        for _ in range(n_frames // 100):
            first, size = (torch.rand(2, generator=generator) * torch.tensor([n_frames, 20])).int().tolist()
            row[first : first + size] = 0
    kept = torch.rand(n_rows, 1, width, generator=generator) >= 0.05
    return states.mul_(kept)


def collate(
    windows: Sequence[LabelledWindow], examples: Sequence[Example], states: States, generator: torch.Generator | None
) -> Batch:
    """Pad to a multiple of `LENGTH_STEP`; with a generator, mask the states at random."""
    longest = -(-max(map(len, examples)) // LENGTH_STEP) * LENGTH_STEP
    shape = (len(examples), longest)
    inputs, outputs = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    weights, spans = torch.zeros(shape), torch.zeros((*shape, 2), dtype=torch.long)
    for row, example in enumerate(examples):
        n_tokens = len(example)
        inputs[row, :n_tokens] = torch.tensor(example.inputs)
        outputs[row, :n_tokens] = torch.tensor(example.outputs)
        weights[row, :n_tokens] = torch.tensor(example.weights)
        spans[row, :n_tokens] = torch.tensor(example.spans)
    heard = states(windows)
    if generator is not None:
        heard = mask_states(heard, generator)
    return Batch(heard, inputs, outputs, weights, spans, sum(window.seconds for window in windows))


def span_shares(spans: Tensor, n_frames: int = N_FRAMES) -> Tensor:
    """Spans (B, S, 2) as even shares of their frames, (B, S, T) float32; zero for empty spans."""
    frames = torch.arange(n_frames)
    inside = (frames >= spans[..., :1]) & (frames < spans[..., 1:])  # (B, S, T)
    return inside / (spans[..., 1:] - spans[..., :1]).clamp(min=1)


def epochs(
    folder: Path,
    vocabulary: Vocabulary,
    options: TargetOptions,
    batch_size: int,
    width: int,
    seed: int,
    first: int,
) -> Iterator[tuple[int, Batch]]:
    """Yield (epoch, batch) without end from epoch `first` on; each epoch reads the packs that are there by then."""
    states, epoch = States(width), first
    while True:
        rng = np.random.default_rng([seed, epoch])
        generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
        packs = [pack for pack in packs_in(folder) if not pack.name.startswith("held-out")]
        windows = [window for pack in packs for window in read_pack(pack)]
        drawn = [(window, make_example(window, vocabulary, options, rng)) for window in windows]
        known = [(window, example) for window, example in drawn if example is not None]
        # Neighbours in length share a batch; a little noise varies the company.
        order = sorted(range(len(known)), key=lambda at: len(known[at][1]) * rng.uniform(0.9, 1.1))
        groups = [order[at : at + batch_size] for at in range(0, len(order), batch_size)]
        for at in rng.permutation(len(groups)).tolist():
            chosen = [known[index] for index in groups[at]]
            yield epoch, collate([one for one, _ in chosen], [example for _, example in chosen], states, generator)
        epoch += 1
