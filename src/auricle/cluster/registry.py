"""The models of a server whose replicas run in a cluster."""

from __future__ import annotations

import asyncio
import logging
import threading
import time

from auricle.cluster.calls import Replicas
from auricle.cluster.deployment import delete, deploy, deployment_of, running
from auricle.cluster.machines import Cluster
from auricle.cluster.remote import RemotePipeline
from auricle.cluster.tickets import RemotePlaces
from auricle.server.registry import Registry, ServedModel
from auricle.server.settings import Settings

logger = logging.getLogger("auricle.cluster")

COUNT_S = 1.0  # between two counts of the replicas that run


class ClusterRegistry(Registry):
    """Loads a model by deploying it; a model without a replica that runs is loading again."""

    def __init__(self, settings: Settings, cluster: Cluster) -> None:
        super().__init__(settings)
        self.cluster = cluster
        self._running: dict[str, int] = {}
        self._counting: threading.Thread | None = None
        for left in running(cluster):
            logger.warning("deployment %s is of a server that was killed, and is removed", left)
            delete(left)

    def replicas(self, name: str) -> int:
        """Return how many replicas of a model ran when they were last counted."""
        return self._running.get(deployment_of(self.cluster, name), 0)

    def state(self, name: str) -> str:
        """Return "ready", "loading" (also: all replicas are lost, and others begin), "failed" or "absent"."""
        state = super().state(name)
        return "loading" if state == "ready" and not self.replicas(name) else state

    def made(self, name: str) -> ServedModel:
        """Begin a model's replicas and wait for the first."""
        began = time.monotonic()
        deployed = deploy(self.cluster, name, self.settings)
        self._count()
        if self._counting is None:
            self._counting = threading.Thread(target=self._watch, name="auricle-replicas", daemon=True)
            self._counting.start()
        pipeline = RemotePipeline(Replicas(deployed.handle, name, self._batch), deployed.description)
        return ServedModel(name, pipeline, RemotePlaces(deployed.close), time.monotonic() - began)

    async def close(self) -> None:
        """Let go of all models and of what is being loaded."""
        self.cluster.closing.set()
        await super().close()
        if self._counting is not None:
            await asyncio.to_thread(self._counting.join)

    def _batch(self, name: str, n_rows: int) -> None:
        if self.on_batch is not None:
            self.on_batch(name, n_rows)

    def _watch(self) -> None:
        while not self.cluster.closing.wait(COUNT_S):
            self._count()

    def _count(self) -> None:
        found = running(self.cluster)
        for name in found.keys() & self._running.keys():
            if found[name] != self._running[name]:
                logger.info("%s: %d replicas run, %d did", name, found[name], self._running[name])
        self._running = found
