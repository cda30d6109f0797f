"""Batches of similar length, augmented afresh in every epoch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from auricle.audio.parakeet_mel import ParakeetFeatures
from auricle.training.augment import mask_spectrum, stretch_and_warp
from auricle.training.splices import Piece, Splicer, WordPlaces
from auricle.training.store import FeatureStore, Utterance
from auricle.training.teacher import TeacherStates
from auricle.training.text import ALPHABET

BUCKET_FRAMES = 100  # one second


@dataclass(frozen=True)
class Batch:
    """B utterances of F feature frames and up to S labels."""

    features: Tensor  # (B, F, M) float32, normalised
    lengths: Tensor  # (B,) frames
    labels: Tensor  # (total labels,) all rows one after another
    label_lengths: Tensor  # (B,); 0 where what is said is unknown
    states: Sequence[Tensor | None] = ()  # B teacher's states of the undisturbed recordings, (any number of frames, D)


def pack(
    utterances: Sequence[Utterance], max_frames: int, generator: torch.Generator, shortest_first: bool = False
) -> list[tuple[int, list[Utterance]]]:
    """Group utterances of similar length: (padded length, members), groups in random order.

    Padded lengths are whole seconds and every group but the last fills `max_frames`, so that few shapes occur: a
    matrix library prepares its kernels once for each.
    """
    buckets: dict[int, list[Utterance]] = defaultdict(list)
    for index in torch.randperm(len(utterances), generator=generator).tolist():
        buckets[-(-utterances[index].n_frames // BUCKET_FRAMES) * BUCKET_FRAMES].append(utterances[index])
    groups: list[tuple[int, list[Utterance]]] = []
    left: list[Utterance] = []
    for length in sorted(buckets):
        members = left + buckets[length]
        size = max(1, max_frames // length)
        whole = len(members) - len(members) % size
        groups += [(length, members[start : start + size]) for start in range(0, whole, size)]
        left = members[whole:]
    if left:
        groups.append((max(buckets), left))
    if shortest_first:
        return groups
    return [groups[index] for index in torch.randperm(len(groups), generator=generator).tolist()]


def weigh(
    utterances: Sequence[Utterance],
    weights: dict[str, float],
    generator: torch.Generator,
    clean_share: float = 0.25,
) -> list[Utterance]:
    """One epoch's utterances: of each corpus named in `weights` its share of the rows, of the others all.

    A recording of a person is stored once as it is and three times disturbed; `clean_share` of those heard are as they
    are: another one than a quarter multiplies the shares of both kinds, of other recordings, too, up to all rows.
    """
    chance = torch.rand(len(utterances), generator=generator).tolist()
    clean, disturbed = 4 * clean_share, 4 * (1 - clean_share) / 3
    shares = [weights.get(u.corpus, 1.0) * (clean if u.variant == "clean" else disturbed) for u in utterances]
    return [u for u, c, share in zip(utterances, chance, shares, strict=True) if c < share]


def make_batch(
    store: FeatureStore,
    group: Sequence[Utterance],
    length: int,
    generator: torch.Generator | None,
    teacher: TeacherStates | None = None,
    splicer: Splicer | None = None,
) -> Batch:
    """Stack a group to `length` frames; with a generator, spliced if there is a splicer, stretched, warped, masked."""
    rows, labels, states = [], [], []
    for utterance in group:
        pieces: Sequence[Piece] = [Piece(utterance, 0.0, 1.0, utterance.text)]
        if generator is not None and splicer is not None:
            pieces = splicer(utterance, generator)
        row = torch.cat([_features(store, piece) for piece in pieces])
        if generator is not None:
            row = stretch_and_warp(row, length, generator)
        row = ParakeetFeatures.normalize(row)
        rows.append(row if generator is None else mask_spectrum(row, generator))
        text = " ".join(piece.text for piece in pieces)
        labels.append(torch.tensor([ALPHABET.index(letter) for letter in text], dtype=torch.long))
        states.append(_states(teacher, pieces))
    lengths = torch.tensor([len(row) for row in rows])
    label_lengths = torch.tensor([len(row) for row in labels])
    features = torch.stack([F.pad(row, (0, 0, 0, length - len(row))) for row in rows])
    return Batch(features, lengths, torch.cat(labels), label_lengths, states)


def _features(store: FeatureStore, piece: Piece) -> Tensor:
    whole = store.features(piece.utterance)
    return torch.from_numpy(whole[piece.of(len(whole))].astype("float32"))


def _states(teacher: TeacherStates | None, pieces: Sequence[Piece]) -> Tensor | None:
    """The teacher's states of all pieces, None where it does not know one of them."""
    if teacher is None or not all(piece.utterance.source in teacher for piece in pieces):
        return None
    wholes = [teacher.states(piece.utterance.source) for piece in pieces]
    states = torch.cat([whole[piece.of(len(whole))] for whole, piece in zip(wholes, pieces, strict=True)])
    return states if len(states) else None


def epochs(
    store: FeatureStore,
    weights: dict[str, float],
    max_frames: int,
    seed: int,
    first: int,
    teacher: TeacherStates | None = None,
    clean_share: float = 0.25,
    places: WordPlaces | None = None,
    spliced_share: float = 0.0,
    part: tuple[int, int] = (0, 1),
) -> Iterator[tuple[int, Batch]]:
    """Yield (epoch, batch) without end from epoch `first` on; an epoch depends on its seed and number alone.

    Where words' places are known, `spliced_share` of the utterances are made of pieces of others (`splices.py`). Of
    several processes `part`, (rank, processes), takes its batches.
    """
    utterances = store.select("train")
    splicer = Splicer(utterances, places, spliced_share) if places is not None else None
    epoch = first
    while True:
        generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
        chosen = weigh(utterances, weights, generator, clean_share)
        groups = pack(chosen, max_frames, generator, shortest_first=epoch == 0)
        for length, group in groups[part[0] :: part[1]]:
            yield epoch, make_batch(store, group, length, generator, teacher, splicer)
        epoch += 1
