"""The server under load, beside `transformers serve` with the same checkpoint: requests a second, p50 and p99.

python benchmarks/load.py [--shape base] [--repeats 3] [--clients 1,8,32] [--short]
python benchmarks/load.py --soak [--requests 10000] [--connections 200]

Every client sends one request after the other, an 11 s clip as OpenAI's API takes it, and every answer must be the
checkpoint's known text. Both servers are up; in every round they are loaded in turns, one while the other rests.
`--soak` sends the bundled model many requests over many open connections: none may be lost or wrong, and memory must
not grow. Nothing is cached in either.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from measure import HERE, alone, arguments_of, begin, write
from recordings import sample, seconds_of
from scripted import CAVEAT, scripted_whisper

CLIP = HERE.parent / "samples" / "jfk.flac"  # 11 s
OURS, THEIRS = "auricle serve", "transformers serve"
N_TOKENS = 30  # what a speaker says in 11 s
CLIPS_S = (1.5, 3.0, 5.0, 8.0, 11.0)  # of the soak, cut from one recording
BEGINS_WITHIN_S = 300.0
ANSWERS_WITHIN_S = 600.0
SAMPLE_MEMORY_S = 5.0


@dataclass
class Round:
    """What came of some seconds of load."""

    latencies: list[float] = field(default_factory=list)
    n_wrong: int = 0
    n_failed: int = 0
    seconds: float = 0.0

    def figures(self) -> dict[str, Any]:
        """Requests a second and latencies in seconds."""
        ordered = sorted(self.latencies)
        at = [ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (0.5, 0.99)] if ordered else [0, 0]
        return {
            "requests": len(ordered),
            "requests_per_s": round(len(ordered) / self.seconds, 3) if self.seconds else 0.0,
            "p50_s": round(at[0], 4),
            "p99_s": round(at[1], 4),
            "wrong": self.n_wrong,
            "failed": self.n_failed,
        }


class ServerProcess:
    """A server in a process group of its own."""

    def __init__(self, command: Sequence[str], port: int, log: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._log = log.open("wb")
        self.process = subprocess.Popen(command, stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True)
        ends = time.monotonic() + BEGINS_WITHIN_S
        while time.monotonic() < ends:
            with contextlib.suppress(httpx.TransportError):
                httpx.get(self.url + "/v1/models", timeout=5)
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.2)
        raise SystemExit(f"{command[0]} did not begin to serve; its output is in {log}")

    def resident_mib(self) -> float:
        """Memory that the process holds now."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

    def close(self) -> None:
        """End it."""
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
        self._log.close()


def ours(model: str, folder: Path) -> ServerProcess:
    """Start `auricle serve`."""
    port = free_port()
    command = [sys.executable, "-m", "auricle", "serve", "--model", model, "--port", str(port), "--preload"]
    return ServerProcess([*command, "--data-dir", str(folder), "--cache-bytes", "0"], port, folder / "ours.log")


def theirs(model: str, folder: Path) -> ServerProcess:
    """Start `transformers serve`, at its defaults for a processor."""
    port = free_port()
    script = str(Path(sys.executable).parent / "transformers")
    return ServerProcess([script, "serve", model, "--port", str(port)], port, folder / "theirs.log")


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


async def load(url: str, model: str, clips: Sequence[tuple[bytes, str]], n_clients: int, n_requests: int) -> Round:
    """Send so many requests by so many clients at once, each over a connection of its own."""
    found, numbers = Round(), iter(range(n_requests))
    limits = httpx.Limits(max_connections=n_clients, max_keepalive_connections=n_clients)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=ANSWERS_WITHIN_S) as client:

        async def send() -> None:
            for number in numbers:
                audio, text = clips[number % len(clips)]
                began = time.perf_counter()
                try:
                    files = {"file": ("clip.flac", audio, "audio/flac")}
                    answer = await client.post("/v1/audio/transcriptions", files=files, data={"model": model})
                    answer.raise_for_status()
                    written = " ".join(answer.json()["text"].split())
                except (httpx.HTTPError, KeyError, ValueError) as error:
                    found.n_failed += 1
                    print(f"failed: {type(error).__name__}: {error}", file=sys.stderr)
                    continue
                found.latencies.append(time.perf_counter() - began)
                found.n_wrong += bool(text) and written != text

        began = time.perf_counter()
        await asyncio.gather(*(send() for _ in range(n_clients)))
        found.seconds = time.perf_counter() - began
    return found


def compare(arguments: argparse.Namespace) -> None:
    """Load both servers in turns, and write the result file."""
    seconds = int(seconds_of(sample(arguments.cache)))
    checkpoint = scripted_whisper(arguments.cache, arguments.shape, N_TOKENS, seconds)
    clips = [(CLIP.read_bytes(), " ".join(checkpoint.text.split()))]
    n_clients = [int(one) for one in arguments.clients.split(",")]
    model = str(checkpoint.folder)
    rounds: dict[tuple[str, int], list[Round]] = {}
    with servers(model) as running:
        for one in running:
            asyncio.run(load(running[one].url, name(one, model), clips, 2, 4))  # warms up
        for _, count, one in itertools.product(range(arguments.repeats), n_clients, running):
            n_requests = max(arguments.requests_each * (1 if one == THEIRS else 2), 2) * max(1, count // 2)
            with alone():
                found = asyncio.run(load(running[one].url, name(one, model), clips, count, n_requests))
            rounds.setdefault((one, count), []).append(found)
            print(f"{one:20} {count:3} clients: {found.figures()}", flush=True)
    contestants = {one: {str(count): _summary(rounds[one, count]) for count in n_clients} for one in running}
    rates = {one: [contestants[one][str(count)]["requests_per_s"] for count in n_clients] for one in running}
    times = {
        str(count): round(own / other, 2) if other else None
        for count, own, other in zip(n_clients, rates[OURS], rates[THEIRS], strict=True)
    }
    write(
        arguments.out,
        f"requests a second of an 11 s clip, whisper-{arguments.shape} shape, {N_TOKENS} tokens, by number of clients",
        {"shape": arguments.shape, "clients": n_clients, "repeats": arguments.repeats},
        {"caveat": CAVEAT, "contestants": contestants, "times_the_requests_of_transformers_serve": times},
    )


def _summary(rounds: Sequence[Round]) -> dict[str, Any]:
    figures = [one.figures() for one in rounds]
    medians = {key: statistics.median(one[key] for one in figures) for key in ("requests_per_s", "p50_s", "p99_s")}
    return {
        **medians,
        "all_requests_per_s": [one["requests_per_s"] for one in figures],
        "requests": sum(one["requests"] for one in figures),
        "wrong": sum(one["wrong"] for one in figures),
        "failed": sum(one["failed"] for one in figures),
    }


def name(server: str, model: str) -> str:
    """What the server calls the checkpoint."""
    return "bench" if server == OURS else model


@contextlib.contextmanager
def servers(model: str) -> Iterator[dict[str, ServerProcess]]:
    """Both servers, up."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        running: dict[str, ServerProcess] = {}
        for one, begun in (
            (OURS, lambda: ours(f"bench={model}", Path(folder))),
            (THEIRS, lambda: theirs(model, Path(folder))),
        ):
            running[one] = begun()
            stack.callback(running[one].close)
        yield running


def soak(arguments: argparse.Namespace) -> None:
    """Send many requests over many connections, and look at every answer and at memory."""
    clips = _clips()
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(ours("bundled", Path(folder))) as server:
        texts = [
            httpx.post(
                server.url + "/v1/audio/transcriptions",
                files={"file": ("clip.flac", audio, "audio/flac")},
                data={"model": "bundled"},
                timeout=ANSWERS_WITHIN_S,
            ).json()["text"]
            for audio in clips
        ]
        known = [(audio, " ".join(text.split())) for audio, text in zip(clips, texts, strict=True)]
        asyncio.run(load(server.url, "bundled", known, arguments.connections, 2 * arguments.connections))  # warms up
        found, memory = asyncio.run(_watched(server, known, arguments.connections, arguments.requests))
    tenth = max(1, len(memory) // 10)
    figures = {
        **found.figures(),
        "connections": arguments.connections,
        "lost": arguments.requests - len(found.latencies),
        "audio_hours_per_hour": round(
            sum(CLIPS_S) / len(CLIPS_S) * len(found.latencies) / found.seconds if found.seconds else 0.0, 1
        ),
        "resident_mib_at_first": round(statistics.mean(memory[:tenth]), 1),
        "resident_mib_at_last": round(statistics.mean(memory[-tenth:]), 1),
        "resident_mib_at_most": round(max(memory), 1),
    }
    write(
        arguments.out,
        "many requests over many open connections, the bundled model, clips of 1.5 to 11 s, nothing cached",
        {"requests": arguments.requests, "connections": arguments.connections, "clips_s": CLIPS_S},
        figures,
    )


async def _watched(
    server: ServerProcess, clips: Sequence[tuple[bytes, str]], n_clients: int, n_requests: int
) -> tuple[Round, list[float]]:
    memory = [server.resident_mib()]

    async def watch() -> None:
        while True:
            await asyncio.sleep(SAMPLE_MEMORY_S)
            memory.append(server.resident_mib())

    watching = asyncio.create_task(watch())
    found = await load(server.url, "bundled", clips, n_clients, n_requests)
    watching.cancel()
    return found, memory


def _clips() -> list[bytes]:
    """The first seconds of one recording, as many lengths as CLIPS_S has, in 16-bit WAV."""
    import io
    import wave

    import numpy as np

    from auricle.audio.decode import load_audio

    waveform = np.tile(load_audio(str(CLIP), 16000), 2)
    clips = []
    for seconds in CLIPS_S:
        held = io.BytesIO()
        with wave.open(held, "wb") as file:
            file.setparams((1, 2, 16000, 0, "NONE", ""))
            file.writeframes((waveform[: int(16000 * seconds)] * 32767).astype("<i2").tobytes())
        clips.append(held.getvalue())
    return clips


def main() -> None:
    """Measure, print, and write the result file."""
    parser = arguments_of(__doc__, "load", repeats=3)
    parser.add_argument("--shape", choices=["tiny", "base", "small"], default="base")
    parser.add_argument("--clients", default="1,8,32")
    parser.add_argument("--requests-each", type=int, default=4, help="of two clients of a round, for the slower server")
    parser.add_argument("--soak", action="store_true")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=200)
    arguments = parser.parse_args()
    arguments.name = "load-soak" if arguments.soak else f"load-{arguments.shape}"
    if arguments.short:
        arguments.repeats, arguments.clients, arguments.requests = 1, "1,8", min(arguments.requests, 500)
    begin(arguments)
    (soak if arguments.soak else compare)(arguments)


if __name__ == "__main__":
    main()
