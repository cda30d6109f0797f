"""The Ray cluster that the models run on: begun on this machine, or joined."""

from __future__ import annotations

import logging
import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import ray
from ray import serve
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from auricle.cluster.addresses import check_address
from auricle.cluster.depot import READERS, Depot
from auricle.errors import AuricleError
from auricle.server.settings import Settings

logger = logging.getLogger("auricle.cluster")

# Recordings pass through it in pieces of 4 MiB; what does not fit, Ray writes to disk.
OBJECT_STORE_BYTES = 256 << 20


@dataclass(frozen=True)
class Cluster:
    """What deployments need to know of the cluster."""

    prefix: str  # of the names of this server's deployments
    depot: Any  # the actor
    cpus: float  # for each replica
    gpus: float
    closing: threading.Event = field(default_factory=threading.Event)


@contextmanager
def joined(settings: Settings) -> Iterator[Cluster]:
    """Begin a cluster on this machine, or join the one of `Settings.ray_address`; leave it at the end.

    Raises:
        OptionError: the address is of a kind that cannot be used. AuricleError: no cluster answers there.
    """
    address = settings.ray_address
    check_address(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    here: dict[str, Any] = {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            **(here if address is None else {}),
        )
    except Exception as error:  # Ray raises no narrower one where its processes do not begin in time
        if address is None:
            raise AuricleError(f"Ray does not begin on this machine: {error}; if it is very busy, try again") from error
        raise AuricleError(
            f"the Ray cluster {address} cannot be joined: {error}; this machine must be a part of it (ray start "
            "--address=…), and with RAY_AUTH_MODE=token have its token"
        ) from error
    try:
        # Without Ray's own HTTP server: the application is ours.
        serve.start(proxy_location="Disabled")
        # It tells every step of every deployment; all of it is in Ray's log files.
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        yield _cluster(settings)
    finally:
        # A cluster that began here ends with it; of one that was joined, this server's deployments are gone already.
        ray.shutdown()


def _cluster(settings: Settings) -> Cluster:
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    depot = (
        ray.remote(Depot)
        .options(num_cpus=0, max_concurrency=READERS, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here)
        .remote()
    )
    # By its address, so that a server that begins again replaces what a killed one left.
    port = settings.port or uuid4().hex[:8]
    prefix = f"auricle-{platform.node()}-{port}-"
    gpus = settings.replica_gpus
    if gpus is None:
        gpus = 1.0 if settings.device.startswith("cuda") else 0.0
    return Cluster(prefix, depot, settings.replica_cpus or share_of_processors(settings), gpus)


def share_of_processors(settings: Settings) -> float:
    """Return the CPUs of a replica: such that all replicas that may be have room, each on one machine."""
    machines = [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]
    n_models = min(settings.max_loaded, len(settings.models) or settings.max_loaded)
    share = min(sum(machines) / (n_models * settings.replicas[1]), max(machines))
    # A whole number where it can be: it is the number of threads, too.
    return float(int(share)) if share >= 1 else max(round(share - 0.05, 1), 0.1)
