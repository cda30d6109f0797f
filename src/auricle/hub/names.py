"""From a model's name to the folder that holds it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path

from auricle.errors import ModelNotFoundError, OptionError, nearest
from auricle.hub.cache import (
    ADAPTER,
    BUNDLED,
    BUNDLED_DIARIZATION,
    COMMIT,
    CachedModel,
    cache_root,
    find_snapshot,
    missing_files,
    scan_cache,
)

_HUB_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)?", re.ASCII)
_REVISION = re.compile(r"[\w][\w./+-]*", re.ASCII)
_LISTED = 8


def locate(
    name: str | Path,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    offline: bool | None = None,
    extra_files: Sequence[str] = (),
) -> Path:
    """Return the folder of a model: an existing folder as it is, the bundled one, or a Hub model's snapshot.

    A Hub model that is whole in the cache is used without any request; otherwise what is missing is
    downloaded, only the files that loading needs. `extra_files` are patterns of further files to have, such
    as ``adapter.fra.*``. `token` concerns the Hub alone. `offline` of None follows HF_HUB_OFFLINE.

    Raises:
        ModelNotFoundError: No such folder, Hub model or revision, or offline and not cached.
        CheckpointError: The Hub refuses, cannot be reached, or the disk is full.
        OptionError: The name is none, or a revision is asked of a folder.
    """
    folder = _local_folder(name, revision)
    if folder is not None:
        return folder
    hub_name = _checked_hub_name(str(name), revision)
    snapshot = find_snapshot(hub_name, revision)
    missing = missing_files(snapshot, extra_files) if snapshot is not None else []
    if snapshot is not None and not missing:
        return snapshot
    _refuse_mistyped_path(hub_name)
    if _is_offline(offline):
        raise _offline_error(hub_name, revision, missing)
    return download(hub_name, revision=revision, token=token, extra_files=extra_files)


def locate_config(name: str | Path, *, revision: str | None = None, token: str | bool | None = None) -> Path:
    """Return a folder that holds at least the model's config.json; of an uncached model only that is fetched.

    Of a repository that holds an adapter alone it is the adapter's configuration.

    Raises:
        ModelNotFoundError, CheckpointError, OptionError: As `locate`.
    """
    folder = _local_folder(name, revision)
    if folder is not None:
        return folder
    hub_name = _checked_hub_name(str(name), revision)
    snapshot = find_snapshot(hub_name, revision)
    if snapshot is not None and any((snapshot / name).exists() for name in ("config.json", ADAPTER)):
        return snapshot
    _refuse_mistyped_path(hub_name)
    if _is_offline(None):
        raise _offline_error(hub_name, revision, ["config.json"] if snapshot else [])
    from auricle.hub.network import fetch_first

    return fetch_first(hub_name, ("config.json", ADAPTER), revision, token).parent


def locate_file(name: str | Path, file: str, *, revision: str | None = None, token: str | bool | None = None) -> Path:
    """Return one file of a model, such as "config.yaml"; of an uncached model of the Hub only that is fetched.

    Raises:
        ModelNotFoundError, CheckpointError, OptionError: As `locate`.
    """
    folder = _local_folder(name, revision)
    if folder is None:
        hub_name = _checked_hub_name(str(name), revision)
        snapshot = find_snapshot(hub_name, revision)
        if snapshot is None or not (snapshot / file).exists():
            _refuse_mistyped_path(hub_name)
            if _is_offline(None):
                raise _offline_error(hub_name, revision, [file] if snapshot else [])
            from auricle.hub.network import fetch_file

            return fetch_file(hub_name, file, revision, token)
        folder = snapshot
    if not (folder / file).is_file():
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:_LISTED]) or "nothing"
        raise ModelNotFoundError(f"{folder} has no {file}; it holds {found}.")
    return folder / file


def download(
    name: str,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    extra_files: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Bring a Hub model into the cache at the newest commit of `revision`; files that are there stay.

    `progress` is called with bytes done and bytes in all (which grows while files are being found), at times
    from other threads. Without it, the Hub's own bars show on a terminal.

    Raises:
        OptionError: `name` is the bundled model or a folder, which are here already.
        ModelNotFoundError, CheckpointError: As `locate`.
    """
    from auricle.hub.network import fetch_snapshot

    if name == BUNDLED or not name.strip() or _looks_local(name):
        raise OptionError(
            f"{name!r} is no name of the Hub, such as 'openai/whisper-tiny'; the bundled model and folders need no "
            "download: load them by their name"
        )

    return fetch_snapshot(_checked_hub_name(name, revision), revision, token, extra_files, progress)


def cached_models() -> list[CachedModel]:
    """List the models that need no network: the bundled one first, then the Hub's cache by name."""
    found: list[CachedModel] = []
    folder = _bundled_folder()
    if folder is not None:
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        found.append(CachedModel(BUNDLED, None, size, folder))
    return found + scan_cache()


def commit_of(folder: Path) -> str | None:
    """Return the commit whose snapshot `folder` is, or None for a folder that is not of the Hub's cache."""
    return folder.name if folder.parent.name == "snapshots" and COMMIT.fullmatch(folder.name) else None


def _local_folder(name: str | Path, revision: str | None) -> Path | None:
    """Return the folder that `name` means on this machine, or None for a name of the Hub."""
    if not isinstance(name, str | Path) or not str(name).strip():
        raise OptionError(
            f"a model's name arrived as {name!r} ({type(name).__name__}); expected a folder, "
            f"a Hub name such as 'openai/whisper-tiny', or {BUNDLED!r}."
        )
    if name == BUNDLED:
        folder = _bundled_folder()
        if folder is None:
            raise ModelNotFoundError(
                "this installation of auricle holds no bundled model (the package's folder 'bundled' has no "
                "config.json). Install the package again, or name a folder or a Hub model such as "
                "'openai/whisper-tiny'."
            )
    elif name == BUNDLED_DIARIZATION:
        folder = Path(str(files("auricle"))) / "bundled" / "diarization"
        if not (folder / "config.yaml").is_file():
            raise ModelNotFoundError(
                "this installation of auricle holds no bundled diarization (the package's folder 'bundled/diarization' "
                "has no config.yaml). Install the package again, or name a folder or a Hub model such as "
                "'pyannote/speaker-diarization-3.1'."
            )
    else:
        path = Path(name).expanduser()
        if not path.exists() and isinstance(name, str) and not _looks_local(name):
            return None
        folder = _existing_folder(path)
    if revision is not None:
        raise OptionError(
            f"revision {revision!r} was given with {str(name)!r}, which is a folder; only models of the Hub "
            "have revisions. Leave it out."
        )
    return folder


def _bundled_folder() -> Path | None:
    folder = Path(str(files("auricle"))) / "bundled"
    return folder if (folder / "config.json").is_file() else None


def _looks_local(name: str) -> bool:
    return name.startswith((".", "/", "~", "\\")) or "\\" in name or name.endswith("/") or name[1:3] == ":/"


def _existing_folder(path: Path) -> Path:
    if path.is_dir():
        return path
    if path.exists():
        raise ModelNotFoundError(
            f"{path} is a file; expected the folder of a checkpoint, with config.json and its weights. "
            f"Give {path.parent} if the rest lies beside it."
        )
    raise ModelNotFoundError(f"{path} does not exist{_neighbours(path)}.")


def _neighbours(path: Path) -> str:
    parent = next((folder for folder in path.parents if folder.is_dir()), None)
    if parent is None or parent != path.parent:
        return f"; {parent} does, but nothing of that name below it" if parent is not None else ""
    names = sorted(entry.name for entry in parent.iterdir() if entry.is_dir())
    hint = nearest(path.name, names).rstrip("?")
    return hint or f"; {parent} holds {', '.join(names[:_LISTED]) or 'no folders'}"


def _refuse_mistyped_path(name: str) -> None:
    """Refuse a two-part name whose first part is a folder here: more likely a mistyped path."""
    path = Path(name)
    if "/" in name and path.parent.is_dir():
        raise ModelNotFoundError(
            f"{name} does not exist here, though its folder does{_neighbours(path)}. If the Hub's model "
            f"of this name is meant, fetch it with 'auricle download {name}' first."
        )


def _checked_hub_name(name: str, revision: str | None) -> str:
    address = re.fullmatch(r"https?://[^/]+/([^/]+/[^/]+?)(/tree/.*|/)?", name)
    if address:
        raise ModelNotFoundError(f"{name} is an address; give the model's name, {address[1]!r}.")
    if not _HUB_NAME.fullmatch(name) or ".." in name or "--" in name or len(name) > 96:
        hint = _neighbours(Path(name)) if Path(name).parts[0] != name and Path(Path(name).parts[0]).is_dir() else ""
        raise ModelNotFoundError(
            f"{name!r} is neither an existing folder nor a name the Hub allows (at most 96 letters, digits, "
            f"'-', '_' and '.', in one or two parts as 'org/model'){hint}."
        )
    if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise OptionError(f"revision {revision!r} is no branch, tag or commit; expected such as 'main' or 'v1.0'.")
    return name


def _is_offline(offline: bool | None) -> bool:
    if offline is not None:
        return offline
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _offline_error(name: str, revision: str | None, missing: Sequence[str]) -> ModelNotFoundError:
    cached = scan_cache()
    at = f" at revision {revision!r}" if revision else ""
    if missing:
        state = f"is only partly in the cache (missing: {', '.join(missing[:_LISTED])})"
    else:
        state = f"is not in the cache {cache_root()}"
    here = sorted({model.name for model in cached})
    others = sorted({ref for model in cached if model.name == name for ref in (*model.refs, str(model.revision))})
    known = f" Cached revisions of it: {', '.join(others)}." if others and not missing else ""
    hint = nearest(name, [BUNDLED, *here]) if name not in here else ""
    listed = f" Cached models: {', '.join(here[:_LISTED]) or 'none'}; {BUNDLED!r} needs no cache."
    return ModelNotFoundError(
        f"{name}{at} {state}, and the network is not used (HF_HUB_OFFLINE or offline=True)"
        f"{hint or '.'}{known}{listed} Unset HF_HUB_OFFLINE to download it."
    )
