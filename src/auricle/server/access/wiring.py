"""Everything about access, put around an application in its right order."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware

from auricle.server.access.authorization import Access
from auricle.server.access.middleware import AccessMiddleware
from auricle.server.access.origins import EXPOSED_HEADERS, OriginGuard, checked_origins
from auricle.server.access.rates import RateLimits
from auricle.server.settings import Settings


def guard(app: Starlette, settings: Settings, access: Access, rates: RateLimits) -> None:
    """Put tokens, rates, the guard against other sites' pages, and CORS around an application.

    Middleware that is added afterwards is further out, and sees refusals, too.

    Raises:
        OptionError: an origin of the settings is none.
    """
    origins = checked_origins(settings.cors_origins)
    # The last one added is the outermost: CORS adds its headers to every refusal, and answers preflights itself.
    app.add_middleware(AccessMiddleware, access=access, rates=rates)
    if not settings.token_required:
        # Beyond this machine the server's names are not known, and it was made public in words.
        is_checked = settings.is_loopback and "*" not in settings.allowed_hosts
        hosts = (settings.host, *settings.allowed_hosts) if is_checked else None
        app.add_middleware(OriginGuard, origins=origins, hosts=hosts)
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=EXPOSED_HEADERS,
            allow_private_network=True,
        )
