"""The language model that lies beside a CTC checkpoint's weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from auricle.checkpoints.language_model import find_language_model
from auricle.errors import ConfigError
from auricle.hub.cache import choose_files


def test_a_checkpoint_without_one_has_none(tmp_path: Path) -> None:
    assert find_language_model(tmp_path) is None


def test_it_is_found_with_its_weights(tmp_path: Path) -> None:
    inside = tmp_path / "language_model"
    inside.mkdir()
    (inside / "5gram.bin").write_bytes(b"")
    found = find_language_model(tmp_path)
    assert found is not None
    assert (found.alpha, found.beta, found.unknown_penalty, found.needs_kenlm) == (0.5, 1.5, -10.0, True)
    (inside / "lm.safetensors").write_bytes(b"")
    (inside / "attrs.json").write_text('{"alpha": 0.7, "beta": 2, "unk_score_offset": -4, "score_boundary": true}')
    found = find_language_model(tmp_path)
    assert found is not None
    assert (found.path.name, found.alpha, found.beta, found.unknown_penalty) == ("lm.safetensors", 0.7, 2.0, -4.0)
    assert not found.needs_kenlm


def test_an_empty_folder_and_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    inside = tmp_path / "language_model"
    inside.mkdir()
    with pytest.raises(ConfigError, match=r"holds none of \*\.safetensors"):
        find_language_model(tmp_path)
    (inside / "lm.arpa").write_text("")
    (inside / "attrs.json").write_text('{"alpha": "much"}')
    with pytest.raises(ConfigError, match="alpha is 'much'; expected a number"):
        find_language_model(tmp_path)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ('{"alpha": NaN}', "alpha is nan; expected a number"),
        ('{"beta": Infinity}', "beta is inf; expected a number"),
        ('{"score_boundary": false}', "score_boundary is False; the search scores the ends"),
    ],
)
def test_weights_without_an_end_and_another_search_are_refused(tmp_path: Path, attributes: str, message: str) -> None:
    inside = tmp_path / "language_model"
    inside.mkdir()
    (inside / "lm.arpa").write_text("")
    (inside / "attrs.json").write_text(attributes)
    with pytest.raises(ConfigError, match=message):
        find_language_model(tmp_path)


def test_a_pointer_in_the_place_of_the_model_is_told(tmp_path: Path) -> None:
    inside = tmp_path / "language_model"
    inside.mkdir()
    (inside / "5gram.bin").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n")
    with pytest.raises(ConfigError, match=r"5gram\.bin is a git-LFS pointer and not the language model"):
        find_language_model(tmp_path)


def test_it_is_fetched_with_the_checkpoint() -> None:
    names = [
        "config.json",
        "model.safetensors",
        *(f"language_model/{one}" for one in ("a.bin", "attrs.json", "unigrams.txt")),
    ]
    assert choose_files(names, ()) == [
        "config.json",
        "model.safetensors",
        "language_model/a.bin",
        "language_model/attrs.json",
    ]
