"""What the settings must not add up to: an open server by oversight."""

from __future__ import annotations

import shlex

from auricle.errors import OptionError
from auricle.server.errors import Refused
from auricle.server.settings import Settings, default_data_dir


def check_binding(settings: Settings, has_tokens: bool) -> str | None:
    """Refuse to listen to other machines without tokens, unless that was asked for in words.

    Returns a sentence for the log where something is allowed and worth knowing. Has tokens: whether there is one that
    would be accepted.

    Raises:
        OptionError: anybody on the network could use the server, and nobody said so.
    """
    if settings.token_required:
        if has_tokens:
            return None
        where = "" if settings.data_dir == default_data_dir() else f" --data-dir {shlex.quote(str(settings.data_dir))}"
        return (
            "a token is required and there is none yet, so every request will be refused; make one with "
            f"`auricle token create --name NAME{where}`, for which the server may go on running"
        )
    if settings.is_loopback:
        return None
    if not settings.public_without_tokens:
        raise OptionError(
            f"with --host {settings.host} other machines can reach this server, and it asks for no token; add "
            "--token-required and make a token with `auricle token create --name NAME`, or, if everybody who can "
            "reach it may use it, --public-without-tokens"
        )
    return f"everybody who can reach {settings.host}:{settings.port} may use this server and unload its models"


def allowed_url(settings: Settings, url: str) -> str:
    """Return an address that a client gave as its input, if the settings let it be fetched.

    Where it leads, and how much it sends, is checked by auricle.audio when it is fetched.

    Raises:
        Refused: 400, this server fetches nothing.
    """
    if not settings.allow_urls:
        raise Refused(
            400,
            "the input is a URL, and this server fetches none; send the bytes themselves, or start the server with "
            "--allow-urls",
            code="urls_refused",
        )
    return url
