"""Rows of results: one model on one data set as a JSON object; docs/evaluation.md has its keys.

The server's page of results reads the same files (docs/page.md).
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from auricle.corpora.walk import RUN_PLAN
from auricle.errors import OptionError
from auricle.evaluation.diarization import DiarizationScore, Scoring
from auricle.evaluation.normalizers import Normalizer
from auricle.evaluation.scoring import Score, by_duration
from auricle.evaluation.speaker_words import SpeakerErrors, cp_errors, wd_errors
from auricle.evaluation.turns import Turns
from auricle.evaluation.wer import ErrorCounts

SCHEMA = "auricle.evaluation/1"
SPEECH, DIARIZATION = "automatic-speech-recognition", "speaker-diarization"
MAX_TOLD = 100  # failures and dropped ids that a row names; all are counted


@dataclass(frozen=True)
class Made:
    """How predictions came to be."""

    model: str
    dataset: str
    hardware: str | None = None
    machine: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    revision: str | None = None
    date: str | None = None  # YYYY-MM-DD
    left_out: Mapping[str, int] = field(default_factory=dict)  # by the data set's reader: reason to how many


def speech_row(score: Score, made: Made, predictions: str | None = None) -> dict[str, Any]:
    """Return the row of a model's transcripts. `predictions` is the name of the file beside it.

    Raises:
        OptionError: nothing is left that could be scored.
    """
    if not score.kept:
        reasons = "; ".join(f"{reason}: {len(ids)}" for reason, ids in score.dropped.items())
        raise OptionError(
            f"{made.model} on {made.dataset}: nothing to score; {len(score.failed)} utterances failed"
            f"{', ' + reasons if reasons else ''}; look at the references and at the messages"
        )
    sampling = score.sampling
    return {
        "schema": SCHEMA,
        "task": SPEECH,
        "model": made.model,
        "dataset": made.dataset,
        **_rates(score, raw=False),
        "raw": _rates(score, raw=True),
        "n_utterances": len(score.kept),
        "n_failed": len(score.failed),
        "failures": [{"id": one.id, "error": one.error} for one in score.failed[:MAX_TOLD]],
        "dropped": {
            **{reason: {"n": n, "ids": []} for reason, n in made.left_out.items()},
            **{reason: {"n": len(ids), "ids": ids[:MAX_TOLD]} for reason, ids in score.dropped.items()},
        },
        "normalizer": score.normalizer.stamp(),
        "interval": {
            "level": sampling.level,
            "resamples": sampling.resamples,
            "seed": sampling.seed,
            "drawn": "utterance" if score.groups is None else "speaker",
        },
        "by_duration": by_duration(score),
        "rtfx": score.rtfx,
        "audio_seconds": sum(one.duration or 0.0 for one in score.kept),
        "compute_seconds": sum(one.seconds or 0.0 for one in score.kept),
        "references": references_hash(score),
        "predictions": predictions,
        "revision": made.revision,
        "options": dict(made.options),
        "hardware": made.hardware,
        "machine": dict(made.machine),
        "date": made.date or datetime.date.today().isoformat(),
    }


def references_hash(score: Score) -> str:
    """Return 16 hexadecimal digits of the ids and raw references that count: rows with the same can be compared."""
    content = json.dumps(sorted((one.id, one.reference) for one in score.kept))
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(partial, path)


def read_rows(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Give the rows of a folder's and its subfolders' ``*.json``, in the order of their names.

    A file is one row, a list of rows, or an object whose `results` is such a list; what has no model, data set or
    rate is refused, so that nothing is left out unseen.

    Raises:
        OptionError: the folder is not there, holds no row, or a file is none.
    """
    if not folder.is_dir():
        raise OptionError(f"{folder} is no folder; give the one that `auricle evaluate --out` wrote to")
    paths = sorted(path for path in folder.rglob("*.json") if not path.name.startswith("."))
    if not paths:
        raise OptionError(f"{folder} holds no *.json; give the folder that `auricle evaluate --out` wrote to")
    for path in paths:
        if path.name == RUN_PLAN:
            raise OptionError(
                f"{path.parent} is a run of `auricle transcribe --out`, whose texts are not scored yet; score them "
                f"with `auricle evaluate --predictions {path.parent} --out RESULTS`, and give RESULTS here"
            )
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise OptionError(f"{path} cannot be read as JSON: {error}; move it elsewhere") from None
        entries = content.get("results", content) if isinstance(content, dict) else content
        for row in entries if isinstance(entries, list) else [entries]:
            yield path, _checked(row, path)


def _checked(row: Any, path: Path) -> dict[str, Any]:
    rate = "der" if isinstance(row, dict) and row.get("task") == DIARIZATION else "wer"
    if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in ("model", "dataset")):
        raise OptionError(f"{path} is no row of results; expected an object with model, dataset and wer")
    if isinstance(row.get(rate), bool) or not isinstance(row.get(rate), int | float):
        raise OptionError(f"{path}: {rate} is {row.get(rate)!r}; expected a fraction, such as 0.054")
    return row


def _rates(score: Score, raw: bool) -> dict[str, Any]:
    rates = score.raw if raw else score.normalized
    words, characters = rates.word_total, rates.character_total
    of_words, of_characters = score.interval("words", raw), score.interval("characters", raw)
    return {
        "wer": _rate(words),
        "wer_low": None if of_words is None else of_words.low,
        "wer_high": None if of_words is None else of_words.high,
        "cer": _rate(characters),
        "cer_low": None if of_characters is None else of_characters.low,
        "cer_high": None if of_characters is None else of_characters.high,
        "substitutions": words.substitutions,
        "deletions": words.deletions,
        "insertions": words.insertions,
        "words": words.words,
    }


def _rate(counts: ErrorCounts) -> float:
    assert counts.words, "what is kept has a reference"
    return counts.rate


def diarization_row(
    model: str,
    dataset: str,
    scored: DiarizationScore,
    scoring: Scoring,
    references: Turns,
    hypotheses: Turns,
    words: Normalizer | None,
) -> dict[str, Any]:
    """Return the row of a model's turns; with `words`, also how their words fit the speakers."""
    whole, between = scored.all, scored.interval(scoring.resamples, scoring.seed)
    row = {
        "schema": SCHEMA,
        "task": DIARIZATION,
        "model": model,
        "dataset": dataset,
        "der": whole.der,
        "der_low": None if between is None else between.low,
        "der_high": None if between is None else between.high,
        **{key: getattr(whole, key) / whole.total for key in ("missed", "false_alarm", "confusion")},
        "jer": whole.jer,
        "collar": scoring.collar,
        "skip_overlap": scoring.skip_overlap,
        "speech_seconds": whole.total,
        "n_recordings": len(scored.recordings),
        "recordings": [{**asdict(one), "der": one.der} for one in scored.recordings if one.total],
        "date": datetime.date.today().isoformat(),
    }
    if words is None:
        return row
    pairs = [(turns, hypotheses.get(recording, [])) for recording, turns in references.items()]
    together = [cp_errors(said, heard, words) for said, heard in pairs]
    n_words = sum(one.words for one in together)
    by_word = sum((wd_errors(said, heard, words) for said, heard in pairs), SpeakerErrors(0, 0))
    return row | {
        "cpwer": sum(one.errors for one in together) / n_words if n_words else None,
        "wder": by_word.rate,
        "words": n_words,
        "normalizer": words.stamp(),
    }
