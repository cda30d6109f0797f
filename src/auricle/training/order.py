"""In which order examples are learned: batches of like length, each a fixed sum of seconds, anew in every epoch.

An epoch's order depends on the seed, its number and the examples' lengths alone, so that any place in it can be found
again.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

# Examples among which those of like length are put together: more would make the epochs alike, fewer more padding.
POOL_BATCHES = 50


def batches_of_epoch(durations: Sequence[float], batch_seconds: float, seed: int, epoch: int) -> list[list[int]]:
    """Places of the examples, grouped: a group's padded length is within `batch_seconds`, or it is a single example."""
    generator = torch.Generator().manual_seed(derived_seed(seed, epoch))
    order = torch.randperm(len(durations), generator=generator).tolist()
    mean = sum(durations) / max(1, len(durations))
    pool = max(1, int(POOL_BATCHES * batch_seconds / max(mean, 1e-6)))
    groups: list[list[int]] = []
    for start in range(0, len(order), pool):
        groups += pack(
            sorted(order[start : start + pool], key=lambda at: (durations[at], at)), durations, batch_seconds
        )
    return [groups[at] for at in torch.randperm(len(groups), generator=generator).tolist()]


def pack(places: Sequence[int], durations: Sequence[float], batch_seconds: float) -> list[list[int]]:
    """Divide places, sorted by duration, into groups whose longest times their number is within `batch_seconds`."""
    groups: list[list[int]] = []
    for place in places:
        if groups and (len(groups[-1]) + 1) * durations[place] <= batch_seconds:
            groups[-1].append(place)
        else:
            groups.append([place])
    return groups


def derived_seed(*numbers: int) -> int:
    """One seed of several numbers, far from those of their neighbours.

    Source: the mixing of SplitMix64, Steele et al. 2014.
    """
    mixed = 0x9E3779B97F4A7C15
    for number in numbers:
        mixed = (mixed ^ (number + 0x9E3779B97F4A7C15)) & (2**64 - 1)
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
        mixed ^= mixed >> 31
    return mixed & (2**63 - 1)
