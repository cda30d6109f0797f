"""Any CTC front with sound that is changed anew each time: recordings are stored as samples, not as features."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from auricle.training.ctc_fronts import Front
from auricle.training.disturbance import Disturbance
from auricle.training.objective import Batch


class DisturbedFront:
    """A front whose features are computed of changed sound; in recognition the sound is as it is.

    Dimension key: S samples, F steps of the inner front, D their width.
    """

    def __init__(self, inner: Front, disturbance: Disturbance) -> None:
        self.inner, self.disturbance = inner, disturbance
        self.longest_s = inner.longest_s

    def stored(self, waveform: np.ndarray) -> tuple[Tensor, int]:
        """The samples, (S, 1), and the encoder frames that they have."""
        _, n_frames = self.inner.stored(waveform)
        return torch.from_numpy(np.array(waveform, dtype=np.float32))[:, None], n_frames

    def row(self, stored: Tensor, generator: torch.Generator | None, least: int) -> Tensor:
        """The inner front's row of the sound, changed where there is a generator; labels fit in `least` samples."""
        waveform = stored[:, 0].numpy()
        if generator is not None:
            changed, _ = self.disturbance(waveform, generator)
            fits = least <= len(changed) <= self.longest_s * self.disturbance.sample_rate
            waveform = changed if fits else waveform
        features, _ = self.inner.stored(waveform)
        share = least / max(1, len(waveform))
        return self.inner.row(features, generator, min(len(features), -int(-len(features) * share // 1)))

    def masks(self, lengths: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """As the inner front's."""
        return self.inner.masks(lengths, generator)

    def logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """As the inner front's."""
        return self.inner.logits(batch)
