"""Which routes are open, which take the scope to infer, and which the scope to manage: one table."""

from __future__ import annotations

import re

from starlette.types import Scope

from auricle.server.access.principal import INFER, MANAGE

OPEN = "open"
WEBSOCKET = "WEBSOCKET"
_READ = frozenset({"GET", "HEAD"})
_CHANGE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_ANY = _READ | _CHANGE | {"OPTIONS", WEBSOCKET}

# The first row that fits decides; what fits none takes the scope to infer. The files of the page, and a model's page,
# are named so narrowly that no file of a model is among them, whatever the model is called.
_TABLE: tuple[tuple[frozenset[str], re.Pattern[str], str], ...] = (
    (_READ, re.compile(r"/(health|ready|docs|docs/oauth2-redirect|redoc|openapi\.json)?"), OPEN),
    (_READ, re.compile(r"/(compare|leaderboard|favicon\.ico|(static|samples)/[^/]+)"), OPEN),
    (_READ, re.compile(r"/models/[^/]+(/(?!(health|info)$)[^/]+)?"), OPEN),
    (_ANY, re.compile(r"/admin(/.*)?"), MANAGE),
    (_CHANGE, re.compile(r"/.+/(load|unload)/?"), MANAGE),
    (frozenset({"PUT", "PATCH", "DELETE"}), re.compile(r"/((v1|api)/)?models/.+"), MANAGE),
)


def needed_scope(scope: Scope) -> str:
    """Return OPEN, or the scope that a request takes."""
    path, method = route_path(scope), _method(scope)
    for methods, pattern, area in _TABLE:
        if method in methods and pattern.fullmatch(path):
            return area
    return INFER


def is_counted(scope: Scope, needed: str) -> bool:
    """Say whether a request asks for work and counts for the rate limit: what the Hub's clients post below /api not."""
    if needed != INFER or _method(scope) not in ("POST", WEBSOCKET):
        return False
    return not route_path(scope).startswith("/api/")


def route_path(scope: Scope) -> str:
    """Return the path that routes are compared with: without the prefix that a proxy adds."""
    path, prefix = str(scope["path"]), str(scope.get("root_path", ""))
    if prefix and (path == prefix or path.startswith(prefix + "/")):
        return path[len(prefix) :]
    return path


def _method(scope: Scope) -> str:
    return WEBSOCKET if scope["type"] == "websocket" else str(scope["method"])
