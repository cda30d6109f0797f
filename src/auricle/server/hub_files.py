"""The files of a served model as the Hub describes them: which are shown, what identifies each, and the whole.

No path is built from what a client sent: the folder is listed, and a client's name is looked up in the list.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import islice
from pathlib import Path, PurePosixPath

from auricle.hub import commit_of
from auricle.hub.cache import cache_root

# What belongs to a checkpoint; other files in its folder are nobody's business.
WEIGHTS = frozenset({".safetensors", ".bin", ".model", ".h5", ".msgpack", ".onnx", ".arpa"})
TEXTS = frozenset({".json", ".txt", ".md", ".jinja"})
NAMES = frozenset({"LICENSE"})
# What a training leaves beside the weights: its state, with the paths of the machine that trained.
TRAINING = ("training_args.*", "optimizer.*", "scheduler.*", "trainer_state.json", "rng_state*", "random_states*")
LARGE_BYTES = 10 << 20  # the Hub takes a file of any kind above this into its large-file storage
_DEPTH, _MOST_FILES = 4, 10_000
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_CHUNK = 1 << 20
_HEADER_BYTES = 100 << 20  # the most that a safetensors file may need to name its tensors
# What auricle.pipelines.provenance.folder_digest reads of a folder; the names of other contents are added to it here.
_DIGESTED = frozenset({".json", ".txt", ".model", ".safetensors", ".bin"})


@dataclass(frozen=True)
class HubFile:
    """A file that is shown: its name in the repository, and where its bytes lie."""

    path: str  # parts divided by "/"
    place: Path
    size: int  # bytes
    modified_ns: int
    blob: str | None = None  # what the Hub's cache calls its content: 40 digits of git, or 64 of SHA-256

    @property
    def is_large(self) -> bool:
        """Whether the Hub would keep it in its large-file storage, where SHA-256 names a content."""
        if self.blob is not None:
            return len(self.blob) == 64
        return Path(self.path).suffix in WEIGHTS or self.size > LARGE_BYTES


@dataclass(frozen=True)
class Identity:
    """What names the content of a file: git's id of it (or of its pointer), and SHA-256 for large files."""

    blob_id: str
    sha256: str | None = None
    pointer: bytes = b""  # what git holds in place of a large file

    @property
    def etag(self) -> str:
        """The name that clients keep the content under."""
        return self.sha256 or self.blob_id


class HubFiles:
    """Lists folders and remembers what their files' contents are; every method reads the disk: call it in a thread.

    A content is read once for as long as path, size and time of change stay the same.
    """

    def __init__(self) -> None:
        self._identities: dict[Path, tuple[HubFile, Identity]] = {}
        self._commits: dict[Path, tuple[tuple[HubFile, ...], str]] = {}
        self._parameters: dict[Path, tuple[HubFile, Counter[str]]] = {}
        self._reading = threading.Lock()

    def files_of(self, folder: Path) -> dict[str, HubFile]:
        """Return the files of a checkpoint that are shown, by their names, in order.

        Raises:
            OSError: The folder cannot be read.
        """
        root = folder.resolve(strict=True)
        found = islice(_walk(root, "", _cache_of(root), _DEPTH), _MOST_FILES)
        return dict(sorted((file.path, file) for file in found))

    def commit_of(self, folder: Path, files: Mapping[str, HubFile]) -> str:
        """Return the Hub's commit of a cached model, or 40 digits that change when a shown file does.

        Of a folder these are the first of its digest, which transcripts name as the model's revision, wherever the
        digest covers all that is shown.

        Raises:
            OSError: A file cannot be read.
        """
        known = commit_of(folder.resolve())
        if known is not None:
            return known
        shown = tuple(files.values())
        earlier, commit = self._commits.get(folder, ((), ""))
        if not commit or earlier != shown:
            commit = self._digest(folder, shown)
            self._commits[folder] = (shown, commit)
        return commit

    def identity_of(self, file: HubFile) -> Identity:
        """Return what names a file's content; the whole file is read unless the cache's name for it is known.

        Raises:
            OSError: The file cannot be read.
        """
        # Large files one after the other: two readers of the same file would read it twice, of two files half as fast.
        with self._reading if file.is_large else nullcontext():
            earlier, identity = self._identities.get(file.place, (None, None))
            if identity is None or earlier != file:
                identity = _identify(file)
                self._identities[file.place] = (file, identity)
        return identity

    def parameters_of(self, files: Mapping[str, HubFile]) -> dict[str, int]:
        """Count a model's parameters by the number format they are stored in; empty without safetensors.

        Raises:
            OSError: A file cannot be read.
            ValueError: A file of that ending is no safetensors file.
        """
        total: Counter[str] = Counter()
        for file in files.values():
            if fnmatch(file.path, "model*.safetensors") and "/" not in file.path:
                earlier, counts = self._parameters.get(file.place, (None, Counter()))
                if earlier != file:
                    counts = _count_parameters(file)
                    self._parameters[file.place] = (file, counts)
                total += counts
        return dict(total)

    def _digest(self, folder: Path, shown: Sequence[HubFile]) -> str:
        from auricle.pipelines.provenance import folder_digest  # brings torch

        digest = folder_digest(folder).removeprefix("sha256:")
        inner = sorted({str(PurePosixPath(file.path).parent) for file in shown} - {"."})
        told = [f"{name}\0{folder_digest(folder / name)}" for name in inner]
        others = [file for file in shown if PurePosixPath(file.path).suffix not in _DIGESTED]
        told += [f"{file.path}\0{self.identity_of(file).etag}" for file in others]
        if told:
            digest = hashlib.sha256("\0".join([digest, *told]).encode()).hexdigest()
        return digest[:40]


def refs_of(folder: Path) -> list[str]:
    """Return the names under which the Hub's cache knows a snapshot: branches, tags, "refs/pr/1"; none for a folder."""
    snapshot = folder.resolve()
    commit = commit_of(snapshot)
    if commit is None:
        return []
    kept = snapshot.parents[1] / "refs"
    paths = [path for path in sorted(kept.rglob("*")) if path.is_file()]
    return [path.relative_to(kept).as_posix() for path in paths if path.read_text().strip() == commit]


def _walk(folder: Path, prefix: str, cache: Path, depth: int) -> Iterator[HubFile]:
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.startswith(".") or "\\" in entry.name or not entry.name.isprintable():
                continue
            if entry.is_dir(follow_symlinks=False):
                if depth and not entry.name.startswith("checkpoint-"):  # a training's states
                    yield from _walk(folder / entry.name, f"{prefix}{entry.name}/", cache, depth - 1)
            elif _is_shown(entry.name):
                found = _open_entry(entry, prefix + entry.name, cache)
                if found is not None:
                    yield found


def _is_shown(name: str) -> bool:
    is_model_file = name in NAMES or Path(name).suffix in WEIGHTS | TEXTS
    return is_model_file and not any(fnmatch(name, pattern) for pattern in TRAINING)


def _open_entry(entry: os.DirEntry[str], path: str, cache: Path) -> HubFile | None:
    """Return a regular file, or what a link leads to if that is a blob of the Hub's cache; else None."""
    place, blob = Path(entry.path), None
    if entry.is_symlink():
        blob = os.path.basename(os.readlink(place))
        place = place.resolve()
        if not _is_blob(place, cache):
            return None
    if not place.is_file():
        return None  # a socket, a pipe, a device; or it is gone
    status = place.stat()
    is_named = blob is not None and _HASH.fullmatch(blob) is not None
    return HubFile(path, place, status.st_size, status.st_mtime_ns, blob if is_named else None)


def _cache_of(folder: Path) -> Path:
    """Return the root of the Hub's cache that a snapshot lies in, else of this machine's usual one."""
    return folder.parents[2] if commit_of(folder) is not None else cache_root().resolve()


def _is_blob(place: Path, cache: Path) -> bool:
    """Say whether a file is of ``models--org--name/blobs/`` or of ``blobs/xx/``, which repositories share."""
    if not place.is_relative_to(cache):
        return False
    parts = place.relative_to(cache).parts
    return len(parts) == 3 and (parts[0] == "blobs" or (parts[0].startswith("models--") and parts[1] == "blobs"))


def _identify(file: HubFile) -> Identity:
    if not file.is_large:
        return Identity(file.blob or _read_hash(file.place, hashlib.sha1(b"blob %d\0" % file.size)))
    sha256 = file.blob or _read_hash(file.place, hashlib.sha256())
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n" % (sha256.encode(), file.size)
    return Identity(hashlib.sha1(b"blob %d\0" % len(pointer) + pointer).hexdigest(), sha256, pointer)


def _read_hash(place: Path, digest: hashlib._Hash) -> str:
    with place.open("rb") as content:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _count_parameters(file: HubFile) -> Counter[str]:
    counts: Counter[str] = Counter()
    with file.place.open("rb") as content:
        length = int.from_bytes(content.read(8), "little")
        if length > _HEADER_BYTES:
            raise ValueError(f"{file.path} is no safetensors file: its header would have {length} bytes")
        header = json.loads(content.read(length))
    for name, tensor in header.items():
        if name != "__metadata__":
            counts[str(tensor["dtype"])] += math.prod(tensor["shape"])
    return counts
