"""Two views of an arena, each a cache as the models' decoder layers use it.

Dimension key: R rows in use, G heads of keys and values, S new tokens, P tokens held, T frames, K width of a head.
"""

from __future__ import annotations

from torch import Tensor

from auricle.engines.cuda.arena import Arena


class GrowingCache:
    """Any number of new tokens, for a model's own decoder: `length` is a number, and what is attended to grows."""

    def __init__(self, arena: Arena, n_rows: int, n_frames: int, length: int) -> None:
        self.n_rows = n_rows
        self.length = length
        self._text = arena.text[:, :, :n_rows]  # (L, 2, R, G, P, K)
        self.cross, self.cross_mask = _heard(arena, n_rows, n_frames)

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Hold a layer's (R, G, S, K) of new tokens; all that layer holds, (R, G, P + S, K)."""
        end = self.length + keys.shape[2]
        held_keys, held_values = self._text[layer]
        held_keys[:, :, self.length : end] = keys
        held_values[:, :, self.length : end] = values
        return held_keys[:, :, :end], held_values[:, :, :end]

    def advance(self, n_tokens: int) -> None:
        """Count tokens whose keys and values every layer now holds."""
        self.length += n_tokens


class FixedCache:
    """One new token, at the place that the arena's `position` says: no shape ever changes."""

    def __init__(self, arena: Arena, n_rows: int, n_frames: int, span: int) -> None:
        self._text = arena.text[:, :, :n_rows, :, :span]  # (L, 2, R, G, span, K)
        self._position = arena.position
        self.cross, self.cross_mask = _heard(arena, n_rows, n_frames)

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Hold a layer's (R, G, 1, K) of the new token; (R, G, span, K), of which a mask hides what is to come."""
        held_keys, held_values = self._text[layer]
        held_keys.index_copy_(2, self._position, keys.to(held_keys.dtype))
        held_values.index_copy_(2, self._position, values.to(held_values.dtype))
        return held_keys, held_values


def _heard(arena: Arena, n_rows: int, n_frames: int) -> tuple[list[tuple[Tensor, Tensor]], Tensor | None]:
    """Per layer the (R, G, T, K) keys and values of the recordings, and what is added to scores, (R, 1, 1, T)."""
    cross = [(keys, values) for keys, values in arena.cross[:, :, :n_rows, :, :n_frames]]
    return cross, None if arena.unheard is None else arena.unheard[:n_rows, :, :, :n_frames]
