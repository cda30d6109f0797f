"""One server process: binding, signals, and the end that finishes what was accepted."""

from __future__ import annotations

import logging
import logging.config
import os
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from auricle.errors import AuricleError
from auricle.server.access.binding import check_binding
from auricle.server.access.tokens import TokenStore
from auricle.server.app import create_app
from auricle.server.logs import logging_config
from auricle.server.prerequisites import check_prerequisites
from auricle.server.registry import Registry
from auricle.server.services import Services
from auricle.server.settings import Settings

logger = logging.getLogger("auricle.server")

BACKLOG = 2048  # connections that wait to be taken
KEEP_ALIVE_S = 75  # longer than proxies and pools keep idle connections, so that they close first
WEBSOCKET_PATIENCE_S = 120.0  # for the answer to a ping, which stands behind all sound that a client has sent


class Server(uvicorn.Server):
    """Says where it listens once it does, and that it takes no more work as soon as it is told to end."""

    def __init__(self, config: uvicorn.Config, services: Services) -> None:
        super().__init__(config)
        self.on_listening: Callable[[int], None] | None = None  # told the port
        self._services = services

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        if self.started and self.on_listening is not None:
            self.on_listening(self.servers[0].sockets[0].getsockname()[1])

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End gracefully; the second signal ends at once, whatever is being computed.

        What must last is on disk at any moment: jobs go on with the next start.
        """
        if self._services.draining.is_set():
            # A thread amid a window would keep the process until it is done with it.
            logger.warning("a second signal: ended at once")
            logging.shutdown()
            os._exit(128 + sig)
        self._services.draining.set()
        super().handle_exit(sig, frame)


def run(
    settings: Settings, on_listening: Callable[[int], None] | None = None, registry: Registry | None = None
) -> None:
    """Serve until a signal comes; the models of `registry`, or in this process those that the settings name.

    `on_listening` is told the port as soon as requests are taken.

    Raises:
        OptionError: the settings would open the server to others without tokens, or cannot be served here.
        AuricleError: the address is taken or is none of this machine.
    """
    logging.config.dictConfig(logging_config(settings.log_format, settings.log_level))
    check_prerequisites(settings)
    warning = check_binding(settings, has_tokens=TokenStore(settings.data_dir).has_active())
    if warning is not None:
        logger.warning(warning)
    server = make_server(settings, registry)
    server.on_listening = on_listening
    try:
        server.run()
    except SystemExit as error:
        # uvicorn has told why in its log.
        raise AuricleError(f"the server could not begin at {settings.host}:{settings.port}") from error
    if not server.started:
        raise AuricleError(f"the server could not begin at {settings.host}:{settings.port}; is the port in use?")


def make_server(settings: Settings, registry: Registry | None = None) -> Server:
    """Make a server that is not running yet."""
    app = create_app(registry or Registry(settings), settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=round(settings.shutdown) or None,
        log_level=settings.log_level,
        log_config=None,
        access_log=False,
        server_header=False,
        ws_max_size=1 << 24,
        ws_ping_timeout=WEBSOCKET_PATIENCE_S,
        h11_max_incomplete_event_size=1 << 16,
    )
    return Server(config, app.state.services)
