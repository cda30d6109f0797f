"""What must hold before a server begins: settings that could never work are refused while somebody is looking."""

from __future__ import annotations

import errno
import logging
import os
import socket
from pathlib import Path

from auricle.errors import AuricleError, ModelNotFoundError, OptionError, nearest
from auricle.hub import locate
from auricle.server.access.origins import checked_hosts
from auricle.server.settings import Settings, named

logger = logging.getLogger("auricle.server")

_OF_CLUSTERS = ("ray_address", "replicas", "replica_cpus", "replica_gpus", "upscale_delay", "downscale_delay")
_ENGINE_OF_OTHERS = "transformers"  # runs what is not native; see auricle.pipelines.pipeline


def check_prerequisites(settings: Settings) -> None:
    """Refuse settings that this machine cannot serve; nothing is loaded.

    Raises:
        OptionError: a setting names what is not here, or has no effect as the others are. AuricleError: the address
            is taken, or is none of this machine.
    """
    _check_models(settings)
    checked_hosts(settings.allowed_hosts)
    unused = [name for name in _OF_CLUSTERS if name in settings.model_fields_set]
    if unused and not settings.cluster:
        raise OptionError(f"{', '.join(unused)} is for models on Ray; add --cluster, or leave it out")
    if not settings.cluster:  # there, replicas compute on other machines
        _check_computing(settings)
    _check_data_dir(settings.data_dir)
    if settings.leaderboard_dir is not None and not settings.leaderboard_dir.is_dir():
        logger.warning("the leaderboard has no rows: its folder %s does not exist", settings.leaderboard_dir)
    _check_address(settings.host, settings.port)


def _check_models(settings: Settings) -> None:
    for name, place in map(named, settings.models):
        if settings.served[name] != place:
            raise OptionError(
                f"the setting models has {place!r} and {settings.served[name]!r} by the name {name!r}; give each its "
                "own: NAME=FOLDER"
            )
        if not name.strip() or not place.strip():
            raise OptionError(
                f"the setting models has {name or place!r} without its other half; write a Hub name, a folder, or "
                "NAME=FOLDER"
            )
        _check_place(place, f"the model {name}")
    if settings.diarization_model is not None:
        _check_place(settings.diarization_model, "the setting diarization_model")


def _check_place(place: str, what: str) -> None:
    """Refuse a folder that is not here; whether the Hub has a name is known once it is asked for."""
    if not place.startswith(("/", ".", "~")):
        return
    try:
        locate(place)
    except ModelNotFoundError as error:
        raise OptionError(f"{what} cannot be served: {error}") from None


def _check_computing(settings: Settings) -> None:
    from auricle.engines import DTYPES, ENGINES, resolve_device

    choices = {"engine": ("auto", *ENGINES, _ENGINE_OF_OTHERS), "dtype": ("auto", *DTYPES)}
    for name, known in choices.items():
        given = getattr(settings, name)
        if given not in known:
            raise OptionError(f"the setting {name} is {given!r}; expected {', '.join(known)}{nearest(given, known)}")
    # Every machine has a CPU; looking for others takes seconds.
    if settings.device not in ("auto", "cpu"):
        resolve_device(settings.device)


def _check_data_dir(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise OptionError(
            f"the setting data_dir is {str(folder)!r}, which cannot be used: {error.strerror}; give a folder that this "
            "user can read and write with --data-dir"
        ) from None


def _check_address(host: str, port: int) -> None:
    """Refuse an address that cannot be listened at: the server itself would find out when all else is done."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise AuricleError(
            f"the server could not begin at {host}: {error.strerror}; give an address of this machine with --host"
        ) from None
    failed: list[OSError] = []
    for family, kind, protocol, _, address in found:
        try:
            with socket.socket(family, kind, protocol) as one:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                one.bind(address)
        except OSError as error:
            failed.append(error)
    # A name may also have an address of IPv6, on a machine that speaks none.
    if len(failed) == len(found) or any(one.errno == errno.EADDRINUSE for one in failed):
        raise AuricleError(f"the server could not begin at {host}:{port}: {_reason(failed[-1])}")


def _reason(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program listens there; end it, or choose another port with --port (0: any that is free)"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address; give one of its own with --host"
    if error.errno == errno.EACCES:
        return "this user may not listen at that port; choose one from 1024 on with --port"
    return f"{error.strerror}; choose another one with --host and --port"
