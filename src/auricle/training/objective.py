"""What the training loop knows of a model: the protocol between trainer.py and the tasks that it trains.

Dimension key: B batch, F steps of the features, D their width, S labels.

The loop decides order, rates, snapshots and when to stop. An objective decides what a row becomes, what is computed
from it and what is written at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from auricle.corpora import Utterance


@dataclass(frozen=True, slots=True)
class Example:
    """One utterance, ready to be learned: it is computed once and kept on disk.

    `features` are what the trained part of the model takes: with a frozen encoder they are its states.
    """

    id: str
    features: Tensor  # (F, D) float32, on the CPU
    labels: tuple[int, ...]
    n_frames: int  # of the encoder, to hold the labels
    text: str  # what the labels say: the reference of validation
    duration: float  # seconds
    speaker: str | None = None
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """An utterance that cannot be learned, and why."""

    id: str
    reason: str  # the same words for the same cause: reports count them
    detail: str = ""  # of this row: the text, a length


@dataclass(frozen=True, slots=True)
class Batch:
    """B examples side by side; a row's result does not depend on its neighbours."""

    features: Tensor  # (B, F, D), padded at the end
    lengths: Tensor  # (B,) steps of each row
    labels: Tensor  # (B, S) int64, padded with -100
    label_lengths: Tensor  # (B,)
    n_units: int  # labels that the loss is a mean over: the loop weighs batches by it
    texts: tuple[str, ...] = ()
    extra: Mapping[str, Tensor] = field(default_factory=dict)  # what one objective alone needs

    def to(self, device: torch.device) -> Batch:
        """The same batch elsewhere."""
        moved = {name: getattr(self, name).to(device) for name in ("features", "lengths", "labels", "label_lengths")}
        return replace(self, **moved, extra={name: value.to(device) for name, value in self.extra.items()})


class Objective(Protocol):
    """A model and what it is to learn."""

    kind: str  # "ctc" or "seq2seq"
    model: nn.Module  # what is not to be trained has requires_grad False
    # Names the weights at the start and everything that `prepare` depends on: stored features are valid for it alone.
    identity: str

    def prepare(self, row: Utterance) -> Example | Rejected:
        """Read a recording and its text; a row that cannot be learned is Rejected, never an exception."""
        ...

    def collate(self, examples: Sequence[Example], generator: torch.Generator | None) -> Batch:
        """Put examples side by side; augmentation is drawn from `generator` alone, None: as in recognition."""
        ...

    def loss(self, batch: Batch) -> tuple[Tensor, Mapping[str, float]]:
        """The mean over the batch's `n_units` labels, and figures to log beside it.

        Gradients are the loop's: it multiplies by `n_units`, so that batches of any size weigh each label alike.
        """
        ...

    def transcribe(self, batch: Batch) -> list[str]:
        """Greedy text of each row, for validation and previews; the loop puts the model into evaluation first."""
        ...

    def set_training(self, training: bool) -> None:
        """Change between training and evaluation: `model.train`, save for parts that stay as they are."""
        ...

    def save(self, folder: Path) -> None:
        """Write the model as it is now, in the Hub's format: auricle and transformers load it."""
        ...
