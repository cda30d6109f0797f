"""`auricle serve`: the server, with every setting as a flag."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auricle.cli.border import border, say
from auricle.cli.startup import quick_imports

if TYPE_CHECKING:
    from auricle.server.settings import Settings

_WHERE, _WHAT, _MUCH, _WHO, _KEPT = "Where it listens", "What it serves", "How much", "Who may use it", "What it keeps"
_RAY = "On more than one machine"


def serve(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            help="A Hub name or a folder; NAME=FOLDER gives it a name. Several times.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    any_model: Annotated[
        bool | None, typer.Option("--any-model", help="Fetch whatever model is asked for.", rich_help_panel=_WHAT)
    ] = None,
    preload: Annotated[
        bool | None, typer.Option("--preload", help="Load models before they are asked for.", rich_help_panel=_WHAT)
    ] = None,
    max_loaded: Annotated[
        int | None, typer.Option(help="Models in memory at once; default 2.", rich_help_panel=_WHAT)
    ] = None,
    idle_unload: Annotated[
        float | None, typer.Option(help="Seconds without use after which a model is unloaded.", rich_help_panel=_WHAT)
    ] = None,
    diarization_model: Annotated[
        str | None, typer.Option(help="What tells speakers apart; default: the bundled one.", rich_help_panel=_WHAT)
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps.", rich_help_panel=_WHAT)] = None,
    engine: Annotated[str | None, typer.Option(help="auto or reference.", rich_help_panel=_WHAT)] = None,
    dtype: Annotated[str | None, typer.Option(help="auto, float32, bfloat16.", rich_help_panel=_WHAT)] = None,
    host: Annotated[str | None, typer.Option(help="Address; default 127.0.0.1.", rich_help_panel=_WHERE)] = None,
    port: Annotated[int | None, typer.Option(help="Default 8000; 0: a free one.", rich_help_panel=_WHERE)] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Windows computed together; default 8.", rich_help_panel=_MUCH)
    ] = None,
    max_active: Annotated[
        int | None, typer.Option(help="Requests in work at once; default 16.", rich_help_panel=_MUCH)
    ] = None,
    max_queue: Annotated[
        int | None, typer.Option(help="Requests that may wait; default 256.", rich_help_panel=_MUCH)
    ] = None,
    max_jobs: Annotated[
        int | None, typer.Option(help="Jobs in work at once; default 1.", rich_help_panel=_MUCH)
    ] = None,
    max_streams: Annotated[
        int | None, typer.Option(help="Live streams at once; default 8.", rich_help_panel=_MUCH)
    ] = None,
    hold: Annotated[
        float | None,
        typer.Option(help="Seconds that a request waits for its model before 503; default 20.", rich_help_panel=_MUCH),
    ] = None,
    shutdown: Annotated[
        float | None,
        typer.Option(help="Seconds that accepted requests have at the end; default 30.", rich_help_panel=_MUCH),
    ] = None,
    max_body_bytes: Annotated[
        int | None, typer.Option(help="Of one upload; default 4 GiB.", rich_help_panel=_MUCH)
    ] = None,
    max_duration: Annotated[
        float | None, typer.Option(help="Seconds of one recording; default: any.", rich_help_panel=_MUCH)
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(help="Tokens of one text that is written; default 4096.", rich_help_panel=_MUCH)
    ] = None,
    token_required: Annotated[
        bool | None,
        typer.Option("--token-required", help="Serve only who has a token (auricle token).", rich_help_panel=_WHO),
    ] = None,
    public_without_tokens: Annotated[
        bool | None,
        typer.Option("--public-without-tokens", help="Let the whole network in, unasked.", rich_help_panel=_WHO),
    ] = None,
    rate_limit: Annotated[
        str | None, typer.Option(help='For each token or address: "500/5 minutes".', rich_help_panel=_WHO)
    ] = None,
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(help="A site whose pages may call the server. Several times.", rich_help_panel=_WHO),
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(help="A name beside localhost by which it is called. Several times.", rich_help_panel=_WHO),
    ] = None,
    allow_urls: Annotated[
        bool | None, typer.Option("--allow-urls", help="Fetch recordings from addresses.", rich_help_panel=_WHO)
    ] = None,
    allow_private_urls: Annotated[
        bool | None,
        typer.Option(
            "--allow-private-urls", help="Also addresses of this machine and its network.", rich_help_panel=_WHO
        ),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Tokens, jobs and cached results.", rich_help_panel=_KEPT)
    ] = None,
    cache_bytes: Annotated[int | None, typer.Option(help="Of results; 0: none.", rich_help_panel=_KEPT)] = None,
    cache_max_age: Annotated[
        float | None, typer.Option(help="Seconds that a result is kept; default 7 days.", rich_help_panel=_KEPT)
    ] = None,
    jobs_kept: Annotated[
        float | None, typer.Option(help="Seconds after a job's end; default 7 days.", rich_help_panel=_KEPT)
    ] = None,
    uploads_kept: Annotated[
        float | None, typer.Option(help="Seconds without a new piece; default one day.", rich_help_panel=_KEPT)
    ] = None,
    webhook_tries: Annotated[
        int | None, typer.Option(help="Of each message at most; default 8.", rich_help_panel=_KEPT)
    ] = None,
    webhook_delay: Annotated[
        float | None, typer.Option(help="Seconds before the second try; default 5.", rich_help_panel=_KEPT)
    ] = None,
    leaderboard_dir: Annotated[
        Path | None, typer.Option(help="Results files of the leaderboard.", rich_help_panel=_KEPT)
    ] = None,
    cluster: Annotated[
        bool | None, typer.Option("--cluster", help="Run the models as replicas on Ray.", rich_help_panel=_RAY)
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(help="auto or HOST:6379; default: Ray is begun here, too.", rich_help_panel=_RAY),
    ] = None,
    replicas: Annotated[
        str | None, typer.Option(help="Of each model: 2, or 1..4 as needed; default 1.", rich_help_panel=_RAY)
    ] = None,
    replica_cpus: Annotated[float | None, typer.Option(help="Of each replica.", rich_help_panel=_RAY)] = None,
    replica_gpus: Annotated[float | None, typer.Option(help="Of each replica.", rich_help_panel=_RAY)] = None,
    upscale_delay: Annotated[
        float | None, typer.Option(help="Seconds of work before there are more; default 10.", rich_help_panel=_RAY)
    ] = None,
    downscale_delay: Annotated[
        float | None, typer.Option(help="Seconds of rest before there are fewer; default 300.", rich_help_panel=_RAY)
    ] = None,
    log_format: Annotated[str | None, typer.Option(help="text or json.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error; default info.")] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file with these settings.")] = None,
) -> None:
    """Serve models over HTTP: Hugging Face's Inference API, OpenAI's audio API, jobs, web pages.

    Without options: the bundled model, for this machine alone, at http://localhost:8000. Every option is also a
    variable (AURICLE_MAX_LOADED=3) and a key of the TOML file; flags win over variables, these over the file.
    """
    flags: dict[str, Any] = {
        name: value
        for name, value in locals().items()
        if name not in ("config", "model", "cors_origin", "allowed_host")
    }
    lists = {"models": model, "cors_origins": cors_origin, "allowed_hosts": allowed_host}
    flags |= {name: tuple(given) if given else None for name, given in lists.items()}
    # Threads that wait for the others of a product, spinning, take the time of those that decode other requests' sound.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    with border():
        with quick_imports():
            from auricle.server import read_settings

            settings = read_settings(config, **flags)
            if settings.cluster:
                from auricle.cluster import run
            else:
                from auricle.server.process import run
        logging.captureWarnings(True)
        run(settings, on_listening=lambda port: say(_begun(settings, port)))


def _begun(settings: Settings, port: int) -> str:
    host = "localhost" if settings.is_loopback else settings.host
    host = f"[{host}]" if ":" in host else host
    served = ", ".join(settings.served)
    return f"auricle: serving {served} at http://{host}:{port} (pages at /, API at /docs); Ctrl-C ends it"
