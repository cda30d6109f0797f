"""The beam search of CTC models with a compact language model, in native code.

`auricle.decoding.ctc.BeamSearch` is the plain one that says what is right; both find the same text with the same score.

Dimension key: T frames, V entries of the vocabulary, S tokens.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from auricle.engines.cpu.native_library import kernels

_Pointer, _Int, _Int32 = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32
_ARRAYS = "words starts probability1 backoff1 first2 word2 probability2 backoff2 first3 word3 probability3".split()


class _NGram(ctypes.Structure):
    """`NGram` of native/ctc_search.cpp."""

    _fields_ = (
        *((name, _Pointer) for name in _ARRAYS),
        *((name, _Int32) for name in ("n_words", "start_word", "end_word")),
    )


class _Search(ctypes.Structure):
    """`Search` of native/ctc_search.cpp."""

    _fields_ = (
        *((name, _Pointer) for name in ("pieces", "piece_starts")),
        *((name, _Int) for name in ("n_entries", "blank", "space", "beam_width")),
        *((name, ctypes.c_double) for name in ("alpha", "beta", "unknown_penalty", "least_log_prob", "distance")),
    )


@dataclass(frozen=True)
class Weights:
    """What the search adds and prunes, as the fields of `auricle.decoding.ctc.BeamOptions`."""

    beam_width: int
    alpha: float
    beta: float
    unknown_penalty: float
    min_token_log_prob: float
    max_beam_distance: float


class CTCSearch:
    """Finds the best reading of log-probabilities; `fits` says for what."""

    def __init__(
        self,
        pieces: Sequence[str],
        blank: int,
        weights: Weights,
        arrays: Mapping[str, np.ndarray],
        words: tuple[int, int],
    ) -> None:
        """Take what each entry writes, the blank, and a compact model's arrays with its start and end word."""
        library = kernels()
        assert library is not None, "asked for only where kernels exist"
        self._function: Any = library.auricle_ctc_search
        if self._function.argtypes is None:
            self._function.argtypes = [_Pointer, _Int, _Pointer, _Pointer, _Pointer, _Pointer]
            self._function.restype = _Int
        # Kept: the structures hold pointers into these.
        self._held = {
            name: np.ascontiguousarray(arrays[name], np.float32 if arrays[name].dtype == np.float16 else None)
            for name in _ARRAYS
        }
        written = [piece.lower().encode() for piece in pieces]
        self._pieces = np.frombuffer(b"".join(written) + b"\0", np.uint8)
        self._starts = np.cumsum([0, *map(len, written)], dtype=np.int32)
        self._lm = _NGram(*(self._held[name].ctypes.data for name in _ARRAYS), len(arrays["starts"]) - 1, *words)
        space = pieces.index(" ") if " " in pieces else -2
        self._search = _Search(
            self._pieces.ctypes.data,
            self._starts.ctypes.data,
            len(pieces),
            blank,
            space,
            weights.beam_width,
            weights.alpha,
            weights.beta,
            weights.unknown_penalty,
            weights.min_token_log_prob,
            weights.max_beam_distance,
        )

    def __call__(self, log_probs: np.ndarray) -> tuple[list[int], float, float]:
        """Return the ids of the best reading of (T, V) float64, its score, and the language model's part of it.

        A model may have fewer outputs than the vocabulary has entries, or more, which write nothing.
        """
        n_entries = int(self._search.n_entries)
        lacking = ((0, 0), (0, max(0, n_entries - log_probs.shape[1])))
        frames = np.pad(log_probs[:, :n_entries], lacking, constant_values=-np.inf)
        frames = np.ascontiguousarray(frames, np.float64)
        ids, scores = np.zeros(len(frames) + 1, np.int32), np.zeros(2)
        n_ids = self._function(
            frames.ctypes.data,
            len(frames),
            ctypes.byref(self._lm),
            ctypes.byref(self._search),
            ids.ctypes.data,
            scores.ctypes.data,
        )
        return ids[:n_ids][::-1].tolist(), float(scores[0]), float(scores[1])


def aligned(log_probs: np.ndarray, ids: Sequence[int], blank: int) -> np.ndarray | None:
    """The states (T,) that `auricle.decoding.ctc.best_path` finds in (T, V) float64, None if there is no path."""
    library: Any = kernels()
    frames, wanted = np.ascontiguousarray(log_probs, np.float64), np.asarray(ids, np.int32)
    path = np.empty(len(frames), np.int32)
    lengths = _Int(len(frames)), _Int(frames.shape[1])
    given = (_Pointer(wanted.ctypes.data), _Int(len(wanted)), _Int32(blank), _Pointer(path.ctypes.data))
    return None if library.auricle_ctc_align(_Pointer(frames.ctypes.data), *lengths, *given) else path


def fits(pieces: Sequence[str]) -> bool:
    """Say whether native code can search this vocabulary: it divides words by spaces, and no piece is like a tag."""
    return kernels() is not None and any(" " in piece for piece in pieces) and not any("<" in one for one in pieces)
