"""What of the Hub lies on this disk already, read from the cache's folders; nothing here uses the network.

The layout is huggingface_hub's: ``models--org--name/refs/<revision>`` holds a commit, ``snapshots/<commit>/``
its files, and ``trees/<commit>.json`` (of newer versions) the list of all files that the commit has.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

BUNDLED = "bundled"  # the name of the checkpoint that comes with the package
BUNDLED_DIARIZATION = "bundled-diarization"  # and of the one that tells who speaks
COMMIT = re.compile(r"[0-9a-f]{40}")
# The small files of a checkpoint: configuration, vocabulary, merges. Subfolders hold other formats.
SMALL_FILES = ("*.json", "merges.txt", "vocab.txt", "*.jinja", "*.model", "*.spm")
# Weights in the order of preference: the file or index that shows the format, and the files it stands for.
WEIGHTS = (
    ("model.safetensors", ("model.safetensors",)),
    ("model.safetensors.index.json", ("model-*.safetensors",)),
    ("pytorch_model.bin", ("pytorch_model.bin",)),
    ("pytorch_model.bin.index.json", ("pytorch_model-*.bin",)),
    ("adapter_model.safetensors", ("adapter_model.safetensors",)),
    ("adapter_model.bin", ("adapter_model.bin",)),
)
ADAPTER = "adapter_config.json"  # stands for config.json where a repository holds an adapter alone (PEFT)
# Classes of models that hear or see, and neither read nor write.
_WITHOUT_TOKENS = re.compile(
    r"\w+For((Image|Audio|Video)Classification(WithTeacher)?|(Object|Keypoint)Detection|SemanticSegmentation|DepthEstimation)"
    r"|(Wav2Vec2|Hubert|WavLM)ForSequenceClassification"
)


@dataclass(frozen=True)
class CachedModel:
    """A model that needs no network; `revision` is its commit, None for the one in the package."""

    name: str
    revision: str | None
    size: int  # bytes on disk
    folder: Path
    refs: tuple[str, ...] = ()  # the branches and tags that point to the commit


def cache_root() -> Path:
    """Return the folder of the Hub's cache (HF_HUB_CACHE, HF_HOME or ~/.cache/huggingface/hub)."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE).expanduser()


def find_snapshot(name: str, revision: str | None) -> Path | None:
    """Return the cached snapshot folder of a Hub model, whole or not, or None."""
    storage = _storage(name)
    commit = revision or "main"
    if not COMMIT.fullmatch(commit):
        try:
            commit = (storage / "refs" / commit).read_text().strip()
        except OSError:
            return None
    folder = storage / "snapshots" / commit
    return folder if COMMIT.fullmatch(commit) and folder.is_dir() else None


def missing_files(folder: Path, extra_files: Sequence[str]) -> list[str]:
    """Return what a snapshot lacks to be used: names where its file list is known, else kinds of files."""
    listing = _listing(folder)
    if listing is not None:
        absent = [file for file in choose_files(listing, extra_files) if not (folder / file).exists()]
        return absent + unmatched(listing, extra_files)
    # Other programs fetch file by file and leave no list; then the least that loading needs must be here.
    present = [path.name for path in folder.iterdir() if path.exists()]
    if ADAPTER in present and "config.json" not in present:
        return _missing_weights(folder, present) + unmatched(present, extra_files)
    needs: dict[str, tuple[str, ...]] = {"config.json": ("config.json",)}
    architecture = _architecture(folder)
    if not _WITHOUT_TOKENS.fullmatch(architecture):
        needs["a tokenizer"] = ("tokenizer.json", "vocab.json", "vocab.txt")
    if not architecture.endswith(("ForCausalLM", "LMHeadModel")):  # these read text only
        needs["preprocessor_config.json"] = ("preprocessor_config.json", "processor_config.json")
    absent = [kind for kind, names in needs.items() if not any(name in present for name in names)]
    return absent + _missing_weights(folder, present) + unmatched(present, extra_files)


def _architecture(folder: Path) -> str:
    """Return the class that config.json names; empty where it names none."""
    try:
        named = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("architectures") or [""]
        return str(named[0])
    except (OSError, ValueError, AttributeError, LookupError, TypeError):
        return ""  # what is wrong with the file is said when it is read


def choose_files(listing: Iterable[str], extra_files: Sequence[str]) -> list[str]:
    """Return the files of a repository that are worth fetching: one format of weights, and the small ones."""
    names = sorted(listing)
    patterns = next((files for sign, files in WEIGHTS if sign in names), ())
    root = [name for name in names if "/" not in name]
    chosen = [name for name in root if any(fnmatch(name, pattern) for pattern in (*SMALL_FILES, *patterns))]
    # A CTC model's own language model; the list of its words beside it says nothing more.
    chosen += [name for name in names if fnmatch(name, "language_model/*") and not name.endswith("unigrams.txt")]
    chosen += [name for name in names if fnmatch(name, "additional_chat_templates/*.jinja")]
    for pattern in extra_files:
        found = [name for name in names if fnmatch(name, pattern)]
        safe = [name for name in found if name.endswith(".safetensors")]
        chosen += [name for name in safe or found if name not in chosen]
    return chosen


def unmatched(listing: Iterable[str], extra_files: Sequence[str]) -> list[str]:
    """Return the patterns of `extra_files` that no name of `listing` fits."""
    names = list(listing)
    return [pattern for pattern in extra_files if not any(fnmatch(name, pattern) for name in names)]


def scan_cache() -> list[CachedModel]:
    """List the cached snapshots that hold a configuration and whole weights, by name.

    Of adapters those whose model is on this disk, too.
    """
    found: list[CachedModel] = []
    for storage in sorted(cache_root().glob("models--*")):
        name = storage.name.removeprefix("models--").replace("--", "/")
        refs = {
            str(path.relative_to(storage / "refs")): path.read_text().strip()
            for path in sorted((storage / "refs").rglob("*"))
            if path.is_file()
        }
        for folder in sorted((storage / "snapshots").glob("*")):
            present = [path.name for path in folder.iterdir() if path.exists()] if folder.is_dir() else []
            if {"config.json", ADAPTER}.intersection(present) and not _missing_weights(folder, present):
                size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
                names = tuple(ref for ref, commit in refs.items() if commit == folder.name)
                found.append(CachedModel(name, folder.name, size, folder, names))
    here = {BUNDLED, *(one.name for one in found if (one.folder / "config.json").exists())}
    return [one for one in found if _base_of(one.folder) in here]


def _base_of(folder: Path) -> str:
    """Return the model that an adapter belongs to; of whole models, and of folders on this disk, the bundled one."""
    if (folder / "config.json").exists():
        return BUNDLED
    try:
        base = str(json.loads((folder / ADAPTER).read_text(encoding="utf-8"))["base_model_name_or_path"])
        return BUNDLED if Path(base).expanduser().is_dir() else base
    except (OSError, ValueError, KeyError, TypeError):
        return ""  # what is wrong with the file is said when it is read


def _storage(name: str) -> Path:
    return cache_root() / f"models--{name.replace('/', '--')}"


def _listing(folder: Path) -> list[str] | None:
    try:
        text = (folder.parent.parent / "trees" / f"{folder.name}.json").read_text(encoding="utf-8")
        return list(json.loads(text)["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # absent, or of a version that writes it otherwise: the files themselves must do


def _missing_weights(folder: Path, present: Sequence[str]) -> list[str]:
    sign = next((sign for sign, _ in WEIGHTS if sign in present), None)
    if sign is None:
        return ["weights"]
    if not sign.endswith(".index.json"):
        return []
    try:
        shards = set(json.loads((folder / sign).read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return [sign]
    return sorted(str(shard) for shard in shards if shard not in present)
