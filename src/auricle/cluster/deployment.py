"""One model's deployment on Ray Serve: how many replicas, of what size, until when, and how it goes."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import serve

from auricle import __version__
from auricle.cluster.machines import Cluster
from auricle.cluster.replica import SpeechReplica
from auricle.cluster.wire import Description
from auricle.errors import AuricleError
from auricle.hub import BUNDLED
from auricle.server.scheduling import Cancelled
from auricle.server.settings import Settings

logger = logging.getLogger("auricle.cluster")

POLL_S = 0.2
GIVEN_UP_S = 300.0  # a model has no replica after so long: a cluster that grows has grown by then
WAITS_LONG_S = 30.0  # after so long the log says what a deployment waits for
HEALTH_CHECK_S = 2.0  # a replica that died is noticed within this, and replaced
METRICS_S = 2.0  # between two counts of requests
LOOK_BACK_S = 6.0  # whose mean decides how many replicas there are to be
DEPLOYMENT = "model"
# What a replica needs of the settings; the others are the server's.
_FOR_REPLICAS = ("device", "dtype", "engine", "batch_size", "max_active")


def deployment_of(cluster: Cluster, name: str) -> str:
    """Return the name of a model's deployment; a model's name has no "--"."""
    return cluster.prefix + name.replace("/", "--")


def options(settings: Settings, cluster: Cluster) -> dict[str, Any]:
    """Return how a model is deployed."""
    least, most = settings.replicas
    return {
        "name": DEPLOYMENT,
        "autoscaling_config": {
            "min_replicas": least,
            "initial_replicas": least,
            "max_replicas": most,
            # A replica is busy when its batches are full.
            "target_ongoing_requests": min(settings.batch_size, settings.max_active),
            "metrics_interval_s": METRICS_S,
            "look_back_period_s": LOOK_BACK_S,
            "upscale_delay_s": settings.upscale_delay,
            "downscale_delay_s": settings.downscale_delay,
        },
        "max_ongoing_requests": settings.max_active,
        "ray_actor_options": {"num_cpus": cluster.cpus, "num_gpus": cluster.gpus},
        "health_check_period_s": HEALTH_CHECK_S,
        "graceful_shutdown_wait_loop_s": POLL_S,
        "graceful_shutdown_timeout_s": settings.shutdown,
        "logging_config": {"log_level": "WARNING", "enable_access_log": False},
    }


@dataclass(frozen=True)
class Deployed:
    """A model that has replicas."""

    deployment: str
    handle: Any  # Ray's: calls a replica
    description: Description

    def close(self) -> None:
        """End the replicas; blocks until they have done what they are at."""
        # First who tells the controller how busy they are: it would begin a new Ray if there is none.
        self.handle.shutdown()
        delete(self.deployment)


def deploy(cluster: Cluster, name: str, settings: Settings) -> Deployed:
    """Begin a model's replicas and wait for the first.

    Raises:
        AuricleError: the model cannot be loaded, or there is no room for it. Cancelled: the server ends.
    """
    deployment = deployment_of(cluster, name)
    place = settings.served.get(name, name)
    if place != BUNDLED and Path(place).expanduser().is_dir():
        place = str(Path(place).expanduser().resolve())
    chosen = {key: getattr(settings, key) for key in _FOR_REPLICAS}
    target = serve.deployment(SpeechReplica).options(**options(settings, cluster))
    bound = target.bind(deployment, place, chosen, cluster.depot)
    ray.get(cluster.depot.failure.remote(deployment))  # of a try before
    (handle,) = serve.run_many(
        [serve.RunTarget(target=bound, name=deployment, route_prefix=None)],
        wait_for_ingress_deployment_creation=True,
        wait_for_applications_running=False,
    )
    handle = handle.options()  # makes the router that all calls share, and that `close` ends
    try:
        description = described(cluster, name, handle)
    except BaseException:
        handle.shutdown()
        delete(deployment)
        raise
    return Deployed(deployment, handle, description)


def described(cluster: Cluster, name: str, handle: Any) -> Description:
    """Wait for the first replica and return what it says of the model.

    Raises:
        AuricleError: the model cannot be loaded, there is no room, or the replica is of another version of auricle.
        Cancelled: the server ends.
    """
    response = handle.describe.remote()
    began = told = time.monotonic()
    while not cluster.closing.is_set():
        try:
            return _of_this_version(response.result(timeout_s=POLL_S))
        except TimeoutError:
            failure = ray.get(cluster.depot.failure.remote(deployment_of(cluster, name)))
            if failure is not None:
                raise failure from None
        except ray.exceptions.RayActorError:
            response = handle.describe.remote()
        now = time.monotonic()
        if now - began > GIVEN_UP_S:
            raise AuricleError(
                f"no replica of {name} has begun in {GIVEN_UP_S:g} s: {_message(cluster, name)}; give fewer "
                "replica_cpus, unload another model, or add a machine"
            )
        if now - told > WAITS_LONG_S:
            told = now
            logger.warning("model %s waits %.0f s for a replica: %s", name, told - began, _message(cluster, name))
    raise Cancelled("the server ends")


def _of_this_version(description: Description) -> Description:
    if description.version != __version__:
        raise AuricleError(
            f"a machine of the cluster has auricle {description.version}, and this one {__version__}; install the "
            "same version on all"
        )
    return description


def _message(cluster: Cluster, name: str) -> str:
    application = serve.status().applications.get(deployment_of(cluster, name))
    if application is None:
        return "its deployment is gone"
    return "; ".join(one.message for one in application.deployments.values() if one.message) or application.message


def running(cluster: Cluster) -> dict[str, int]:
    """Return how many replicas of each deployment of this server run."""
    return {
        name: sum(one.replica_states.get("RUNNING", 0) for one in application.deployments.values())
        for name, application in serve.status().applications.items()
        if name.startswith(cluster.prefix)
    }


def delete(deployment: str) -> None:
    """Let go of a deployment, once its replicas have done what they are at."""
    serve.delete(deployment)
