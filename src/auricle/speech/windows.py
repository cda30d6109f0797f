"""Cut a recording of any length into windows, overlapping or by voice, and say which frames of each window to keep.

All positions are whole samples and whole frames, so that nothing drifts: an overlapping window starts at a
multiple of `samples_per_frame`, and the frames kept of neighbouring windows touch without gap or overlap.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from auricle.errors import OptionError
from auricle.speech.stretches import Gap, stretches
from auricle.speech.voice import Region, VoiceOptions

# Without chunk_length_s: up to 40 s in one pass, where attention is still cheap; more in windows of 30 s, of
# which 5 s are shared with each neighbour.
WHOLE_S, WINDOW_S, STRIDE_S = 40.0, 30.0, 2.5
SHORTEST_S = 0.025  # what the front ends look at for their first frame; with less there is none


@dataclass(frozen=True)
class WindowPlan:
    """Lengths in samples, all multiples of `samples_per_frame`."""

    length: int  # of a window
    left: int  # overlap at its start, not kept except in the first window
    right: int  # overlap at its end, not kept except in the last window
    whole: int  # recordings up to this length are one window
    samples_per_frame: int


@dataclass(frozen=True)
class Window:
    """A stretch of a recording and the frames of it to keep."""

    samples: np.ndarray
    start: int  # samples from the start of the recording
    first_kept: int  # frame of the window
    end_kept: int | None  # frame, exclusive; None in the last window of a part, which keeps everything to its end
    origin: int = 0  # sample at which the part begins whose frames follow each other without a gap
    regions: tuple[Region, ...] | None = None  # where voice was detected; None where nobody looked


def plan_windows(
    chunk_length_s: float,
    stride_length_s: float | tuple[float, float] | None,
    sample_rate: int,
    samples_per_frame: int,
    whole_s: float = WHOLE_S,
) -> WindowPlan:
    """Turn seconds into a plan; lengths are rounded up to whole frames.

    `chunk_length_s` 0 is automatic. `stride_length_s` is what a window shares with its neighbours, on both
    sides or (left, right); None is a sixth of a given chunk on each side. Up to `whole_s` a recording is one window.

    Raises: OptionError if the strides leave nothing of a window, or are shorter than a frame.
    """
    chunk = chunk_length_s or WINDOW_S
    stride = stride_length_s
    if stride is None:
        stride = chunk / 6 if chunk_length_s else STRIDE_S
    left_s, right_s = stride if isinstance(stride, tuple) else (stride, stride)

    seconds = (chunk, left_s, right_s, whole_s)
    length, left, right, whole = (
        math.ceil(round(one * sample_rate) / samples_per_frame) * samples_per_frame for one in seconds
    )
    if left + right >= length:
        raise OptionError(
            f"stride_length_s={stride_length_s} leaves nothing of windows of {chunk:g} s; the left and right "
            "strides together must be shorter than chunk_length_s"
        )
    if min(left, right) < samples_per_frame:
        raise OptionError(
            f"stride_length_s={stride_length_s} is on a side shorter than one frame of "
            f"{samples_per_frame / sample_rate:g} s, so that frames at the seams would be lost; give more"
        )
    return WindowPlan(length, left, right, length if chunk_length_s else whole, samples_per_frame)


def cut(blocks: Iterable[np.ndarray], plan: WindowPlan) -> Iterator[Window]:
    """Cut a stream of mono blocks into windows; at least one, and the last may be short or empty.

    Holds no more than one window and one block.
    """
    parts: list[np.ndarray] = []
    n_held = start = 0
    for block in blocks:
        parts.append(block)
        n_held += len(block)
        # Only what lies beyond a full window proves that this window is not the last.
        while n_held > (plan.length if start else plan.whole):
            held = np.concatenate(parts) if len(parts) > 1 else parts[0]
            first_kept = plan.left // plan.samples_per_frame if start else 0
            end_kept = (plan.length - plan.right) // plan.samples_per_frame
            yield Window(held[: plan.length], start, first_kept, end_kept)
            step = plan.length - plan.left - plan.right
            parts = [held[step:]]
            n_held -= step
            start += step
    samples = np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)
    yield Window(samples, start, plan.left // plan.samples_per_frame if start else 0, None)


def cut_by_voice(blocks: Iterable[np.ndarray], sample_rate: int, options: VoiceOptions) -> Iterator[Window | Gap]:
    """Cut a stream into one window for every stretch of voice, each a part of its own, and the gaps between."""
    for found in stretches(blocks, sample_rate, options):
        if isinstance(found, Gap):
            yield found
        else:
            yield Window(found.samples, found.start, 0, None, found.start, found.regions)


def kept_frames(window: Window, n_frames: int) -> slice:
    """Return which of a window's `n_frames` frames to keep.

    Raises: OptionError if the model gives too few, since its front end looks further than the right stride.
    """
    if window.end_kept is not None and n_frames < window.end_kept:
        raise OptionError(
            f"a window of {len(window.samples)} samples gave {n_frames} frames, but {window.end_kept} are to "
            "be kept of it; give a longer stride_length_s"
        )
    return slice(window.first_kept, n_frames if window.end_kept is None else window.end_kept)
