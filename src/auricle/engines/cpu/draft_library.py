"""The C structures of native/whisper_draft.cpp, and its functions, for numbers that live in torch tensors.

Dimension key: N outputs, K inputs, M rows, R rows of a cache, V vocabulary.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from auricle.engines.cpu.memory import Block, room_for
from auricle.engines.cpu.native_library import kernels
from auricle.engines.cpu.products import Shape
from auricle.text.tokenizer import N_TIMESTAMPS

FRAMES = 16  # decoder_attention.h: the recording's keys lie in blocks of this many frames
K_STEP = 32  # int8.h: inputs are padded to a multiple of this

_Pointer = ctypes.c_void_p
_Int = ctypes.c_int64


class Written(Protocol):
    """What a row has written, as far as a grammar depends on it."""

    n_counted: int
    n_new: int
    last_is_timestamp: bool
    one_before_is_timestamp: bool
    newest: int


class Grammar(Protocol):
    """Which tokens may follow."""

    eos: int
    banned: tuple[int, ...]
    blank: tuple[int, ...]
    timestamp_begin: int | None
    no_timestamps: int
    max_initial: int | None


class Norm(ctypes.Structure):
    """`Norm`."""

    _fields_ = (("weight", _Pointer), ("bias", _Pointer))


class Int8Weights(ctypes.Structure):
    """`Int8Weights` of int8.h."""

    _fields_ = (
        *((name, _Pointer) for name in ("values", "scales", "bias")),
        *((name, _Int) for name in ("n", "k", "padded")),
    )


class DraftLayer(ctypes.Structure):
    """`DraftLayer`."""

    _fields_ = (
        *((name, Norm) for name in ("self_norm", "cross_norm", "final_norm")),
        *((name, Int8Weights) for name in ("qkv", "self_out", "cross_query", "cross_out", "fc1", "fc2")),
    )


class DraftModel(ctypes.Structure):
    """`DraftModel`."""

    _fields_ = (
        *((name, _Int) for name in ("n_layers", "heads", "width", "ffn", "vocabulary")),
        *((name, _Pointer) for name in ("layers", "tokens", "positions")),
        ("norm", Norm),
        ("logits", Int8Weights),
    )


class CrossCache(ctypes.Structure):
    """`CrossCache` of decoder_attention.h."""

    _fields_ = tuple((name, _Pointer) for name in ("keys8", "values8", "key_scales", "value_scales"))


class DraftCache(ctypes.Structure):
    """`DraftCache`."""

    _fields_ = (
        *((name, _Int) for name in ("rows", "room", "frames")),
        *((name, _Pointer) for name in ("tokens", "cross", "source")),
    )


class RowState(ctypes.Structure):
    """`RowState` of whisper_rules.h."""

    _fields_ = tuple(
        (name, ctypes.c_int32) for name in ("n_generated", "n_new", "last_is_stamp", "one_before_is_stamp", "newest")
    )


class DraftRow(ctypes.Structure):
    """`DraftRow`."""

    _fields_ = (*((name, _Int) for name in ("row", "position", "token", "room")), ("state", RowState))


class Rules(ctypes.Structure):
    """`Rules` of whisper_rules.h."""

    _fields_ = (
        *((name, _Pointer) for name in ("banned", "blank")),
        *((name, _Int) for name in ("vocabulary", "eos", "timestamp_begin", "timestamp_end", "latest_first")),
    )


@dataclass(frozen=True)
class Table:
    """A grammar as `Rules`, with the tensors that they point to."""

    rules: Rules
    tensors: tuple[Tensor, ...]


def table_of(grammar: Grammar, vocabulary: int) -> Table:
    """Write a grammar out over the vocabulary."""
    banned = _marks(grammar.banned, vocabulary)
    blank = _marks(grammar.blank, vocabulary)
    begin, end, latest = vocabulary, vocabulary, -1
    if grammar.timestamp_begin is not None:
        begin = grammar.timestamp_begin
        end = min(begin + N_TIMESTAMPS, vocabulary)
        banned[grammar.no_timestamps] = -math.inf
        latest = -1 if grammar.max_initial is None else grammar.max_initial
    pointer = pointer_to(blank) if grammar.blank else None
    rules = Rules(pointer_to(banned), pointer, vocabulary, grammar.eos, begin, end, latest)
    return Table(rules, (banned, blank))


def _marks(ids: Sequence[int], vocabulary: int) -> Tensor:
    marks = torch.zeros(vocabulary)
    marks[[id for id in ids if 0 <= id < vocabulary]] = -math.inf
    return marks


def state_of(written: Written) -> RowState:
    """What a row has written, as the kernels read it."""
    return RowState(
        written.n_counted,
        written.n_new,
        written.last_is_timestamp,
        written.one_before_is_timestamp,
        written.newest,
    )


def pointer_to(tensor: Tensor) -> int:
    """The address of a contiguous tensor's first number; whoever asks keeps the tensor alive."""
    assert tensor.is_contiguous(), "kernels read whole tensors"
    return tensor.data_ptr()


def norm_of(module: Any, keep: list[Tensor]) -> Norm:
    """A layer norm's weight and bias."""
    weight, bias = module.weight.detach().float().contiguous(), module.bias.detach().float().contiguous()
    keep += [weight, bias]
    return Norm(pointer_to(weight), pointer_to(bias))


def int8_of(
    weight: Tensor, bias: Tensor | None, keep: list[Tensor], block: Block | None = None, for_draft: bool = False
) -> Int8Weights:
    """Weights (N, K) scaled to 8 bits, one scale for each output; in a block of memory, where one is given.

    They lie (N, padded K), or as `auricle_draft` reads them.
    """
    weight = weight.detach().float().contiguous()
    n, k = weight.shape
    shape = _int8_shape(n, k, for_draft)
    values = torch.empty(shape, dtype=torch.int8) if block is None else block.take(shape, torch.int8)
    scales = torch.empty(n)
    library().auricle_pack_int8(
        pointer_to(weight), _Int(n), _Int(k), _Int(shape[1]), for_draft, pointer_to(values), pointer_to(scales)
    )
    keep += [values, scales]
    if bias is None:
        return Int8Weights(pointer_to(values), pointer_to(scales), None, n, k, shape[1])
    bias = bias.detach().float().contiguous()
    keep.append(bias)
    return Int8Weights(pointer_to(values), pointer_to(scales), pointer_to(bias), n, k, shape[1])


def int8_room(weights: Sequence[Tensor], for_draft: bool = False) -> int:
    """Bytes that weights (N, K) take in 8 bits."""
    return sum(room_for(_int8_shape(len(one), one.shape[1], for_draft), torch.int8) for one in weights)


def _int8_shape(n: int, k: int, for_draft: bool) -> tuple[int, int]:
    n_step, k_step = (library().auricle_draft_n_step(), library().auricle_draft_k_step()) if for_draft else (1, K_STEP)
    return -(-n // n_step) * n_step, -(-k // k_step) * k_step


def stacked(*linears: nn.Linear) -> tuple[Tensor, Tensor]:
    """Several linear layers of one input as one: the weights and biases on top of each other, no bias as zeros."""
    weights = torch.cat([one.weight.detach().float() for one in linears])
    parts = [torch.zeros(one.out_features) if one.bias is None else one.bias.detach().float() for one in linears]
    return weights, torch.cat(parts)


def library() -> Any:
    """The kernels, with the types of their arguments declared."""
    found = kernels()
    assert found is not None, "asked for only where kernels exist"
    if found.auricle_draft.argtypes is None:
        _declare(found)
    return found


def _declare(found: Any) -> None:
    half = ctypes.c_int32
    for name in ("auricle_draft_n_step", "auricle_draft_k_step"):
        getattr(found, name).restype = _Int
    signatures = {
        "auricle_pack_int8": [_Pointer, _Int, _Int, _Int, ctypes.c_int32, _Pointer, _Pointer],
        "auricle_pack_small": [_Pointer, *[_Int] * 4, *[_Pointer] * 4],
        "auricle_pack_precise": [_Pointer, *[_Int] * 4, half, _Pointer, _Pointer],
        "auricle_attend_cross": [*[_Pointer] * 3, *[_Int] * 4, half, *[_Pointer] * 3],
        "auricle_attend_tokens": [*[_Pointer] * 3, *[_Int] * 5, _Pointer, _Pointer],
        "auricle_choose": [_Pointer, _Int, *[_Pointer] * 4],
        "auricle_draft": [*[_Pointer] * 4, _Int, _Int, ctypes.c_float, _Pointer, _Pointer],
    }
    for name, arguments in signatures.items():
        function = getattr(found, name)
        function.argtypes, function.restype = arguments, None


class FloatKeysValues:
    """A layer's keys and values in floating point, in memory of the `shapes`. See decoder_attention.h."""

    dtype = torch.float32

    def __init__(self, n_frames: int, n_heads: int, width: int, memory: Sequence[Tensor]) -> None:
        self._sizes, self._memory = (n_frames, n_heads, width // n_heads), memory

    def keep(self, row: int, both: Tensor) -> None:
        """As `PackedKeysValues`."""
        memory = (pointer_to(one[row]) for one in self._memory)
        library().auricle_pack_precise(pointer_to(both), 1, *self._sizes, self._is_half(), *memory)

    @classmethod
    def shapes(cls, n_rows: int, n_frames: int, width: int, n_heads: int) -> list[Shape]:
        """As `PackedKeysValues`."""
        padded = -(-n_frames // FRAMES) * FRAMES
        one: Shape = (n_rows, n_heads, padded * width // n_heads), cls.dtype
        return [one, one]

    def attend(self, q: Tensor, first: Tensor, source: Tensor, y: Tensor) -> None:
        """As `PackedKeysValues`."""
        rows = *(pointer_to(one) for one in (q, first, source)), len(source)
        memory = (pointer_to(one) for one in (*self._memory, y))
        library().auricle_attend_cross(*rows, *self._sizes, self._is_half(), *memory)

    @classmethod
    def _is_half(cls) -> bool:
        return cls.dtype == torch.float16


class HalfKeysValues(FloatKeysValues):
    """The same in float16."""

    dtype = torch.float16
