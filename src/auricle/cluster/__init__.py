"""The same server with its models on Ray: replicas of each on one machine or many, batching, autoscaling."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from auricle.errors import MissingExtraError

if TYPE_CHECKING:
    from auricle.server.settings import Settings

__all__ = ["run"]


def run(settings: Settings, on_listening: Callable[[int], None] | None = None) -> None:
    """Serve until a signal comes, with the models on a Ray cluster; `on_listening` is told the port.

    Raises:
        MissingExtraError: the extra is not installed. OptionError: a setting makes no sense here.
        AuricleError: the cluster does not answer, or the address cannot be served at.
    """
    try:
        from auricle.cluster.process import run as serve
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("auricle"):
            raise
        raise MissingExtraError(
            f"--cluster needs {error.name}, which is not installed; run: pip install 'auricle[server,ray]'"
        ) from None
    serve(settings, on_listening)
