"""Who speaks when: chunks are segmented, voices are heard and clustered, and frames become turns.

The algorithm is that of pyannote/speaker-diarization-3.1 (arXiv 2104.04045, arXiv 2310.13025), and gives the same turns
from the same networks; see docs/diarization.md. Of a recording only the samples of a few chunks are held.

Dimension key: B chunks of a stretch, T frames of a chunk, S speakers within a chunk, P sets of them, D width of a
vector, K speakers of the recording, Q pieces of speech.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from auricle.checkpoints.diarization import DiarizationConfig
from auricle.engines.diarization import DiarizationNetworks
from auricle.errors import AudioInputError, OptionError
from auricle.results import SpeakerTurn, Warning
from auricle.speech.clustering import Bounds, Voices, cosines, find_clusters, find_even_clusters, means_of, unit
from auricle.speech.diarization import Diarization, DiarizationOptions
from auricle.speech.diarization_turns import Choice, Span, fill_and_drop, lay_over, turns_of
from auricle.speech.diarization_voice import Gate, VoiceTrack
from auricle.speech.diarization_windows import (
    Decision,
    Decisions,
    Geometry,
    Stretch,
    cut_pieces,
    masks,
    stretches,
    whole_pieces,
)

BATCH_SIZE = 8
SURE_FROM = 0.5  # cosine by which a voice must be nearer to its speaker than to the next, to be sure
LEAST_VOICE_S = 0.5  # of a known speaker's speech: of less there is no vector that tells two voices apart
VOICE_FROM = 0.2  # probability of voice in 32 ms, below which nobody is heard: far below the detector's usual 0.5


@dataclass(frozen=True)
class Speakers:
    """Whose the pieces of all chunks are."""

    of_pieces: np.ndarray  # (Q,)
    certainty: np.ndarray  # (Q,), half where two are equally near, 1 where one is nearer by far
    centroids: np.ndarray  # (K, D), or (0, 0) where no voices were heard
    n_speakers: int


class Heard:
    """The vectors of pieces; those of short ones are kept apart, since they do not say how many speakers there are."""

    def __init__(self) -> None:
        self.founding, self.brief = Voices(), Voices()

    def add(self, vector: np.ndarray, is_brief: bool) -> int:
        """Take a vector (D,) and return its number: from 0 on, or from -1 down for those of short pieces."""
        return -1 - self.brief.add(vector) if is_brief else self.founding.add(vector)


class Diarizer:
    """Tells who speaks when in recordings of any length."""

    def __init__(self, networks: DiarizationNetworks, config: DiarizationConfig) -> None:
        self.networks = networks
        self.config = config
        self.sample_rate = networks.segmentation.sample_rate
        self.geometry = Geometry.of(networks.segmentation, config.segmentation_step)
        self.sets = networks.sets.numpy().astype(np.float32)  # (P, S)
        window, chunk = networks.embedding.window_samples, self.geometry.chunk_samples
        # Fewer frames than these hold no window of what a voice is heard by.
        least = math.ceil(self.geometry.n_frames * window / chunk)
        self.least_frames = least if config.embedding_exclude_overlap else -1

    def diarize(
        self, audio: Any, options: DiarizationOptions | None = None, progress: Callable[[float], None] | None = None
    ) -> Diarization:
        """Return the turns of a recording, which has `blocks()` of mono samples at `sample_rate`.

        `progress` is called with the seconds that were heard.

        Raises:
            AudioError: the recording breaks off.
            OptionError: an embedding of a known speaker has another width than this network's.
        """
        options = options or DiarizationOptions()
        known = self._known(options.known)
        decisions, voices, n_samples = self._listen(audio, options, progress, bool(known))
        duration = n_samples / self.sample_rate
        speakers = self._speakers(decisions, voices, options)
        speakers, names = _named(speakers, known, options)
        most = options.num_speakers or options.max_speakers
        choice = Choice(self.sets, speakers.n_speakers, 1 if options.exclusive else most)
        frames = lay_over(decisions, speakers.of_pieces, speakers.certainty, choice, self.geometry, len(decisions))
        min_off = self.config.min_duration_off if options.min_duration_off is None else options.min_duration_off
        spans = fill_and_drop(turns_of(frames, self.geometry, duration), min_off, options.min_duration_on)
        labels = _labels(spans, names)
        turns = tuple(SpeakerTurn(labels[one.speaker], one.start, one.end, one.confidence) for one in spans)
        return Diarization(
            turns=tuple(sorted(turns, key=lambda turn: (turn.start, turn.end, turn.speaker))),
            speakers=tuple(labels.values()),
            duration=duration,
            embeddings=_embeddings(speakers.centroids, labels),
            warnings=_warnings(len(labels), options),
        )

    def voice(self, audio: Any) -> list[float]:
        """Return the vector of the one voice in a clip, of unit length: what `DiarizationOptions.known` takes.

        Raises:
            AudioError: the clip breaks off, or nobody speaks in it for long enough.
        """
        n_talking = 0  # frames
        chunk = self.geometry.chunk_samples
        samples = torch.from_numpy(np.concatenate([np.asarray(block, np.float32) for block in audio.blocks()]))
        total = torch.zeros(self.networks.embedding.embedding_dim, dtype=torch.float64)
        for start in range(0, len(samples), chunk):
            part = samples[start : start + chunk]
            filled = torch.nn.functional.pad(part, (0, chunk - len(part)))
            sets = self.networks.segment(filled, [0])[0].argmax(1)
            talks = self.networks.sets[sets].amax(1)[: max(1, self.networks.segmentation.n_frames(len(part)))]  # (T,)
            if len(part) < self.networks.embedding.window_samples or not talks.any():
                continue
            total += torch.nn.functional.normalize(self.networks.voice(part, talks).double(), dim=0) * talks.sum()
            n_talking += int(talks.sum())
        heard, name = n_talking * self.geometry.hop_samples / self.sample_rate, getattr(audio, "name", "the clip")
        if not total.any() or heard < LEAST_VOICE_S:
            what = f"only {heard:.2g} s of speech are heard" if total.any() else "nobody is heard to speak"
            raise AudioInputError(
                f"{what} in the {len(samples) / self.sample_rate:.1f} s of {name}; give a few seconds of the one "
                "speaker alone"
            )
        return [float(value) for value in torch.nn.functional.normalize(total, dim=0)]

    def _listen(
        self,
        audio: Any,
        options: DiarizationOptions,
        progress: Callable[[float], None] | None,
        has_known: bool,
    ) -> tuple[Decisions, Heard, int]:
        """Run the networks over all chunks; keep what was decided, and the vectors of who talks."""
        decisions, voices, n_samples = Decisions(), Heard(), 0
        # Of one speaker there is nobody to tell apart.
        is_one = (options.num_speakers or options.max_speakers) == 1 and not has_known
        blocks: Iterator[np.ndarray] = audio.blocks()
        gate = self._gate(options)
        track = None if gate is None else VoiceTrack(self.sample_rate, gate)
        if track is not None:
            blocks = track.hear(blocks)
        for stretch in stretches(blocks, self.geometry, options.batch_size or BATCH_SIZE):
            self._segment(stretch, decisions, None if is_one else voices, track, self._has_vad(options))
            n_samples = stretch.heard
            if progress is not None:
                progress(n_samples / self.sample_rate)
        return decisions, voices, n_samples

    def _has_vad(self, options: DiarizationOptions) -> bool:
        return self.config.vad if options.vad is None else options.vad

    def _gate(self, options: DiarizationOptions) -> Gate | None:
        """What the voice detector is asked, if anything."""
        if self._has_vad(options):
            return Gate(self.config.vad_threshold, self.config.speech_pad_s, self.config.min_silence_s)
        return Gate(VOICE_FROM) if options.skip_silence else None

    def _segment(
        self,
        stretch: Stretch,
        decisions: Decisions,
        voices: Heard | None,
        track: VoiceTrack | None,
        is_gated: bool,
    ) -> None:
        """Decide of the chunks of a stretch; where `is_gated`, nobody talks outside the voice of `track`."""
        geometry = self.geometry
        first = len(decisions) * geometry.step_samples
        heard = [
            place
            for place, start in enumerate(stretch.starts)
            if track is None or track.has_voice(first + start, first + start + geometry.chunk_samples)
        ]
        n_chunks = len(stretch.starts)
        sets = np.zeros((n_chunks, geometry.n_frames), np.uint8)
        probabilities = np.ones((n_chunks, geometry.n_frames), np.float32)
        samples = torch.from_numpy(stretch.samples)
        if heard:
            log_probs = self.networks.segment(samples, [stretch.starts[place] for place in heard])  # (B, T, P)
            best = log_probs.max(2)
            sets[heard], probabilities[heard] = best.indices.numpy(), best.values.exp().numpy()
        if track is not None:
            if is_gated:
                middles = geometry.hop_samples * np.arange(geometry.n_frames) + geometry.frame_samples / 2
                for place in heard:
                    sets[place, ~track.at(first + stretch.starts[place] + middles)] = 0  # the set of nobody
            track.forget(first + geometry.step_samples * len(stretch.starts))
        pieces, vectors = self._heard_in(samples, stretch.starts, self.sets[sets], voices)
        for chunk in range(n_chunks):
            decisions.add(Decision(sets[chunk], probabilities[chunk], pieces[chunk], vectors[chunk]))

    def _heard_in(
        self, samples: torch.Tensor, starts: Sequence[int], active: np.ndarray, voices: Heard | None
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return the pieces (Q, 3) of each chunk, in which `active` (B, T, S) says who talks, and their numbers."""
        longest = round(self.config.piece_s * self.sample_rate / self.geometry.hop_samples)
        pieces = [cut_pieces(one, longest) if longest else whole_pieces(one) for one in active]
        vectors = [np.zeros(len(one), np.int32) for one in pieces]
        spoken = [chunk for chunk, one in enumerate(pieces) if len(one)]
        if voices is None or not spoken:
            return pieces, vectors
        # A row for each place, whether it talks or not; more where there are more pieces.
        n_rows = max(active.shape[2], *(len(pieces[chunk]) for chunk in spoken))
        weights = np.zeros((len(spoken), n_rows, active.shape[1]), np.float32)
        rows = {chunk: np.arange(len(pieces[chunk])) if longest else pieces[chunk][:, 0] for chunk in spoken}
        for number, chunk in enumerate(spoken):
            weights[number, rows[chunk]] = masks(active[chunk], pieces[chunk], self.least_frames)
        found = self.networks.embed(samples, [starts[chunk] for chunk in spoken], torch.from_numpy(weights)).numpy()
        least = self.config.founding_s * self.sample_rate / self.geometry.hop_samples
        for number, chunk in enumerate(spoken):
            alone = active[chunk] * (active[chunk].sum(1, keepdims=True) < 2)
            for piece, (place, start, end) in enumerate(pieces[chunk].tolist()):
                is_brief = alone[start:end, place].sum() < least
                vectors[chunk][piece] = voices.add(found[number, rows[chunk][piece]], bool(is_brief))
        return pieces, vectors

    def _speakers(self, decisions: Decisions, voices: Heard, options: DiarizationOptions) -> Speakers:
        """Cluster the vectors, and give each piece to the nearest cluster."""
        numbers = decisions.vectors()  # (Q,)
        of_pieces, certainty = np.zeros(len(numbers), int), np.ones(len(numbers), np.float32)
        founding, brief = voices.founding, voices.brief
        if not len(founding.items()[2]):
            founding, brief, numbers = brief, founding, -1 - numbers  # nobody talks for long: short pieces have to do
        raw, units, sizes = founding.items()
        if not len(sizes):
            return Speakers(of_pieces, certainty, np.zeros((0, 0)), int(len(numbers) > 0))
        bounds = Bounds.of(options.num_speakers, options.min_speakers, options.max_speakers, int(sizes.sum()))
        threshold = self.config.threshold if options.threshold is None else options.threshold
        if self.config.linkage == "ward":
            repeats = self.geometry.repeats(len(decisions))
            clusters = find_even_clusters(units, sizes, bounds, threshold, self.config.min_cluster_size, repeats)
            centroids = means_of(units, sizes, clusters)  # (K, D)
        else:
            clusters = find_clusters(units, sizes, bounds, threshold, self.config.min_cluster_size)
            centroids = means_of(raw, sizes, clusters)  # (K, D)
        for is_here, group, places in (
            (numbers >= 0, founding, numbers[numbers >= 0]),
            (numbers < 0, brief, -1 - numbers[numbers < 0]),
        ):
            if len(places):
                nearest, sure = _nearest(group.items()[0], centroids)
                items = group.item_of()[places]
                of_pieces[is_here], certainty[is_here] = nearest[items], sure[items]
        return Speakers(of_pieces, certainty, centroids, len(centroids))

    def _known(self, known: Mapping[str, Sequence[float]]) -> dict[str, np.ndarray]:
        width = self.networks.embedding.embedding_dim
        found = {name: np.asarray(vector, np.float64) for name, vector in known.items()}
        for name, vector in found.items():
            if vector.shape != (width,) or not np.isfinite(vector).all() or not vector.any():
                raise OptionError(
                    f"known[{name!r}] has the shape {vector.shape}; expected the {width} finite numbers that voice() "
                    "gives of a clip with this model"
                )
        return found


def _nearest(vectors: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest of (K, D) centroids to each of (N, D) vectors, (N,), and how sure that is, (N,)."""
    near = cosines(vectors, centroids)  # (N, K)
    nearest, sure = near.argmax(1), np.ones(len(near), np.float32)
    if near.shape[1] > 1:
        two = np.sort(near, axis=1)[:, -2:]
        sure = (0.5 + 0.5 * np.clip((two[:, 1] - two[:, 0]) / SURE_FROM, 0, 1)).astype(np.float32)
    return nearest, sure


def _named(
    speakers: Speakers, known: Mapping[str, np.ndarray], options: DiarizationOptions
) -> tuple[Speakers, dict[int, str]]:
    """Give clusters the names of known speakers whose voice is near; clusters of one name become one.

    Where a number of speakers was asked for, only the nearest cluster takes a name, so that the number stays.
    """
    if not known or not len(speakers.centroids):
        return speakers, {}
    people = list(known)
    near = cosines(speakers.centroids, np.stack([known[name] for name in people]))  # (K, people)
    keeps_number = (options.num_speakers or options.min_speakers) is not None
    chosen: dict[int, int] = {}
    for cluster, person in zip(*np.unravel_index(np.argsort(-near, axis=None, kind="stable"), near.shape), strict=True):
        is_free = int(cluster) not in chosen and not (keeps_number and int(person) in chosen.values())
        if near[cluster, person] >= options.known_threshold and is_free:
            chosen[int(cluster)] = int(person)
    first_of: dict[int, int] = {}
    target = np.arange(len(speakers.centroids))
    for cluster in sorted(chosen):
        target[cluster] = first_of.setdefault(chosen[cluster], cluster)
    kept, renumbered = np.unique(target, return_inverse=True)
    of_pieces = renumbered[speakers.of_pieces]
    centroids = means_of(unit(speakers.centroids), np.ones(len(target), int), renumbered)
    names = {int(renumbered[cluster]): people[person] for cluster, person in chosen.items()}
    return Speakers(of_pieces, speakers.certainty, centroids, len(kept)), names


def _labels(spans: Sequence[Span], names: Mapping[int, str]) -> dict[int, str]:
    """Return the label of each speaker, in the order of first speech; those without a name are numbered."""
    labels: dict[int, str] = {}
    n_unnamed = 0
    taken = set(names.values())
    for span in spans:
        if span.speaker in labels:
            continue
        if span.speaker in names:
            labels[span.speaker] = names[span.speaker]
            continue
        while (label := f"SPEAKER_{n_unnamed:02d}") in taken:
            n_unnamed += 1
        labels[span.speaker] = label
        n_unnamed += 1
    return labels


def _embeddings(centroids: np.ndarray, labels: Mapping[int, str]) -> dict[str, list[float]]:
    vectors = unit(centroids) if len(centroids) else centroids
    return {
        label: [float(value) for value in vectors[speaker]]
        for speaker, label in labels.items()
        if speaker < len(vectors)
    }


def _warnings(n_found: int, options: DiarizationOptions) -> tuple[Warning, ...]:
    low = options.num_speakers or options.min_speakers or 0
    high = options.num_speakers or options.max_speakers or n_found
    if low <= n_found <= high:
        return ()
    asked = f"{low} or more" if n_found < low else f"at most {high}"
    return (Warning("speakers", f"{n_found} speakers were found, where {asked} were asked for"),)
