"""Waiting for a model's first replica, with Ray's answers made up."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("ray", reason="the extra ray is not installed: pip install 'auricle[ray]'")

import ray

from auricle import __version__
from auricle.cluster import deployment
from auricle.cluster.machines import Cluster
from auricle.cluster.wire import Description
from auricle.errors import AuricleError, ConfigError
from auricle.pipelines.provenance import ModelIdentity
from auricle.server.scheduling import Cancelled


def description(version: str) -> Description:
    return Description("a CTC model", 16000, "model", "cpu", ModelIdentity("model"), " ", version)


def handle_of(*answers: Any) -> Any:
    """Return a handle whose replica gives one of these after the other."""
    left = list(answers)

    def result(timeout_s: float) -> Any:
        one = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(one, Exception):
            raise one
        return one

    return SimpleNamespace(describe=SimpleNamespace(remote=lambda: SimpleNamespace(result=result)))


@pytest.fixture
def failures(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """Return what the depot was told."""
    told: list[Exception] = []
    monkeypatch.setattr(ray, "get", lambda _: told.pop() if told else None)
    monkeypatch.setattr(deployment.serve, "status", lambda: SimpleNamespace(applications={}))
    return told


@pytest.fixture
def cluster(failures: list[Exception]) -> Cluster:
    depot = SimpleNamespace(failure=SimpleNamespace(remote=lambda name: name))
    return Cluster("auricle-", depot, 1.0, 0.0, threading.Event())


def test_a_replica_that_dies_before_it_answers_is_asked_for_again(cluster: Cluster) -> None:
    found = description(__version__)
    handle = handle_of(TimeoutError(), ray.exceptions.RayActorError(), found)
    assert deployment.described(cluster, "model", handle) is found


def test_why_a_model_cannot_be_loaded_is_raised_as_it_was_there(cluster: Cluster, failures: list[Exception]) -> None:
    failures.append(ConfigError("config.json is cut off"))
    with pytest.raises(ConfigError, match="cut off"):
        deployment.described(cluster, "model", handle_of(TimeoutError()))


def test_a_replica_of_another_version_is_refused(cluster: Cluster) -> None:
    with pytest.raises(AuricleError, match=r"has auricle 0\.0\.1, and this one"):
        deployment.described(cluster, "model", handle_of(description("0.0.1")))


def test_a_model_without_a_replica_is_not_loading_for_ever(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployment, "GIVEN_UP_S", -1.0)
    with pytest.raises(AuricleError, match="no replica of model has begun"):
        deployment.described(cluster, "model", handle_of(TimeoutError()))


def test_a_server_that_ends_waits_for_no_replica(cluster: Cluster) -> None:
    cluster.closing.set()
    with pytest.raises(Cancelled):
        deployment.described(cluster, "model", handle_of(TimeoutError()))
