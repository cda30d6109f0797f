"""The Hub's own clients against a live server: lists, downloads, resumed downloads, the command line, transformers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

import auricle

# Old clients, each in a folder of its own; made by
#   pip install --target .venv/clients/huggingface_hub-0.23.4 huggingface_hub==0.23.4
CLIENTS = Path(os.environ.get("AURICLE_TEST_CLIENTS", Path(sys.prefix) / "clients"))
OLD = ("huggingface_hub-0.23.4", "huggingface_hub-0.36.0")
SHARED_DOWNLOAD = """
import json, sys
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub import __version__
from huggingface_hub.utils import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

def kind(call):
    try:
        call()
    except Exception as error:
        return type(error).__name__

api = HfApi()
info = api.model_info("org/tiny", files_metadata=True)
print(json.dumps({
    "version": __version__,
    "ids": [model.id for model in api.list_models(author="org", limit=10)],
    "full": [model.sha for model in api.list_models(full=True, search="tiny")],
    "sha": info.sha,
    "sizes": {one.rfilename: one.size for one in info.siblings},
    "tree": sorted(one.path for one in api.list_repo_tree("org/tiny", recursive=True)),
    "paths": [one.path for one in api.get_paths_info("org/tiny", ["config.json", "none"])],
    "refs": [one.name for one in api.list_repo_refs("org/tiny").branches],
    "commits": [one.commit_id for one in api.list_repo_commits("org/tiny")],
    "file": hf_hub_download("bundled", "config.json"),
    "folder": snapshot_download("org/tiny"),
    "me": api.whoami(token="hf_any")["name"],
    "errors": [
        kind(lambda: api.model_info("org/none")),
        kind(lambda: api.model_info("org/tiny", revision="v9")),
        kind(lambda: hf_hub_download("org/tiny", "none.json")),
        kind(lambda: hf_hub_download("org/tiny", "config.json", revision="v9")),
        kind(lambda: hf_hub_download("org/none", "config.json")),
    ],
}))
"""
TRANSFORMERS = """
import sys, numpy as np, transformers
name = sys.argv[1]
config = transformers.AutoConfig.from_pretrained(name)
tokenizer = transformers.AutoTokenizer.from_pretrained(name)
model = transformers.AutoModelForCTC.from_pretrained(name)
recognize = transformers.pipeline(model=name)  # the task comes from the server
print("TEXT", recognize(np.zeros(16000, np.float32)))
print("DONE", config.model_type, recognize.task, len(tokenizer), sum(p.numel() for p in model.parameters()))
"""


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "downloads"


@pytest.fixture
def api(live) -> HfApi:
    return HfApi(endpoint=live.url, token=False)


def run(live, home: Path, *command: str, **more: str) -> str:
    """Run a program as a user does who has set HF_ENDPOINT; returns what it prints."""
    environment = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    environment |= {"HF_ENDPOINT": live.url, "HF_HOME": str(home), "OMP_NUM_THREADS": "1", "HOME": str(home), **more}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-1000:]
    return done.stdout


def contents(folder: str | Path) -> dict[str, bytes]:
    """Read a downloaded folder."""
    root = Path(folder)
    names = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
    return {name.as_posix(): (root / name).read_bytes() for name in names if not name.parts[0].startswith(".")}


def test_models_are_listed_page_by_page_and_described(live, api: HfApi) -> None:
    assert [model.id for model in api.list_models()] == ["org/tiny", "org/cached", "bundled", "org/absent"]
    assert [model.id for model in api.list_models(limit=2)] == ["org/tiny", "org/cached"]
    german = api.list_models(pipeline_tag="automatic-speech-recognition", filter="de")
    assert [model.id for model in german] == ["org/tiny"]
    (found,) = api.list_models(search="tiny", full=True, cardData=True, fetch_config=True)
    assert found.card_data.license == "mit"
    assert found.config["model_type"] == "wav2vec2"
    info = api.model_info("org/tiny", expand=["safetensors", "inferenceProviderMapping", "lastModified"])
    assert info.safetensors.total == 300_007
    assert info.inference_provider_mapping[0].task == "automatic-speech-recognition"
    assert info.last_modified.year >= 2024
    assert api.repo_exists("org/tiny")
    assert not api.repo_exists("org/none")
    assert api.file_exists("org/tiny", "config.json")
    assert not api.file_exists("org/tiny", ".secret.json")
    assert api.revision_exists("org/tiny", info.sha or "main")
    api.auth_check("org/tiny")


def test_weights_are_described_without_their_download(live, api: HfApi) -> None:
    described = api.get_safetensors_metadata("org/tiny")
    assert described.parameter_count == {"F32": 300_000, "F16": 7}


def test_snapshot_has_every_file_and_its_checksums_are_right(live, api: HfApi, cache: Path) -> None:
    folder = snapshot_download("org/tiny", endpoint=live.url, cache_dir=cache, token=False)
    assert contents(folder) == live.contents
    assert Path(folder).name == api.model_info("org/tiny").sha
    checked = api.verify_repo_checksums("org/tiny", cache_dir=cache)
    assert not checked.mismatches
    assert checked.checked_count == len(live.contents)


def test_second_snapshot_fetches_nothing(live, cache: Path) -> None:
    arguments = {"endpoint": live.url, "cache_dir": cache, "token": False}
    snapshot_download("org/tiny", **arguments)
    live.cut.seen.clear()
    snapshot_download("org/tiny", **arguments)
    assert not [path for _, path, _ in live.cut.seen if "/resolve/" in path]


def test_a_cached_model_is_mirrored_under_the_commit_that_it_had(live, cache: Path) -> None:
    folder = snapshot_download("org/cached", revision="v1.0", endpoint=live.url, cache_dir=cache, token=False)
    assert Path(folder).name == "c0ffee" * 6 + "abcd"
    blobs = {path.name for path in (cache / "models--org--cached" / "blobs").iterdir()}
    assert blobs == {path.name for path in (live.folder.parent / "cache" / "models--org--cached" / "blobs").iterdir()}


def test_download_goes_on_where_the_connection_was_cut(live, cache: Path) -> None:
    live.cut.after["model.safetensors"] = 12 << 20
    live.cut.seen.clear()
    path = hf_hub_download("bundled", "model.safetensors", endpoint=live.url, cache_dir=cache, token=False)
    assert Path(path).read_bytes() == (Path(auricle.__file__).parent / "bundled" / "model.safetensors").read_bytes()
    ranges = [one for method, _, one in live.cut.seen if method == "GET"]
    assert ranges == ["", f"bytes={10 << 20}-"]  # the client keeps blocks of 10 MiB


def test_clients_raise_the_error_of_what_is_absent(live, api: HfApi, cache: Path) -> None:
    to = {"endpoint": live.url, "cache_dir": cache, "token": False}
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("org/none")
    with pytest.raises(RepositoryNotFoundError):
        snapshot_download("org/absent", **to)
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download("org/tiny", "config.json", revision="v9", **to)
    with pytest.raises(RemoteEntryNotFoundError):
        hf_hub_download("org/tiny", "none.json", **to)
    with pytest.raises(RemoteEntryNotFoundError):
        list(api.list_repo_tree("org/tiny", "none"))
    with pytest.raises(HfHubHTTPError, match="read-only"):
        api.upload_file(path_or_fileobj=b"x", path_in_repo="x.json", repo_id="org/tiny", token="hf_any")
    with pytest.raises(LocalEntryNotFoundError):
        hf_hub_download("org/tiny", "config.json", local_files_only=True, cache_dir=cache / "empty")


def test_the_command_lines_download_and_list(live, tmp_path: Path) -> None:
    hf, auricle_here = (str(Path(sys.executable).with_name(name)) for name in ("hf", "auricle"))
    run(live, tmp_path / "home", hf, "download", "org/tiny", "--local-dir", str(tmp_path / "local"))
    assert contents(tmp_path / "local") == live.contents
    printed = run(live, tmp_path / "home", hf, "download", "bundled", "config.json")
    assert "config.json" in printed
    assert "org/tiny" in run(live, tmp_path / "home", hf, "models", "ls", "--format", "json")
    folder = run(live, tmp_path / "home", auricle_here, "download", "org/tiny").strip()
    assert contents(folder)["model.safetensors"] == live.contents["model.safetensors"]


@pytest.mark.parametrize("client", OLD)
def test_old_clients_list_and_download(live, tmp_path: Path, client: str) -> None:
    if not (CLIENTS / client).is_dir():
        pytest.skip(f"pip install --target {CLIENTS / client} {client.replace('-', '==')}")
    told = json.loads(run(live, tmp_path, sys.executable, "-c", SHARED_DOWNLOAD, PYTHONPATH=str(CLIENTS / client)))
    assert client.endswith(told["version"])
    assert told["ids"] == ["org/tiny", "org/cached", "org/absent"]
    assert told["full"] == told["commits"] == [told["sha"]]
    assert told["sizes"] == {name: len(content) for name, content in live.contents.items()}
    assert told["tree"] == sorted([*live.contents, "language_model"])
    assert told["paths"] == ["config.json"]
    assert told["refs"] == ["main"]
    assert contents(told["folder"]) == live.contents
    assert told["me"] == "anonymous"
    of = ["Repository", "Revision", "Entry", "Revision", "Repository"]
    assert told["errors"] == [f"{one}NotFoundError" for one in of]


def test_transformers_loads_the_bundled_model_from_the_server(live, tmp_path: Path) -> None:
    printed = run(live, tmp_path, sys.executable, "-c", TRANSFORMERS, "bundled")
    assert "automatic-speech-recognition" in printed.partition("DONE")[2]
