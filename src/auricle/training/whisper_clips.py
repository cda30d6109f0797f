"""Recordings with the times of their words: what windows for a Whisper decoder are joined from.

Where a manifest has no word times, a CTC model aligns the letters of the transcript.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from auricle.audio.decode import load_audio
from auricle.decoding.ctc import align
from auricle.engines import make_engine
from auricle.errors import CheckpointError, OptionError
from auricle.loading import load
from auricle.training.text import ALPHABET, spoken_form

SAMPLE_RATE = 16000
MAX_SECONDS, MIN_SECONDS = 28.0, 0.6
# The bundled CTC model finds first letters late and last ones about right. Seconds added to a word's start and end:
# what its medians were off by over 1953 given word times, of which half are then within 45 ms.
START_SHIFT, END_SHIFT = -0.077, -0.010


@dataclass(frozen=True)
class Clip:
    """One recording: its words in spoken form and, for each, (start, end) in seconds."""

    path: str
    words: tuple[str, ...]
    times: tuple[tuple[float, float], ...]
    corpus: str
    speaker: str
    duration: float  # seconds

    def __post_init__(self) -> None:
        if len(self.words) != len(self.times):
            raise OptionError(f"{self.path}: {len(self.words)} words and {len(self.times)} times; expected as many")


class WordAligner:
    """Finds where the words of a known text were said, with a letter CTC checkpoint."""

    def __init__(self, model: str = "bundled") -> None:
        loaded = load(model)
        self._features = loaded.features
        self._engine = make_engine(loaded.model)

    def __call__(self, waveform: np.ndarray, words: Sequence[str]) -> tuple[tuple[float, float], ...]:
        """(start, end) seconds of every word.

        Raises:
            OptionError: the recording is too short for its text.
        """
        log_probs, _ = self._engine.ctc(self._features([waveform]))  # (1, T, V)
        frames = log_probs[0].numpy()
        duration = len(waveform) / SAMPLE_RATE
        seconds = duration / len(frames)
        tokens = align(frames, [ALPHABET.index(letter) for letter in " ".join(words)], len(ALPHABET))
        times, at = [], 0
        for word in words:
            start = min(max(0.0, tokens[at].start * seconds + START_SHIFT), duration - 0.02)
            end = tokens[at + len(word) - 1].end * seconds + END_SHIFT
            times.append((round(start, 3), round(min(duration, max(start + 0.02, end)), 3)))
            at += len(word) + 1
        return tuple(times)


def wanted_rows(
    manifest: Path, corpora: Iterable[str], unwanted: frozenset[str], split: str = "train"
) -> Iterator[dict[str, object]]:
    """The English rows of some corpora and a split, but for those whose spoken form is in `unwanted`."""
    chosen = frozenset(corpora)
    for line in manifest.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["split"] != split or row.get("corpus") not in chosen or row.get("language", "en") != "en":
            continue
        form = spoken_form(row.get("text") or "")
        if form and form not in unwanted:
            yield {**row, "words": form.split()}


def tested_forms(manifest: Path) -> frozenset[str]:
    """The spoken forms of a manifest's test rows."""
    rows = (json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines())
    return frozenset(spoken_form(row.get("text") or "") or "" for row in rows if row["split"] == "test")


def make_clips(rows: Iterable[dict[str, object]], folder: Path, out: Path) -> int:
    """Write the clips of a manifest's rows, whose paths are relative to `folder`, as lines of JSON; their number.

    Recordings that are too long, too short, or too short for their text are left out.
    """
    aligner = WordAligner()
    out.parent.mkdir(parents=True, exist_ok=True)
    n_written = 0
    with out.with_suffix(".part").open("w", encoding="utf-8") as file:
        for row in rows:
            clip = _clip(row, folder / str(row["path"]), aligner)
            if clip is not None:
                file.write(json.dumps(asdict(clip)) + "\n")
                n_written += 1
    out.with_suffix(".part").replace(out)
    return n_written


def _clip(row: dict[str, object], path: Path, aligner: WordAligner) -> Clip | None:
    waveform = load_audio(path, SAMPLE_RATE)
    duration = len(waveform) / SAMPLE_RATE
    if not MIN_SECONDS <= duration <= MAX_SECONDS:
        return None
    words, given = row["words"], row.get("word_times")
    assert isinstance(words, list)
    if isinstance(given, list) and len(given) == len(words):
        times = tuple((float(start), float(end)) for start, end in given)
    else:
        try:
            times = aligner(waveform, words)
        except OptionError:
            return None
    return Clip(str(path), tuple(words), times, str(row["corpus"]), str(row["speaker"]), duration)


def read_clips(path: Path) -> list[Clip]:
    """What `make_clips` wrote, in order."""
    if not path.exists():
        raise CheckpointError(f"{path} does not exist; run `python -m auricle.training whisper-decoder clips`")
    clips = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        times = tuple((start, end) for start, end in row.pop("times"))
        clips.append(Clip(words=tuple(row.pop("words")), times=times, **row))
    return clips
