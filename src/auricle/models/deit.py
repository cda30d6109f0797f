"""DeiT: a Vision Transformer that has learned from a teacher, too, with a token for what the teacher says.

Paper: "Training data-efficient image transformers & distillation through attention" (arXiv 2012.12877). Differs from
vit.py by that token, and by a second classifier on it where `architectures` asks for it (…WithTeacher): logits are then
the mean of both.

Dimension key: B batch, C channels, T tokens, D width, L labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from auricle.models.vit import Embeddings, Encoder, ViT, ViTConfig


@dataclass(frozen=True)
class DeiTConfig(ViTConfig):
    """What config.json says of the network."""

    N_FIRST: ClassVar[int] = 2

    architectures: tuple[str, ...] | None = None

    @property
    def has_teacher(self) -> bool:
        """Whether the teacher's token is classified, too."""
        return bool(self.architectures) and self.architectures[0].endswith("WithTeacher")  # type: ignore[index]


class DeiTEmbeddings(Embeddings):
    """Patches as vectors, behind the class's token and the teacher's."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__(config)
        self.distillation_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))

    def first(self) -> list[Tensor]:
        """The tokens (1, 1, D) before the patches."""
        return [self.cls_token, self.distillation_token]


class DeiT(nn.Module):
    """An encoder of images and a classifier on one or both of its first tokens."""

    Config: ClassVar[type[DeiTConfig]] = DeiTConfig
    kind = "image"
    RENAMES = ViT.RENAMES
    IGNORED_TENSORS: tuple[str, ...] = (r"deit\.pooler\..*", r".*\.mask_token")
    HARMLESS = ViT.HARMLESS

    def __init__(self, config: DeiTConfig) -> None:
        super().__init__()
        self.config = config
        self.deit = Encoder(config, DeiTEmbeddings(config))
        names = ("cls_classifier", "distillation_classifier") if config.has_teacher else ("classifier",)
        self.classifiers = names
        for name in names:
            self.add_module(name, nn.Linear(config.hidden_size, len(config.labels)))

    @classmethod
    def tiny(cls, **changes: Any) -> DeiTConfig:
        """A network for tests, as that of ViT."""
        return cls.Config(**{**vars(ViT.tiny()), **changes})

    def states(self, pixels: Tensor) -> Tensor:
        """What the encoder makes of pixels (B, C, height, width): (B, T, D)."""
        return self.deit(pixels)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (B, L) of pixels (B, C, height, width)."""
        states = self.states(pixels)
        logits = [self.get_submodule(name)(states[:, place]) for place, name in enumerate(self.classifiers)]
        return (sum(logits[1:], logits[0]) / len(logits)).float()
