"""What several families share: activations by their config's name, and the memory of a decoder.

Dimension key: B batch, H heads, S new tokens, P tokens held, T encoder frames, K width of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from auricle.errors import ConfigError, nearest

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_python": F.gelu,
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "gelu_fast": partial(F.gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
    "swish": F.silu,
}

# Tokens of room that a full cache gains at once: few copies in a window, little memory unused after it.
ROOM = 64


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """The function that a config calls by `name`.

    Raises:
        ConfigError: if it is unknown.
    """
    if name not in ACTIVATIONS:
        raise ConfigError(
            f"the activation {name!r} is unknown{nearest(name, ACTIVATIONS)}; expected one of {', '.join(ACTIVATIONS)}"
        )
    return ACTIVATIONS[name]


def causal_mask(n_new: int, n_held: int, device: torch.device) -> Tensor | None:
    """Which of P + S tokens each of S new ones may see, (S, P + S) bool; None where every one is seen."""
    if n_new == 1:
        return None
    return torch.ones(n_new, n_held + n_new, dtype=torch.bool, device=device).tril(n_held)


class Memory:
    """Keys and values of the tokens so far, per layer, of a decoder that has heard `n_rows` rows."""

    def __init__(self, n_rows: int, device: torch.device) -> None:
        self.length = 0
        # With room for more than `length` tokens, except right after the first.
        self._held: list[tuple[Tensor, Tensor]] = []
        # Which row of the batch first given each row now goes on with.
        self._source = torch.arange(n_rows, device=device)

    @property
    def n_rows(self) -> int:
        """Rows of the batch as it is now."""
        return self._source.shape[0]

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Hold a layer's (B, H, S, K) of new tokens; all that layer holds, (B, H, P + S, K).

        `length` moves only with `advance`, after every layer has been extended.
        """
        if layer == len(self._held):
            self._held.append((keys, values))
            return keys, values
        start, end = self.length, self.length + keys.shape[2]
        held_keys, held_values = self._held[layer]
        if end > held_keys.shape[2]:
            room = -(-end // ROOM) * ROOM - held_keys.shape[2]
            held_keys, held_values = F.pad(held_keys, (0, 0, 0, room)), F.pad(held_values, (0, 0, 0, room))
            self._held[layer] = held_keys, held_values
        held_keys[:, :, start:end] = keys
        held_values[:, :, start:end] = values
        return held_keys[:, :, :end], held_values[:, :, :end]

    def advance(self, n_tokens: int) -> None:
        """Count tokens whose keys and values every layer now holds."""
        self.length += n_tokens

    def reorder(self, rows: Tensor) -> None:
        """Keep these rows, in this order; a row may be repeated or left out."""
        self._source = self._source[rows]
        self._held = [(keys[rows], values[rows]) for keys, values in self._held]

    def expand(self, n: int) -> None:
        """Repeat every row `n` times, copies side by side."""
        self.reorder(torch.arange(self.n_rows, device=self._source.device).repeat_interleave(n))


class Cache(Memory):
    """What a decoder remembers: keys and values of the recording, computed once, and of the tokens so far.

    `cross` holds (keys, values) of every layer, each (B, H, T, K); `cross_mask` is (B, 1, 1, T), True where a
    frame may be heard, or None where all may.
    """

    def __init__(self, cross: list[tuple[Tensor, Tensor]], cross_mask: Tensor | None = None) -> None:
        super().__init__(cross[0][0].shape[0], cross[0][0].device)
        self.cross = cross
        self.cross_mask = cross_mask

    def reorder(self, rows: Tensor) -> None:
        """Keep these rows, in this order; a row may be repeated or left out."""
        # Beams change places within their recording at every token; what they hear is large and stays.
        if not torch.equal(self._source[rows], self._source):
            self.cross = [(keys[rows], values[rows]) for keys, values in self.cross]
            self.cross_mask = None if self.cross_mask is None else self.cross_mask[rows]
        super().reorder(rows)
