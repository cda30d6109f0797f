"""Drawing tokens: what may be drawn, in transformers' order, and the draw itself.

Each warper takes (B, V) logits and gives them back with the tokens that are out of the running at -inf; at least
`keep` of a row stay, where as many were in it.

Dimension key: `B` rows, `K` rows of a prompt, `V` vocabulary.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from auricle.decoding.options import GenerateOptions

# (B, V) logits in, new (B, V) logits out.
Warper = Callable[[Tensor], Tensor]


def warpers(options: GenerateOptions, keep: int = 1) -> list[Warper]:
    """What changes the logits before a draw, in the order in which transformers applies it.

    Beams `keep` two tokens, so that one may end and another go on. Source: transformers generation/utils.py,
    `_get_logits_processor`.
    """
    found: list[Warper] = []
    temperature = options.sampling_temperature
    if temperature != 1.0:
        found.append(lambda logits: logits / temperature)
    if options.top_k > 0:
        found.append(top_k(options.top_k, keep))
    if options.top_p < 1.0:
        found.append(top_p(options.top_p, keep))
    if options.min_p > 0.0:
        found.append(min_p(options.min_p, keep))
    if options.typical_p < 1.0:
        found.append(typical(options.typical_p, keep))
    if options.epsilon_cutoff > 0.0:
        found.append(epsilon(options.epsilon_cutoff, keep))
    if options.eta_cutoff > 0.0:
        found.append(eta(options.eta_cutoff, keep))
    return found


def top_k(k: int, keep: int = 1) -> Warper:
    """Keep the k most probable tokens, and those as probable as the last of them."""

    def apply(logits: Tensor) -> Tensor:
        return logits.masked_fill(logits < _lowest_of_best(logits, max(k, keep)), -math.inf)

    return apply


def top_p(mass: float, keep: int = 1) -> Warper:
    """Keep the most probable tokens until together they have this probability.

    Source: Holtzman et al. 2019, "The Curious Case of Neural Text Degeneration", section 3.1.
    """

    def apply(logits: Tensor) -> Tensor:
        ascending, order = logits.sort(-1)
        out = ascending.softmax(-1).cumsum(-1) <= 1 - mass  # (B, V) of the improbable tail
        out[:, -keep:] = False
        return logits.masked_fill(out.scatter(1, order, out), -math.inf)

    return apply


def min_p(share: float, keep: int = 1) -> Warper:
    """Keep the tokens that are at least this share as probable as the most probable one.

    Source: Nguyen et al. 2024, "Turning Up the Heat: Min-p Sampling" (arXiv 2407.01082), section 3.
    """

    def apply(logits: Tensor) -> Tensor:
        probabilities = logits.softmax(-1)
        out = probabilities < share * probabilities.amax(-1, keepdim=True)
        return logits.masked_fill(out & (logits < _lowest_of_best(logits, keep)), -math.inf)

    return apply


def typical(mass: float, keep: int = 1) -> Warper:
    """Keep the tokens whose surprise is nearest to the expected one until together they have this probability.

    Source: Meister et al. 2022, "Locally Typical Sampling" (arXiv 2202.00666), section 3.
    """

    def apply(logits: Tensor) -> Tensor:
        log_probs = logits.log_softmax(-1)
        entropy = -(log_probs * log_probs.exp()).nansum(-1, keepdim=True)  # (B, 1)
        distance, order = (-log_probs - entropy).abs().sort(-1)  # (B, V)
        n_below = (logits.gather(1, order).softmax(-1).cumsum(-1) < mass).sum(-1, keepdim=True)  # (B, 1)
        out = distance > distance.gather(1, n_below.clamp(max=logits.shape[1] - 1))
        out[:, :keep] = False
        return logits.masked_fill(out.scatter(1, order, out), -math.inf)

    return apply


def epsilon(cutoff: float, keep: int = 1) -> Warper:
    """Keep the tokens that are at least this probable.

    Source: Hewitt et al. 2022, "Truncation Sampling as Language Model Desmoothing" (arXiv 2210.15191), section 4.
    """

    def apply(logits: Tensor) -> Tensor:
        out = (logits.softmax(-1) < cutoff) & (logits < _lowest_of_best(logits, keep))
        return logits.masked_fill(out, -math.inf)

    return apply


def eta(cutoff: float, keep: int = 1) -> Warper:
    """Keep the tokens that are at least this probable, or as probable as a flat distribution can expect.

    The limit is min(cutoff, sqrt(cutoff) · exp(-entropy)). Source: Hewitt et al. 2022 (arXiv 2210.15191), section 4.
    """

    def apply(logits: Tensor) -> Tensor:
        probabilities = logits.softmax(-1)
        entropy = torch.special.entr(probabilities).sum(-1, keepdim=True)  # (B, 1)
        limit = (math.sqrt(cutoff) * (-entropy).exp()).clamp(max=cutoff)
        out = (probabilities < limit) & (logits < _lowest_of_best(logits, keep))
        return logits.masked_fill(out, -math.inf)

    return apply


def _lowest_of_best(logits: Tensor, k: int) -> Tensor:
    return logits.topk(min(k, logits.shape[1])).values[:, -1:]  # (B, 1)


def seeded(seed: int) -> torch.Generator:
    """A generator of its own that begins with a seed."""
    # Where the parts of torch wait that a command need not load, this one must be there first.
    importlib.import_module("torch._prims.rng_prims")
    return torch.Generator().manual_seed(seed)


def draw(logits: Tensor, warp: Sequence[Warper], n_each: int, generators: Sequence[torch.Generator]) -> Tensor:
    """One token for each of (B, V) rows, the first `n_each` by the first generator and so on.

    The cumulative distribution is inverted at one uniform number.
    """
    device = logits.device
    logits = logits.cpu() if device.type == "mps" else logits  # which has no float64
    # Probabilities below float32's precision would round away in a float32 sum over a large vocabulary.
    logits = logits.double()
    for change in warp:
        logits = change(logits)
    uniform = [torch.rand(n_each, generator=one, dtype=torch.float64) for one in generators]
    distribution = logits.softmax(-1).cumsum(-1)  # (B, V)
    targets = torch.cat(uniform)[:, None].to(logits.device) * distribution[:, -1:]  # (B, 1)
    return torch.searchsorted(distribution, targets, right=True)[:, 0].clamp_(max=logits.shape[1] - 1).to(device)


def draw_one(logits: Tensor, warp: Sequence[Warper], most: int, generator: torch.Generator) -> int:
    """The token that `draw` gives for one row of (V,) logits; `most` above 0 says that warpers keep the best so many.

    Only those are then looked at, in the order of the vocabulary: a large one is not sorted and summed for each token.
    """
    if not 0 < most < len(logits):
        return int(draw(logits[None], warp, 1, [generator]))
    lowest = logits.topk(most).values[-1]
    candidates = (logits >= lowest).nonzero()[:, 0]  # (n,), ties included
    return int(candidates[draw(logits[None, candidates], warp, 1, [generator])])


def gumbel_noise(n_each: int, generators: Sequence[torch.Generator], device: torch.device) -> Tensor:
    """Noise (R, n_each): the largest k of log-probabilities with it are k draws without replacement, in order.

    Source: Kool et al. 2019, "Stochastic Beams and Where to Find Them" (arXiv 1903.06059), section 2.3.
    """
    rows = [-torch.empty(n_each).exponential_(generator=one).log() for one in generators]
    return torch.stack(rows).to(device)
