"""An objective trained by LoRA of which only what was trained is written, in PEFT's files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from auricle.training.lora import LoraOptions, save_adapter
from auricle.training.objective import Batch, Example, Objective, Rejected

if TYPE_CHECKING:
    from auricle.corpora import Utterance


class AdapterObjective:
    """Everything is the inner objective's, save what is saved."""

    def __init__(self, inner: Objective, options: LoraOptions, base: str) -> None:
        """`base` is the name or folder of the model that the adapter belongs to."""
        self.inner, self.options, self.base = inner, options, base
        self.kind, self.model, self.identity = inner.kind, inner.model, inner.identity
        self.labels: Any = getattr(inner, "labels", None)
        self.tokenizer: Any = getattr(inner, "tokenizer", None)

    def prepare(self, row: Utterance) -> Example | Rejected:
        """As the inner objective."""
        return self.inner.prepare(row)

    def collate(self, examples: Sequence[Example], generator: torch.Generator | None) -> Batch:
        """As the inner objective."""
        return self.inner.collate(examples, generator)

    def loss(self, batch: Batch) -> tuple[Tensor, Mapping[str, float]]:
        """As the inner objective."""
        return self.inner.loss(batch)

    def transcribe(self, batch: Batch) -> list[str]:
        """As the inner objective."""
        return self.inner.transcribe(batch)

    def set_training(self, training: bool) -> None:
        """As the inner objective."""
        self.inner.set_training(training)

    def save(self, folder: Path) -> None:
        """Write the adapter, and the vocabulary where it is a new one."""
        save_adapter(self.model, self.options, self.base, folder)
        if self.labels is not None and self.labels.is_new:
            self.labels.save(folder)
