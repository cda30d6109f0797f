"""What is shown of a folder, and that its contents are read once and without holding anybody up."""

from __future__ import annotations

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from auricle.server import hub_files
from auricle.server.hub_files import HubFiles, refs_of

DEADLINE_S = 20


@pytest.fixture
def files() -> HubFiles:
    return HubFiles()


def test_large_contents_are_read_once_for_all_who_ask(tmp_path: Path, files: HubFiles, monkeypatch) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    read, original = [], hub_files._read_hash
    monkeypatch.setattr(hub_files, "_read_hash", lambda place, digest: read.append(place) or original(place, digest))
    (file,) = files.files_of(tmp_path).values()
    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(lambda _: files.identity_of(file).etag, range(32)))
    assert found == {hashlib.sha256(b"weights").hexdigest()}
    assert len(read) == 1


def test_changed_contents_are_read_again(tmp_path: Path, files: HubFiles) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights")
    before = files.files_of(tmp_path)
    commit = files.commit_of(tmp_path, before)
    first = files.identity_of(before["model.safetensors"])
    path.write_bytes(b"WEIGHTS")
    os.utime(path, ns=(1, 1))
    after = files.files_of(tmp_path)
    assert files.identity_of(after["model.safetensors"]).etag == hashlib.sha256(b"WEIGHTS").hexdigest() != first.etag
    assert files.commit_of(tmp_path, after) != commit


def test_the_caches_own_names_of_contents_are_believed(tmp_path: Path, files: HubFiles, monkeypatch) -> None:
    monkeypatch.setattr(hub_files, "_read_hash", lambda *_: pytest.fail("a blob was read to learn its name"))
    storage = tmp_path / "models--org--name"
    snapshot = storage / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (storage / "blobs").mkdir()
    shared = tmp_path / "blobs" / "ee" / ("e" * 64)  # what several repositories have in common
    shared.parent.mkdir(parents=True)
    shared.write_bytes(b"weights")
    (storage / "blobs" / ("f" * 64)).symlink_to(f"../../blobs/ee/{'e' * 64}")
    (storage / "blobs" / ("1" * 40)).write_bytes(b"{}")
    (snapshot / "model.safetensors").symlink_to(f"../../blobs/{'f' * 64}")
    (snapshot / "config.json").symlink_to(f"../../blobs/{'1' * 40}")
    found = files.files_of(snapshot)
    assert {name: files.identity_of(file).etag for name, file in found.items()} == {
        "config.json": "1" * 40,
        "model.safetensors": "f" * 64,
    }
    assert files.commit_of(snapshot, found) == "a" * 40
    assert refs_of(snapshot) == []


def test_links_are_followed_into_blobs_only(tmp_path: Path, files: HubFiles) -> None:
    storage = tmp_path / "cache" / "models--org--name"
    snapshot = storage / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    for place in (tmp_path / "outside.json", storage / "refs.json", tmp_path / "cache" / "token.json"):
        place.write_text("secret")
        (snapshot / place.name).symlink_to(place)
    (snapshot / "gone.json").symlink_to(storage / "blobs" / "gone")
    (snapshot / "folder").symlink_to(tmp_path)
    os.mkfifo(snapshot / "pipe.json")
    assert files.files_of(snapshot) == {}


def test_trainings_hidden_files_and_odd_names_are_not_shown(tmp_path: Path, files: HubFiles) -> None:
    shown = ["config.json", "LICENSE", "merges.txt", "lm/5gram.bin", "additional_chat_templates/a.jinja"]
    hidden = [".env.json", "lm/.x.txt", "trainer_state.json", "optimizer.bin", "rng_state_0.bin", "id_rsa", "a.py"]
    hidden += ["checkpoint-500/config.json", "a\\b.json", "a\nb.json", ".cache/config.json", "a/b/c/d/e/f.json"]
    for name in shown + hidden:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    assert list(files.files_of(tmp_path)) == sorted(shown)


def test_damaged_weights_and_readme_are_listed_all_the_same(live) -> None:
    weights, readme = live.folder / "model.safetensors", live.folder / "README.md"
    try:
        weights.write_bytes(b"\xff" * 20)
        readme.write_bytes(b"---\nlanguage: [\n---\n\xff")
        row = httpx.get(f"{live.url}/api/models/org/tiny").json()
        assert row["safetensors"] is None
        assert row["cardData"]["library_name"] == "transformers"
    finally:
        weights.write_bytes(live.contents["model.safetensors"])
        readme.write_bytes(live.contents["README.md"])


def test_other_requests_are_answered_while_a_content_is_being_read(live, monkeypatch) -> None:
    began, may_end, original = threading.Event(), threading.Event(), hub_files._read_hash

    def read_slowly(place: Path, digest: hashlib._Hash) -> str:
        if place.name == "slow.bin":
            began.set()
            assert may_end.wait(DEADLINE_S)
        return original(place, digest)

    monkeypatch.setattr(hub_files, "_read_hash", read_slowly)
    (live.folder / "slow.bin").write_bytes(b"weights")
    try:
        with ThreadPoolExecutor(1) as threads:
            slow = threads.submit(httpx.head, f"{live.url}/org/tiny/resolve/main/slow.bin", timeout=DEADLINE_S)
            assert began.wait(DEADLINE_S)
            quick = httpx.get(f"{live.url}/org/tiny/resolve/main/config.json", timeout=DEADLINE_S)
            assert quick.status_code == 200
            assert not slow.done()
            may_end.set()
            assert slow.result().status_code == 200
    finally:
        (live.folder / "slow.bin").unlink()
