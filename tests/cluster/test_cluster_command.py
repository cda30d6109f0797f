"""`auricle serve --cluster`, as one types it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

pytest.importorskip("ray", reason="the extra ray is not installed: pip install 'auricle[ray]'")

DEADLINE_S = 120.0
ENDED = (0, 130)  # of a process that ends itself with the signal that asked for it, when all is done
MARK = "AURICLE_TEST_MARK"
SAMPLE = Path(__file__).parents[2] / "samples" / "jfk.flac"


def processes(mark: str) -> list[Path]:
    """Return the processes that were begun by the command, by what they inherited."""
    found = []
    for one in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{MARK}={mark}".encode() in one.read_bytes():
                found.append(one.parent)
        except OSError:  # it has ended, or is somebody else's
            continue
    return found


def test_the_command_serves_from_replicas_and_ends_them_at_ctrl_c(tmp_path: Path, listen: Any, until: Any) -> None:
    mark = uuid4().hex
    log = tmp_path / "log"
    command = [sys.executable, "-m", "auricle", "serve", "--cluster", "--port", "0", "--data-dir", str(tmp_path)]
    environment = {**os.environ, MARK: mark, "OMP_NUM_THREADS": "1", "AURICLE_HOLD": str(DEADLINE_S)}
    with log.open("wb") as output, subprocess.Popen(command, stderr=output, stdout=output, env=environment) as server:
        try:
            address = re.compile(r"running on (http://\S+)")
            until(lambda: bool(address.search(log.read_text())) or server.poll() is not None, "the server begins")
            found = address.search(log.read_text())
            assert found, log.read_text()
            answer = httpx.post(f"{found[1]}/models/bundled", content=SAMPLE.read_bytes(), timeout=DEADLINE_S)
            assert answer.json() == listen(str(SAMPLE)), answer.text
            assert any(b"ray::ServeReplica" in (one / "cmdline").read_bytes() for one in processes(mark))
            server.send_signal(signal.SIGINT)
            assert server.wait(DEADLINE_S) in ENDED, log.read_text()
        finally:
            server.kill()
    until(lambda: not processes(mark), "all processes end")
