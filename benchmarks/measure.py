"""Contestants side by side: each in a process of its own, called in turns (A B C A B C ...), medians and spread.

A contestant is a function that prepares (loads, converts, warms up) and returns what is timed. While one is timed the
others sleep. On a machine that others use too, the file that BENCH_LOCK names is locked (flock) during each timed call.
"""

from __future__ import annotations

import argparse
import fcntl
import gc
import importlib
import importlib.metadata
import json
import multiprocessing
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"
LOAD = os.getloadavg()  # of the minutes before the measurement, which is a load itself
PAUSE_S = 0.3  # between two contestants: threads of the one that ran stop waiting for more work
LOADING_S = 1800.0
PACKAGES = (
    "auricle", "torch", "transformers", "faster-whisper", "ctranslate2", "pywhispercpp", "openvino", "openvino-genai",
)  # fmt: skip
FLAGS = ("avx", "avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_tile", "amx_bf16",
         "amx_int8")  # fmt: skip
# How each library is held to older instructions; whisper.cpp takes what it was built for (AVX2 in its wheels).
INSTRUCTION_SETS: dict[str, dict[str, str]] = {
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "DNNL_MAX_CPU_ISA": "AVX2",
        "CT2_FORCE_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",  # CTranslate2 and torch multiply with it on Intel, and it looks for itself
        "AURICLE_CPU_ISA": "avx2",
    }
}


@dataclass(frozen=True)
class Contestant:
    """Who is measured, and how it is made."""

    name: str
    work: str  # "module:function", called with `arguments` in the contestant's process; returns what is timed
    arguments: dict[str, Any] = field(default_factory=dict)
    repeats: int | None = None  # fewer than the others, where it takes minutes


@dataclass(frozen=True)
class Measured:
    """What a contestant returns that has looked at the clock itself."""

    seconds: float
    output: Any = None


class Worker:
    """The process of one contestant."""

    def __init__(self, contestant: Contestant) -> None:
        self.contestant = contestant
        self.seconds: list[float] = []
        self.output: Any = None
        self.error: str | None = None
        self.prepared_s = 0.0
        self.peak_mib = 0.0
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, contestant.work, contestant.arguments))
        self._process.start()
        theirs.close()
        answer = self._receive()
        if answer is not None:
            self.prepared_s = answer[0]

    def run(self, keep: bool = True) -> None:
        """Time it once more; nothing happens after a failure."""
        if self.error is not None:
            return
        self._pipe.send("run")
        answer = self._receive()
        if answer is not None and keep:
            seconds, self.output, self.peak_mib = answer
            self.seconds.append(seconds)

    def close(self) -> None:
        """End the process."""
        if self._process.is_alive():
            if self.error is None:
                self._pipe.send("stop")
            self._process.join(20)
            if self._process.is_alive():
                self._process.terminate()
        self._pipe.close()

    def _receive(self) -> Any:
        try:
            if not self._pipe.poll(LOADING_S):
                raise EOFError
            answer, self.error = self._pipe.recv()
        except EOFError:
            answer, self.error = None, "the process ended or did not answer"
        if self.error is not None:
            print(f"{self.contestant.name} failed: {self.error}", file=sys.stderr, flush=True)
        return answer


def _serve(pipe: Any, work: str, arguments: dict[str, Any]) -> None:
    sys.path.insert(0, str(HERE))  # spawned processes do not know the script's folder in every case
    try:
        started = time.perf_counter()
        module, _, name = work.partition(":")
        call: Callable[[], Any] = getattr(importlib.import_module(module), name)(**arguments)
        pipe.send(((time.perf_counter() - started,), None))
        while pipe.recv() == "run":
            gc.collect()
            started = time.perf_counter()
            output = call()
            seconds = time.perf_counter() - started
            if isinstance(output, Measured):
                seconds, output = output.seconds, output.output
            pipe.send(((seconds, output, peak_mib()), None))
    except EOFError:  # the parent is gone
        pass
    except BaseException as error:
        traceback.print_exc()
        pipe.send((None, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:300]))


def peak_mib() -> float:
    """The most memory that this process ever held; getrusage's figure may be that of the process that started it."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def interleaved(contestants: Sequence[Contestant], repeats: int, warm_ups: int = 1) -> dict[str, Worker]:
    """Prepare all of them, then time them in turns; the workers are closed and hold what was measured."""
    workers: list[Worker] = []
    try:
        for one in contestants:
            workers.append(Worker(one))
            print(f"ready after {workers[-1].prepared_s:.1f} s: {one.name}", flush=True)
        for turn in range(-warm_ups, repeats):
            for worker in workers:
                if turn >= (worker.contestant.repeats or repeats):
                    continue
                with alone():
                    worker.run(keep=turn >= 0)
                if turn >= 0 and worker.error is None:
                    print(f"{worker.seconds[-1]:10.4f} s  {worker.contestant.name}", flush=True)
                time.sleep(PAUSE_S)
    finally:
        for worker in workers:
            worker.close()
    return {worker.contestant.name: worker for worker in workers}


@contextmanager
def alone() -> Iterator[None]:
    """Hold the lock that BENCH_LOCK names, if it names one, so that nobody else computes."""
    path = os.environ.get("BENCH_LOCK")
    if not path:
        yield
        return
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def spread(seconds: Sequence[float], digits: int = 4) -> dict[str, Any]:
    """The median, the least and the most, and all of them in order."""
    if not seconds:
        return {}
    return {
        "median_s": round(statistics.median(seconds), digits),
        "least_s": round(min(seconds), digits),
        "most_s": round(max(seconds), digits),
        "all_s": [round(one, digits) for one in seconds],
    }


def summary(worker: Worker, digits: int = 4) -> dict[str, Any]:
    """What is written of a contestant, its output aside."""
    if worker.error is not None and not worker.seconds:
        return {"error": worker.error}
    return {
        **spread(worker.seconds, digits),
        "prepared_s": round(worker.prepared_s, 1),
        "peak_mib": round(worker.peak_mib),
    }


def texts(workers: Mapping[str, Worker], wanted: str | None = None) -> dict[str, dict[str, Any]]:
    """Whether each contestant wrote the wanted text, or else that of the first, up to white space."""
    written = {name: " ".join(str(one.output).split()) for name, one in workers.items() if one.seconds}
    if not written:
        return {}
    expected = " ".join(wanted.split()) if wanted is not None else next(iter(written.values()))
    return {name: {"same_text": text == expected, "words": len(text.split())} for name, text in written.items()}


def median(worker: Worker) -> float:
    """The median, or NaN where there is none."""
    return statistics.median(worker.seconds) if worker.seconds else float("nan")


def ratios(workers: Mapping[str, Worker], ours: str) -> dict[str, float]:
    """How many times as long as `ours` each of the others takes."""
    if ours not in workers or not workers[ours].seconds:
        return {}
    own = median(workers[ours])
    return {name: round(median(one) / own, 2) for name, one in workers.items() if name != ours and one.seconds}


def machine() -> dict[str, Any]:
    """What the figures depend on, beside the code."""
    processor, flags = platform.processor() or platform.machine(), set[str]()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                processor = value.strip()
            elif key.strip() == "flags":
                flags = set(value.split())
    except OSError:
        pass
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "flags": [flag for flag in FLAGS if flag in flags],
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "threads": n_threads(),
        "instructions": os.environ.get("AURICLE_CPU_ISA", "all"),
        "load_before": [round(one, 2) for one in LOAD],
        "versions": versions,
    }


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16, and may; where it does not, torch takes minutes for it."""
    is_allowed = os.environ.get("AURICLE_CPU_ISA", "all") == "all"
    return is_allowed and not {"amx_bf16", "avx512_bf16"}.isdisjoint(machine()["flags"])


def n_threads() -> int:
    """Threads that every contestant is given: BENCH_THREADS, else the cores this process may use."""
    given = os.environ.get("BENCH_THREADS")
    if given:
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def commit() -> str:
    """The commit that is measured, with + where files of the package differ from it."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], capture_output=True, text=True, cwd=HERE.parent).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "--", "src") else "")


def arguments_of(what: str | None, name: str, repeats: int) -> argparse.ArgumentParser:
    """The options that all speed benchmarks share; their results go to results/`name`.json."""
    parser = argparse.ArgumentParser(description=what, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=repeats, help="timed calls of each contestant")
    parser.add_argument("--short", action="store_true", help="less work, to see that everything runs")
    parser.add_argument("--only", help="contestants whose name contains one of these words, divided by commas")
    parser.add_argument("--instructions", choices=["all", *INSTRUCTION_SETS], default="all")
    parser.add_argument("--cache", type=Path, default=HERE.parent / "runs" / "bench", help="checkpoints made here")
    parser.add_argument("--out", type=Path, default=None, help=f"default: results/{name}[-avx2].json")
    parser.set_defaults(name=name)
    return parser


def begin(arguments: argparse.Namespace) -> None:
    """Put the environment in order before any contestant's process starts."""
    threads = str(n_threads())
    os.environ.update({"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "false"})
    os.environ.update({"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "PYTHONWARNINGS": "ignore"})
    if arguments.instructions != "all":
        os.environ.update(INSTRUCTION_SETS[arguments.instructions])
    arguments.cache.mkdir(parents=True, exist_ok=True)
    if arguments.out is None:
        ending = "" if arguments.instructions == "all" else f"-{arguments.instructions}"
        ending += "-short" if arguments.short else ""
        # What was measured in a hurry is not what results/ is for.
        folder = arguments.cache / "results" if arguments.short or arguments.only else RESULTS
        arguments.out = folder / f"{arguments.name}{ending}.json"


def chosen(contestants: Sequence[Contestant], arguments: argparse.Namespace) -> list[Contestant]:
    """Those that `--only` names."""
    words = arguments.only.split(",") if arguments.only else [""]
    found = [one for one in contestants if any(word.lower() in one.name.lower() for word in words)]
    if not found:
        raise SystemExit(f"--only {arguments.only}: no contestant; there are {', '.join(c.name for c in contestants)}")
    return found


def write(path: Path, what: str, settings: Mapping[str, Any], measured: Mapping[str, Any]) -> None:
    """Write the result file, and print it."""
    result = {"what": what, "commit": commit(), "machine": machine(), "settings": dict(settings), **measured}
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
    print(text)
    print(f"written: {path}")
