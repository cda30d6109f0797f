"""Who speaks when: chunks are segmented, voices are heard and clustered, and frames become turns.

The algorithm is that of pyannote/speaker-diarization-3.1 (arXiv 2104.04045, arXiv 2310.13025), and gives the same turns
from the same networks; see docs/diarization.md. Of a recording only the samples of a few chunks are held.

Dimension key: B chunks of a stretch, T frames of a chunk, S speakers within a chunk, P sets of them, D width of a
vector, K speakers of the recording.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from auricle.audio.vad import VoiceProbabilities
from auricle.checkpoints.diarization import DiarizationConfig
from auricle.engines.diarization import DiarizationNetworks
from auricle.errors import AudioInputError, OptionError
from auricle.results import SpeakerTurn, Warning
from auricle.speech.clustering import Bounds, Voices, cosines, find_clusters, means_of, unit
from auricle.speech.diarization import Diarization, DiarizationOptions
from auricle.speech.diarization_turns import INACTIVE, Choice, Span, fill_and_drop, lay_over, turns_of
from auricle.speech.diarization_windows import Decisions, Geometry, Stretch, masks, stretches

BATCH_SIZE = 8
SURE_FROM = 0.5  # cosine by which a voice must be nearer to its speaker than to the next, to be sure
VOICE_FROM = 0.2  # probability of voice in 32 ms, below which nobody is heard: far below the detector's usual 0.5


@dataclass(frozen=True)
class Speakers:
    """Who is at each place of each chunk."""

    of_places: np.ndarray  # (chunks, S), or INACTIVE
    certainty: np.ndarray  # (chunks, S), half where two are equally near, 1 where one is nearer by far
    centroids: np.ndarray  # (K, D), or (0, 0) where no voices were heard
    n_speakers: int


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
        frames = lay_over(decisions, speakers.of_places, speakers.certainty, choice, self.geometry, len(decisions))
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
            AudioError: the clip breaks off, or nobody speaks in it.
        """
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
        if not total.any():
            raise AudioInputError(
                f"nobody is heard to speak in the {len(samples) / self.sample_rate:.1f} s of "
                f"{getattr(audio, 'name', 'the clip')}; give a few seconds of the one speaker alone"
            )
        return [float(value) for value in torch.nn.functional.normalize(total, dim=0)]

    def _listen(
        self,
        audio: Any,
        options: DiarizationOptions,
        progress: Callable[[float], None] | None,
        has_known: bool,
    ) -> tuple[Decisions, Voices, int]:
        """Run the networks over all chunks; keep what was decided, and the vectors of who talks."""
        decisions, voices, n_samples = Decisions(), Voices(), 0
        # Of one speaker there is nobody to tell apart.
        is_one = (options.num_speakers or options.max_speakers) == 1 and not has_known
        blocks: Iterator[np.ndarray] = audio.blocks()
        detector = _Detector(self.sample_rate) if options.skip_silence else None
        if detector is not None:
            blocks = detector.hear(blocks)
        for stretch in stretches(blocks, self.geometry, options.batch_size or BATCH_SIZE):
            self._segment(stretch, decisions, None if is_one else voices, detector)
            n_samples = stretch.heard
            if progress is not None:
                progress(n_samples / self.sample_rate)
        return decisions, voices, n_samples

    def _segment(
        self, stretch: Stretch, decisions: Decisions, voices: Voices | None, detector: _Detector | None
    ) -> None:
        geometry = self.geometry
        first = len(decisions) * geometry.step_samples
        heard = [
            place
            for place, start in enumerate(stretch.starts)
            if detector is None or detector.has_voice(first + start, first + start + geometry.chunk_samples)
        ]
        n_chunks, n_places = len(stretch.starts), self.sets.shape[1]
        sets = np.zeros((n_chunks, geometry.n_frames), np.uint8)
        probabilities = np.ones((n_chunks, geometry.n_frames), np.float32)
        vectors = np.full((n_chunks, n_places), -1, np.int32)
        samples = torch.from_numpy(stretch.samples)
        if heard:
            log_probs = self.networks.segment(samples, [stretch.starts[place] for place in heard])  # (B, T, P)
            best = log_probs.max(2)
            sets[heard], probabilities[heard] = best.indices.numpy(), best.values.exp().numpy()
        active: np.ndarray = self.sets[sets]  # (B, T, S)
        talks: np.ndarray = active.max(1) > 0  # (B, S)
        spoken = np.flatnonzero(talks.sum(1)).tolist()
        if voices is None:
            vectors[talks] = 0
        elif spoken:
            weights = torch.from_numpy(masks(active[spoken], self.least_frames)).transpose(1, 2)  # (B, S, T)
            found = self.networks.embed(samples, [stretch.starts[place] for place in spoken], weights).numpy()
            for row, chunk in enumerate(spoken):
                for place in np.flatnonzero(talks[chunk]).tolist():
                    vectors[chunk, place] = voices.add(found[row, place])
        for chunk in range(n_chunks):
            decisions.add(sets[chunk], probabilities[chunk], vectors[chunk])

    def _speakers(self, decisions: Decisions, voices: Voices, options: DiarizationOptions) -> Speakers:
        """Cluster the vectors, and give each place of each chunk to the nearest cluster."""
        numbers = decisions.vectors()  # (chunks, S)
        is_active = numbers >= 0
        of_places = np.where(is_active, 0, INACTIVE)
        certainty = np.ones(numbers.shape, np.float32)
        raw, units, sizes = voices.items()
        if not len(sizes):
            return Speakers(of_places, certainty, np.zeros((0, 0)), int(is_active.any()))
        bounds = Bounds.of(options.num_speakers, options.min_speakers, options.max_speakers, int(sizes.sum()))
        threshold = self.config.threshold if options.threshold is None else options.threshold
        clusters = find_clusters(units, sizes, bounds, threshold, self.config.min_cluster_size)
        centroids = means_of(raw, sizes, clusters)  # (K, D)
        near = cosines(raw, centroids)  # (items, K)
        nearest, sure = near.argmax(1), np.ones(len(near), np.float32)
        if near.shape[1] > 1:
            two = np.sort(near, axis=1)[:, -2:]
            sure = (0.5 + 0.5 * np.clip((two[:, 1] - two[:, 0]) / SURE_FROM, 0, 1)).astype(np.float32)
        items = voices.item_of()[numbers[is_active]]
        of_places[is_active], certainty[is_active] = nearest[items], sure[items]
        return Speakers(of_places, certainty, centroids, len(centroids))

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


class _Detector:
    """Notes where there may be a voice while blocks pass."""

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self._probabilities = VoiceProbabilities(sample_rate)
        self._voiced: list[np.ndarray] = []

    def hear(self, blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """Give the blocks, each after it was heard."""
        for block in blocks:
            self._voiced.append(self._probabilities(block) >= VOICE_FROM)
            yield block
        self._voiced.append(self._probabilities.end() >= VOICE_FROM)

    def has_voice(self, start: int, end: int) -> bool:
        """Whether there may be a voice between two samples; what is not decided yet may be one."""
        voiced = np.concatenate(self._voiced)
        self._voiced = [voiced]
        places = [math.floor(sample / self.sample_rate / 0.032) for sample in (start, end)]
        return places[1] >= len(voiced) + 1 or bool(voiced[places[0] : places[1] + 1].any())


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
    of_places = np.where(speakers.of_places == INACTIVE, INACTIVE, renumbered[np.maximum(speakers.of_places, 0)])
    centroids = means_of(unit(speakers.centroids), np.ones(len(target), int), renumbered)
    names = {int(renumbered[cluster]): people[person] for cluster, person in chosen.items()}
    return Speakers(of_places, speakers.certainty, centroids, len(kept)), names


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
