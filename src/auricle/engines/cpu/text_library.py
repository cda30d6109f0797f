"""The C structures of native/text_decoder.cpp, and its functions, for numbers that live in torch tensors.

Dimension key: M tokens, D width, K width of a head, V vocabulary.
"""

from __future__ import annotations

import ctypes
from typing import Any

from auricle.engines.cpu.draft_library import Int8Weights
from auricle.engines.cpu.native_library import kernels

_Pointer = ctypes.c_void_p
_Int = ctypes.c_int64
NORMS = ("input_norm", "attention_norm", "forward_norm", "output_norm", "query_norm", "key_norm")
PRODUCTS = ("qkv", "out", "gate_up", "down")


class TextLayer(ctypes.Structure):
    """`TextLayer`."""

    _fields_ = (
        *((name, _Pointer) for name in (*NORMS, "turns")),
        ("window", _Int),
        *((name, Int8Weights) for name in PRODUCTS),
    )


class TextModel(ctypes.Structure):
    """`TextModel`."""

    _fields_ = (
        *((name, _Int) for name in ("n_layers", "heads", "groups", "width", "d", "ffn", "vocabulary")),
        *((name, ctypes.c_float) for name in ("eps", "scale", "score_limit", "logit_limit")),
        ("activation", ctypes.c_int32),
        *((name, _Pointer) for name in ("layers", "norm")),
        ("logits", Int8Weights),
    )


class TextToken(ctypes.Structure):
    """`TextToken`."""

    _fields_ = (*((name, _Pointer) for name in ("keys", "values")), *((name, _Int) for name in ("room", "place")))


def library() -> Any:
    """The kernels, with the types of their arguments declared."""
    found = kernels()
    assert found is not None, "asked for only where kernels exist"
    function = found.auricle_read_text
    if function.argtypes is None:
        function.argtypes = [_Pointer, _Pointer, _Int, _Pointer, _Pointer, _Int, _Pointer, _Pointer, _Int]
        function.restype = None
    return found
