"""The memory of decoders of text: rows of any lengths, which come and go.

Dimension key: B rows, S new tokens, P tokens held, G heads of keys and values, K width of a head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from auricle.models.layers import Memory


class TextCache(Memory):
    """The memory of a decoder of text; shorter prompts of a batch are padded on the left, with `n_pads` (B,) tokens."""

    def __init__(self, n_pads: Tensor) -> None:
        super().__init__(len(n_pads), n_pads.device)
        self.n_pads: Tensor | None = n_pads if bool(n_pads.any()) else None

    def reorder(self, rows: Tensor) -> None:
        """Keep these rows, in this order; a row may be repeated or left out."""
        super().reorder(rows)
        if self.n_pads is not None:
            self.n_pads = self.n_pads[rows]
            self._drop_pads(int(self.n_pads.min()) if len(rows) else 0)

    def keep(self, length: int) -> None:
        """Keep the first `length` tokens of every row, pads included, and forget the rest."""
        self.length = min(length, self.length)

    def fork(self, rows: Tensor) -> TextCache:
        """A memory of its own that begins with copies of these rows."""
        copy = TextCache(torch.zeros_like(rows))
        copy.length = self.length
        copy._held = [(keys[rows, :, : self.length], values[rows, :, : self.length]) for keys, values in self._held]
        if self.n_pads is not None:
            copy.n_pads = self.n_pads[rows]
            copy._drop_pads(int(copy.n_pads.min()))
        return copy

    def join(self, other: TextCache) -> None:
        """Take the rows of another memory behind the own ones; the shorter texts get pads."""
        length = max(self.length, other.length)
        mine, theirs = ([one._padded(held, length) for held in one._held] for one in (self, other))
        self._held = [
            (torch.cat([own[0], new[0]]), torch.cat([own[1], new[1]])) for own, new in zip(mine, theirs, strict=True)
        ]
        pads = [one._pads() + length - one.length for one in (self, other)]
        self._source = torch.arange(self.n_rows + other.n_rows, device=self._source.device)
        self.length = length
        self.n_pads = torch.cat(pads) if any(bool(one.any()) for one in pads) else None

    def _padded(self, held: tuple[Tensor, Tensor], length: int) -> tuple[Tensor, Tensor]:
        keys, values = (F.pad(one[:, :, : self.length], (0, 0, length - self.length, 0)) for one in held)
        return keys, values

    def _pads(self) -> Tensor:
        return torch.zeros_like(self._source) if self.n_pads is None else self.n_pads

    def _drop_pads(self, n: int) -> None:
        """Forget the first `n` places, which are pads in every row."""
        assert self.n_pads is not None, "asked for where there are pads"
        self.length -= n
        self._held = [(keys[:, :, n:], values[:, :, n:]) for keys, values in self._held]
        self.n_pads = self.n_pads - n if bool((self.n_pads > n).any()) else None

    def positions(self, n_new: int, device: torch.device) -> Tensor:
        """Places of the next tokens in their texts, (S,), or (B, S) where rows have pads; pads stand at 0."""
        places = torch.arange(self.length, self.length + n_new, device=device)
        return places if self.n_pads is None else (places - self.n_pads[:, None]).clamp(min=0)

    def mask(self, n_new: int, window: int | None, device: torch.device) -> Tensor | None:
        """Which of P + S tokens each new one sees, (S, P + S) or (B, 1, S, P + S) bool; None where all are seen."""
        whole = self.length + n_new
        if n_new == 1 and self.n_pads is None and (window is None or whole <= window):
            return None
        rows = torch.arange(self.length, whole, device=device)[:, None]
        columns = torch.arange(whole, device=device)
        seen = columns <= rows  # (S, P + S)
        if window is not None:
            seen &= columns > rows - window
        if self.n_pads is None:
            return seen
        # A pad sees itself: a row of softmax with nothing in it would be no number.
        is_text = columns >= self.n_pads[:, None, None, None]  # (B, 1, 1, P + S)
        return (seen & is_text) | (columns == rows)
