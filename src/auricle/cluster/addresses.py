"""Where a cluster is: looked at before Ray is asked to join it, which waits for minutes where nothing answers."""

from __future__ import annotations

import socket

from auricle.errors import AuricleError, OptionError

ANSWERS_S = 5.0  # a head that is there answers within milliseconds
_MOST = 65535
_KINDS = "expected auto, for the cluster that this machine is a part of, or its head as HOST:6379"


def check_address(address: str | None) -> None:
    """Refuse the address of a cluster where nothing listens; None and "auto" are Ray's to find.

    Raises:
        OptionError: it is no address, or of a protocol that cannot be used. AuricleError: nothing answers there.
    """
    if address is None or address in ("auto", "local"):
        return
    if "://" in address:
        raise OptionError(
            f"ray_address is {address!r}; Ray's client protocol cannot stream results, so run this on a "
            "machine of the cluster (ray start --address=HEAD:6379) and give auto or HEAD:6379"
        )
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdecimal() and 0 < int(port) <= _MOST):
        raise OptionError(f"ray_address is {address!r}; {_KINDS}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWERS_S).close()
    except OSError as error:
        why = f"nothing answered in {ANSWERS_S:g} s" if isinstance(error, TimeoutError) else error.strerror
        raise AuricleError(
            f"the Ray cluster {address} cannot be joined: {why}; see that its head runs there (ray start --head "
            "--port=6379) and that this machine reaches it, or leave the address out to begin Ray here"
        ) from None
