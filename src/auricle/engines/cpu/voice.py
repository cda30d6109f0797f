"""The detector of voices by native code: `auricle.audio.vad` says what is right; both give the same but for rounding.

Arrays are those of `auricle.audio.vad.FastFrames`.
"""

from __future__ import annotations

import ctypes
from functools import cache, partial
from typing import Any, ClassVar

import numpy as np

from auricle.audio import vad
from auricle.audio.vad import FastFrames, VoiceProbabilities
from auricle.engines.cpu.native_library import kernels

_Pointer, _Int = ctypes.c_void_p, ctypes.c_int64
_floats = np.ctypeslib.ndpointer(np.float32, flags="C_CONTIGUOUS")
_doubles = np.ctypeslib.ndpointer(np.float64, flags="C_CONTIGUOUS")
_LAYERS = [f"{what}{place}" for place in range(1, 5) for what in ("weight", "bias")]
_ARRAYS = ("window", *_LAYERS, "input_weight", "gate_bias", "state_weight", "out_weight")


class _VoiceNetwork(ctypes.Structure):
    """`VoiceNetwork` of native/voice.cpp."""

    _fields_ = (
        *((name, _Pointer) for name in _ARRAYS),
        *((name, ctypes.c_float) for name in ("out_bias", "most_gain", "target_level", "smoothing", "fall")),
    )


@cache
def native_frames() -> FastFrames | None:
    """The native function with the detector's weights, which all streams share; None where there are no kernels."""
    library: Any = kernels()
    if library is None:
        return None
    library.auricle_voice_gates.restype = _Int
    network = vad.network()
    input_weight, state_weight, input_bias, state_bias = network.recurrent.all_weights[0]
    tensors = [
        network.window,
        network.first_weight,
        network.first_bias,
        *(tensor for layer in network.layers for tensor in layer),
        input_weight,
        input_bias + state_bias,
        # As many gates side by side as are summed at a time.
        state_weight.unflatten(0, (-1, library.auricle_voice_gates())).transpose(1, 2),
        network.out_weight,
    ]
    arrays = [np.ascontiguousarray(tensor.numpy(), np.float32) for tensor in tensors]
    gains = vad.MOST_GAIN, vad.TARGET_LEVEL, vad.LEVEL_SMOOTHING, vad.LEVEL_FALL
    given = _VoiceNetwork(*(array.ctypes.data for array in arrays), float(network.out_bias), *gains)
    given.held = arrays  # it holds pointers into them
    function = library.auricle_voice
    function.argtypes = [ctypes.POINTER(_VoiceNetwork), _floats, _Int, ctypes.c_int32, _doubles, _floats, _floats]
    function.restype = None
    return partial(function, given)


class FastVoiceProbabilities(VoiceProbabilities):
    """`VoiceProbabilities`, by native code where there are kernels for this processor."""

    fast_frames: ClassVar[Any] = staticmethod(native_frames)
