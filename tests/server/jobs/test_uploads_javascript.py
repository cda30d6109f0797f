"""Uploads with the protocol's own client for JavaScript."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

PACKAGE = "tus-js-client@4.3.1"
LONG_S = 300


@pytest.fixture(scope="module")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the client."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("node and npm are not installed here")
    folder = tmp_path_factory.mktemp("node")
    (folder / "package.json").write_text('{"private": true}')
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", PACKAGE]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LONG_S)
    if done.returncode != 0:
        pytest.skip(f"{PACKAGE} cannot be installed here: {done.stderr[-200:]}")
    shutil.copy(Path(__file__).with_name("upload.mjs"), folder)
    return folder


def test_the_client_for_javascript_breaks_off_and_goes_on(live_site: Any, node_folder: Path, tmp_path: Path) -> None:
    content = random.Random(0).randbytes(3_000_000)
    path = tmp_path / "talk.wav"
    path.write_bytes(content)
    command = ["node", str(node_folder / "upload.mjs"), f"{live_site.url}/uploads", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONG_S)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert 1_000_000 <= told["stopped"] < 3_000_000
    assert told["whole"] == 3_000_000
    upload = live_site.jobs.uploads.find(told["url"].rsplit("/", 1)[1])
    assert upload.metadata["filename"] == "Täglich.wav"
    assert live_site.jobs.uploads.path(upload.id).read_bytes() == content
