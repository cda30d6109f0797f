"""The server: the Inference API, OpenAI's audio API, jobs, a mirror of the Hub and web pages, all over pipelines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from auricle.errors import MissingExtraError

if TYPE_CHECKING:
    from auricle.server.app import create_app
    from auricle.server.registry import Registry
    from auricle.server.settings import Settings, read_settings

__all__ = ["Registry", "Settings", "create_app", "read_settings"]

_PLACES = {"Registry": "registry", "Settings": "settings", "create_app": "app", "read_settings": "settings"}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for.

    Raises:
        MissingExtraError: the server's extra is not installed.
    """
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    try:
        return getattr(import_module(f"auricle.server.{_PLACES[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("auricle"):
            raise
        raise MissingExtraError(
            f"the server needs {error.name}, which is not installed; run: pip install 'auricle[server]'"
        ) from None
