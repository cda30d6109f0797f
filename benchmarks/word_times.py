"""How far word times are off, on clips whose words have given times, alone and joined into recordings of minutes.

    python benchmarks/word_times.py --speech FOLDER --model NAME [--minutes 5] [--recordings 2] [--out FILE]

FOLDER holds manifest.jsonl: rows with path, text, speaker and word_times, of which those of one speaker are taken, and
longform.jsonl, which says how to join clips of a test set: there the times of sentences are known, not those of words.
Words of the transcript are matched to those said by edit distance; times count where both are equal.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import torch

from auricle import pipeline
from auricle.audio.decode import load_audio
from auricle.text.normalize import normalize_english

RESULTS = Path(__file__).parent / "results"
SAMPLE_RATE = 16000
# Left out when runs/whisper-small-decoder was trained.
SPEAKER = "ls-5652"
PAUSE_S = (0.2, 1.5)  # between joined clips
SHARES_MS = (50, 100, 200, 500)
NEAR_S = 0.3  # how far outside its sentence a word may lie


@dataclass(frozen=True)
class Recording:
    """Samples, the words said in them, and when: (start, end) seconds each, of the word or of its sentence."""

    name: str
    waveform: np.ndarray
    words: list[str]
    times: np.ndarray  # (words, 2)


def given_clips(speech: Path) -> list[Recording]:
    """The speaker's clips with word times, in order."""
    found = []
    for line in (speech / "manifest.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row.get("speaker") == SPEAKER and row.get("word_times"):
            waveform = load_audio(speech / row["path"], SAMPLE_RATE)
            found.append(Recording(row["path"], waveform, row["text"].lower().split(), np.array(row["word_times"])))
    return found


def join(clips: Sequence[Recording], minutes: float, n_recordings: int, seed: int = 0) -> list[Recording]:
    """Recordings of at least `minutes`, clips in order with faint noise between them, as long as there are clips."""
    rng = np.random.default_rng(seed)
    joined: list[Recording] = []
    pieces, words, times, n_samples = [], [], [], 0
    for clip in clips:
        pieces.append(clip.waveform)
        words += clip.words
        times.append(clip.times + n_samples / SAMPLE_RATE)
        hush = rng.standard_normal(round(rng.uniform(*PAUSE_S) * SAMPLE_RATE)).astype(np.float32) * 1e-4
        pieces.append(hush)
        n_samples += len(clip.waveform) + len(hush)
        if n_samples >= minutes * 60 * SAMPLE_RATE:
            joined.append(Recording(f"joined-{len(joined)}", np.concatenate(pieces), words, np.concatenate(times)))
            pieces, words, times, n_samples = [], [], [], 0
            if len(joined) == n_recordings:
                break
    return joined


def longform(speech: Path, names: Sequence[str]) -> list[Recording]:
    """Recordings that longform.jsonl describes; the times of a word are those of its sentence."""
    texts = {}
    for line in (speech / "manifest.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        texts[row["path"]] = row.get("text") or ""
    found = []
    for line in (speech / "longform.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["name"] not in names:
            continue
        waveform = np.zeros(round(row["duration"] * SAMPLE_RATE), np.float32)
        words, times = [], []
        for path, (_, start, end) in zip(row["clips"], row["segments"], strict=True):
            samples = load_audio(speech / path, SAMPLE_RATE)
            first = round(start * SAMPLE_RATE)
            waveform[first : first + len(samples)] = samples[: len(waveform) - first]
            said = normalize_english(texts[path]).split()
            words += said
            times += [(start, end)] * len(said)
        found.append(Recording(row["name"], waveform, words, np.array(times)))
    return found


def matched(said: Sequence[str], heard: Sequence[str]) -> tuple[list[tuple[int, int]], float]:
    """Places of equal words in both, and the word error rate."""
    found = jiwer.process_words([" ".join(said)], [" ".join(heard)])
    pairs = [
        (chunk.ref_start_idx + at, chunk.hyp_start_idx + at)
        for chunk in found.alignments[0]
        if chunk.type == "equal"
        for at in range(chunk.ref_end_idx - chunk.ref_start_idx)
    ]
    return pairs, found.wer


def transcribe(pipe: Any, recording: Recording, parameters: dict[str, Any]) -> tuple[list[str], np.ndarray]:
    """Every word heard, normalised, and its (start, end) seconds."""
    audio = {"array": recording.waveform, "sampling_rate": SAMPLE_RATE}
    (transcript,) = pipe.transcripts([audio], return_timestamps="word", **parameters)
    words, times = [], []
    for segment in transcript.segments:
        for word in segment.words or ():
            for part in normalize_english(word.text).split():
                words.append(part)
                times.append((word.start, word.end))
    return words, np.array(times).reshape(-1, 2)


def distribution(errors: np.ndarray) -> dict[str, float]:
    """Of absolute errors in seconds: milliseconds, and the share within some."""
    if not len(errors):
        return {"n": 0}
    spread = {
        "median_ms": np.median(errors) * 1000,
        "mean_ms": errors.mean() * 1000,
        "p90_ms": np.quantile(errors, 0.9) * 1000,
        "p95_ms": np.quantile(errors, 0.95) * 1000,
        **{f"within_{limit}_ms": float((errors <= limit / 1000).mean()) for limit in SHARES_MS},
    }
    rounded = {name: round(float(value), 3 if name.startswith("within") else 1) for name, value in spread.items()}
    return {"n": len(errors), **rounded}


def measure(pipe: Any, recordings: Sequence[Recording], parameters: dict[str, Any]) -> dict[str, Any]:
    """Errors of start and end over all recordings, of the first and the last third of each, and the word errors."""
    differences, thirds, rates, n_words = [], [], [], 0
    started = time.perf_counter()
    for recording in recordings:
        heard, times = transcribe(pipe, recording, parameters)
        pairs, rate = matched(recording.words, heard)
        for said_at, heard_at in pairs:
            differences.append(times[heard_at] - recording.times[said_at])
            moment = recording.times[said_at, 0] / (len(recording.waveform) / SAMPLE_RATE)
            thirds.append(int(moment * 3))
        rates.append(rate * len(recording.words))
        n_words += len(recording.words)
    found, third = np.array(differences).reshape(-1, 2), np.array(thirds)
    return {
        "recordings": len(recordings),
        "audio_seconds": round(sum(len(one.waveform) for one in recordings) / SAMPLE_RATE, 1),
        "seconds": round(time.perf_counter() - started, 1),
        "words": n_words,
        "wer": round(sum(rates) / max(1, n_words), 4),
        "start": distribution(np.abs(found[:, 0])),
        "end": distribution(np.abs(found[:, 1])),
        "start_median_signed_ms": round(float(np.median(found[:, 0])) * 1000, 1) if len(found) else None,
        "end_median_signed_ms": round(float(np.median(found[:, 1])) * 1000, 1) if len(found) else None,
        "start_first_third": distribution(np.abs(found[third == 0, 0])),
        "start_last_third": distribution(np.abs(found[third == 2, 0])),
    }


def measure_sentences(pipe: Any, recordings: Sequence[Recording], parameters: dict[str, Any]) -> dict[str, Any]:
    """The share of matched words that lie in their sentence, of the whole and of the last third."""
    inside, last, rates, n_words = [], [], [], 0
    for recording in recordings:
        heard, times = transcribe(pipe, recording, parameters)
        pairs, rate = matched(recording.words, heard)
        for said_at, heard_at in pairs:
            start, end = recording.times[said_at]
            inside.append(start - NEAR_S <= times[heard_at, 0] and times[heard_at, 1] <= end + NEAR_S)
            last.append(start * 3 > 2 * len(recording.waveform) / SAMPLE_RATE)
        rates.append(rate * len(recording.words))
        n_words += len(recording.words)
    shares, is_last = np.array(inside, dtype=float), np.array(last, dtype=bool)
    return {
        "recordings": [recording.name for recording in recordings],
        "words": n_words,
        "wer": round(sum(rates) / max(1, n_words), 4),
        "matched": len(shares),
        f"inside_sentence_within_{NEAR_S}_s": round(float(shares.mean()), 4) if len(shares) else None,
        "inside_sentence_last_third": round(float(shares[is_last].mean()), 4) if is_last.any() else None,
    }


def card(model: str) -> str | None:
    """What a checkpoint folder says of itself."""
    path = Path(model) / "auricle.json"
    return json.loads(path.read_text(encoding="utf-8")).get("summary") if path.exists() else None


def main() -> None:
    """Measure, print, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, required=True)
    parser.add_argument("--model", default="runs/whisper-small-decoder")
    parser.add_argument("--clips", type=int, default=40, help="single clips")
    parser.add_argument("--minutes", type=float, default=5.0, help="of a joined recording, at least")
    parser.add_argument("--recordings", type=int, default=2, help="joined recordings")
    parser.add_argument("--longform", nargs="*", default=["ls_5142-33396"], help="names in longform.jsonl")
    parser.add_argument("--ways", nargs="+", default=["greedy", "beams", "batched"], choices=list(WAYS))
    parser.add_argument("--out", type=Path, default=RESULTS / "word-times-whisper.json")
    arguments = parser.parse_args()
    clips = given_clips(arguments.speech)
    joined = join(clips, arguments.minutes, arguments.recordings)
    pipe = pipeline("automatic-speech-recognition", model=arguments.model)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    result: dict[str, Any] = {
        "what": "word times through cross-attention and dynamic time warping against given word times of a speaker "
        "the decoder was not trained on; words equal in transcript and reference",
        "model": arguments.model,
        "trained": card(arguments.model),
        "commit": commit,
        "machine": {"processor": platform.processor() or platform.machine(), "threads": torch.get_num_threads()},
        "torch": torch.__version__,
        "ways": {},
    }
    for way in arguments.ways:
        measured = {"clips": measure(pipe, clips[: arguments.clips], WAYS[way])} if way != "batched" else {}
        measured["joined"] = measure(pipe, joined, WAYS[way])
        if arguments.longform and way == "greedy":
            recordings = longform(arguments.speech, arguments.longform)
            measured["longform"] = measure_sentences(pipe, recordings, WAYS[way])
        result["ways"][way] = measured
        arguments.out.parent.mkdir(exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        print(way, json.dumps(measured, indent=2), flush=True)


WAYS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "beams": {"num_beams": 5},
    "batched": {"schedule": "batched", "batch_size": 8},
}

if __name__ == "__main__":
    main()
