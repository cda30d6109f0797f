"""One server process whose models are in a cluster."""

from __future__ import annotations

from auricle.cluster.machines import joined
from auricle.cluster.registry import ClusterRegistry
from auricle.server import process
from auricle.server.settings import Settings


def run(settings: Settings) -> None:
    """Serve until a signal comes; then the replicas end, too.

    Raises:
        OptionError: the settings would open the server to others without tokens, or the cluster's address is of no
            use. AuricleError: no cluster answers, or the server's address is taken or is none of this machine.
    """
    most = settings.replicas[1]
    # `max_active` is of each replica; the server has a place for all that they can do.
    whole = settings.model_copy(update={"max_active": settings.max_active * most})
    with joined(settings) as cluster:
        process.run(whole, ClusterRegistry(settings, cluster))
