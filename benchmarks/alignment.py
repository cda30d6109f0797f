"""Errors of word times: of a given text aligned, and of the recogniser's own words.

    python benchmarks/alignment.py --speech FOLDER [--model NAME] [--limit N] [--out FILE]

FOLDER holds manifest.jsonl; its rows with word_times are measured, alone and joined to a recording of an hour. Words
of espeak-ng and flite, placed at known samples, are measured where these programs are installed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import resource
import shutil
import subprocess
import tempfile
import time
import wave
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from auricle import pipeline
from auricle.audio.decode import open_audio
from auricle.pipelines.align import Aligner

RESULTS = Path(__file__).parent / "results"
RATE = 16000
HOUR_S, PART_S = 3600.0, 600.0
LOUD = 0.02  # of the peak: where a synthesized word begins and ends
WORDS = (
    "morning table garden window yellow seven doctor people thousand river simple market father bottle orange "
    "captain number island doctor kitchen paper winter monday pencil summer letter system valley mother dinner "
    "42 $5 10:30 23rd 1984 50%"
).split()
Times = list[tuple[float, float]]


def timed_rows(folder: Path) -> list[dict[str, Any]]:
    """The manifest's rows whose word times are known."""
    lines = (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [{**row, "file": folder / row["path"]} for row in rows if row.get("word_times")]


def summary(errors: list[float]) -> dict[str, Any]:
    """The distribution of absolute errors in milliseconds; `bias_ms` is the median with its sign."""
    if not errors:
        return {"words": 0}
    size = np.abs(np.array(errors)) * 1000
    spread = {f"within_{limit}_ms": round(float((size <= limit).mean()), 4) for limit in (20, 50, 100, 200)}
    return {
        "words": len(errors),
        "median_ms": round(float(np.median(size)), 1),
        "mean_ms": round(float(size.mean()), 1),
        "p90_ms": round(float(np.percentile(size, 90)), 1),
        "p95_ms": round(float(np.percentile(size, 95)), 1),
        **spread,
        "bias_ms": round(float(np.median(errors)) * 1000, 1),
    }


def compared(found: Times, true: Times) -> dict[str, Any]:
    """The errors of starts and of ends."""
    return {
        side: summary([one[place] - other[place] for one, other in zip(found, true, strict=True)])
        for place, side in enumerate(("start", "end"))
    }


def align_clips(aligner: Aligner, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The given text of each clip; words that were not found count with their interpolated times."""
    found: Times = []
    true: Times = []
    n_lost, started = 0, time.process_time()
    for row in rows:
        words = aligner(row["file"], row["text"]).words
        n_lost += sum(word.confidence == 0.0 for word in words)
        found += [(word.start, word.end) for word in words]
        true += [(start, end) for start, end in row["word_times"]]
    seconds = time.process_time() - started
    return {"recordings": len(rows), "unaligned": n_lost, **compared(found, true), "cpu_seconds": round(seconds, 1)}


def recognized(model: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The recogniser's own words, where it got them right."""
    pipe = pipeline("automatic-speech-recognition", model=model, return_timestamps="word")
    found: Times = []
    true: Times = []
    n_words = 0
    for row in rows:
        chunks = pipe(str(row["file"]))["chunks"]
        words = row["text"].lower().split()
        n_words += len(words)
        for mine, given in matches([chunk["text"].strip().lower() for chunk in chunks], words):
            found.append(chunks[mine]["timestamp"])
            true.append(tuple(row["word_times"][given]))
    return {"recordings": len(rows), "words_spoken": n_words, **compared(found, true)}


def matches(mine: list[str], given: list[str]) -> list[tuple[int, int]]:
    """Places of equal words on the cheapest way from one list to the other (Levenshtein)."""
    cost = np.zeros((len(mine) + 1, len(given) + 1), dtype=int)
    cost[:, 0], cost[0] = np.arange(len(mine) + 1), np.arange(len(given) + 1)
    for i, word in enumerate(mine, start=1):
        for j, other in enumerate(given, start=1):
            cost[i, j] = min(cost[i - 1, j] + 1, cost[i, j - 1] + 1, cost[i - 1, j - 1] + (word != other))
    i, j = len(mine), len(given)
    pairs = []
    while i and j:
        if cost[i, j] == cost[i - 1, j - 1] + (mine[i - 1] != given[j - 1]):
            i, j = i - 1, j - 1
            if mine[i] == given[j]:
                pairs.append((i, j))
        elif cost[i, j] == cost[i - 1, j] + 1:
            i -= 1
        else:
            j -= 1
    return pairs[::-1]


def join(rows: list[dict[str, Any]], path: Path, seconds: float) -> tuple[str, Times]:
    """Write one speaker's clips, again and again, to one file; return its text and the times of its words."""
    words: list[str] = []
    times: Times = []
    n_samples = 0
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        while n_samples < seconds * RATE:
            for row in rows:
                samples = open_audio(row["file"], RATE).read()
                words += row["text"].split()
                times += [(start + n_samples / RATE, end + n_samples / RATE) for start, end in row["word_times"]]
                file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
                n_samples += len(samples)
                if n_samples >= seconds * RATE:
                    break
    return " ".join(words), times


def align_alone(path: str, text: str, model: str, results: Any) -> None:
    """Align in a process of its own, to see the memory that it takes."""
    torch.set_num_threads(1)
    aligner = Aligner(model)
    started, cpu = time.perf_counter(), time.process_time()
    transcript = aligner(path, text)
    results.put(
        {
            "duration": transcript.duration,
            "seconds": round(time.perf_counter() - started, 1),
            "cpu_seconds": round(time.process_time() - cpu, 1),
            "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            "unaligned": sum(word.confidence == 0.0 for word in transcript.words),
            "times": [(word.start, word.end) for word in transcript.words],
        }
    )


def measured_alone(path: Path, text: str, model: str) -> dict[str, Any]:
    """Run `align_alone` and wait for what it found."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=align_alone, args=(str(path), text, model, results))
    process.start()
    found: dict[str, Any] = results.get(timeout=3600)
    process.join()
    return found


def align_joined(rows: list[dict[str, Any]], model: str, folder: Path) -> dict[str, Any]:
    """An hour of the speaker with most clips, and its first and last ten minutes."""
    speakers: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        speakers[row["speaker"]].append(row)
    speaker, clips = max(speakers.items(), key=lambda item: sum(row["duration"] for row in item[1]))
    path = folder / "joined.wav"
    text, _ = join(clips, path, 60.0)
    minute = measured_alone(path, text, model)
    text, true = join(clips, path, HOUR_S)
    found = measured_alone(path, text, model)
    times = [tuple(one) for one in found.pop("times")]
    parts = {"first_ten_minutes": (0.0, PART_S), "last_ten_minutes": (found["duration"] - PART_S, found["duration"])}
    inside = {
        name: [place for place, one in enumerate(true) if low <= one[0] < high] for name, (low, high) in parts.items()
    }
    return {
        "speaker": speaker,
        "words": len(true),
        **found,
        "peak_mib_of_a_minute": minute["peak_mib"],
        **compared(times, true),
        **{
            name: compared([times[place] for place in places], [true[place] for place in places])
            for name, places in inside.items()
        },
    }


def synthesize(program: str, word: str, path: Path) -> np.ndarray:
    """The samples of a spoken word, from its first loud one to its last."""
    command = ["espeak-ng", "-w", str(path), word] if program == "espeak-ng" else ["flite", "-t", word, "-o", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    samples = open_audio(path, RATE).read()
    loud = np.flatnonzero(np.abs(samples) > LOUD * np.abs(samples).max())
    return samples[loud[0] : loud[-1] + 1]


def align_synthesized(aligner: Aligner, program: str, folder: Path) -> dict[str, Any]:
    """Words with silence between them, the beginning and end of each known to the sample."""
    random = np.random.default_rng(0)
    pieces, times, at = [], [], 0
    for word in WORDS:
        silence = np.zeros(int(random.uniform(0.3, 1.5) * RATE), np.float32)
        samples = synthesize(program, word, folder / "word.wav")
        pieces += [silence, samples]
        at += len(silence)
        times.append((at / RATE, (at + len(samples)) / RATE))
        at += len(samples)
    words = aligner({"array": np.concatenate(pieces), "sampling_rate": RATE}, " ".join(WORDS)).words
    n_lost = sum(word.confidence == 0.0 for word in words)
    return {"unaligned": n_lost, **compared([(word.start, word.end) for word in words], times)}


def main() -> None:
    """Measure, print, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, required=True)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--limit", type=int, help="measure only so many clips, evenly chosen")
    parser.add_argument("--out", type=Path, default=RESULTS / "alignment-bundled.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = timed_rows(arguments.speech)
    rows = rows[:: max(1, len(rows) // arguments.limit)] if arguments.limit else rows
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    aligner = Aligner(arguments.model)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        programs = [program for program in ("espeak-ng", "flite") if shutil.which(program)]
        result: dict[str, Any] = {
            "what": "errors of word times against forced alignments of LibriSpeech, and against synthesized words",
            "note": "the bundled model was trained on clips of split train, their text among its targets",
            "splits": sorted({row["split"] for row in rows}),
            "model": arguments.model,
            "commit": commit,
            "machine": {"processor": platform.processor() or platform.machine(), "threads": 1},
            "torch": torch.__version__,
            "given_text": align_clips(aligner, rows),
            "own_words": recognized(arguments.model, rows),
            "joined": align_joined(rows, arguments.model, folder),
            **{f"synthesized_{program}": align_synthesized(aligner, program, folder) for program in programs},
        }
    arguments.out.parent.mkdir(exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
