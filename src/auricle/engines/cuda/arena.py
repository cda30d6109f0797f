"""Memory of fixed shapes that decoders lease: keys and values of the recordings and of the tokens so far.

An arena has room for some rows and frames. Smaller batches use its first rows, in shapes from `ROWS`, so that the
graphs captured on it serve every batch that comes. Two live steps never share an arena.

Dimension key: L layers, B rows there is room for, R rows in use, G heads of keys and values, P tokens there is room
for, T frames there is room for, K width of a head, D width, V vocabulary.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from collections.abc import Callable

import torch
from torch import Tensor

from auricle.engines.cuda.families import Layout

# Rows that fixed shapes have: at most a third of a shape is padding. Beyond the last come multiples of `MANY_ROWS`.
ROWS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
MANY_ROWS = 64

# Tokens that a captured step attends to; a decoder's own number of positions comes after these.
SPANS = (64, 128, 256)

# Idle arenas that are kept. One serves a run: it is as large as the largest batch so far. Another run at its side
# needs the second.
MOST_IDLE = 2


def rows_with_padding(n_rows: int) -> int:
    """The smallest number of rows a fixed shape has for `n_rows`."""
    if n_rows > ROWS[-1]:
        return -(-n_rows // MANY_ROWS) * MANY_ROWS
    return ROWS[bisect_left(ROWS, n_rows)]


def span_of(length: int, n_positions: int) -> int:
    """The smallest number of tokens a fixed shape attends to that holds `length`."""
    spans = [span for span in SPANS if span < n_positions] + [n_positions]
    return spans[bisect_left(spans, length)]


class Arena:
    """Tensors that stay where they are, and the graphs captured on them.

    `text` is (L, 2, B, G, P, K) and `cross` (L, 2, B, G, T, K), keys before values. `unheard` is (B, 1, 1, T), -inf
    where a row hears nothing, added to scores; None where every row hears all. What pads rows stays finite: a
    product with a weight of zero would otherwise not be zero.
    """

    def __init__(self, layout: Layout, n_rows: int, n_frames: int, device: torch.device, dtype: torch.dtype) -> None:
        L, G, K, P = layout.n_layers, layout.n_heads, layout.head_width, layout.n_positions
        self.layout = layout
        self.n_rows, self.n_frames = n_rows, n_frames
        self.text = torch.zeros(L, 2, n_rows, G, P, K, device=device, dtype=dtype)
        self.cross = torch.zeros(L, 2, n_rows, G, n_frames, K, device=device, dtype=dtype)
        hides = layout.hides_frames
        self.unheard = torch.zeros(n_rows, 1, 1, n_frames, device=device, dtype=dtype) if hides else None
        self.tokens = torch.zeros(n_rows, 1, device=device, dtype=torch.long)
        self.position = torch.zeros(1, device=device, dtype=torch.long)
        self.hidden = torch.zeros(n_rows, 1, layout.width, device=device)
        self.logits = torch.zeros(n_rows, 1, layout.vocabulary, device=device)
        # By (rows, tokens attended to, frames).
        self.graphs: dict[tuple[int, int, int], Callable[[], None]] = {}

    def hear(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Hold what (R, G, t, K) the first R rows hear in a layer."""
        n_rows, n_frames = keys.shape[0], keys.shape[2]
        for held, given in zip(self.cross[layer], (keys, values), strict=True):
            held[:n_rows, :, :n_frames] = given
            held[:n_rows, :, n_frames:] = 0

    def hide(self, lengths: Tensor) -> None:
        """Let each of the first R rows hear only its own frames (R,)."""
        if self.unheard is None:
            return
        frames = torch.arange(self.n_frames, device=lengths.device)
        outside = frames >= lengths[:, None, None, None]  # (R, 1, 1, T)
        self.unheard.zero_()
        self.unheard[: len(lengths)].masked_fill_(outside, -math.inf)

    def move_rows(self, source: Arena, rows: Tensor, length: int, with_recording: bool) -> None:
        """Take rows (R,) of an arena, this one or another, with `length` tokens; what they hear only if asked for."""
        n_rows, n_frames = len(rows), min(self.n_frames, source.n_frames)
        for held, given in zip(self.text.flatten(0, 1), source.text.flatten(0, 1), strict=True):
            held[:n_rows, :, :length] = given[:, :, :length].index_select(0, rows)
        if not with_recording:
            return
        for held, given in zip(self.cross.flatten(0, 1), source.cross.flatten(0, 1), strict=True):
            held[:n_rows, :, :n_frames] = given[:, :, :n_frames].index_select(0, rows)
        if self.unheard is not None and source.unheard is not None:
            unheard = source.unheard[:, :, :, :n_frames].index_select(0, rows)
            self.unheard[:, :, :, n_frames:] = -math.inf
            self.unheard[:n_rows, :, :, :n_frames] = unheard
            self.unheard[n_rows:] = 0  # what pads the rows hears all: softmax needs something


class Arenas:
    """Idle arenas of one engine."""

    def __init__(self, layout: Layout, device: torch.device, dtype: torch.dtype) -> None:
        self._layout, self._device, self._dtype = layout, device, dtype
        self._idle: list[Arena] = []
        # Re-entrant: a step that dies gives its arena back, and may die while another is taken.
        self._lock = threading.RLock()

    def take(self, n_rows: int, n_frames: int) -> Arena:
        """An arena with room for at least so many rows and frames, to be used by one alone until it is given back.

        Whisper's have exactly the frames of its window.
        """
        step = self._layout.frame_step
        n_rows, n_frames = rows_with_padding(n_rows), -(-n_frames // step) * step
        with self._lock:
            fitting = [one for one in self._idle if one.n_rows >= n_rows and self._holds(one, n_frames)]
            if fitting:
                arena = max(fitting, key=lambda one: one.n_rows)
                self._idle.remove(arena)
                arena.text.zero_()  # whatever went wrong in earlier rows stays theirs
                return arena
        try:
            return Arena(self._layout, n_rows, n_frames, self._device, self._dtype)
        except torch.OutOfMemoryError:
            self.clear()
            return Arena(self._layout, n_rows, n_frames, self._device, self._dtype)

    def give_back(self, arena: Arena) -> None:
        """Keep an arena for the next step, unless larger ones are idle already."""
        with self._lock:
            self._idle.append(arena)
            self._idle.sort(key=lambda one: one.n_rows * one.n_frames)
            del self._idle[:-MOST_IDLE]

    def clear(self) -> None:
        """Forget idle arenas and their graphs."""
        with self._lock:
            self._idle.clear()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _holds(self, arena: Arena, n_frames: int) -> bool:
        return arena.n_frames >= n_frames if self._layout.hides_frames else arena.n_frames == n_frames
