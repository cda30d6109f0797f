"""Memory and speed over a recording of many hours, which is made up while it is read and never stored.

    python benchmarks/memory.py [--hours 10] [--model bundled] [--speech ../shared/speech] [--out FILE]

The recording is human speech, clips joined as longform.jsonl says with pauses between them, over and over; where that
folder is absent, the recordings of samples/. It reaches the pipeline as a file object that gives a WAV file.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import resource
import subprocess
import sys
import threading
import time
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from auricle import pipeline
from auricle.audio.decode import load_audio

HERE = Path(__file__).parent
RATE = 16000
HEADER_BYTES = 44
MARKS = (1, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100)  # percent of the recording at which memory is noted
SAMPLING_S = 0.2


@dataclass(frozen=True)
class Piece:
    """A clip, or silence where there is no path."""

    path: Path | None
    n_samples: int


def longform_pieces(speech: Path) -> Iterator[Piece]:
    """Clips at their true distances, 3 s of silence after every tenth, half a minute between recordings."""
    for line in (speech / "longform.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        before = 0.0
        for number, (clip, (_, start, end)) in enumerate(zip(row["clips"], row["segments"], strict=True), start=1):
            yield Piece(None, round((start - before) * RATE) + (3 * RATE if number % 10 == 0 else 0))
            yield Piece(speech / clip, round((end - start) * RATE))
            before = end
        yield Piece(None, 30 * RATE)


def sample_pieces(folder: Path) -> Iterator[Piece]:
    """The recordings that come with the repository, with 2 s of silence after each."""
    for path in sorted(path for path in folder.iterdir() if path.suffix in (".flac", ".ogg")):
        yield Piece(path, len(load_audio(path)))
        yield Piece(None, 2 * RATE)


class EndlessSpeech(io.RawIOBase):
    """A WAV file of any length (16-bit, 16 kHz, mono) whose samples are made when they are read."""

    def __init__(self, pieces: list[Piece], seconds: float) -> None:
        self._pieces = [piece for piece in pieces if piece.n_samples > 0]
        self._ends = np.cumsum([2 * piece.n_samples for piece in self._pieces]).tolist()  # bytes
        n_bytes = 2 * round(seconds * RATE)
        header = b"RIFF" + (n_bytes + HEADER_BYTES - 8).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
        header += (1).to_bytes(2, "little") + (1).to_bytes(2, "little") + RATE.to_bytes(4, "little")
        header += (2 * RATE).to_bytes(4, "little") + (2).to_bytes(2, "little") + (16).to_bytes(2, "little")
        self._header = header + b"data" + n_bytes.to_bytes(4, "little")
        self._size = HEADER_BYTES + n_bytes
        self._place = 0
        self._clip = lru_cache(maxsize=2)(self._load)

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """The place, in bytes."""
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = base + offset
        return self._place

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes."""
        end = self._size if size < 0 else min(self._size, self._place + size)
        parts = []
        while self._place < end:
            parts.append(self._rest_of_piece()[: end - self._place])
            self._place += len(parts[-1])
        return b"".join(parts)

    def _rest_of_piece(self) -> bytes:
        """What lies between the place and the end of the header or of the clip there."""
        if self._place < HEADER_BYTES:
            return self._header[self._place :]
        offset = (self._place - HEADER_BYTES) % self._ends[-1]
        number = bisect_right(self._ends, offset)
        return self._clip(number)[offset - (self._ends[number - 1] if number else 0) :]

    def _load(self, number: int) -> bytes:
        piece = self._pieces[number]
        if piece.path is None:
            return bytes(2 * piece.n_samples)
        samples = load_audio(piece.path)[: piece.n_samples]
        padded = np.pad(samples, (0, piece.n_samples - len(samples)))
        return (np.clip(padded, -1, 1) * 32767).astype("<i2").tobytes()


class MemoryWatch:
    """Looks at this process's memory all the time, and remembers its highest since it was last asked."""

    def __init__(self) -> None:
        self._highest = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def highest(self) -> float:
        """The most MiB since the last call."""
        found, self._highest = max(self._highest, resident()), 0.0
        return found

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLING_S):
            self._highest = max(self._highest, resident())


def resident() -> float:
    """MiB of memory that this process holds; where that cannot be read, the most that it ever held."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Marks:
    """Notes the memory when each mark is passed, and says so."""

    def __init__(self, seconds: float, watch: MemoryWatch) -> None:
        self.seconds, self.watch = seconds, watch
        self.started = time.perf_counter()
        self.rows: list[dict[str, float]] = []

    def __call__(self, heard: float) -> None:
        """Take how many seconds of the recording are done."""
        while len(self.rows) < len(MARKS) and heard >= self.seconds * MARKS[len(self.rows)] / 100 - 1e-6:
            took = time.perf_counter() - self.started
            self.rows.append({
                "percent": MARKS[len(self.rows)],
                "highest_mib_since_last": round(self.watch.highest(), 1),
                "seconds": round(took, 1),
            })  # fmt: skip
            print(f"{self.rows[-1]}  {heard / took:.1f}x", flush=True)


def measure(model: str, pieces: list[Piece], hours: float, parameters: dict[str, Any]) -> dict[str, Any]:
    """Transcribe and return what was measured."""
    pipe: Any = pipeline("automatic-speech-recognition", model=model, device="cpu")
    # What is loaded once, voice detection included, is not of the recording.
    list(pipe.transcripts([EndlessSpeech(pieces, 60.0)], **parameters))
    loaded = resident()
    seconds = hours * 3600
    with MemoryWatch() as watch:
        marks = Marks(seconds, watch)
        (transcript,) = pipe.transcripts([EndlessSpeech(pieces, seconds)], progress=marks, **parameters)
        took = time.perf_counter() - marks.started
    highest = {row["percent"]: row["highest_mib_since_last"] for row in marks.rows}
    return {
        "seconds_of_audio": transcript.duration,
        "seconds": round(took, 1),
        "times_real_time": round(transcript.duration / took, 2),
        "mib_before": round(loaded, 1),
        "mib_highest": max(highest.values()),
        "mib_grown_from_10_to_100_percent": round(max(mib for at, mib in highest.items() if at > 10) - highest[10], 1),
        "marks": marks.rows,
        "words": len(transcript.text.split()),
        "segments": len(transcript.segments),
        "warnings": len(transcript.warnings),
        "provenance": asdict(transcript.provenance),
    }


def main() -> None:
    """Measure, print, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=10.0)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--speech", type=Path, default=HERE.parent.parent / "shared" / "speech")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--option", action="append", default=[], help="a call parameter as NAME=VALUE, in JSON")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "memory-bundled.json")
    arguments = parser.parse_args()
    parameters = {name: json.loads(value) for name, _, value in (one.partition("=") for one in arguments.option)}
    there = (arguments.speech / "longform.jsonl").is_file()
    pieces = list(longform_pieces(arguments.speech) if there else sample_pieces(HERE.parent / "samples"))
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    result = {
        "what": "memory of the process while one long recording is transcribed; highest between the marks, in MiB",
        "model": arguments.model,
        "speech": "longform.jsonl, looped" if there else "samples/, looped",
        "hours": arguments.hours,
        "commit": commit,
        "machine": {"processor": platform.processor() or platform.machine(), "threads": torch.get_num_threads()},
        **measure(arguments.model, pieces, arguments.hours, {"batch_size": arguments.batch_size, **parameters}),
    }
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in result.items() if key not in ("marks", "provenance")}, indent=2))


if __name__ == "__main__":
    main()
