"""Word error rate of a run's averaged weights on stored features: what draws the learning curve."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch

from auricle.decoding.ctc import greedy
from auricle.evaluation.wer import word_errors
from auricle.models.parakeet import ParakeetConfig, ParakeetCTC
from auricle.training.batches import make_batch
from auricle.training.store import FeatureStore, Utterance
from auricle.training.text import ALPHABET


def transcribe_stored(model: ParakeetCTC, store: FeatureStore, utterances: Sequence[Utterance]) -> list[str]:
    """The greedy text of each utterance, in order."""
    texts = []
    with torch.inference_mode():
        for utterance in utterances:
            batch = make_batch(store, [utterance], utterance.n_frames, None)
            logits, _ = model(batch.features, batch.lengths)
            tokens = greedy(logits[0].log_softmax(-1), len(ALPHABET)).tokens
            texts.append(" ".join("".join(ALPHABET[token.id] for token in tokens).split()))
    return texts


def score(
    weights: Path, config: ParakeetConfig, features: Path, split: str, n_most: int | None = None
) -> dict[str, float]:
    """Corpus to word error rate over the first `n_most` utterances of each corpus of a split."""
    store = FeatureStore(features)
    model = ParakeetCTC(config).eval()
    model.load_state_dict(torch.load(weights, weights_only=True))
    by_corpus: dict[str, list[Utterance]] = defaultdict(list)
    for utterance in store.select(split):
        by_corpus[utterance.corpus].append(utterance)
    rates = {}
    for corpus, utterances in by_corpus.items():
        chosen = utterances[:n_most]
        counts = word_errors([u.text for u in chosen], transcribe_stored(model, store, chosen))
        rates[corpus] = counts.rate
    return rates
