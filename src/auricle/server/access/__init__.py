"""Who may do what: tokens and their scopes, rate limits, and which pages may call.

`guard` puts all of it around an application. The names are resolved when first used: the command line needs the
tokens alone, and no web library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from auricle.server.access.authorization import Access
    from auricle.server.access.binding import allowed_url, check_binding
    from auricle.server.access.principal import INFER, MANAGE, Principal
    from auricle.server.access.rates import RateLimits
    from auricle.server.access.tokens import TokenStore
    from auricle.server.access.wiring import guard

_HOMES = {
    "Access": "authorization",
    "INFER": "principal",
    "MANAGE": "principal",
    "Principal": "principal",
    "RateLimits": "rates",
    "TokenStore": "tokens",
    "allowed_url": "binding",
    "check_binding": "binding",
    "guard": "wiring",
}

__all__ = [
    "Access",
    "INFER",
    "MANAGE",
    "Principal",
    "RateLimits",
    "TokenStore",
    "allowed_url",
    "check_binding",
    "guard",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
