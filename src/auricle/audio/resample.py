"""From any rate to the rate that a model wants, block by block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import soxr

# soxr's HQ keeps 20 bits (about 120 dB), below the noise of any recording; VHQ costs twice the time.
_QUALITY = "HQ"


def resampled(blocks: Iterable[tuple[np.ndarray, int]], sample_rate: int) -> Iterator[np.ndarray]:
    """Bring mono float32 blocks, each with its own rate, to one rate; the cuts leave no trace.

    Where the source changes its rate, the old filter is emptied and a new one begins. Blocks may be empty,
    and are the given ones where nothing needs converting.
    """
    stream, source_rate = None, sample_rate
    for block, rate in blocks:
        if rate != source_rate:
            if stream is not None:
                yield stream.resample_chunk(np.zeros(0, np.float32), last=True)
            same, source_rate = rate == sample_rate, rate
            stream = None if same else soxr.ResampleStream(rate, sample_rate, 1, "float32", _QUALITY)
        yield block if stream is None else stream.resample_chunk(block, last=False)
    if stream is not None:
        yield stream.resample_chunk(np.zeros(0, np.float32), last=True)
