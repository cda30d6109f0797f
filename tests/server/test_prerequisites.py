"""What no server could serve is refused before it begins, in a sentence that says what to change."""

from __future__ import annotations

import logging
import socket
from pathlib import Path
from typing import Any

import pytest

from auricle.errors import AuricleError, OptionError
from auricle.server.prerequisites import check_prerequisites
from auricle.server.settings import Settings


def settings(tmp_path: Path, **chosen: Any) -> Settings:
    return Settings(**{"data_dir": tmp_path / "data", "port": 0, **chosen})


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ({"models": ("/no/such/model",)}, "the model model cannot be served: /no/such/model does not exist"),
        ({"models": ("mine=./no-such-model",)}, "the model mine cannot be served: no-such-model does not exist"),
        ({"models": ("mine=",)}, "'mine' without its other half"),
        ({"models": ("=bundled",)}, "'bundled' without its other half"),
        ({"models": ("",)}, "'' without its other half"),
        ({"models": ("a=bundled", "a=org/other")}, "'bundled' and 'org/other' by the name 'a'"),
        ({"diarization_model": "/no/such/model"}, "the setting diarization_model cannot be served"),
        ({"device": "cuda:97"}, "device 'cuda:97' is not available here"),
        ({"engine": "cqu"}, "the setting engine is 'cqu'; expected auto, .*did you mean 'cpu'"),
        ({"dtype": "float23"}, "the setting dtype is 'float23'; expected auto, .*did you mean 'float32'"),
        ({"replicas": "2"}, "replicas is for models on Ray; add --cluster"),
        ({"ray_address": "auto", "replica_cpus": 1}, "ray_address, replica_cpus is for models on Ray"),
        ({"allowed_hosts": ("http://speech.example.org",)}, "no name of a machine; write it as 'speech.example.org'"),
        ({"allowed_hosts": ("*.example.org",)}, "without patterns"),
    ],
)
def test_settings_that_could_never_work_are_refused(tmp_path: Path, chosen: dict[str, Any], told: str) -> None:
    with pytest.raises(OptionError, match=told):
        check_prerequisites(settings(tmp_path, **chosen))


def test_settings_that_work_pass(tmp_path: Path) -> None:
    folder = tmp_path / "run=3"
    folder.mkdir()
    chosen = settings(
        tmp_path, models=("bundled", "org/name", f"mine={folder}", str(folder)), allowed_hosts=("name.org:8000", "*")
    )
    assert chosen.served == {"bundled": "bundled", "org/name": "org/name", "mine": str(folder), "run=3": str(folder)}
    check_prerequisites(chosen)


def test_what_clusters_compute_with_is_not_looked_for_here(tmp_path: Path) -> None:
    check_prerequisites(settings(tmp_path, cluster=True, device="cuda:97", replicas="2"))


def test_a_data_folder_that_cannot_be_used_is_told_with_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(OptionError, match=r"data_dir is .*file', which cannot be used: .*--data-dir"):
        check_prerequisites(settings(tmp_path, data_dir=file))


def test_a_leaderboard_without_its_folder_is_told_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        check_prerequisites(settings(tmp_path, leaderboard_dir=tmp_path / "none"))
    assert "none does not exist" in caplog.text


def test_a_port_in_use_is_told_with_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(AuricleError, match=r"another program listens there; .*--port"):
            check_prerequisites(settings(tmp_path, port=taken.getsockname()[1]))


@pytest.mark.parametrize(
    ("host", "told"), [("192.0.2.1", "this machine has no such address"), ("no.such.invalid", "--host")]
)
def test_an_address_of_another_machine_is_told(tmp_path: Path, host: str, told: str) -> None:
    with pytest.raises(AuricleError, match=told):
        check_prerequisites(settings(tmp_path, host=host))
