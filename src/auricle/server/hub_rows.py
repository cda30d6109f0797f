"""Served models in the shapes of the Hub's API: rows of lists, entries of file trees, refs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from auricle.server.hub_files import HubFile, HubFiles

if TYPE_CHECKING:
    from auricle.server.model_cards import ModelCard

LIBRARY = "transformers"  # the checkpoints are in its format
PROVIDER = "hf-inference"  # what clients call the API that this server speaks
MAIN = "main"
_ALSO_MAIN = ("HEAD", f"refs/heads/{MAIN}")  # as the JavaScript client and git say
_CARD_BYTES = 1 << 20
_CONFIG_BYTES = 16 << 20
# Auto classes by the ending of the class in config.json, as clients look for them.
_AUTO_CLASSES = {"ForCTC": "AutoModelForCTC", "ForConditionalGeneration": "AutoModelForSpeechSeq2Seq"}
# What `expand` may ask for; without a value here where this server has nothing to tell.
EXPANDABLE = frozenset(
    "author baseModels cardData childrenModelCount config createdAt disabled downloads downloadsAllTime evalResults "
    "gated gguf inference inferenceProviderMapping lastModified library_name likes mask_token model-index "
    "pipeline_tag private resourceGroup safetensors sha siblings spaces tags transformersInfo trendingScore "
    "usedStorage widgetData".split()
)


@dataclass(frozen=True)
class Repository:
    """A served model with its files, at the one commit that is here."""

    card: ModelCard
    files: Mapping[str, HubFile] = field(default_factory=dict)
    commit: str | None = None  # None: its files are not on this disk yet
    refs: Sequence[str] = ()  # names beside "main" that lead to the commit

    def has(self, revision: str) -> bool:
        """Say whether a branch, tag or commit names what is here."""
        return self.commit is not None and revision in (MAIN, *_ALSO_MAIN, self.commit, *self.refs)

    @property
    def changed(self) -> str | None:
        """When the newest file was written, as the Hub writes times."""
        return _time(max(file.modified_ns for file in self.files.values())) if self.files else None

    @property
    def created(self) -> str | None:
        """When the oldest file was written."""
        return _time(min(file.modified_ns for file in self.files.values())) if self.files else None


def brief_row(repository: Repository) -> dict[str, Any]:
    """Return what a list tells of a model; under "auricle", what this server's own page shows."""
    card = repository.card
    return {
        "_id": hashlib.sha256(card.id.encode()).hexdigest()[:24],
        "id": card.id,
        "modelId": card.id,
        "author": _author(card.id),
        "sha": repository.commit,
        "lastModified": repository.changed,
        "createdAt": repository.created,
        "private": False,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "trendingScore": 0,
        "pipeline_tag": card.task,
        "library_name": LIBRARY,
        "tags": tags_of(repository),
        "auricle": {
            "state": card.state,
            "languages": list(card.languages),
            "size": card.size,
            "default": card.is_default,
            "bridged": card.is_bridged,
            "summary": card.summary,
            "model_type": card.model_type,
        },
    }


def full_row(repository: Repository, files: HubFiles) -> dict[str, Any]:
    """Return all that is known of one model but the sizes and hashes of its files; reads small files."""
    config = config_of(repository)
    counts = _parameters(repository, files)
    mapping = {PROVIDER: {"status": "live", "providerId": repository.card.id, "task": repository.card.task}}
    return {
        **brief_row(repository),
        "siblings": [{"rfilename": name} for name in repository.files],
        "config": config,
        "cardData": card_data(repository),
        "transformersInfo": _transformers_info(repository, config),
        "safetensors": {"parameters": counts, "total": sum(counts.values())} if counts else None,
        "usedStorage": sum(file.size for file in repository.files.values()),
        "inference": "warm" if repository.card.state == "ready" else None,
        "inferenceProviderMapping": mapping if repository.card.task else {},
        "spaces": [],
    }


def expanded_row(row: Mapping[str, Any], wanted: Iterable[str]) -> dict[str, Any]:
    """Return of a full row only what `expand` names, and what every row has."""
    return {"_id": row["_id"], "id": row["id"], **{name: row.get(name) for name in wanted}, "auricle": row["auricle"]}


def siblings_with_blobs(repository: Repository, files: HubFiles) -> list[dict[str, Any]]:
    """Return the files with sizes and hashes; reads whole files that were not read before."""
    siblings = []
    for file in repository.files.values():
        identity = files.identity_of(file)
        sibling: dict[str, Any] = {"rfilename": file.path, "size": file.size, "blobId": identity.blob_id}
        if identity.sha256 is not None:
            sibling["lfs"] = {"sha256": identity.sha256, "size": file.size, "pointerSize": len(identity.pointer)}
        siblings.append(sibling)
    return siblings


def tags_of(repository: Repository) -> list[str]:
    """Return what a model can be filtered by: library, formats, family, task and languages."""
    card = repository.card
    formats = {".safetensors": "safetensors", ".bin": "pytorch", ".onnx": "onnx"}
    endings = {PurePosixPath(name).suffix for name in repository.files}
    found = [tag for ending, tag in formats.items() if ending in endings]
    chats = ["conversational"] if _chats(repository) else []
    tags = [LIBRARY, *found, card.model_type, card.task, *chats, *card.languages, "endpoints_compatible"]
    return list(dict.fromkeys(tag for tag in tags if tag))


def _chats(repository: Repository) -> bool:
    """Say whether a model has a template for chats."""
    if repository.card.task != "text-generation":
        return False
    has_file = "chat_template.jinja" in repository.files
    return has_file or "chat_template" in _read_json(repository.files.get("tokenizer_config.json"))


def config_of(repository: Repository) -> dict[str, Any]:
    """Return the part of config.json that the Hub shows: a model's family and class."""
    raw = _read_json(repository.files.get("config.json"))
    return {name: raw[name] for name in ("architectures", "model_type") if name in raw}


def card_data(repository: Repository) -> dict[str, Any]:
    """Return what the head of the README says of a model, or the little that is known without one."""
    card = repository.card
    known = {"library_name": LIBRARY, "pipeline_tag": card.task, "language": list(card.languages)}
    readme = repository.files.get("README.md")
    if readme is None or readme.size > _CARD_BYTES:
        return known
    from huggingface_hub import ModelCard as HubCard

    try:
        told = HubCard(readme.place.read_text(encoding="utf-8"), ignore_metadata_errors=True).data.to_dict()
    except ValueError:  # no YAML, or no UTF-8
        return known
    return {**known, **json.loads(json.dumps(told, default=str))}  # YAML has dates, which JSON has not


def tree(repository: Repository, folder: str, recursive: bool) -> list[str] | None:
    """Return the names of what a folder holds, those of folders with a "/" behind; None if there is no such folder."""
    prefix = f"{folder}/" if folder else ""
    below = [name.removeprefix(prefix) for name in repository.files if name.startswith(prefix)]
    if folder and not below:
        return None
    names: dict[str, None] = {}
    for name in below:
        parents = [str(parent) for parent in reversed(PurePosixPath(name).parents)][1:]
        names |= {f"{prefix}{parent}/": None for parent in (parents if recursive else parents[:1])}
        if recursive or not parents:
            names[prefix + name] = None
    return sorted(names, key=lambda name: (not name.endswith("/"), name)) if not recursive else list(names)


def entry_name(repository: Repository, path: str) -> str | None:
    """Return a file's name, or a folder's with a "/" behind; None if neither is there."""
    if path in repository.files:
        return path
    folder = f"{path.rstrip('/')}/"
    return folder if any(name.startswith(folder) for name in repository.files) else None


def tree_entries(repository: Repository, names: Iterable[str], files: HubFiles, expand: bool) -> list[dict[str, Any]]:
    """Return entries of a file tree, with sizes and hashes; reads whole files that were not read before."""
    entries: list[dict[str, Any]] = []
    for name in names:
        if name.endswith("/"):
            inside = "".join(sorted(path for path in repository.files if path.startswith(name)))
            oid = hashlib.sha1(f"{repository.commit}\0{inside}".encode()).hexdigest()
            entry: dict[str, Any] = {"type": "directory", "oid": oid, "size": 0, "path": name.rstrip("/")}
        else:
            file = repository.files[name]
            identity = files.identity_of(file)
            entry = {"type": "file", "oid": identity.blob_id, "size": file.size, "path": name}
            if identity.sha256 is not None:
                entry["lfs"] = {"oid": identity.sha256, "size": file.size, "pointerSize": len(identity.pointer)}
        if expand:
            entry["lastCommit"] = {"id": repository.commit, "title": _TITLE, "date": repository.changed}
        entries.append(entry)
    return entries


def refs(repository: Repository) -> dict[str, Any]:
    """Return the branches and tags that are here; which of both a name of the cache is, cannot be told: a tag."""

    def ref(name: str, place: str) -> dict[str, Any]:
        return {"name": name, "ref": place, "targetCommit": repository.commit}

    others = [name for name in repository.refs if name != MAIN]
    return {
        "branches": [ref(MAIN, f"refs/heads/{MAIN}")],
        "tags": [ref(name, f"refs/tags/{name}") for name in others if not name.startswith("refs/")],
        "converts": [ref(name, name) for name in others if name.startswith("refs/convert/")],
        "pullRequests": [ref(name, name) for name in others if name.startswith("refs/pr/")],
    }


def commits(repository: Repository) -> list[dict[str, Any]]:
    """Return the one commit that is here."""
    author = {"user": _author(repository.card.id) or "auricle"}
    return [{"id": repository.commit, "title": _TITLE, "message": "", "authors": [author], "date": repository.changed}]


_TITLE = "The files on this server"


def _author(name: str) -> str | None:
    return name.partition("/")[0] if "/" in name else None


def _time(nanoseconds: int) -> str:
    moment = datetime.fromtimestamp(nanoseconds / 1e9, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def _read_json(file: HubFile | None) -> dict[str, Any]:
    if file is None or file.size > _CONFIG_BYTES:
        return {}
    try:
        found = json.loads(file.place.read_text(encoding="utf-8"))
    except ValueError:  # a damaged checkpoint is still listed; loading it says what is wrong
        return {}
    return found if isinstance(found, dict) else {}


def _parameters(repository: Repository, files: HubFiles) -> dict[str, int]:
    try:
        return files.parameters_of(repository.files)
    except (ValueError, KeyError, TypeError, AttributeError):  # as above
        return {}


def _transformers_info(repository: Repository, config: Mapping[str, Any]) -> dict[str, Any] | None:
    names = config.get("architectures") or [""]
    found = next((auto for ending, auto in _AUTO_CLASSES.items() if str(names[0]).endswith(ending)), None)
    if found is None:
        return None
    return {"auto_model": found, "pipeline_tag": repository.card.task, "processor": "AutoProcessor"}
