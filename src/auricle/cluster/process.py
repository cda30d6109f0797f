"""One server process whose models are in a cluster."""

from __future__ import annotations

from collections.abc import Callable

from auricle.cluster.machines import joined
from auricle.cluster.registry import ClusterRegistry
from auricle.server import process
from auricle.server.prerequisites import check_prerequisites
from auricle.server.settings import Settings


def run(settings: Settings, on_listening: Callable[[int], None] | None = None) -> None:
    """Serve until a signal comes; then the replicas end, too. `on_listening` is told the port.

    Raises:
        OptionError: the settings would open the server to others without tokens, or the cluster's address is of no
            use. AuricleError: no cluster answers, or the server's address is taken or is none of this machine.
    """
    settings = settings.model_copy(update={"cluster": True})
    check_prerequisites(settings)  # before a cluster is waited for
    most = settings.replicas[1]
    # `max_active` is of each replica; the server has a place for all that they can do.
    whole = settings.model_copy(update={"max_active": settings.max_active * most})
    with joined(settings) as cluster:
        process.run(whole, on_listening, ClusterRegistry(settings, cluster))
