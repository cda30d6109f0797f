"""Settings from flags, variables and one file, in this order, and what is said of wrong ones."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from auricle.cli.serve import serve
from auricle.errors import OptionError
from auricle.server.settings import Settings, read_settings


def test_flags_win_over_variables_and_these_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "auricle.toml"
    file.write_text('port = 1\nmax_loaded = 1\nbatch_size = 1\nmodels = ["x"]\n')
    monkeypatch.setenv("AURICLE_MAX_LOADED", "2")
    monkeypatch.setenv("AURICLE_BATCH_SIZE", "2")
    found = read_settings(file, batch_size=3, host=None)
    assert (found.port, found.max_loaded, found.batch_size, found.models) == (1, 2, 3, ("x",))
    monkeypatch.setenv("AURICLE_CONFIG", str(file))
    assert read_settings().port == 1


def test_every_setting_is_a_flag() -> None:
    renamed = {"model": "models", "cors_origin": "cors_origins", "allowed_host": "allowed_hosts"}
    flags = {renamed.get(name, name) for name in inspect.signature(serve).parameters} - {"config"}
    assert flags == set(Settings.model_fields)


def test_several_models_in_one_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AURICLE_MODELS", "openai/whisper-tiny, mine=/some/folder")
    assert read_settings().served == {"openai/whisper-tiny": "openai/whisper-tiny", "mine": "/some/folder"}


def test_a_folder_is_called_as_its_last_part() -> None:
    assert Settings(models=("/data/models/mine", "other=/data/x")).served == {
        "mine": "/data/models/mine",
        "other": "/data/x",
    }


def test_without_models_the_bundled_one_is_served() -> None:
    assert Settings(models=()).served == {"bundled": "bundled"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("prot = 1", "did you mean 'port'"),
        ("port = 'x'", "the setting port is 'x'"),
        ("port = ", "is no TOML"),
        ("max_loaded = 0", "greater than or equal to 1"),
    ],
)
def test_a_wrong_file_is_told_by_name(text: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "auricle.toml"
    file.write_text(text)
    with pytest.raises(OptionError, match=told):
        read_settings(file)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="cannot be read"):
        read_settings(tmp_path / "none.toml")
