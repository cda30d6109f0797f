"""What a catalogue says of a model, read from the files of its folder; nothing is loaded and nothing fetched."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from auricle.errors import AuricleError, ModelNotFoundError, TaskError
from auricle.hub import BUNDLED, cached_models, commit_of

_NAME = re.compile(r"[A-Za-z0-9_][\w.-]{0,95}(/[A-Za-z0-9_][\w.-]{0,95})?", re.ASCII)
_FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n---", re.DOTALL)
_WEIGHTS = (".safetensors", ".bin")


@dataclass(frozen=True)
class ModelCard:
    """A row of the catalogue."""

    id: str
    task: str | None = None  # None: not known before it is fetched
    languages: tuple[str, ...] = ()  # codes; empty: not said
    state: str = "absent"  # ready, loading, failed or absent
    revision: str | None = None  # the Hub's commit
    folder: Path | None = None  # None: still to be fetched
    size: int = 0  # bytes of weights
    model_type: str | None = None
    summary: str | None = None  # a sentence on how good it is
    is_default: bool = False
    is_bridged: bool = False  # whether transformers runs it


def checked_name(name: str) -> str:
    """Return a name that a client may ask for.

    Raises:
        ModelNotFoundError: it is none.
    """
    if not _NAME.fullmatch(name) or ".." in name or "--" in name:
        raise ModelNotFoundError(
            "a model's name is of letters, digits, '-', '_' and '.', in one part or two: 'org/model'"
        )
    return name


def card_of(name: str, place: str, state: str, is_default: bool) -> ModelCard:
    """Return what the folder that `place` means says; of a model that must be fetched, its name."""
    folder = _folder(place)
    card = ModelCard(name, state=state, is_default=is_default)
    if folder is None:
        return card
    config = _json(folder / "config.json")
    about = _json(folder / "auricle.json")
    return replace(
        card,
        task=_task(folder, config),
        is_bridged=_is_bridged(folder),
        languages=_languages(folder, config, about),
        revision=commit_of(folder),
        folder=folder,
        size=sum(one.stat().st_size for one in folder.iterdir() if one.suffix in _WEIGHTS and one.exists()),
        model_type=config.get("model_type"),
        summary=about.get("summary"),
    )


def _folder(place: str) -> Path | None:
    """Return the folder of a model that is on this machine."""
    # What is loaded without a revision is the branch main, whatever else lies in the cache.
    cached = sorted((one for one in cached_models() if one.name == place), key=lambda one: "main" not in one.refs)
    if cached and (place == BUNDLED or "main" in cached[0].refs):
        return cached[0].folder
    path = Path(place).expanduser()
    return path if path.is_dir() else None


def _task(folder: Path, config: Mapping[str, Any]) -> str | None:
    from auricle.loading import task_of
    from auricle.pipelines.bridge_tasks import task_of_config

    if _is_bridged(folder):
        return task_of_config(config)
    with suppress(AuricleError, TaskError):
        return task_of(folder)
    return None


def _is_bridged(folder: Path) -> bool:
    from auricle.loading import runs_natively

    with suppress(AuricleError):
        return not runs_natively(folder)
    return False


def _languages(folder: Path, config: Mapping[str, Any], about: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the codes that the model's card names, or that its vocabulary has tokens for."""
    said = about.get("languages") or _front_matter(folder).get("language")
    if said:
        return tuple(str(one) for one in ([said] if isinstance(said, str) else said))
    tokens = _json(folder / "generation_config.json").get("lang_to_id")
    if isinstance(tokens, Mapping):
        return tuple(str(token).strip("<|>") for token in tokens)
    return ("en",) if config.get("model_type") == "moonshine" else ()


def _front_matter(folder: Path) -> dict[str, Any]:
    """Return the head of a model card, which is YAML."""
    import yaml

    try:
        found = _FRONT_MATTER.match((folder / "README.md").read_text(encoding="utf-8"))
        read = yaml.safe_load(found[1]) if found else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return read if isinstance(read, dict) else {}


def _json(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}
