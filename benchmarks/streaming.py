"""How soon streamed words are final, how many change before, and what streaming costs in word errors.

    python benchmarks/streaming.py --speech FOLDER [--model NAME] [--clips 20] [--out FILE]

FOLDER holds manifest.jsonl as benchmarks/wer.py reads it. Clips of LibriSpeech's test set, of all readers in turn
and of about 12 s, are fed in blocks of 0.1 s on a clock of their own: sound arrives when it would in real time, and
the time that computing takes is measured and added: the processor time of one thread, which what else runs on the
machine does not change. Nothing sleeps.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from wer import RESULTS, test_rows

from auricle import pipeline
from auricle.audio.decode import load_audio
from auricle.evaluation.wer import word_errors
from auricle.speech.agreement import key
from auricle.speech.streaming import StreamUpdate
from auricle.text.normalize import normalize_english

LATENCIES = (0.5, 1.0, 2.0)
CORPUS = "librispeech_test_clean"
USUAL_S = 12.0


def spread(rows: list[dict[str, Any]], n_clips: int) -> list[dict[str, Any]]:
    """Clips of all readers in turn, those of about the usual length first."""
    by_reader: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: (abs(row["duration"] - USUAL_S), row["path"])):
        by_reader.setdefault(row["speaker"], []).append(row)
    turns = [row for turn in range(len(rows)) for clips in by_reader.values() for row in clips[turn : turn + 1]]
    return turns[:n_clips]


def first_seen(updates: list[StreamUpdate]) -> list[float]:
    """For each final word, how long after its end some hypothesis first had it, final or not."""
    waits = []
    for update in updates:
        for word in update.final:
            middle = (word.start + word.end) / 2
            early = next(
                (
                    other.moment
                    for other in updates
                    for seen in (*other.tentative, *other.final)
                    if key(seen.text) == key(word.text) and seen.start <= middle <= seen.end
                ),
                update.moment,
            )
            waits.append(early - word.end)
    return waits


def changed(updates: list[StreamUpdate]) -> tuple[int, int]:
    """How many tentative words were said otherwise, or not at all, when they became final; and how many there were."""
    final = [word for update in updates for word in update.final]
    n_changed = n_shown = 0
    for update in updates:
        for word in update.tentative:
            middle = (word.start + word.end) / 2
            n_shown += 1
            n_changed += not any(
                key(other.text) == key(word.text) and other.start <= middle <= other.end for other in final
            )
    return n_changed, n_shown


def measure(pipe: Any, rows: list[dict[str, Any]], latency: float) -> dict[str, Any]:
    """Stream every clip at one setting."""
    waits: list[float] = []
    first: list[float] = []
    n_changed = n_shown = 0
    texts, computing, seconds = [], 0.0, 0.0
    for row in rows:
        samples = row["samples"]
        started = time.thread_time()
        updates = list(pipe.stream(samples, latency=latency, clock=time.thread_time))
        computing += time.thread_time() - started
        seconds += len(samples) / pipe.sample_rate
        waits += [wait for update in updates for wait in update.latencies_s]
        first += first_seen(updates)
        one_changed, one_shown = changed(updates)
        n_changed, n_shown = n_changed + one_changed, n_shown + one_shown
        texts.append(normalize_english(updates[-1].text if updates else ""))
    words = word_errors([row["reference"] for row in rows], texts)
    return {
        "final_latency_s": {"median": round(median(waits), 3), "p90": round(float(np.percentile(waits, 90)), 3)},
        "first_seen_latency_s": {"median": round(median(first), 3), "p90": round(float(np.percentile(first, 90)), 3)},
        "tentative_words_changed": round(n_changed / n_shown, 4) if n_shown else None,
        "final_words": len(waits),
        "real_time_factor": round(computing / seconds, 4),
        "wer": round(words.rate, 4),
        "deletions": words.deletions,
        "insertions": words.insertions,
    }


def main() -> None:
    """Stream, print, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, required=True)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--out", type=Path, default=RESULTS / "streaming-bundled.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = spread(test_rows(arguments.speech)[CORPUS], arguments.clips)
    pipe: Any = pipeline("automatic-speech-recognition", model=arguments.model)
    for row in rows:
        row["samples"] = load_audio(row["file"], pipe.sample_rate)
        row["reference"] = normalize_english(row["text"])
    started = time.thread_time()
    offline = [normalize_english(pipe(row["samples"])["text"]) for row in rows]
    took = time.thread_time() - started
    audio = sum(len(row["samples"]) for row in rows) / pipe.sample_rate
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    result: dict[str, Any] = {
        "what": "streaming in simulated real time, with the processor time of one thread: seconds from a word's end "
        "to its being final, and to its being first seen; the share of tentative words that did not become final as "
        "they were; word error rate",
        "model": arguments.model,
        "commit": commit,
        "machine": {"processor": platform.processor() or platform.machine(), "threads": torch.get_num_threads()},
        "torch": torch.__version__,
        "corpus": CORPUS,
        "recordings": len(rows),
        "audio_seconds": round(audio, 1),
        "offline": {
            "wer": round(word_errors([row["reference"] for row in rows], offline).rate, 4),
            "real_time_factor": round(took / audio, 4),
        },
        "latency": {str(latency): measure(pipe, rows, latency) for latency in LATENCIES},
    }
    arguments.out.parent.mkdir(exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
