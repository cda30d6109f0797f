"""Models of the Hub, against a local server that speaks its API."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from typer.testing import CliRunner

from auricle.cli import app
from auricle.errors import CheckpointError, ModelNotFoundError
from auricle.hub import cached_models, commit_of, download, locate, locate_config

FILES = {
    "config.json": b'{"model_type": "wav2vec2"}',
    "preprocessor_config.json": b"{}",
    "vocab.json": b'{"a": 0}',
    "model.safetensors": b"S" * 300_000,
    "pytorch_model.bin": b"P" * 1000,
    "README.md": b"# read me",
    "onnx/config.json": b"{}",
    "flax_model.msgpack": b"F" * 1000,
}


def test_first_use_downloads_only_what_loading_needs(hub: Any) -> None:
    commit = hub.add("org/model", FILES)
    folder = locate("org/model")
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "vocab.json",
    ]
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert commit_of(folder) == commit


def test_second_use_makes_no_request(hub: Any) -> None:
    hub.add("org/model", FILES)
    first = locate("org/model")
    hub.requests.clear()
    assert locate("org/model") == first
    assert locate_config("org/model") == first
    assert hub.requests == []


def test_whole_cached_model_is_used_offline(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("org/model", FILES)
    first = locate("org/model")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert locate("org/model") == first


def test_pickled_weights_are_taken_where_there_are_no_safetensors(hub: Any) -> None:
    hub.add("org/old", {name: content for name, content in FILES.items() if name != "model.safetensors"})
    assert (locate("org/old") / "pytorch_model.bin").exists()


def test_sharded_weights_are_fetched_whole(hub: Any) -> None:
    shards = {f"model-0000{i}-of-00002.safetensors": b"S" * i for i in (1, 2)}
    index = json.dumps({"weight_map": dict(zip("ab", shards, strict=True))}).encode()
    small = {name: FILES[name] for name in ("config.json", "preprocessor_config.json", "vocab.json")}
    hub.add("org/big", {**small, **shards, "model.safetensors.index.json": index})
    folder = locate("org/big")
    assert all((folder / shard).exists() for shard in shards)


def test_only_what_is_missing_is_fetched_again(hub: Any) -> None:
    hub.add("org/model", FILES)
    (locate("org/model") / "vocab.json").unlink()
    hub.requests.clear()
    assert (locate("org/model") / "vocab.json").exists()
    assert "model.safetensors" not in hub.downloads()


def test_cached_files_without_a_list_suffice_if_they_can_be_loaded(hub: Any, cache: Path) -> None:
    hub.add("org/model", FILES)
    folder = locate("org/model")
    for listing in (cache / "models--org--model" / "trees").iterdir():
        listing.unlink()
    hub.requests.clear()
    assert locate("org/model") == folder
    assert hub.requests == []


def test_revision_chooses_the_files(hub: Any) -> None:
    hub.add("org/model", FILES)
    commit = hub.add("org/model", {**FILES, "vocab.json": b'{"b": 0}'}, revision="v2")
    assert (locate("org/model") / "vocab.json").read_bytes() == b'{"a": 0}'
    assert (locate("org/model", revision="v2") / "vocab.json").read_bytes() == b'{"b": 0}'
    hub.requests.clear()
    assert commit_of(locate("org/model", revision=commit)) == commit
    assert hub.requests == []


def test_unknown_revision_is_named(hub: Any) -> None:
    hub.add("org/model", FILES)
    with pytest.raises(ModelNotFoundError, match="no revision 'v9'"):
        locate("org/model", revision="v9")


def test_locate_keeps_the_cached_commit_and_download_takes_the_newest(hub: Any) -> None:
    old = hub.add("org/model", FILES)
    locate("org/model")
    new = hub.add("org/model", {**FILES, "vocab.json": b"{}"})
    assert commit_of(locate("org/model")) == old
    assert commit_of(download("org/model")) == new
    assert commit_of(locate("org/model")) == new


def test_task_needs_only_the_configuration(hub: Any) -> None:
    hub.add("org/model", FILES)
    assert (locate_config("org/model") / "config.json").exists()
    assert hub.downloads() == ["config.json"]
    assert (locate("org/model") / "model.safetensors").exists()


ADAPTER = {
    "adapter_config.json": b'{"base_model_name_or_path": "org/model"}',
    "adapter_model.safetensors": b"A" * 1000,
    "adapter_model.bin": b"P" * 1000,
    "tokenizer.json": b"{}",
    "training_args.bin": b"T",
}


def test_an_adapter_is_fetched_with_its_weights_and_used_offline(
    hub: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("org/adapter", ADAPTER)
    assert (locate_config("org/adapter") / "adapter_config.json").exists()
    folder = locate("org/adapter")
    assert sorted(path.name for path in folder.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "tokenizer.json",
    ]
    for listing in (cache / "models--org--adapter" / "trees").iterdir():
        listing.unlink()  # as other programs fetch it
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert locate("org/adapter") == locate_config("org/adapter") == folder
    assert "org/adapter" not in [model.name for model in cached_models()]  # its model is not here
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    hub.add("org/model", FILES)
    locate("org/model")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "org/adapter" in [model.name for model in cached_models()]
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelNotFoundError, match=r"partly in the cache \(missing: weights\)"):
        locate("org/adapter")


def test_the_command_fetches_what_a_model_needs_with_no_network(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"base_model_name_or_path": "org/model", "r": 4, "lora_alpha": 8}
    hub.add("org/adapter", {**ADAPTER, "adapter_config.json": json.dumps(settings).encode()})
    hub.add("org/model", {**FILES, "adapter.fra.safetensors": b"f", "adapter.deu.safetensors": b"d"})
    fetched = CliRunner().invoke(app, ["download", "org/adapter"])
    assert (fetched.exit_code, fetched.stdout) == (0, f"{locate('org/adapter')}\n"), fetched.stderr
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert (locate("org/model") / "model.safetensors").exists()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert CliRunner().invoke(app, ["download", "org/model", "--target-lang", "fra"]).exit_code == 0
    assert sorted(path.name for path in locate("org/model").glob("adapter.*")) == ["adapter.fra.safetensors"]


@pytest.mark.parametrize(
    ("code", "status", "message"), [("f*", 2, "'f*' is no language code"), ("xyz", 3, "has no file adapter.xyz.*")]
)
def test_a_language_that_is_none_is_refused(hub: Any, code: str, status: int, message: str) -> None:
    hub.add("org/model", FILES)
    refused = CliRunner().invoke(app, ["download", "org/model", "--target-lang", code])
    assert refused.exit_code == status
    assert message in refused.stderr


def test_what_is_neither_a_model_nor_an_adapter_lacks_its_configuration(hub: Any) -> None:
    hub.add("org/notes", {"README.md": b"#"})
    with pytest.raises(ModelNotFoundError, match=r"lacks a file that loading needs: config\.json"):
        locate_config("org/notes")


@pytest.mark.parametrize("architecture", ["Wav2Vec2ForSequenceClassification", "WhisperForAudioClassification"])
def test_models_that_only_hear_need_no_tokenizer_in_the_cache(hub: Any, cache: Path, architecture: str) -> None:
    files = {name: FILES[name] for name in ("preprocessor_config.json", "model.safetensors")}
    hub.add("org/ears", {**files, "config.json": json.dumps({"architectures": [architecture]}).encode()})
    folder = locate("org/ears")
    for listing in (cache / "models--org--ears" / "trees").iterdir():
        listing.unlink()  # as other programs fetch it
    assert locate("org/ears", offline=True) == folder


def test_named_chat_templates_are_fetched(hub: Any) -> None:
    hub.add("org/chat", {**FILES, "chat_template.jinja": b"a", "additional_chat_templates/tool_use.jinja": b"b"})
    assert (locate("org/chat") / "additional_chat_templates" / "tool_use.jinja").read_bytes() == b"b"


def test_extra_files_are_fetched_and_missing_ones_named(hub: Any) -> None:
    adapters = {"adapter.fra.safetensors": b"f", "adapter.fra.bin": b"F", "adapter.deu.safetensors": b"d"}
    hub.add("org/mms", {**FILES, **adapters})
    folder = locate("org/mms")
    assert not (folder / "adapter.fra.safetensors").exists()
    folder = locate("org/mms", extra_files=["adapter.fra.*"])
    assert sorted(path.name for path in folder.glob("adapter*")) == ["adapter.fra.safetensors"]
    with pytest.raises(ModelNotFoundError, match=r"has no file adapter\.xyz\.\*"):
        locate("org/mms", extra_files=["adapter.xyz.*"])


def test_missing_repository_names_the_nearest_cached(hub: Any) -> None:
    hub.add("org/model", FILES)
    locate("org/model")
    with pytest.raises(ModelNotFoundError, match="here there is 'org/model'"):
        locate("org/modell")


def test_mistyped_bundled_is_recognised(hub: Any) -> None:
    with pytest.raises(ModelNotFoundError, match="here there is 'bundled'"):
        locate("bundeld")


def test_configuration_alone_fails_as_clearly(hub: Any) -> None:
    hub.add("org/closed", FILES, gated=True)
    hub.add("org/bare", {"README.md": b"x"})
    with pytest.raises(CheckpointError, match="org/closed is gated"):
        locate_config("org/closed")
    with pytest.raises(ModelNotFoundError, match="org/bare lacks a file that loading needs"):
        locate_config("org/bare")
    with pytest.raises(ModelNotFoundError, match="has no model 'org/nothing'"):
        locate_config("org/nothing")
    with pytest.raises(ModelNotFoundError, match="no revision 'v9'"):
        locate_config("org/bare", revision="v9")


@pytest.mark.parametrize("access", ["gated", "private"])
def test_token_is_asked_for_and_used(hub: Any, access: str) -> None:
    hub.add("org/closed", FILES, **{access: True})
    with pytest.raises(CheckpointError, match=r"give token=\.\.\., set HF_TOKEN"):
        locate("org/closed")
    with pytest.raises(CheckpointError, match=r"give token=\.\.\., set HF_TOKEN"):
        locate("org/closed", token="hf_wrong")
    assert (locate("org/closed", token="hf_right") / "config.json").exists()


def test_offline_and_not_cached_lists_what_is(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("org/model", FILES)
    locate("org/model")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelNotFoundError, match=r"not in the cache .*Cached models: org/model"):
        locate("other/thing")
    with pytest.raises(ModelNotFoundError, match=r"Cached revisions of it: [0-9a-f]{40}, main"):
        locate("org/model", revision="v2")
    hub.requests.clear()
    with pytest.raises(ModelNotFoundError, match="not in the cache"):
        locate_config("other/thing")
    assert hub.requests == []


def test_offline_names_what_a_partial_model_lacks(hub: Any) -> None:
    hub.add("org/model", FILES)
    (locate("org/model") / "model.safetensors").unlink()
    with pytest.raises(ModelNotFoundError, match=r"partly in the cache \(missing: model\.safetensors\)"):
        locate("org/model", offline=True)


def test_unreachable_hub_says_what_to_check(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(CheckpointError, match=r"could not be downloaded from http://127\.0\.0\.1:9.*Check the network"):
        locate("org/model")


def test_failing_download_leaves_no_half_file(hub: Any) -> None:
    hub.add("org/model", FILES)
    hub.failing["model.safetensors"] = 403
    with pytest.raises(CheckpointError, match="HTTP 403"):
        locate("org/model")
    assert cached_models_of_the_hub() == []
    hub.failing.clear()
    assert (locate("org/model") / "model.safetensors").read_bytes() == FILES["model.safetensors"]


def test_cut_download_is_resumed(hub: Any) -> None:
    hub.add("org/model", FILES)
    hub.cut["model.safetensors"] = 100_000
    assert (locate("org/model") / "model.safetensors").read_bytes() == FILES["model.safetensors"]


def test_full_disk_is_named(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("org/model", FILES)

    def full(*args: object, **kwargs: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("auricle.hub.network.snapshot_download", full)
    with pytest.raises(CheckpointError, match="no space for org/model"):
        locate("org/model")


def test_progress_reaches_the_total(hub: Any) -> None:
    hub.add("org/model", FILES)
    seen: list[tuple[int, int]] = []
    download("org/model", progress=lambda done, total: seen.append((done, total)))
    needed = sum(len(FILES[name]) for name in ("config.json", "preprocessor_config.json", "vocab.json"))
    assert max(seen) == (needed + 300_000, needed + 300_000)


def test_cached_models_are_listed_with_commit_size_and_refs(hub: Any) -> None:
    commit = hub.add("org/model", FILES)
    folder = locate("org/model")
    (found,) = cached_models_of_the_hub()
    assert (found.name, found.revision, found.folder, found.refs) == ("org/model", commit, folder, ("main",))
    assert found.size == sum(path.stat().st_size for path in folder.iterdir())


def test_environment_is_honoured(hub: Any, tmp_path: Path) -> None:
    """HF_ENDPOINT, HF_HUB_CACHE, HF_TOKEN and HF_HUB_OFFLINE, each in a process of its own."""
    hub.add("org/closed", FILES, private=True)
    script = "import sys; from auricle.hub import locate; print(locate('org/closed'))"
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path / "other")}
    environment.pop("HF_HUB_OFFLINE", None)

    def run(**more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", script],
            env={**environment, **more},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    refused = run(HF_HUB_OFFLINE="1")
    assert "the network is not used" in refused.stderr
    fetched = run(HF_TOKEN="hf_right")
    assert fetched.returncode == 0, fetched.stderr
    assert fetched.stdout.startswith(str(tmp_path / "other"))
    again = run(HF_HUB_OFFLINE="1")
    assert again.stdout == fetched.stdout


def cached_models_of_the_hub() -> list[Any]:
    """The cache's models, whether or not a model is bundled."""
    return [model for model in cached_models() if model.revision is not None]
