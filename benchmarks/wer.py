"""Word error rate of a model on the recordings of a manifest, through the pipeline that users call.

    python benchmarks/wer.py --speech FOLDER [--synthetic FOLDER] [--model NAME] [--out FILE]

FOLDER holds manifest.jsonl: rows with path, text, corpus, split, language. Only rows of the test split are scored. With
--conditions every fourth recording of LibriSpeech is heard again at 10 dB of noise, in a room, and at 8 kHz; noise and
room are of FOLDER/noise and FOLDER/rir, with which the bundled model's training disturbed other recordings, too.
--greedy leaves the model's own language model out.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch

from auricle import pipeline
from auricle.audio.decode import load_audio
from auricle.evaluation.wer import character_errors, word_errors
from auricle.text.normalize import normalize_english
from auricle.training.augment import add_noise, place_in_room

RESULTS = Path(__file__).parent / "results"
RATE = 16000  # hertz
CORPORA = ("librispeech_test_clean", "synthetic_espeak", "synthetic_slt", "speechocean762", "common_voice_6_1_sample")


def test_rows(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Corpus to its English test rows with a transcript."""
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        corpus = row.get("corpus", folder.name)
        if row["split"] == "test" and row.get("language", "en") == "en" and row.get("text") and corpus in CORPORA:
            rows[corpus].append({**row, "file": folder / row["path"]})
    return rows


def under_conditions(folder: Path, rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return every fourth row as it is and as it would be heard elsewhere, each as samples."""
    noise = load_audio(max((folder / "noise").glob("*.wav")), RATE)
    room = load_audio(max((folder / "rir").glob("*.wav")), RATE)
    narrow = partial(soxr.resample, in_rate=RATE, out_rate=8000)
    conditions: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
        "as it is": lambda waveform, _: waveform,
        "10 dB of noise": lambda waveform, rng: add_noise(waveform, noise, 10.0, rng),
        "in a room": lambda waveform, _: place_in_room(waveform, room),
        "at 8 kHz": lambda waveform, _: soxr.resample(narrow(waveform), 8000, RATE),
    }
    chosen = rows[::4]
    waveforms = [load_audio(row["file"], RATE) for row in chosen]
    found = {}
    for name, change in conditions.items():
        rng = np.random.default_rng(0)
        heard = [{"array": change(one, rng).astype(np.float32), "sampling_rate": RATE} for one in waveforms]
        found[name] = [{**row, "file": one} for row, one in zip(chosen, heard, strict=True)]
    return found


def measure(pipe: Any, rows: list[dict[str, Any]], batch_size: int) -> dict[str, Any]:
    """Rates over one corpus, both texts normalised alike, and how fast it went."""
    started = time.perf_counter()
    outputs = pipe([row["file"] for row in rows], batch_size=batch_size)
    seconds = time.perf_counter() - started
    references = [normalize_english(row["text"]) for row in rows]
    hypotheses = [normalize_english(output["text"]) for output in outputs]
    words, characters = word_errors(references, hypotheses), character_errors(references, hypotheses)
    audio = sum(row.get("duration", 0.0) for row in rows)
    return {
        "recordings": len(rows),
        "words": words.words,
        "wer": round(words.rate, 4),
        "substitutions": words.substitutions,
        "deletions": words.deletions,
        "insertions": words.insertions,
        "cer": round(characters.rate, 4),
        "audio_seconds": round(audio, 1),
        "seconds": round(seconds, 1),
    }


def main() -> None:
    """Score, print, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, required=True)
    parser.add_argument("--synthetic", type=Path, help="the folder that `python -m auricle.training synthesize` made")
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--greedy", action="store_true", help="without the model's own language model")
    parser.add_argument("--conditions", action="store_true", help="in noise, in a room and at 8 kHz, too")
    parser.add_argument("--out", type=Path, default=RESULTS / "wer-bundled.json")
    arguments = parser.parse_args()
    corpora = test_rows(arguments.speech)
    if arguments.synthetic is not None:
        corpora.update(test_rows(arguments.synthetic))
    if arguments.conditions:
        changed = under_conditions(arguments.speech, corpora["librispeech_test_clean"])
        corpora.update({f"librispeech_test_clean, every 4th, {name}": rows for name, rows in changed.items()})
    options = {"lm": False} if arguments.greedy else {}
    pipe = pipeline("automatic-speech-recognition", model=arguments.model, **options)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    result: dict[str, Any] = {
        "what": "word error rate, texts lower-cased and without punctuation",
        "search": "greedy" if arguments.greedy else "the model's own language model, where it has one",
        "model": arguments.model,
        "commit": commit,
        "machine": {"processor": platform.processor() or platform.machine(), "threads": torch.get_num_threads()},
        "torch": torch.__version__,
        "corpora": {corpus: measure(pipe, rows, arguments.batch_size) for corpus, rows in corpora.items()},
    }
    arguments.out.parent.mkdir(exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
