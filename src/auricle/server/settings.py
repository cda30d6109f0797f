"""Everything about the server that can be chosen: on the command line, by AURICLE_… variables, in one TOML file.

What stands further left wins.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from auricle.errors import OptionError, nearest
from auricle.hub.cache import BUNDLED

PREFIX = "AURICLE_"
DAY_S = 86400.0


def _several(value: Any) -> Any:
    """Take "a,b" for ("a", "b"), as a variable of the environment is written."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _least_and_most(value: Any) -> Any:
    """Take "1..4" for (1, 4), and "2" or 2 for (2, 2)."""
    if isinstance(value, list | tuple):
        return value
    least, dots, most = str(value).partition("..")
    return (least, most if dots else least)


def _in_order(value: tuple[int, int]) -> tuple[int, int]:
    if value[0] > value[1]:
        raise ValueError("the least comes first, then the most, such as 1..4")
    return value


Several = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_several)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Range = Annotated[tuple[Count, Count], NoDecode, BeforeValidator(_least_and_most), AfterValidator(_in_order)]


def default_data_dir() -> Path:
    """Return where tokens, jobs and cached results are kept: $XDG_DATA_HOME/auricle, or ~/.local/share/auricle."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "auricle"


class Settings(BaseSettings):
    """The server's settings; every field is also the variable AURICLE_<NAME> and a key of the TOML file."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    # Where it listens.
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)  # 0: any that is free

    # What it serves. "id", or "id=other": the name that clients use, and the Hub name or folder that it stands for.
    # Empty: the bundled model, and by name whatever lies whole in the Hub's cache.
    models: Several = ()
    any_model: bool = False  # also fetch from the Hub whatever model is asked for
    preload: bool = False  # load before the server is ready
    max_loaded: Count = 2  # models in memory; the one not used for longest makes room
    idle_unload: Positive | None = None  # seconds without use after which a model is unloaded
    hold: float = Field(20.0, ge=0)  # seconds that a request waits for its model before 503
    diarization_model: str | None = None  # tells speakers apart: a Hub name or a folder; None: the bundled one
    device: str = "auto"
    dtype: str = "auto"
    engine: str = "auto"

    # How much it takes on.
    batch_size: Count = 8  # windows that are computed together, of whatever requests
    max_active: Count = 16  # requests in work at once, of one model
    max_queue: Count = 256  # requests that wait; beyond them 429
    max_jobs: Count = 1  # jobs in work at once
    max_streams: Count = 8  # live streams at once
    max_body_bytes: Count = 4 * 2**30
    max_duration: Positive | None = None  # seconds of audio; None: any length
    max_new_tokens: Count = 4096  # that a text may have, as far as its model has room

    # Who may use it.
    token_required: bool = False
    public_without_tokens: bool = False  # listen beyond this machine and ask for no token
    rate_limit: str | None = None  # for each token or address, such as "500/5 minutes"
    cors_origins: Several = ()  # origins whose pages may call the server; "*": any
    allowed_hosts: Several = ()  # names beside localhost by which it is called
    allow_urls: bool = False  # take http(s) addresses as inputs
    allow_private_urls: bool = False  # also those that lead to this machine and its network

    # What it keeps.
    data_dir: Path = Field(default_factory=default_data_dir)
    cache_bytes: int = Field(2**30, ge=0)  # of results; 0: none are kept
    cache_max_age: Positive = 7 * DAY_S  # seconds
    jobs_kept: Positive = 7 * DAY_S  # seconds after a job has ended
    uploads_kept: Positive = DAY_S  # seconds after the last piece of an upload that is not finished
    webhook_tries: Count = 8  # that a webhook is sent at most
    webhook_delay: Positive = 5.0  # seconds before the second try; each further one is four times as long
    leaderboard_dir: Path | None = None  # results files for the leaderboard page

    # Where models run: in this process, or as replicas on a Ray cluster, each in a process of its own.
    cluster: bool = False
    ray_address: str | None = None  # "auto" or "host:6379", of a cluster this machine is in; None: begin one here
    replicas: Range = (1, 1)  # of each model, the least and the most: "2", "1..4"
    replica_cpus: Positive | None = None  # of each; None: what the cluster has, shared out
    replica_gpus: float | None = Field(None, ge=0)  # of each; None: one if the device is "cuda", else none
    upscale_delay: float = Field(10.0, ge=0)  # seconds that replicas are busy before there are more
    downscale_delay: float = Field(300.0, ge=0)  # seconds that they are idle before there are fewer

    # How it runs.
    shutdown: float = Field(30.0, ge=0)  # seconds that accepted requests have to finish
    log_format: Literal["text", "json"] = "text"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")

    @property
    def served(self) -> dict[str, str]:
        """What clients may name, and what each stands for, in order; the first is the default."""
        return dict(named(given) for given in self.models or (BUNDLED,))


def named(given: str) -> tuple[str, str]:
    """Return the name that clients use for an entry of `Settings.models`, and what it stands for."""
    if given.startswith(("/", ".", "~")):
        # A folder without a name is called as its last part: clients are told no path of this machine.
        return Path(given).resolve().name, given
    name, equals, place = given.partition("=")
    return name, place if equals else given


def read_settings(config: Path | None = None, **flags: Any) -> Settings:
    """Gather the settings; a flag that is None was not given, a file that is None is the one of AURICLE_CONFIG, if any.

    Raises:
        OptionError: a name or a value, wherever it was given, is wrong, or the file cannot be read.
    """
    named = os.environ.get(f"{PREFIX}CONFIG")
    path = config or (Path(named).expanduser() if named else None)
    in_environment = {name for name in Settings.model_fields if f"{PREFIX}{name}".upper() in os.environ}
    from_file = {} if path is None else _read_file(path)
    given = {name: value for name, value in from_file.items() if name not in in_environment}
    given |= {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise OptionError("; ".join(_told(one) for one in error.errors())) from None


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"the configuration file {path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise OptionError(f"the configuration file {path} is no TOML: {error}") from None


def _told(error: Any) -> str:
    name = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        hint = nearest(name, Settings.model_fields) or f"; there are {', '.join(Settings.model_fields)}"
        return f"unknown setting {name!r}{hint}"
    return f"the setting {name} is {error['input']!r}: {error['msg']}"
