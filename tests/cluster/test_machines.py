"""How a cluster is named, shared out and missed."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest

from auricle.errors import MissingExtraError, OptionError
from auricle.server.settings import Settings, read_settings


@pytest.mark.parametrize(("given", "meant"), [("2", (2, 2)), (3, (3, 3)), ("1..4", (1, 4)), ([2, 5], (2, 5))])
def test_replicas_are_a_number_or_a_range(given: Any, meant: tuple[int, int]) -> None:
    assert read_settings(replicas=given).replicas == meant


@pytest.mark.parametrize("given", ["0", "4..1", "many", "1..", ".."])
def test_other_replicas_are_refused(given: str) -> None:
    with pytest.raises(OptionError, match="replicas"):
        read_settings(replicas=given)


def test_without_the_extra_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "auricle.cluster.process":
            raise ModuleNotFoundError("No module named 'ray'", name="ray")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    from auricle.cluster import run

    with pytest.raises(MissingExtraError, match=r"^--cluster needs ray, .*pip install 'auricle\[server,ray\]'$"):
        run(Settings())


def test_the_client_protocol_is_refused_with_what_to_do_instead(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed: pip install 'auricle[ray]'")
    from auricle.cluster import run

    with pytest.raises(OptionError, match="machine of the cluster"):
        run(Settings(data_dir=tmp_path, ray_address="ray://head:10001"))


@pytest.mark.parametrize(
    ("machines", "models", "replicas", "share"),
    [
        ((8,), ("one",), (1, 1), 8),
        ((8,), ("one",), (1, 4), 2),
        ((8, 8, 8, 8), ("one",), (4, 4), 8),
        ((2,), ("one", "two"), (2, 2), 0.5),
        ((16, 2), ("one",), (1, 1), 16),
        ((3,), (), (1, 1), 1),
    ],
)
def test_the_processors_are_shared_out_such_that_all_replicas_have_room(
    machines: tuple[int, ...],
    models: tuple[str, ...],
    replicas: tuple[int, int],
    share: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ray = pytest.importorskip("ray", reason="the extra ray is not installed: pip install 'auricle[ray]'")
    from auricle.cluster.machines import share_of_processors

    nodes = [{"Alive": True, "Resources": {"CPU": float(one)}} for one in machines]
    monkeypatch.setattr(ray, "nodes", lambda: [*nodes, {"Alive": False, "Resources": {"CPU": 99.0}}])
    assert share_of_processors(Settings(models=models, replicas=replicas)) == share


def test_a_deployment_is_what_the_settings_say() -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed: pip install 'auricle[ray]'")
    from auricle.cluster.deployment import deployment_of, options
    from auricle.cluster.machines import Cluster

    cluster = Cluster("auricle-host-8000-", None, 2.0, 1.0)
    chosen = options(Settings(replicas=(1, 4), batch_size=8, max_active=16, upscale_delay=3), cluster)
    assert chosen["ray_actor_options"] == {"num_cpus": 2.0, "num_gpus": 1.0}
    assert chosen["max_ongoing_requests"] == 16
    scaling = chosen["autoscaling_config"]
    assert (scaling["min_replicas"], scaling["max_replicas"], scaling["target_ongoing_requests"]) == (1, 4, 8)
    assert (scaling["upscale_delay_s"], scaling["downscale_delay_s"]) == (3, 300)
    assert deployment_of(cluster, "org/model") == "auricle-host-8000-org--model"
