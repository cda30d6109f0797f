"""Words that a model invents where nobody speaks: silence, noise, hum, tones, chords, drums, rooms and pauses.

    python benchmarks/silence.py --speech FOLDER [--model NAME] [--out FILE]

FOLDER holds manifest.jsonl and the folders noise/ and rir/. Every kind of sound comes as recordings below and above
30 s; each word is invented, but for those of the one minute of speech in ten, whose place is known. Everything is
drawn with one seed.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from auricle import pipeline
from auricle.audio.decode import open_audio
from auricle.audio.vad import VoiceProbabilities

RESULTS = Path(__file__).parent / "results"
RATE = 16000
SHORT_S, LONG_S = 12.0, 75.0
NEAR_S = 0.5  # a word this near to the sentence belongs to it


def coloured(rng: np.random.Generator, n: int, power: float, level: float) -> np.ndarray:
    """Noise whose power falls with frequency to `power`: 0 white, 1 pink, 2 brown; `level` in dB of full scale."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    frequency = np.maximum(np.fft.rfftfreq(n, 1 / RATE), 20.0)
    samples = np.fft.irfft(spectrum / frequency ** (power / 2), n)
    return at_level(samples, level)


def at_level(samples: np.ndarray, level: float) -> np.ndarray:
    return np.clip(samples * 10 ** (level / 20) / max(np.sqrt(np.mean(samples**2)), 1e-12), -1, 1)


def tone(frequency: float | np.ndarray, n: int, harmonics: int = 1) -> np.ndarray:
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(frequency, n)) / RATE
    return sum((np.sin(phase * k) / k for k in range(1, harmonics + 1)), np.zeros(n))


def notes(rng: np.random.Generator, n: int, voices: int, note_s: float, harmonics: int, vibrato: float) -> np.ndarray:
    """A tune, or chords of several voices, on the notes of a scale, struck and dying away."""
    scale = 220.0 * 2 ** (np.array([0, 2, 4, 5, 7, 9, 11, 12, 14, 16]) / 12)
    length = int(note_s * RATE)
    moment = np.arange(length) / RATE
    envelope = np.minimum(1, moment / 0.01) * np.exp(-moment / (note_s * 0.7))
    parts = []
    for _ in range(n // length + 1):
        sway = 1 + vibrato * np.sin(2 * np.pi * 5.5 * moment)
        chord = sum((tone(pitch * sway, length, harmonics) for pitch in rng.choice(scale, voices)), np.zeros(length))
        parts.append(chord * envelope)
    return at_level(np.concatenate(parts)[:n], -20)


def drums(rng: np.random.Generator, n: int) -> np.ndarray:
    """A bar of kick, hat, snare and hat at 120 beats a minute, over and over."""
    beat = RATE // 4
    moment = np.arange(beat) / RATE
    kick = np.sin(2 * np.pi * (50 + 80 * np.exp(-moment * 30)) * moment) * np.exp(-moment * 12)
    hit = rng.standard_normal((2, beat)) * np.exp(-moment * np.array([[25.0], [60.0]])) * np.array([[0.6], [0.25]])
    bar = np.concatenate([kick, hit[1], hit[0], hit[1]])
    return at_level(np.tile(bar, n // len(bar) + 1)[:n], -18)


def dtmf(rng: np.random.Generator, n: int) -> np.ndarray:
    """Telephone keys, 0.2 s each with as long a pause."""
    key = int(0.2 * RATE)
    parts: list[np.ndarray] = []
    for _ in range(n // (2 * key) + 1):
        pair = rng.choice([697, 770, 852, 941]), rng.choice([1209, 1336, 1477])
        parts += [sum((tone(one, key) for one in pair), np.zeros(key)) * 0.15, np.zeros(key)]
    return np.concatenate(parts)[:n]


def looped(rng: np.random.Generator, samples: np.ndarray, n: int) -> np.ndarray:
    """A recording again and again, each time as loud as chance will have it, from 0 to 30 dB down."""
    parts, length = [], 0
    while length < n:
        parts.append(samples * 10 ** (-rng.uniform(0, 30) / 20))
        length += len(samples)
    return np.concatenate(parts)[:n]


def rooms(rng: np.random.Generator, responses: list[np.ndarray], n: int) -> np.ndarray:
    """Knocks in rooms: responses at random moments, over faint noise."""
    samples = coloured(rng, n, 1, -65)
    for start in np.sort(rng.integers(0, n - RATE, n // RATE)):
        response = responses[rng.integers(len(responses))] * rng.uniform(0.05, 0.9)
        end = min(n, start + len(response))
        samples[start:end] += response[: end - start]
    return np.clip(samples, -1, 1)


def pauses(speech: Path, n: int) -> np.ndarray:
    """What lies between the words of readers, breath and all, one pause after the other."""
    parts, length = [], 0
    for line in (speech / "manifest.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        times = row.get("word_times") or []
        free = [(left[1] + 0.1, right[0] - 0.1) for left, right in pairwise(times)]
        free = [(start, end) for start, end in free if end - start >= 0.15]
        if free:
            samples = open_audio(speech / row["path"], RATE).read()
            parts += [samples[int(start * RATE) : int(end * RATE)] for start, end in free]
            length = sum(map(len, parts))
        if length >= n:
            break
    return np.concatenate(parts)[:n]


def kinds(speech: Path, n: int, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Every kind of sound without speech, `n` samples of each."""
    rng = np.random.default_rng(seed)
    yield "digital silence", np.zeros(n)
    for power, colour in ((0, "white"), (1, "pink"), (2, "brown")):
        for level in (-20, -40, -60):
            yield f"{colour} noise", coloured(rng, n, power, level)
    yield "hum", at_level(tone(50, n, 8), -30)
    yield "hum", at_level(tone(60, n, 20), -15)
    yield "tone", 0.3 * tone(440, n)
    yield "sweep", 0.3 * tone(np.geomspace(80, 6000, n), n)
    yield "dialling", dtmf(rng, n)
    for voices, note_s, harmonics, vibrato in (
        (3, 2.0, 6, 0.0),
        (4, 0.8, 10, 0.0),
        (1, 0.4, 8, 0.01),
        (1, 1.5, 12, 0.02),
    ):
        name = "chords" if voices > 1 else "tune"
        yield name, notes(rng, n, voices, note_s, harmonics, vibrato)
    yield "drums", drums(rng, n)
    yield "drums and chords", 0.5 * drums(rng, n) + 0.5 * notes(rng, n, 3, 1.0, 8, 0.0)
    for place in range(1, 6):
        samples = open_audio(speech / "noise" / f"noise{place}.wav", RATE).read()
        yield "recorded noise", looped(rng, samples, n)
    responses = [open_audio(speech / "rir" / f"rir{place}.wav", RATE).read() for place in range(1, 5)]
    yield "knocks in rooms", rooms(rng, responses, n)
    yield "pauses of readers", pauses(speech, n)


def ten_minutes(speech: Path, level: float) -> tuple[np.ndarray, tuple[float, float]]:
    """A minute of speech after four minutes and a half without, and as much after it, over noise at `level`."""
    rows = map(json.loads, (speech / "manifest.jsonl").read_text(encoding="utf-8").splitlines())
    parts, length = [], 0
    for row in rows:
        if row["corpus"] == "librispeech_test_clean" and length < 60 * RATE:
            parts.append(open_audio(speech / row["path"], RATE).read())
            length += len(parts[-1])
    said = np.concatenate(parts)[: 60 * RATE]
    samples = coloured(np.random.default_rng(1), 600 * RATE, 1, level) if level > -200 else np.zeros(600 * RATE)
    start = 270 * RATE
    samples[start : start + len(said)] += said
    return samples, (start / RATE, start / RATE + len(said) / RATE)


def recordings(speech: Path) -> Iterator[tuple[str, np.ndarray, tuple[float, float] | None]]:
    """All of them: kind, samples, and where somebody speaks after all."""
    for length, seed in ((SHORT_S, 0), (LONG_S, 1)):
        for kind, samples in kinds(speech, int(length * RATE), seed):
            yield f"{kind}, {length:g} s", samples.astype(np.float32), None
    for folder, kind in (("noise", "recorded noise, whole"), ("rir", "room responses, whole")):
        for path in sorted((speech / folder).glob("*.wav")):
            yield kind, open_audio(path, RATE).read(), None
    for level in (-300, -60):
        samples, place = ten_minutes(speech, level)
        yield "9 of 10 minutes silent", samples.astype(np.float32), place


def invented(transcript: Any, place: tuple[float, float] | None) -> list[str]:
    """The words outside of where somebody speaks; words of a segment without word times count with it."""
    words = []
    for segment in transcript.segments:
        for part in segment.words or (segment,):
            end = part.start if part.end is None else part.end
            if place is None or end < place[0] - NEAR_S or part.start > place[1] + NEAR_S:
                words += part.text.split()
    return words


def measure(pipe: Any, speech: Path, vad: bool | None) -> dict[str, Any]:
    """Invented words by kind."""
    found: dict[str, dict[str, Any]] = {}
    started = time.perf_counter()
    for kind, samples, place in recordings(speech):
        [transcript] = pipe.transcripts([samples], vad=vad)
        row = found.setdefault(
            kind, {"recordings": 0, "seconds": 0.0, "invented_words": 0, "heard_words": 0, "text": ""}
        )
        words = invented(transcript, place)
        row["recordings"] += 1
        row["seconds"] += round(len(samples) / RATE - (place[1] - place[0] if place else 0.0), 1)
        row["invented_words"] += len(words)
        row["heard_words"] += sum(len(one.text.split()) for one in transcript.segments) - len(words)
        row["text"] = (row["text"] + " " + " ".join(words)).strip()[:100]
    return {
        "minutes_without_speech": round(sum(row["seconds"] for row in found.values()) / 60, 1),
        "invented_words": sum(row["invented_words"] for row in found.values()),
        "seconds": round(time.perf_counter() - started, 1),
        "kinds": found,
    }


def detector_cost() -> float:
    """Seconds of one core for a second of sound, of the voice detector alone; the best of five."""
    samples = coloured(np.random.default_rng(0), 120 * RATE, 1, -20).astype(np.float32)
    costs = []
    for _ in range(5):
        voice, started = VoiceProbabilities(), time.process_time()
        for start in range(0, len(samples), 32768):
            voice(samples[start : start + 32768])
        costs.append((time.process_time() - started) / 120)
    return round(min(costs), 6)


def main() -> None:
    """Measure with voice detection as it is by default and without, print, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, required=True)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--out", type=Path, default=RESULTS / "silence-bundled.json")
    arguments = parser.parse_args()
    pipe = pipeline("automatic-speech-recognition", model=arguments.model)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    result: dict[str, Any] = {
        "what": "words invented where nobody speaks",
        "model": arguments.model,
        "commit": commit,
        "machine": {"processor": platform.processor() or platform.machine(), "threads": torch.get_num_threads()},
        "torch": torch.__version__,
        "detector_seconds_per_second": detector_cost(),
        "default": measure(pipe, arguments.speech, None),
        "vad=False": measure(pipe, arguments.speech, False),
    }
    arguments.out.parent.mkdir(exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
