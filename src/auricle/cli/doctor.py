"""`auricle doctor`: what this machine can do, what is missing, and the line that mends it."""

from __future__ import annotations

import io
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from auricle.cli.border import SOME_FAILED, border, write_utf8

# (container, encoder, decoder, sample rate): a second of silence goes through each of them.
CODECS = (
    ("wav", "pcm_s16le", "pcm_s16le", 16000),
    ("flac", "flac", "flac", 16000),
    ("mp3", "libmp3lame", "mp3", 16000),
    ("ogg", "libvorbis", "vorbis", 16000),
    ("ogg", "libopus", "opus", 48000),
    ("webm", "libopus", "opus", 48000),
    ("mp4", "aac", "aac", 16000),
    ("matroska", "aac", "aac", 16000),
)
FREE_BYTES_WANTED = 5_000_000_000  # a large Whisper checkpoint is 3 GB, and is written beside its download


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    state: str  # "ok", "note" (works, could be better) or "fail" (something essential does not work)
    detail: str
    fix: str | None = None  # a line for the shell, or what to do


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check Python, torch, devices, decoders, disk and cache; exit with 1 if something essential fails."""
    with border():
        write_utf8()
        findings = list(examine())
        if as_json:
            typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
        else:
            width = max(len(finding.subject) for finding in findings)
            for finding in findings:
                typer.echo(f"{finding.state:<4}  {finding.subject:<{width}}  {finding.detail}")
                if finding.fix:
                    typer.echo(f"{'':<{width + 8}}fix: {finding.fix}")
        if any(finding.state == "fail" for finding in findings):
            raise typer.Exit(SOME_FAILED)


def examine() -> Iterator[Finding]:
    """Give every finding, in the order in which they matter."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        check_python,
        check_torch,
        check_decoders,
        check_cache,
        check_bundled,
        check_extras,
    )
    for check in checks:
        yield from check()


def check_python() -> Iterator[Finding]:
    """Python itself and the machine."""
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()} ({sys.executable})"
    yield Finding("python", "ok", text)


def check_torch() -> Iterator[Finding]:
    """torch, the accelerators it sees, threads, and the matrix units of the CPU."""
    try:
        import torch
    except ImportError as error:
        yield Finding("torch", "fail", f"cannot be imported: {error}", "pip install torch")
        return
    yield Finding("torch", "ok", torch.__version__)
    if torch.accelerator.is_available():
        kind = torch.accelerator.current_accelerator()
        yield Finding("device", "ok", f"{torch.accelerator.device_count()} x {kind}")
    elif shutil.which("nvidia-smi"):
        yield Finding(
            "device",
            "note",
            "an NVIDIA driver is here, but this torch sees no GPU; the CPU is used",
            "reinstall torch as a CUDA build that fits the driver: its installation page gives the command",
        )
    else:
        yield Finding("device", "ok", "CPU (no accelerator)")
    capabilities = torch.backends.cpu.get_cpu_capability()
    bf16 = [name for name, has in (("AVX-512 bf16", _has_avx512_bf16()), ("AMX", _has_amx())) if has]
    yield Finding("cpu", "ok", f"{capabilities}; bfloat16 units: {', '.join(bf16) or 'none'}")
    from auricle.engines.cpu.native_library import kernels_name, stale_kernels

    name = kernels_name()
    if name is None and stale_kernels():
        detail = f"{stale_kernels()} was built from other sources than those that are here; torch computes, slower"
        yield Finding("kernels", "note", detail, "in the repository: pip install -e .")
    elif name is None:
        fix = "install a C++ compiler (gcc or clang), then: pip install --force-reinstall --no-deps auricle"
        yield Finding("kernels", "note", "none were built for this processor; torch computes, slower", fix)
    else:
        yield Finding("kernels", "ok", f"native ones for {name}")
    n_cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    n_threads = torch.get_num_threads()
    if n_threads > n_cpus:
        detail = f"torch uses {n_threads} threads on {n_cpus} CPUs, which is slower than {n_cpus}"
        yield Finding("threads", "note", detail, f"export OMP_NUM_THREADS={n_cpus}")
    else:
        yield Finding("threads", "ok", f"torch uses {n_threads} of {n_cpus} CPUs")


def _has_avx512_bf16() -> bool:
    import torch

    # Private names of torch, which older and newer releases may lack.
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", bool)())


def _has_amx() -> bool:
    import torch

    return bool(getattr(torch.cpu, "_is_amx_tile_supported", bool)())


def check_decoders() -> Iterator[Finding]:
    """A second of silence through every kind of file; what this build cannot write it may still read."""
    try:
        import av
    except ImportError as error:
        yield Finding("decoders", "fail", f"PyAV cannot be imported: {error}", "pip install --force-reinstall av")
        return
    working: list[str] = []
    broken: list[str] = []
    for container, encoder, decoder, rate in CODECS:
        name = f"{container}/{decoder}"
        if encoder not in av.codecs_available:
            (working if decoder in av.codecs_available else broken).append(name)
        else:
            (working if _round_trip(container, encoder, rate) else broken).append(name)
    if broken:
        detail = f"PyAV {av.__version__} cannot decode {', '.join(broken)}; it decodes {', '.join(working)}"
        yield Finding("decoders", "fail", detail, "pip install --force-reinstall --no-cache-dir av")
    else:
        yield Finding("decoders", "ok", f"PyAV {av.__version__}: {', '.join(working)}")


def _round_trip(container: str, encoder: str, rate: int) -> bool:
    """Say whether a second of silence can be written, and read as about a second again."""
    import av
    import numpy as np

    from auricle.audio.decode import load_audio
    from auricle.errors import AudioError

    written = io.BytesIO()
    try:
        with av.open(written, "w", format=container) as output:
            stream: Any = output.add_stream(encoder, rate=rate, layout="mono")
            # PyAV brings it to the sample format and the frame size of the encoder.
            frame = av.AudioFrame.from_ndarray(np.zeros((1, rate), np.int16), format="s16", layout="mono")
            frame.sample_rate = rate
            output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
        return abs(len(load_audio(written.getvalue())) - 16000) < 4000
    except (av.FFmpegError, AudioError, ValueError):
        return False


def check_cache() -> Iterator[Finding]:
    """The folder of downloaded models: whether it can be written, and the room there."""
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(HF_HUB_CACHE)
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if _is_writable(there):
        yield Finding("cache", "ok", str(folder))
    else:
        detail = f"{folder} cannot be written; models on the Hub cannot be fetched"
        yield Finding("cache", "note", detail, 'export HF_HOME="$HOME/models"')
    free = shutil.disk_usage(there).free
    detail = f"{free / 1e9:.1f} GB free where the cache is"
    if free < FREE_BYTES_WANTED:
        yield Finding("disk", "note", f"{detail}; large models need 5 GB", "export HF_HOME=/a/larger/disk")
    else:
        yield Finding("disk", "ok", detail)


def _is_writable(folder: Path) -> bool:
    """Say whether a file can be made there; the mode does not tell of disks that are mounted to be read only."""
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def check_bundled() -> Iterator[Finding]:
    """The model that comes with the package."""
    from auricle.errors import CheckpointError
    from auricle.hub import BUNDLED, locate

    try:
        yield Finding("bundled", "ok", str(locate(BUNDLED)))
    except CheckpointError as error:
        yield Finding("bundled", "fail", str(error), "pip install --force-reinstall --no-deps auricle")


def check_extras() -> Iterator[Finding]:
    """Packages that add something and are not needed."""
    import importlib.util

    for package, extra, purpose in (
        ("kenlm", "lm", "n-gram language models (--lm)"),
        ("sounddevice", "mic", "the microphone (auricle listen)"),
        ("fastapi", "server", "the server (auricle serve)"),
        ("PIL", "vision", "images"),
        ("llguidance", "structured", "texts of a given form (response_format)"),
        ("transformers", "transformers", "models that are not native, which transformers runs"),
        ("pyarrow", "data", "datasets in Parquet"),
        ("datasets", "datasets", "datasets of the Hub"),
        ("ray", "ray", "several machines (--cluster)"),
        ("rapidfuzz", "evaluate", "error rates (auricle evaluate)"),
        ("whisper_normalizer", "evaluate", "Whisper's normalisers (auricle evaluate)"),
        ("pyannote.metrics", "evaluate", "scores of diarization"),
    ):
        # Of a name with a dot the package around it is imported, which raises where that is absent.
        has_outer = importlib.util.find_spec(package.partition(".")[0]) is not None
        if has_outer and importlib.util.find_spec(package):
            yield Finding(package, "ok", purpose)
        else:
            yield Finding(package, "note", f"not installed; needed for {purpose}", f"pip install 'auricle[{extra}]'")
