"""Turns from networks whose answers are made up: against speaker-diarization-3.1 written plainly, and by hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from auricle.checkpoints.diarization import DiarizationConfig
from auricle.errors import AudioInputError, OptionError
from auricle.models.pyannet import PyanNet, PyanNetConfig, powerset
from auricle.models.wespeaker import WeSpeakerConfig, WeSpeakerResNet
from auricle.speech import diarization_voice
from auricle.speech.diarization import Diarization, DiarizationOptions
from auricle.speech.diarizer import Diarizer

SEGMENTATION: PyanNetConfig = PyanNet.tiny()  # chunks of 2 s
EMBEDDING: WeSpeakerConfig = WeSpeakerResNet.tiny()
RATE, CHUNK = SEGMENTATION.sample_rate, SEGMENTATION.chunk_samples
FRAMES = SEGMENTATION.n_frames(CHUNK)
STEP = CHUNK // 10
SETS = powerset(3, 2)
CONFIG = DiarizationConfig("", "", threshold=0.7, min_cluster_size=4)


class Ramp:
    """A recording whose samples are their own numbers, so that networks know which chunk they hear."""

    def __init__(self, seconds: float, block: int = 5000) -> None:
        self.n_samples, self.block = int(seconds * RATE), block
        self.name = "ramp"

    def blocks(self) -> Iterator[np.ndarray]:
        for start in range(0, self.n_samples, self.block):
            yield np.arange(start, min(start + self.block, self.n_samples), dtype=np.float32)


class MadeUpNetworks:
    """`n_speakers` talk by turns, at times two together; a chunk has them in any order, and is at times wrong."""

    segmentation, embedding, sets = SEGMENTATION, EMBEDDING, SETS

    def __init__(self, seconds: float, n_speakers: int, seed: int = 0, silence: float = 0.2) -> None:
        rng = np.random.default_rng(seed)
        n_samples = int(seconds * RATE)
        n_chunks = 1 + max(0, math.ceil((n_samples - CHUNK) / STEP))
        talks = np.zeros((n_samples // 270 + 2 * FRAMES, n_speakers), bool)
        place = 0
        while place < len(talks):
            length = int(rng.integers(10, 80))
            if rng.random() > silence:
                talks[place : place + length, rng.integers(n_speakers)] = True
                if rng.random() < 0.3:
                    talks[place + length // 2 : place + length, rng.integers(n_speakers)] = True
            place += length
        self.answers = np.empty((n_chunks, FRAMES, len(SETS)), np.float32)
        self.vectors = np.empty((n_chunks, 3, EMBEDDING.embedding_dim), np.float32)
        directions = np.linalg.qr(rng.standard_normal((EMBEDDING.embedding_dim,) * 2))[0][:n_speakers]
        for chunk in range(n_chunks):
            order = rng.permutation(max(3, n_speakers))[:3]
            start = round(chunk * STEP / 270)
            here = np.zeros((FRAMES, 3), np.float32)
            for local, speaker in enumerate(order):
                if speaker < n_speakers:
                    here[:, local] = talks[start : start + FRAMES, speaker]
                own = directions[speaker % n_speakers]
                self.vectors[chunk, local] = 3 * own + 0.4 * rng.standard_normal(len(own))
            scores = 4 * here @ SETS.numpy().T - 2 * SETS.numpy().sum(1) + rng.gumbel(size=(FRAMES, len(SETS))) / 2
            self.answers[chunk] = torch.log_softmax(torch.from_numpy(scores), 1)

    def segment(self, stretch: Tensor, starts: Sequence[int]) -> Tensor:
        return torch.from_numpy(self.answers[self._numbers(stretch, starts)])

    def embed(self, stretch: Tensor, starts: Sequence[int], weights: Tensor) -> Tensor:
        # Where a speaker is heard turns the vector a little, so that other weights are noticed.
        centre = (weights * torch.arange(FRAMES)).sum(2) / weights.sum(2).clamp(min=1) / FRAMES  # (B, S)
        return torch.from_numpy(self.vectors[self._numbers(stretch, starts)]) + 0.3 * centre[..., None]

    def voice(self, waveform: Tensor, weights: Tensor) -> Tensor:
        return torch.from_numpy(self.vectors[0, 0])

    def _numbers(self, stretch: Tensor, starts: Sequence[int]) -> list[int]:
        return [round(float(stretch[start])) // STEP for start in starts]


def plainly(networks: MadeUpNetworks, seconds: float, **asked: Any) -> list[tuple[int, float, float]]:
    """speaker-diarization-3.1 as its sources say it, all chunks and frames at once, in float64."""
    hierarchy = pytest.importorskip("scipy.cluster.hierarchy", reason="the plain version clusters with SciPy")
    sets = SETS.numpy()[networks.answers.argmax(2)]  # (C, T, S)
    n_chunks = len(sets)
    starts = [round(chunk * STEP / 270) for chunk in range(n_chunks)]
    n_frames = round((CHUNK + (n_chunks - 1) * STEP) / 270) + 1
    least = math.ceil(FRAMES * EMBEDDING.window_samples / CHUNK)
    alone = sets * (sets.sum(2, keepdims=True) < 2)
    vectors = np.empty((n_chunks, 3, EMBEDDING.embedding_dim))
    for chunk in range(n_chunks):
        for place in range(3):
            mask = alone[chunk, :, place] if alone[chunk, :, place].sum() > least else sets[chunk, :, place]
            weights = torch.from_numpy(mask)[None, None].expand(1, 3, -1)
            stretch = torch.tensor([float(chunk * STEP)])
            vectors[chunk, place] = networks.embed(stretch, [0], weights)[0, place]
    active = sets.any(1)
    train = vectors[active]
    clusters = _clusters(hierarchy, train, **asked)
    centroids = np.stack([train[clusters == k].mean(0) for k in range(clusters.max() + 1)])
    cosine = (vectors / np.linalg.norm(vectors, axis=2, keepdims=True)) @ (
        centroids / np.linalg.norm(centroids, axis=1, keepdims=True)
    ).T
    hard = np.where(active, cosine.argmax(2), -2)
    most = int(sets.sum(2).max())
    said = np.zeros((n_frames, max(len(centroids), most)))
    count, n_over = np.zeros(n_frames), np.zeros(n_frames)
    for chunk, start in enumerate(starts):
        rows = slice(start, start + FRAMES)
        count[rows] += sets[chunk].sum(1)
        n_over[rows] += 1
        for k in set(hard[chunk].tolist()) - {-2}:
            said[rows, k] += sets[chunk][:, hard[chunk] == k].max(1)
    count = np.minimum(np.rint(count / np.maximum(n_over, 1e-12)), asked.get("most", np.inf)).astype(int)
    binary = np.zeros(said.shape, bool)
    for frame in range(n_frames):
        for k in sorted(range(said.shape[1]), key=lambda k: -said[frame, k])[: count[frame]]:
            binary[frame, k] = True
    middle = [(frame * 270 + SEGMENTATION.frame_samples[0] / 2) / RATE for frame in range(n_frames)]
    turns = []
    for k in range(said.shape[1]):
        start = None
        for frame in range(n_frames):
            if binary[frame, k] and start is None:
                start = middle[frame]
            elif not binary[frame, k] and start is not None:
                turns.append((k, start, middle[frame]))
                start = None
        if start is not None:
            turns.append((k, start, middle[-1]))
    return sorted([(k, s, min(e, seconds)) for k, s, e in turns if s < min(e, seconds)], key=lambda t: (t[1], t[2]))


def _clusters(hierarchy: Any, train: np.ndarray, least: int = 1, most: float = np.inf) -> np.ndarray:
    units = train / np.linalg.norm(train, axis=1, keepdims=True)
    if len(units) == 1:
        return np.zeros(1, int)
    size = min(CONFIG.min_cluster_size, max(1, round(0.1 * len(units))))
    tree = hierarchy.linkage(units, "centroid", "euclidean")

    def large(labels: np.ndarray) -> list[int]:
        return [k for k in np.unique(labels) if (labels == k).sum() >= size]

    labels = hierarchy.fcluster(tree, CONFIG.threshold, "distance")
    wanted = min(max(len(large(labels)), least), most)
    if len(large(labels)) != wanted:
        steps = tree.copy()
        steps[:, 2] = np.arange(len(tree))
        best, off = len(tree), abs(1 - wanted)
        for step in np.argsort(np.abs(tree[:, 2] - CONFIG.threshold), kind="stable"):
            if tree[step, 3] < size:
                continue
            found = len(large(hierarchy.fcluster(steps, step, "distance")))
            if abs(found - wanted) < off:
                best, off = step, abs(found - wanted)
            if found == wanted:
                break
        labels = hierarchy.fcluster(steps, best, "distance")
    keep = large(labels)
    means = {k: units[labels == k].mean(0) for k in np.unique(labels)}

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    moved = {k: k if k in keep else max(keep, key=lambda j: cosine(means[j], means[k])) for k in means}
    # Frames that as many chunks give to one as to another go to who is first; SciPy's names have no order.
    order: dict[Any, int] = {}
    return np.array([order.setdefault(moved[k], len(order)) for k in labels])


def anonymous(turns: Sequence[tuple[Any, float, float]]) -> list[tuple[int, float, float]]:
    """Turns with speakers numbered by first speech."""
    numbers: dict[Any, int] = {}
    return [
        (numbers.setdefault(who, len(numbers)), round(start, 6), round(end, 6))
        for who, start, end in sorted(turns, key=lambda turn: (turn[1], turn[2], str(turn[0])))
    ]


def told(found: Diarization) -> list[tuple[int, float, float]]:
    return anonymous([(turn.speaker, turn.start, turn.end) for turn in found.turns])


@pytest.mark.parametrize("seconds", [1.3, 2.0, 2.2, 9.456])
@pytest.mark.parametrize("n_speakers", [1, 2, 4])
def test_turns_are_those_of_the_plain_version(seconds: float, n_speakers: int) -> None:
    networks = MadeUpNetworks(seconds, n_speakers, seed=n_speakers)
    found = Diarizer(networks, CONFIG).diarize(Ramp(seconds))
    assert told(found) == anonymous(plainly(networks, seconds))
    assert found.duration == int(seconds * RATE) / RATE
    assert list(found.speakers) == [f"SPEAKER_{n:02d}" for n in range(len(found.speakers))]


@pytest.mark.parametrize("wanted", [1, 2, 5])
def test_asked_for_numbers_are_those_of_the_plain_version(wanted: int) -> None:
    networks = MadeUpNetworks(9, 3, seed=7)
    diarizer = Diarizer(networks, CONFIG)
    exact = diarizer.diarize(Ramp(9), DiarizationOptions(num_speakers=wanted))
    assert told(exact) == anonymous(plainly(networks, 9, least=wanted, most=wanted))
    least = diarizer.diarize(Ramp(9), DiarizationOptions(min_speakers=wanted))
    assert told(least) == anonymous(plainly(networks, 9, least=wanted))
    most = diarizer.diarize(Ramp(9), DiarizationOptions(max_speakers=wanted))
    assert told(most) == anonymous(plainly(networks, 9, most=wanted))
    assert len(most.speakers) <= wanted


@pytest.mark.parametrize("batch_size", [1, 64])
@pytest.mark.parametrize("block", [1600, 10**6])
def test_neither_batches_nor_blocks_change_anything(batch_size: int, block: int) -> None:
    networks = MadeUpNetworks(9.1, 3)
    diarizer = Diarizer(networks, CONFIG)
    found = diarizer.diarize(Ramp(9.1, block), DiarizationOptions(batch_size=batch_size))
    assert found == diarizer.diarize(Ramp(9.1))


def test_turns_overlap_and_exclusive_ones_do_not() -> None:
    diarizer = Diarizer(MadeUpNetworks(9, 3), CONFIG)
    free = diarizer.diarize(Ramp(9)).turns
    alone = diarizer.diarize(Ramp(9), DiarizationOptions(exclusive=True)).turns
    assert any(one.end > other.start for one, other in itertools.pairwise(free))
    assert all(one.end <= other.start for one, other in itertools.pairwise(alone))


def test_short_pauses_are_filled_and_short_turns_left_out() -> None:
    diarizer = Diarizer(MadeUpNetworks(9, 2), CONFIG)
    plain = diarizer.diarize(Ramp(9)).turns
    filled = diarizer.diarize(Ramp(9), DiarizationOptions(min_duration_off=0.5, min_duration_on=0.4)).turns
    for speaker in ("SPEAKER_00", "SPEAKER_01"):
        own = [turn for turn in filled if turn.speaker == speaker]
        assert all(other.start - one.end >= 0.5 for one, other in itertools.pairwise(own))
    assert all(turn.end - turn.start >= 0.4 for turn in filled)
    assert len(filled) < len(plain)


def test_confidence_is_high_where_chunks_agree() -> None:
    sure, unsure = (Diarizer(MadeUpNetworks(9, 2), CONFIG).diarize(Ramp(9)) for _ in range(2))
    networks = MadeUpNetworks(9, 2)
    networks.answers = np.log(0.5 * np.exp(networks.answers) + 0.5 / len(SETS))
    unsure = Diarizer(networks, CONFIG).diarize(Ramp(9))
    assert told(sure) == told(unsure)
    for one, other in zip(sure.turns, unsure.turns, strict=True):
        assert one.confidence is not None
        assert other.confidence is not None
        assert 0 < other.confidence < one.confidence <= 1


def test_known_voices_give_their_names() -> None:
    networks = MadeUpNetworks(9, 3)
    diarizer = Diarizer(networks, CONFIG)
    before = diarizer.diarize(Ramp(9))
    first, second, _ = before.speakers
    known = {"Ann": before.embeddings[second], "SPEAKER_00": before.embeddings[first]}
    after = diarizer.diarize(Ramp(9), DiarizationOptions(known=known))
    names = {first: "SPEAKER_00", second: "Ann", before.speakers[2]: "SPEAKER_01"}
    assert after.speakers == tuple(names.values())
    assert [turn.speaker for turn in after.turns] == [names[turn.speaker] for turn in before.turns]
    strangers = {"Ann": [-value for value in before.embeddings[first]]}
    assert diarizer.diarize(Ramp(9), DiarizationOptions(known=strangers)).speakers == before.speakers


def test_two_clusters_of_one_known_voice_are_one_speaker() -> None:
    networks = MadeUpNetworks(9, 1)
    diarizer = Diarizer(networks, CONFIG)
    ann = {"Ann": diarizer.diarize(Ramp(9)).embeddings["SPEAKER_00"]}
    split = DiarizationOptions(threshold=0.05, known=ann)
    assert diarizer.diarize(Ramp(9), split).speakers[:1] == ("Ann",)
    assert len(diarizer.diarize(Ramp(9), DiarizationOptions(num_speakers=2, known=ann)).speakers) == 2


def test_a_clip_gives_the_voice_that_is_known_by() -> None:
    networks = MadeUpNetworks(1.5, 1, silence=0.0)
    networks.answers[:, :, 1] = 5.0
    vector = Diarizer(networks, CONFIG).voice(Ramp(1.5))
    assert np.allclose(vector, networks.vectors[0, 0] / np.linalg.norm(networks.vectors[0, 0]))
    networks.answers[:, networks.answers.shape[1] // 5 :, 0] = 9.0
    with pytest.raises(AudioInputError, match=r"only 0.\d+ s of speech are heard in the 1.5 s of ramp; give a few"):
        Diarizer(networks, CONFIG).voice(Ramp(1.5))
    networks.answers[:, :, 0] = 9.0
    with pytest.raises(AudioInputError, match=r"nobody is heard to speak in the 1.5 s of ramp"):
        Diarizer(networks, CONFIG).voice(Ramp(1.5))


def test_silence_has_no_turns() -> None:
    networks = MadeUpNetworks(5, 2)
    networks.answers[:, :, 0] = 9.0
    found = Diarizer(networks, CONFIG).diarize(Ramp(5))
    assert (found.turns, found.speakers, found.embeddings) == ((), (), {})
    assert found.duration == 5.0


def test_windows_without_voice_are_not_computed() -> None:
    networks = MadeUpNetworks(5, 2)
    silent = Ramp(5)
    silent.blocks = lambda: iter([np.zeros(5 * RATE, np.float32)])  # type: ignore[method-assign]
    networks.segment = None  # type: ignore[assignment, method-assign]
    found = Diarizer(networks, CONFIG).diarize(silent, DiarizationOptions(skip_silence=True))
    assert found.turns == ()


class OneForTwo:
    """Somebody talks up to 4 s, somebody else from 4.2 s on; both are taken for one, and at 8 s is a click."""

    segmentation, embedding, sets = SEGMENTATION, EMBEDDING, SETS

    def segment(self, stretch: Tensor, starts: Sequence[int]) -> Tensor:
        times = self._times(stretch, starts)
        talks = (times < 4.0) | (times > 4.2) & (times < 7.5) | (times - 8).abs().lt(0.05)
        return torch.log_softmax(9.0 * torch.nn.functional.one_hot(talks.long(), len(SETS)), -1)

    def embed(self, stretch: Tensor, starts: Sequence[int], weights: Tensor) -> Tensor:
        when = (weights * self._times(stretch, starts)[:, None]).sum(2) / weights.sum(2).clamp(min=1)  # (B, S)
        who = (when > 4.1).long() + (when > 7.8)
        return torch.nn.functional.one_hot(who, EMBEDDING.embedding_dim).float()

    def voice(self, waveform: Tensor, weights: Tensor) -> Tensor:
        raise NotImplementedError

    @staticmethod
    def _times(stretch: Tensor, starts: Sequence[int]) -> Tensor:
        """The middle of each frame of each chunk in seconds, (B, T)."""
        first = stretch[list(starts)][:, None]
        return (first + 270 * torch.arange(FRAMES) + SEGMENTATION.frame_samples[0] / 2) / RATE


def test_who_goes_on_after_a_pause_may_be_somebody_else() -> None:
    divided = replace(CONFIG, threshold=0.3, piece_s=1.0, founding_s=0.2)
    found = Diarizer(OneForTwo(), divided).diarize(Ramp(9))
    assert len(found.speakers) == 2
    one, other, click = found.turns
    assert one.speaker != other.speaker
    assert (one.end, other.start) == pytest.approx((4.0, 4.2), abs=270 / RATE)
    # What is too short to be a speaker goes to the nearest one.
    assert click.end - click.start == pytest.approx(0.1, abs=2 * 270 / RATE)
    many = Diarizer(OneForTwo(), replace(divided, founding_s=0.0, min_cluster_size=1)).diarize(Ramp(9))
    assert len(many.speakers) == 3


def test_where_nobody_talks_for_long_short_speech_has_to_do() -> None:
    divided = replace(CONFIG, threshold=0.3, piece_s=1.0, founding_s=5.0)
    found = Diarizer(OneForTwo(), divided).diarize(Ramp(7))
    assert len(found.speakers) == 2


class HalfVoiced:
    """A detector that hears a voice in every second part of 320 ms."""

    def __init__(self, sample_rate: int) -> None:
        self.n_samples = self.n_given = 0

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        self.n_samples += len(samples)
        found = np.arange(self.n_given, self.n_samples // 512)
        self.n_given = self.n_samples // 512
        return (found // 10 % 2).astype(np.float32)

    def end(self) -> np.ndarray:
        return np.zeros(0, np.float32)


@pytest.mark.parametrize(("batch_size", "block"), [(1, 700), (4, 5000), (8, 10**6)])
def test_nobody_talks_where_the_voice_detector_hears_nobody(
    monkeypatch: pytest.MonkeyPatch, batch_size: int, block: int
) -> None:
    monkeypatch.setattr(diarization_voice, "VoiceProbabilities", HalfVoiced)
    gated = replace(CONFIG, vad=True, speech_pad_s=0.0, min_silence_s=0.0)
    networks = MadeUpNetworks(9.1, 2, silence=0.0)
    whole = Diarizer(networks, gated).diarize(Ramp(9.1, 5000), DiarizationOptions(vad=False))
    assert whole == Diarizer(networks, CONFIG).diarize(Ramp(9.1, 5000))
    found = Diarizer(networks, gated).diarize(Ramp(9.1, block), DiarizationOptions(batch_size=batch_size))
    assert found.duration == whole.duration
    middles = Diarizer(networks, CONFIG).geometry.time(0) + np.arange(int(8.9 * RATE / 270)) * 270 / RATE

    def talking(one: Diarization) -> np.ndarray:
        return np.any([(turn.start <= middles) & (middles < turn.end) for turn in one.turns], 0)

    voiced = np.floor(middles / 0.32).astype(int) % 2 == 1
    # A frame of a chunk and one of the recording are up to half a frame apart.
    near_edge = np.abs((middles / 0.32 + 0.5) % 1 - 0.5) * 0.32 < 270 / RATE
    assert not talking(found)[~voiced & ~near_edge].any()
    assert np.mean(talking(found)[voiced & ~near_edge]) > 0.9
    asked = DiarizationOptions(batch_size=batch_size, vad=True)
    plain = Diarizer(networks, replace(gated, vad=False)).diarize(Ramp(9.1, block), asked)
    assert plain == found


def test_too_few_speakers_are_told() -> None:
    found = Diarizer(MadeUpNetworks(2.0, 1), CONFIG).diarize(Ramp(2.0), DiarizationOptions(min_speakers=9))
    assert [(warning.kind, "9 or more" in warning.message) for warning in found.warnings] == [("speakers", True)]


def test_progress_reaches_the_end() -> None:
    heard: list[float] = []
    Diarizer(MadeUpNetworks(9.1, 2), CONFIG).diarize(Ramp(9.1), DiarizationOptions(batch_size=4), heard.append)
    assert heard == sorted(heard)
    assert heard[-1] == int(9.1 * RATE) / RATE


def test_refuses_a_voice_of_another_model() -> None:
    with pytest.raises(OptionError, match=r"known\['Ann'\] has the shape \(3,\); expected the 12"):
        Diarizer(MadeUpNetworks(2, 1), CONFIG).diarize(Ramp(2), DiarizationOptions(known={"Ann": [1.0, 2.0, 3.0]}))
