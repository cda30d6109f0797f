"""Long recordings in both schedules of Whisper: the same text, and how right it is, beside transformers.

    python benchmarks/schedules.py --speech FOLDER [--model NAME] [--names NAME ...] [--no-peer] [--out FILE]

FOLDER holds longform.jsonl, which says how clips are joined into recordings of minutes with one reader, and their text.
Without the text before it a window comes to the same whatever it is batched with: every word and every time of the
batched schedule is compared with the sequential one's. The peer is transformers' pipeline on the same checkpoint, as it
is and with windows of 30 s, given the same samples.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from word_times import RESULTS, SAMPLE_RATE, Recording, card, longform

from auricle import Transcript, pipeline
from auricle.evaluation.wer import word_errors
from auricle.text.normalize import normalize_english

ALONE = {"condition_on_previous_text": False}
WAYS: dict[str, dict[str, Any]] = {
    "sequential": {},
    "sequential, vad=False": {"vad": False},
    "sequential, not conditioned": ALONE,
    "batched, 1": {"schedule": "batched", "batch_size": 1},
    "batched, 8": {"schedule": "batched", "batch_size": 8},
}
EQUAL = "sequential, not conditioned", ("batched, 1", "batched, 8")


def rates(recordings: list[Recording], texts: list[str], seconds: float) -> dict[str, Any]:
    """Word errors over all recordings, and the time taken."""
    references = [normalize_english(" ".join(one.words)) for one in recordings]
    errors = word_errors(references, [normalize_english(text) for text in texts])
    audio = sum(len(one.waveform) for one in recordings) / SAMPLE_RATE
    return {
        "words": errors.words,
        "wer": round(errors.rate, 4),
        "substitutions": errors.substitutions,
        "deletions": errors.deletions,
        "insertions": errors.insertions,
        "seconds": round(seconds, 1),
        "times_real_time": round(audio / seconds, 2),
    }


def ours(model: str, recordings: list[Recording]) -> tuple[dict[str, Any], dict[str, list[Transcript]]]:
    """Each way's errors and transcripts."""
    pipe: Any = pipeline("automatic-speech-recognition", model=model)
    measured, found = {}, {}
    for way, parameters in WAYS.items():
        started = time.perf_counter()
        sources = [{"array": one.waveform, "sampling_rate": SAMPLE_RATE} for one in recordings]
        found[way] = list(pipe.transcripts(sources, return_timestamps="word", **parameters))
        seconds = time.perf_counter() - started
        measured[way] = rates(recordings, [one.text for one in found[way]], seconds)
        measured[way]["warnings"] = sum(len(one.warnings) for one in found[way])
        print(way, measured[way], flush=True)
    return measured, found


def differences(one: list[Transcript], other: list[Transcript]) -> dict[str, int]:
    """How many segments and words of two transcripts are not equal in text, times and confidence."""
    segments = [(s.text, s.start, s.end) for t in one for s in t.segments]
    others = [(s.text, s.start, s.end) for t in other for s in t.segments]
    words, other_words = [w for t in one for w in t.words], [w for t in other for w in t.words]
    return {
        "segments": len(segments),
        "segments_that_differ": sum(a != b for a, b in zip(segments, others, strict=False))
        + abs(len(segments) - len(others)),
        "words": len(words),
        "words_that_differ": sum(
            (a.text, a.start, a.end) != (b.text, b.start, b.end) for a, b in zip(words, other_words, strict=False)
        )
        + abs(len(words) - len(other_words)),
        "warnings_that_differ": sum(a.warnings != b.warnings for a, b in zip(one, other, strict=True)),
    }


def peer(model: str, recordings: list[Recording]) -> dict[str, Any]:
    """Transformers' pipeline: its own long form, and windows of 30 s merged."""
    import transformers

    transformers.logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    pipe = transformers.pipeline("automatic-speech-recognition", model=model, device="cpu", dtype=torch.float32)
    ways: dict[str, Callable[[np.ndarray], str]] = {
        "transformers, sequential": lambda samples: pipe(
            {"raw": samples, "sampling_rate": SAMPLE_RATE}, return_timestamps=True, generate_kwargs={"num_beams": 1}
        )["text"],
        "transformers, chunk_length_s=30": lambda samples: pipe(
            {"raw": samples, "sampling_rate": SAMPLE_RATE},
            chunk_length_s=30,
            batch_size=8,
            return_timestamps=True,
            generate_kwargs={"num_beams": 1},
        )["text"],
    }
    measured = {}
    for way, transcribe in ways.items():
        started = time.perf_counter()
        texts = [transcribe(one.waveform.copy()) for one in recordings]
        measured[way] = rates(recordings, texts, time.perf_counter() - started)
        print(way, measured[way], flush=True)
    return {"version": transformers.__version__, **measured}


def main() -> None:
    """Measure, print, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, required=True)
    parser.add_argument("--model", default="runs/whisper-small-decoder")
    parser.add_argument("--names", nargs="+", default=["ls_5142-33396", "ls_8455-210777"], help="in longform.jsonl")
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS / "schedules-whisper.json")
    arguments = parser.parse_args()
    recordings = longform(arguments.speech, arguments.names)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    measured, found = ours(arguments.model, recordings)
    first, others = EQUAL
    result: dict[str, Any] = {
        "what": "word errors on long recordings in each schedule, and whether batched is equal to sequential",
        "model": arguments.model,
        "trained": card(arguments.model),
        "recordings": {one.name: round(len(one.waveform) / SAMPLE_RATE, 1) for one in recordings},
        "commit": commit,
        "machine": {"processor": platform.processor() or platform.machine(), "threads": torch.get_num_threads()},
        "torch": torch.__version__,
        "ways": measured,
        "equal": {f"{first} and {other}": differences(found[first], found[other]) for other in others},
    }
    if not arguments.no_peer:
        result["peer"] = peer(arguments.model, recordings)
    arguments.out.parent.mkdir(exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result["equal"], indent=2))


if __name__ == "__main__":
    main()
