"""What Whisper's decoder reads of a recording: keys and values of all layers, in 8 bits for drafts and precisely.

Dimension key: `R` recordings, `M` tokens of a pass, `T` encoder frames, `D` width, `H` heads, `K` width of a head.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from auricle.engines.cpu import draft_library as c
from auricle.engines.cpu.memory import Block, room_for
from auricle.engines.cpu.modules_products import Product
from auricle.engines.cpu.packed_attention import Shape

FRAMES = 16  # decoder_attention.h: keys lie in blocks of this many frames


class KeysValues(Protocol):
    """A layer's keys and values of some recordings, for queries that come later."""

    def __init__(self, n_frames: int, n_heads: int, width: int, memory: Sequence[Tensor]) -> None: ...

    @classmethod
    def shapes(cls, n_rows: int, n_frames: int, width: int, n_heads: int) -> list[Shape]:
        """Of the memory that keys and values take."""
        ...

    def keep(self, row: int, both: Tensor) -> None:
        """Take a recording's keys and values (1, T, 2 D), float32."""
        ...

    def attend(self, q: Tensor, first: Tensor, source: Tensor, y: Tensor) -> None:
        """Attention of queries (M, D), float32 and sorted by row, to `y` (M, D).

        `first` (rows + 1,) says where each row's queries begin, and a row hears the recording `source` (rows,).
        """
        ...


class Recording:
    """Keys and values that each layer's product makes of the encoder's states (R, T, D).

    `kind` keeps the precise ones; `lend` gives memory, and `give_back` takes it when nobody reads it any more.
    """

    def __init__(
        self,
        states: Tensor,
        products: Sequence[Product],
        n_heads: int,
        kind: type[KeysValues],
        lend: Callable[[int], Block],
        give_back: Callable[[Block], None],
    ) -> None:
        states = states.float().contiguous()
        n_rows, self.n_frames, d = states.shape
        padded, width = -(-self.n_frames // FRAMES) * FRAMES, d // n_heads
        small: list[Shape] = [((n_rows, n_heads, padded * width), torch.int8)] * 2 + [((n_rows, d), torch.float32)] * 2
        exact = kind.shapes(n_rows, self.n_frames, d, n_heads)
        block = lend(len(products) * sum(room_for(*shape) for shape in (*small, *exact)))
        weakref.finalize(self, give_back, block)
        self.layers: list[KeysValues] = []
        self._small: list[list[Tensor]] = []
        for product in products:
            in_8_bits = [block.take(*shape) for shape in small]
            precise = kind(self.n_frames, n_heads, d, [block.take(*shape) for shape in exact])
            # One at a time stays in the processor's caches.
            for row in range(n_rows):
                both = product(states[row : row + 1]).float()  # (1, T, 2 D)
                sizes = c.pointer_to(both), 1, self.n_frames, n_heads, width
                c.library().auricle_pack_small(*sizes, *(c.pointer_to(one[row]) for one in in_8_bits))
                precise.keep(row, both)
            self._small.append(in_8_bits)
            self.layers.append(precise)
        self.draft = (c.CrossCache * len(products))(
            *(c.CrossCache(*(c.pointer_to(one) for one in layer)) for layer in self._small)
        )


class FloatKeysValues:
    """A layer's keys and values in floating point, in memory of the `shapes`. See decoder_attention.h."""

    dtype = torch.float32

    def __init__(self, n_frames: int, n_heads: int, width: int, memory: Sequence[Tensor]) -> None:
        self._sizes, self._memory = (n_frames, n_heads, width // n_heads), memory

    def keep(self, row: int, both: Tensor) -> None:
        """As `KeysValues`."""
        memory = (c.pointer_to(one[row]) for one in self._memory)
        c.library().auricle_pack_precise(c.pointer_to(both), 1, *self._sizes, self._is_half(), *memory)

    @classmethod
    def shapes(cls, n_rows: int, n_frames: int, width: int, n_heads: int) -> list[Shape]:
        """As `KeysValues`."""
        padded = -(-n_frames // FRAMES) * FRAMES
        one: Shape = (n_rows, n_heads, padded * width // n_heads), cls.dtype
        return [one, one]

    def attend(self, q: Tensor, first: Tensor, source: Tensor, y: Tensor) -> None:
        """As `KeysValues`."""
        rows = *(c.pointer_to(one) for one in (q, first, source)), len(source)
        memory = (c.pointer_to(one) for one in (*self._memory, y))
        c.library().auricle_attend_cross(*rows, *self._sizes, self._is_half(), *memory)

    @classmethod
    def _is_half(cls) -> bool:
        return cls.dtype == torch.float16


class HalfKeysValues(FloatKeysValues):
    """The same in float16."""

    dtype = torch.float16
