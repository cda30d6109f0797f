"""What made a transcript: the model to the last weight, the engine, the options and the recording."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from auricle import __version__
from auricle.engines import ENGINES
from auricle.loading import Loaded
from auricle.pipelines.speakers import SpeakerModels
from auricle.pipelines.speech_parameters import Request
from auricle.results import Provenance

_FILES = frozenset({".json", ".yaml", ".txt", ".model", ".safetensors", ".bin", ".binary", ".arpa", ".gz"})
_PARTS = ("segmentation", "embedding", "language_model", "punctuation")  # a checkpoint's folders
_SAMPLES, _SAMPLE_BYTES = 64, 4096
_WHOLE_BYTES = 1 << 20  # smaller files are read whole


@dataclass(frozen=True)
class ModelIdentity:
    """Which model runs, and where."""

    name: str
    commit: str | None = None  # of the Hub
    folder: Path | None = None
    adapter: str | None = None  # the target_lang that it was loaded with
    engine: str = "unknown"
    device: str = "cpu"
    dtype: str = "unknown"
    lora: Path | None = None  # the folder of an adapter whose weights are merged into the model's

    @cached_property
    def revision(self) -> str | None:
        """The commit of a Hub model, or the digest of a folder's files and its adapter's."""
        folders = [folder for folder in (self.folder, self.lora) if folder is not None]
        return self.commit or (folder_digest(*folders) if folders else None)


def identify(loaded: Loaded, engine: Any, target_lang: str | None) -> ModelIdentity:
    """Say which model was loaded; the digest of its folder is taken when it is first asked for."""
    place = f"{type(engine).__module__}:{type(engine).__qualname__}"
    return ModelIdentity(
        name=loaded.name,
        commit=loaded.revision,
        folder=loaded.folder,
        adapter=target_lang,
        engine=next((name for name, where in ENGINES.items() if where == place), place),
        device=str(engine.device),
        dtype=engine.arithmetic,
        lora=loaded.adapter,
    )


def folder_digest(*folders: Path) -> str:
    """Return "sha256:" and the digest of the files of a checkpoint, or of several: names, sizes and content.

    Of files above 1 MiB, 64 pieces of 4 KiB are read, the first and the last among them: two sets of weights that
    were trained differently differ in every piece, and gigabytes need not be read.
    """
    digest = hashlib.sha256()
    parts = [
        sorted([*folder.iterdir(), *(path for part in _PARTS for path in folder.glob(f"{part}/*"))])
        for folder in folders
    ]
    for path in (path for part in parts for path in part if path.suffix in _FILES and path.is_file()):
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode("utf-8", "surrogateescape"))
        with path.open("rb") as file:
            if size <= _WHOLE_BYTES:
                digest.update(file.read())
                continue
            for number in range(_SAMPLES):
                file.seek((size - _SAMPLE_BYTES) * number // (_SAMPLES - 1))
                digest.update(file.read(_SAMPLE_BYTES))
    return f"sha256:{digest.hexdigest()}"


def options_of(request: Request, model: ModelIdentity, speakers: SpeakerModels | None = None) -> dict[str, Any]:
    """Return everything that was chosen as JSON values: the recognizer's options, the channels, the adapter.

    `speakers` adds what tells speakers apart, if anything does.
    """
    found: dict[str, Any] = {**plain(request.options), "channels": request.channels}
    if found.get("own_lm") is not None:
        # The model's own is named within its folder, wherever that lies; its content is part of the revision.
        found["own_lm"] = "/".join(Path(found["own_lm"]).parts[-2:])
    if model.adapter is not None:
        found["target_lang"] = model.adapter
    if request.speakers is not None and speakers is not None:
        found["speakers"] = speakers.told(request.speakers)
    return found


def provenance(
    model: ModelIdentity, request: Request, audio_sha256: str | None, speakers: SpeakerModels | None = None
) -> Provenance:
    """Gather what is known about how a transcript came to be."""
    import torch

    return Provenance(
        model=model.name,
        revision=model.revision,
        engine=model.engine,
        device=model.device,
        dtype=model.dtype,
        auricle_version=__version__,
        torch_version=str(torch.__version__),
        options=options_of(request, model, speakers),
        audio_sha256=audio_sha256,
    )


def journal_header(model: ModelIdentity, request: Request, audio_sha256: str) -> dict[str, Any]:
    """Return what must be the same for a journal to be of use; the device may be another one.

    Speakers are told apart when all is heard, so that a journal is of use whoever they are.
    """
    return {
        "name": model.name,
        "revision": model.revision or model.name,
        "engine": model.engine,
        "dtype": model.dtype,
        "auricle_version": __version__,
        "options": options_of(request, model),
        "audio_sha256": audio_sha256,
    }


def plain(value: Any) -> Any:
    """Turn options to JSON values: dataclasses to dictionaries, tuples to lists, paths to text."""
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)
