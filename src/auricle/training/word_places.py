"""Where the words of stored recordings are, told by a trained CTC model: what `splices.py` cuts by."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from auricle.checkpoints.tensors import load_tensors, read_tensors
from auricle.decoding.ctc import Token, align
from auricle.engines.cpu.ctc_search import aligned
from auricle.engines.cpu.native_library import kernels
from auricle.models.parakeet import ParakeetConfig, ParakeetCTC
from auricle.training.batches import make_batch
from auricle.training.precision import fast_dtype
from auricle.training.store import FeatureStore, Utterance
from auricle.training.text import ALPHABET

# Mean probability of the letters below which a text is not what is said, or the model does not hear it.
LEAST_PROBABILITY = 0.3
BATCH_FRAMES = 6000


def place_words(features: Path, checkpoint: Path, config: ParakeetConfig, target: Path) -> tuple[int, int]:
    """Write `target`: recording to (words + 1) shares of its length between its words; how many of how many.

    Each recording is aligned once, undisturbed where that is stored. What the model finds unlikely is left out.
    """
    store = FeatureStore(features)
    model = ParakeetCTC(config).eval()
    load_tensors(model, read_tensors(checkpoint), where=str(checkpoint))
    chosen: dict[str, Utterance] = {}
    for utterance in store.select("train"):
        if utterance.text and (utterance.variant == "clean" or utterance.source not in chosen):
            chosen[utterance.source] = utterance
    found: dict[str, list[float]] = {}
    for group in _groups(sorted(chosen.values(), key=lambda one: one.n_frames)):
        batch = make_batch(store, group, group[-1].n_frames, None)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=fast_dtype() == torch.bfloat16):
            logits, frames = model(batch.features, batch.lengths)
        log_probs = logits.float().log_softmax(-1).double().numpy()
        for utterance, row, n_frames in zip(group, log_probs, frames.tolist(), strict=True):
            places = places_of(utterance.text, row[:n_frames])
            if places is not None:
                found[utterance.source] = [round(place, 5) for place in places]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.with_suffix(".part").write_text(json.dumps(found), encoding="utf-8")
    target.with_suffix(".part").replace(target)
    return len(found), len(chosen)


def places_of(text: str, log_probs: np.ndarray) -> list[float] | None:
    """Where words begin and end in (T, V) log-probabilities, as shares of T: midway between the letters about a space.

    None where the letters are too unlikely, or too many.
    """
    ids = [ALPHABET.index(letter) for letter in text]
    n_repeats = sum(one == other for one, other in pairwise(ids))
    if len(ids) + n_repeats > len(log_probs):
        return None
    tokens = align(log_probs, ids, len(ALPHABET), aligned if kernels() is not None else None)
    if np.mean([token.probability for token in tokens]) < LEAST_PROBABILITY:
        return None
    return [0.0, *(place / len(log_probs) for place in _between(tokens, text)), 1.0]


def _between(tokens: Sequence[Token], text: str) -> list[float]:
    return [(tokens[index - 1].end + tokens[index + 1].start) / 2 for index, letter in enumerate(text) if letter == " "]


def _groups(utterances: Sequence[Utterance]) -> list[list[Utterance]]:
    groups: list[list[Utterance]] = []
    for utterance in utterances:
        if not groups or (len(groups[-1]) + 1) * utterance.n_frames > BATCH_FRAMES:
            groups.append([])
        groups[-1].append(utterance)
    return groups
