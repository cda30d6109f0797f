"""Names that need no network: folders, the bundled model, and names that cannot be one."""

from __future__ import annotations

from pathlib import Path

import pytest

from auricle.errors import ModelNotFoundError, OptionError
from auricle.hub import BUNDLED, locate, locate_config
from auricle.hub import names as hub_names


def test_existing_folder_is_returned_as_it_is(tmp_path: Path) -> None:
    assert locate(tmp_path) == tmp_path
    assert locate(str(tmp_path)) == tmp_path
    assert locate_config(tmp_path) == tmp_path


def test_relative_folder_wins_over_a_hub_name(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "org" / "model").mkdir(parents=True)
    assert locate("org/model") == Path("org/model")


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "~/nowhere-at-all", "../nowhere", "nowhere/"])
def test_name_that_looks_like_a_path_is_not_asked_of_the_hub(cache: Path, name: str) -> None:
    with pytest.raises(ModelNotFoundError, match="does not exist"):
        locate(name)


def test_path_object_is_never_a_hub_name(cache: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="does not exist"):
        locate(Path("org/model"))


def test_mistyped_folder_names_its_neighbour(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "models" / "whisper-tiny").mkdir(parents=True)
    with pytest.raises(ModelNotFoundError, match="did you mean 'whisper-tiny'"):
        locate("models/whisper-tyni")


def test_mistyped_folder_far_below_names_its_neighbour(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "runs" / "first" / "best").mkdir(parents=True)
    with pytest.raises(ModelNotFoundError, match=r"neither an existing folder .*; did you mean 'best'\.$"):
        locate("runs/first/bets")
    with pytest.raises(ModelNotFoundError, match=r"neither an existing folder .*; runs does, but nothing of that name"):
        locate("runs/second/best")


def test_file_is_refused_with_its_folder_named(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"x")
    with pytest.raises(ModelNotFoundError, match="is a file; expected the folder"):
        locate(weights)


@pytest.mark.parametrize("name", ["a/b/c", "org/../secret", "org/mo del", "org--x/model", "a" * 97, "org/møl"])
def test_name_that_the_hub_cannot_have_is_refused(cache: Path, name: str) -> None:
    with pytest.raises(ModelNotFoundError, match="neither an existing folder nor a name the Hub allows"):
        locate(name)


def test_address_of_a_model_is_refused_with_its_name(cache: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="give the model's name, 'openai/whisper-tiny'"):
        locate("https://huggingface.co/openai/whisper-tiny")


@pytest.mark.parametrize("name", ["", "  ", None, 3])
def test_something_that_is_no_name_is_refused(name: object) -> None:
    with pytest.raises(OptionError, match="a model's name arrived as"):
        locate(name)  # type: ignore[arg-type]


def test_revision_of_a_folder_is_refused_not_ignored(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="only models of the Hub have revisions"):
        locate(tmp_path, revision="main")


@pytest.mark.parametrize("revision", ["../../etc", "a b", "", "main/../x"])
def test_revision_cannot_leave_the_cache(cache: Path, revision: str) -> None:
    with pytest.raises(OptionError, match="no branch, tag or commit"):
        locate("org/model", revision=revision)


def test_absent_bundled_model_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hub_names, "files", lambda package: tmp_path)
    with pytest.raises(ModelNotFoundError, match="no bundled model"):
        locate(BUNDLED)


def test_bundled_model_is_found_and_listed_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path) -> None:
    (tmp_path / "bundled").mkdir()
    (tmp_path / "bundled" / "config.json").write_text("{}")
    monkeypatch.setattr(hub_names, "files", lambda package: tmp_path)
    assert locate(BUNDLED) == tmp_path / "bundled"
    assert [(model.name, model.revision, model.size) for model in hub_names.cached_models()] == [(BUNDLED, None, 2)]
