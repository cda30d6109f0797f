"""Training the network that tells voices apart in conversations, on the pieces of speech that diarization clusters.

Dimension key: B windows of the batch, S samples at 16 kHz, T frames of the segmentation, R pieces of a window at most,
P pieces of the batch, C voices that are told apart (speakers at some speed), D width of a vector, U voices of a batch.

A window holds several voices, noise and silence, and its mean is taken off all of it; a voice is heard in pieces
between two pauses. Each piece is to be nearer to its voice's own direction than to those of all other voices, by a
margin, and nearer to the other pieces of its voice than to those of the others who talk. Many conversations are of
voices alike.

Sources: additive margins, Wang et al. 2018 (arXiv 1801.05599); pieces against means of the others' pieces, Wan et al.
2018 (arXiv 1710.10467); both together, Kwon et al. 2021 (arXiv 2010.15809).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.models.wespeaker import WeSpeakerResNet
from auricle.speech.diarization_windows import cut_pieces, masks
from auricle.training.augment import change_speed
from auricle.training.budget_run import BudgetOptions, BudgetRun
from auricle.training.data import Sounds
from auricle.training.mixtures import Manners, conversation
from auricle.training.precision import fast_dtype
from auricle.training.pretrain_segmentation import frames_of
from auricle.training.voices import FRAME_SAMPLES, SAMPLE_RATE, Voice, VoiceStore

SPEEDS = (0.82, 0.9, 1.0, 1.11, 1.22)
LEAST_SECONDS = 2.0  # of voice, of a speaker who talks at all
SHORTEST = 0.25  # seconds; a shorter piece teaches nothing
FULL = 1.5  # seconds from which on a piece counts fully
INTRODUCED = 5.0  # seconds of each voice that its direction is first taken from
SHARES = (0.5, 0.35, 0.15)  # of conversations of 2, 3 and 4 speakers


@dataclass(frozen=True)
class PieceOptions(BudgetOptions):
    """What a run is told."""

    least_batch: ClassVar[int] = 1

    batch_size: int = 3  # groups of speakers
    rate: float = 1e-3
    averaging: float = 0.998
    meetings: int = 2  # conversations of one group, each in other rooms and noise
    windows: int = 2  # of one conversation
    margin: float = 0.2  # of cosines, by which a piece is to be nearer to its own voice
    scale: float = 30.0  # of the cosines to all voices
    nearest: float = 2.0  # weight of the loss of the nearest voice, beside that of the margin
    apart: float = 4.0  # weight of the loss of the distance
    alike: float = 0.6  # how often those who talk with the first one have voices like it
    n_alike: int = 20  # voices, of which these are drawn then
    overlaps: float = 0.3  # how often a window's overlaps are taken for one voice, as the segmentation does
    blank: int = 6  # bands of a window that are blanked at most
    weight_decay: float = 0.01


@dataclass(frozen=True)
class Windows:
    """How the diarization hears: windows, their frames, and how speech is cut."""

    seconds: float  # of a window
    centres: np.ndarray  # (T,) the sample in the middle of what each frame hears
    piece_s: float

    @property
    def frame_s(self) -> float:
        """Seconds from one frame to the next."""
        return float(self.centres[1] - self.centres[0]) / SAMPLE_RATE


@dataclass(frozen=True)
class Heard:
    """Pieces of a batch's conversations."""

    waveforms: Tensor  # (B, S)
    weights: Tensor  # (B, R, T), where each piece's voice is heard; rows of no piece are 0
    places: Tensor  # (P, 2), window and row of each piece
    voices: Tensor  # (P,)
    counts: Tensor  # (P,), how much each counts


class Conversations:
    """Conversations of a store's speakers, each at some speed, and the pieces in which they are heard."""

    def __init__(
        self, store: VoiceStore, split: str, sounds: Sounds, windows: Windows, manners: Manners, options: PieceOptions
    ) -> None:
        self.store, self.sounds, self.windows = store, sounds, windows
        self.manners, self.options = manners, options
        by_speaker = store.by_speaker(split)
        heard = {name: self._voiced_seconds(voices) for name, voices in by_speaker.items()}
        names = [name for name, seconds in heard.items() if seconds >= LEAST_SECONDS]
        self.speakers = [by_speaker[name] for name in names]
        # A speaker of an hour is not heard a hundred times as often as one of a minute.
        weights = np.sqrt([heard[name] for name in names])
        self.weights = weights / weights.sum()
        self.n_voices = len(self.speakers) * len(SPEEDS)

    def _voiced_seconds(self, voices: Sequence[Voice]) -> float:
        return sum(int(self.store.activity(voice).sum()) for voice in voices) * FRAME_SAMPLES / SAMPLE_RATE

    def introduction(self, voice: int) -> np.ndarray:
        """Return a few voiced seconds of a voice, (S,)."""
        speaker, speed = divmod(voice, len(SPEEDS))
        parts: list[np.ndarray] = []
        n_wanted = round(INTRODUCED * SAMPLE_RATE)
        for one in self.speakers[speaker]:
            parts.append(self.store.samples(one).reshape(-1, FRAME_SAMPLES)[self.store.activity(one)].reshape(-1))
            if sum(len(part) for part in parts) >= n_wanted:
                break
        said = change_speed(np.concatenate(parts)[:n_wanted], SPEEDS[speed], SAMPLE_RATE)
        return np.resize(said, n_wanted).astype(np.float32)

    def group(self, directions: Tensor, rng: np.random.Generator) -> list[int]:
        """Return voices of different speakers that are to be told apart; `directions` (C, D) say which are alike."""
        n_others = 1 + int(rng.choice(len(SHARES), p=SHARES))
        first = self._drawn(rng)
        group = [first]
        like: list[int] = []
        if rng.random() < self.options.alike:
            near = directions @ directions[first]
            like = near.topk(min(self.options.n_alike + 1, len(near))).indices.tolist()
            like = rng.permutation([voice for voice in like if voice != first]).tolist()
        while len(group) <= n_others and len(group) < len(self.speakers):
            voice = like.pop() if like else self._drawn(rng)
            if all(voice // len(SPEEDS) != other // len(SPEEDS) for other in group):
                group.append(voice)
        return group

    def _drawn(self, rng: np.random.Generator) -> int:
        speaker = int(rng.choice(len(self.speakers), p=self.weights))
        return speaker * len(SPEEDS) + int(rng.integers(len(SPEEDS)))

    def draw(self, directions: Tensor, rng: np.random.Generator) -> Heard:
        """Return the pieces of conversations of some groups of voices."""
        options = self.options
        seconds = options.windows * self.windows.seconds
        waveforms: list[np.ndarray] = []
        weights, places, voices, counts = [], [], [], []
        for _ in range(options.batch_size):
            group = self.group(directions, rng)
            recordings = [self.speakers[voice // len(SPEEDS)] for voice in group]
            speeds = [SPEEDS[voice % len(SPEEDS)] for voice in group]
            for _ in range(options.meetings):
                mixed, active = conversation(
                    self.store, recordings, seconds, self.sounds, rng, self.manners, speeds=speeds
                )
                sounds = mixed.reshape(options.windows, -1)
                parts = np.split(active, options.windows, axis=1)
                for sound, part in zip(sounds, parts, strict=True):
                    rows, speakers, lengths = self._pieces(part, rng)
                    places += [(len(waveforms), row) for row in range(len(rows))]
                    voices += [group[speaker] for speaker in speakers]
                    counts += [min(1.0, length / FULL) for length in lengths]
                    waveforms.append(sound)
                    weights.append(rows)
        most = max(1, *(len(rows) for rows in weights))
        padded = [np.pad(rows, ((0, most - len(rows)), (0, 0))) for rows in weights]
        return Heard(
            torch.from_numpy(np.stack(waveforms)),
            torch.from_numpy(np.stack(padded)),
            torch.tensor(places, dtype=torch.long).reshape(-1, 2),
            torch.tensor(voices, dtype=torch.long),
            torch.tensor(counts),
        )

    def _pieces(self, active: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, list[int], list[float]]:
        """Return the masks (R, T) of a window's pieces, whose they are, and the seconds of each."""
        talks = frames_of(active, self.windows.centres).T  # (T, K)
        pieces = cut_pieces(talks, round(self.windows.piece_s / self.windows.frame_s))
        is_alone = rng.random() >= self.options.overlaps
        found = masks(talks, pieces, 1 if is_alone else -1)
        lengths = found.sum(1) * self.windows.frame_s
        # Of a piece that is hardly ever alone, nobody could say whose it is.
        alone = (found * (talks.sum(1) == 1)).sum(1) * self.windows.frame_s
        kept = (alone >= SHORTEST) & (alone >= 0.5 * lengths)
        return found[kept], pieces[kept, 0].tolist(), lengths[kept].tolist()


class Targets(nn.Module):
    """What pieces are compared with: a direction for each voice, and how sharply pieces find each other."""

    def __init__(self, n_voices: int, width: int) -> None:
        super().__init__()
        self.directions = nn.Parameter(torch.zeros(n_voices, width))
        self.scale = nn.Parameter(torch.tensor(10.0).log())  # of the cosines between pieces, as a logarithm
        self.offset = nn.Parameter(torch.tensor(0.5))  # cosine from which on two are of one voice


def margin_loss(
    vectors: Tensor, directions: Tensor, voices: Tensor, counts: Tensor, margin: float, scale: float
) -> Tensor:
    """Return how badly pieces (P, D) find their voices' directions (C, D), from which `margin` is taken first."""
    near = F.normalize(vectors) @ F.normalize(directions).T  # (P, C)
    near = near - margin * F.one_hot(voices, len(directions))
    return (F.cross_entropy(scale * near, voices, reduction="none") * counts).sum() / counts.sum().clamp(min=1e-6)


def meeting_loss(
    vectors: Tensor, voices: Tensor, counts: Tensor, scale: Tensor, offset: Tensor
) -> tuple[Tensor, Tensor]:
    """Return how badly pieces (P, D) find the mean of their voice's other pieces among all voices' means.

    First by which is nearest, then by which is nearer than `offset`, a cosine that is the same for all conversations:
    how many speakers there are is told by distances. A voice with one piece is found by nobody, but may be taken for
    another.
    """
    units = F.normalize(vectors)
    present, own, n_pieces = voices.unique(return_inverse=True, return_counts=True)
    sums = units.new_zeros(len(present), units.shape[1]).index_add(0, own, counts[:, None] * units)  # (U, D)
    near = units @ F.normalize(sums).T  # (P, U)
    others = F.normalize(sums[own] - counts[:, None] * units)  # (P, D), without the piece itself
    near = near.scatter(1, own[:, None], (units * others).sum(1, keepdim=True))
    kept = counts * (n_pieces[own] > 1)
    is_own = F.one_hot(own, len(present)).bool()
    weights = torch.where(is_own, kept[:, None], counts[:, None])  # (P, U)
    wrong = F.softplus(torch.where(is_own, -1.0, 1.0) * scale * (near - offset)) * weights
    halves = [wrong[one].sum() / weights[one].sum().clamp(min=1e-6) for one in (is_own, ~is_own)]
    nearest = (F.cross_entropy(scale * near, own, reduction="none") * kept).sum() / kept.sum().clamp(min=1e-6)
    return nearest, 0.5 * (halves[0] + halves[1])


@dataclass
class PieceRun(BudgetRun[WeSpeakerResNet]):
    """A run of the network that tells voices apart in conversations."""

    targets: Targets = field(kw_only=True)

    def state(self) -> dict[str, Any]:
        """Return what is kept of the run."""
        return {**super().state(), "targets": self.targets.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave, save the options."""
        super().restore(state)
        self.targets.load_state_dict(state["targets"])

    def introduce(self, conversations: Conversations) -> None:
        """Take the first direction of each voice from what the network hears of it alone."""
        self.model.eval()
        with torch.inference_mode():
            for voice in range(conversations.n_voices):
                vector = self.model(torch.from_numpy(conversations.introduction(voice))[None])[0]
                self.targets.directions.data[voice] = F.normalize(vector, dim=0)

    def loss(self, heard: Heard, rng: np.random.Generator) -> Tensor:
        """Return all three losses of a batch, weighed, bands of whose energies are blanked at random."""
        options, targets = self.options, self.targets
        assert isinstance(options, PieceOptions)
        with torch.no_grad():
            energies = blank_bands(self.model.energies(heard.waveforms), options.blank, rng)
        with torch.autocast("cpu", torch.bfloat16, enabled=fast_dtype() == torch.bfloat16):
            frames = self.model.frames(energies)
        # Deviations over time are small beside their means: they are taken in float32.
        vectors = self.model.embed(frames.float(), heard.weights)[heard.places[:, 0], heard.places[:, 1]]  # (P, D)
        told = margin_loss(vectors, targets.directions, heard.voices, heard.counts, options.margin, options.scale)
        nearest, apart = meeting_loss(vectors, heard.voices, heard.counts, targets.scale.exp(), targets.offset)
        return told + options.nearest * nearest + options.apart * apart


def blank_bands(energies: Tensor, most: int, rng: np.random.Generator) -> Tensor:
    """Set up to `most` neighbouring bands of each row of energies (B, T, M) to 0, in place: no voice is in them."""
    for row in energies:
        width = int(rng.integers(most + 1))
        start = int(rng.integers(energies.shape[2] - width + 1))
        row[:, start : start + width] = 0.0
    return energies


def start_pieces(options: PieceOptions, first: WeSpeakerResNet, n_voices: int) -> PieceRun:
    """Return a run that begins as the network `first`, with its optimizer."""
    torch.manual_seed(options.seed)
    model, average = WeSpeakerResNet(first.config), WeSpeakerResNet(first.config)
    for one in (model, average):
        one.load_state_dict(first.state_dict())
    if first.config.base_channels % 8 == 0:  # see start_speakers
        model.resnet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    targets = Targets(n_voices, first.config.embedding_dim)
    parameters = [*model.parameters(), *targets.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=0.0, weight_decay=options.weight_decay)
    return PieceRun(model, average, optimizer, options, targets=targets)


def train_pieces(run: PieceRun, conversations: Conversations, folder: Path) -> None:
    """Train, or go on training, until the budget of minutes is spent; `folder` keeps the log and the checkpoint."""
    targets = run.targets
    if not (folder / "run.pt").exists():
        run.introduce(conversations)

    def loss_of(rng: np.random.Generator) -> Tensor:
        return run.loss(conversations.draw(F.normalize(targets.directions.detach()), rng), rng)

    run.train(folder, loss_of, clip=5.0)
