"""What a figure of speed was measured on: without it the figure says nothing."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Any

from auricle import __version__


def machine(device: str = "cpu") -> dict[str, Any]:
    """Return the processor, its cores and threads, the accelerator of `device`, and the versions that computed."""
    import torch

    found: dict[str, Any] = {
        "processor": processor(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "auricle": __version__,
        "device": device,
    }
    if device.startswith("cuda") and torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name(torch.device(device))
        found["cuda"] = torch.version.cuda
    return found


def describe(machine: dict[str, Any], engine: str, dtype: str) -> str:
    """Return the stamp in one line: where it ran, and how it computed."""
    place = machine.get("gpu") or f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads"
    return f"{place}; {engine} engine, {dtype}; auricle {machine['auricle']}, torch {machine['torch']}"


def processor() -> str:
    """Return the processor's name, as the system has it."""
    try:
        told = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        told = None
    return told[1].strip() if told else platform.processor() or platform.machine()


def usable_cores() -> int:
    """Return how many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1
