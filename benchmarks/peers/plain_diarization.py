"""speaker-diarization-3.1 as pyannote.audio 3.4 runs it, rewritten plainly: it stands in where that is not installed.

The networks are those of auricle as they are, which compute the same with the same operations of torch. What makes the
time is kept: every chunk is filtered by itself, and for each of the three places of a chunk, whether someone talks
there or not, energies and residual network are computed anew, 32 at a time as its configuration says. Clusters are
SciPy's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from measure import n_threads

BATCH = 32


def diarizer(model: str, recording: str) -> Callable[[], list[list[Any]]]:
    """Turns of one recording, as [speaker, start, end]."""
    from auricle.loading_diarization import load_diarization

    torch.set_num_threads(n_threads())
    loaded = load_diarization(model)
    samples = torch.from_numpy(np.load(recording))
    return lambda: _turns(loaded, samples)


@torch.inference_mode()
def _turns(loaded: Any, samples: torch.Tensor) -> list[list[Any]]:
    config, rate = loaded.segmentation.config, loaded.segmentation.config.sample_rate
    window, step = config.chunk_samples, round(0.1 * config.duration * rate)
    n_chunks = 1 + -(-max(0, len(samples) - window) // step)
    filled = torch.nn.functional.pad(samples, (0, window + (n_chunks - 1) * step - len(samples)))
    chunks = filled.unfold(0, window, step)  # (C, N)
    sets = torch.cat([loaded.segmentation(chunks[at : at + BATCH]).argmax(2) for at in range(0, n_chunks, BATCH)])
    active = loaded.segmentation.sets[sets]  # (C, T, S)
    alone = active * (active.sum(2, keepdim=True) < 2)
    least = int(np.ceil(active.shape[1] * loaded.embedding.config.window_samples / window))
    masks = torch.where(alone.sum(1, keepdim=True) > least, alone, active).transpose(1, 2)  # (C, S, T)
    pairs = [(chunk, place) for chunk in range(n_chunks) for place in range(masks.shape[1])]
    vectors = []
    for at in range(0, len(pairs), BATCH):
        some = pairs[at : at + BATCH]
        heard = torch.stack([chunks[chunk] for chunk, _ in some])
        vectors.append(loaded.embedding(heard, torch.stack([masks[pair] for pair in some])))
    found = torch.cat(vectors).reshape(n_chunks, masks.shape[1], -1).numpy()
    hard = _speakers(found, active.any(1).numpy(), loaded.config)
    return _frames_to_turns(active.numpy(), hard, step, config, rate, len(samples) / rate)


def _speakers(vectors: np.ndarray, active: np.ndarray, config: Any) -> np.ndarray:
    """The speaker of each place of each chunk, (C, S); -2 of nobody. No number of speakers is asked for."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import cdist

    train = vectors[active]
    if not len(train):
        return np.full(active.shape, -2)
    labels = np.zeros(len(train), int)
    if len(train) > 1:
        units = train / np.linalg.norm(train, axis=1, keepdims=True)
        labels = fcluster(linkage(units, "centroid"), config.threshold, "distance") - 1
        least = min(config.min_cluster_size, max(1, round(0.1 * len(train))))
        means = np.stack([units[labels == one].mean(0) for one in range(labels.max() + 1)])
        large = np.flatnonzero(np.bincount(labels) >= least)
        if not large.size:
            labels[:] = 0
        else:
            nearest = large[cdist(means, means[large], "cosine").argmin(1)]
            nearest[large] = large
            labels = np.unique(nearest[labels], return_inverse=True)[1]
    centroids = np.stack([train[labels == one].mean(0) for one in range(labels.max() + 1)])
    near = cdist(vectors.reshape(-1, vectors.shape[2]), centroids, "cosine").reshape(*active.shape, -1)
    return np.where(active, near.argmin(2), -2)


def _frames_to_turns(
    active: np.ndarray, hard: np.ndarray, step: int, config: Any, rate: int, duration: float
) -> list[list[Any]]:
    hears, hop = config.frame_samples
    n_chunks, n_frames, _ = active.shape
    total = round((config.chunk_samples + (n_chunks - 1) * step) / hop) + 1
    said = np.zeros((total, max(int(hard.max()) + 1, int(active.sum(2).max()))))
    count, n_over = np.zeros(total), np.zeros(total)
    for chunk in range(n_chunks):
        rows = slice(round(chunk * step / hop), round(chunk * step / hop) + n_frames)
        count[rows] += active[chunk].sum(1)
        n_over[rows] += 1
        for one in set(hard[chunk].tolist()) - {-2}:
            said[rows, one] += active[chunk][:, hard[chunk] == one].max(1)
    n_talking = np.rint(count / np.maximum(n_over, 1e-12)).astype(int)
    order = np.argsort(-said, axis=1, kind="stable")
    turns = []
    for speaker in range(said.shape[1]):
        on = (order == speaker).argmax(1) < n_talking
        edges = np.flatnonzero(np.diff(np.concatenate([[0], on.astype(int), [0]])))
        for start, end in edges.reshape(-1, 2).tolist():
            times = [(frame * hop + hears / 2) / rate for frame in (start, min(end, total - 1))]
            if times[0] < min(times[1], duration):
                turns.append([speaker, round(times[0], 6), round(min(times[1], duration), 6)])
    turns.sort(key=lambda turn: turn[1:])
    numbers: dict[int, int] = {}
    return [[numbers.setdefault(speaker, len(numbers)), *times] for speaker, *times in turns]
