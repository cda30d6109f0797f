"""Weights in the Hub's file formats: read without running code, laid into a model by name, written whole.

Safetensors and zipped pickles are mapped into memory: a tensor costs nothing until it is used or cast.
"""

from __future__ import annotations

import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from auricle.checkpoints.config import read_json
from auricle.errors import OptionError, TensorError, nearest

SAFETENSORS = "model.safetensors"
PICKLE = "pytorch_model.bin"
# In the order of preference; an index lists the shards of a large checkpoint.
WEIGHT_FILES = (SAFETENSORS, f"{SAFETENSORS}.index.json", PICKLE, f"{PICKLE}.index.json")
COUNTER = ".num_batches_tracked"  # of a norm in training; inference ignores it, and converted files leave it out
LISTED = 10  # names shown per kind of mismatch; enough to see the pattern, short enough to read


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Read every tensor of a checkpoint folder by its stored name, in its stored dtype.

    Raises:
        TensorError: No weights are here, a file is damaged, a shard is missing, or a pickle would run code.
    """
    # A link counts even if it leads nowhere: opening it then says so, where a weaker format would hide it.
    present = [name for name in WEIGHT_FILES if (folder / name).exists() or (folder / name).is_symlink()]
    name = present[0] if present else None
    if name is None:
        names = sorted(p.name for p in folder.iterdir())
        variant = next((one for one in names if re.fullmatch(r"model\.[\w-]+\.safetensors", one)), None)
        advice = (
            f"{variant} is a variant of the weights; to use it, rename it to {SAFETENSORS}."
            if variant
            else "Weights of other programs (.h5, .msgpack, .gguf, .ggml, .onnx, .nemo, OpenVINO's .xml, CTranslate2's "
            "model.bin) must first be converted to safetensors."
        )
        found = ", ".join(names[:LISTED]) or "nothing"
        raise TensorError(
            f"{folder} holds no readable weights: expected {' or '.join(WEIGHT_FILES)}, found {found}. {advice}"
        )
    if name.endswith(".index.json"):
        return _read_shards(folder, name)
    return read_file(folder / name)


def read_file(path: Path) -> dict[str, Tensor]:
    """Read one .safetensors or pickled (.bin) file."""
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise TensorError(f"{path} cannot be opened: {error}.") from error
    if not start:
        raise TensorError(f"{path} is empty. Delete it and download the checkpoint again.")
    if start.startswith(b"version https://git-lfs"):
        raise TensorError(
            f"{path} is a git-LFS pointer and not the weights. Run 'git lfs pull' in {path.parent}, "
            "or download the model by its Hub name."
        )
    if path.suffix != ".safetensors":
        return _read_pickle(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError) as error:
        size = path.stat().st_size
        raise TensorError(
            f"{path} ({size} bytes) is damaged or incomplete: {error}. Delete it and download it again."
        ) from error


def read_adapter(folder: Path, language: str) -> dict[str, Tensor]:
    """Return the tensors of ``adapter.<language>``, which replace those of the same names.

    Raises:
        OptionError: There is no adapter of this language; the nearest that exist are named.
        TensorError: The file cannot be read.
    """
    for ending in ("safetensors", "bin"):
        path = folder / f"adapter.{language}.{ending}"
        if path.exists():
            return read_file(path)
    known = sorted({path.name.split(".")[1] for path in folder.glob("adapter.*.*")})
    listed = f"{', '.join(known[:20])}{' and others' if len(known) > 20 else ''}" if known else "none"
    raise OptionError(
        f"target_lang {language!r} has no file adapter.{language}.safetensors in {folder}"
        f"{nearest(language, known) or '.'} Adapters here: {listed}."
    )


def _read_shards(folder: Path, index: str) -> dict[str, Tensor]:
    weight_map = read_json(folder, index, required=True).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(file, str) for file in weight_map.values()):
        raise TensorError(f"{folder / index} has no 'weight_map' of tensor names to file names.")
    files = sorted(set(weight_map.values()))
    # The index comes from a stranger; it must not make us read outside the checkpoint.
    strange = [file for file in files if Path(file).name != file]
    if strange:
        raise TensorError(f"{folder / index} names shards outside its folder: {_listed(strange)}.")
    absent = [file for file in files if not (folder / file).exists()]
    if absent:
        raise TensorError(
            f"{folder} lacks {len(absent)} of {len(files)} shards: {_listed(absent)}. Download them again."
        )
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors.update(read_file(folder / file))
    lost = [name for name in weight_map if name not in tensors]
    if lost:
        raise TensorError(f"{folder / index} lists tensors that no shard holds: {_listed(lost)}.")
    return tensors


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            # A rare protocol either loads or is refused below; the caller cannot act on a warning about it.
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        # The rest of torch's message says how to open such a file all the same.
        told = re.search(r"GLOBAL \S+|Unsupported operand \d+", str(error))
        raise TensorError(
            f"{path} was refused: it is a pickle that holds more than tensors, and opening it could run code "
            f"({told[0] if told else _first_line(error)}). Use a checkpoint with model.safetensors, or convert this "
            "one if you trust its author: torch.load(..., weights_only=False), then safetensors.torch.save_file."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError) as error:
        raise TensorError(
            f"{path} ({path.stat().st_size} bytes) is damaged or is no PyTorch file: {_first_line(error)}. "
            "Delete it and download it again."
        ) from error
    if not isinstance(content, Mapping):
        raise TensorError(f"{path} holds a {type(content).__name__}; expected a mapping of names to tensors.")
    others = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if others:
        raise TensorError(
            f"{path} holds entries that are no tensors: {_listed(others)}. This looks like a training state; "
            "expected the weights alone, as save_pretrained writes them."
        )
    return {str(name): value.detach() for name, value in content.items()}


def load_tensors(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    renames: Sequence[tuple[str, str]] = (),
    ignored: Iterable[str] = (),
    dtype: torch.dtype | None = torch.float32,
    where: str = "checkpoint",
) -> None:
    """Lay `tensors` into `model` in place, floating-point ones cast to `dtype`, or as they are where it is None.

    Names are first rewritten by every (pattern, replacement) of `renames` in order. A tensor that the
    model lacks is allowed only if `ignored` matches its stored or rewritten name. Parameters that the model
    shares stay shared, and one of their names in the file is enough; counters of batches may be absent. A model
    on the meta device takes the tensors themselves, so nothing is held twice.

    Raises:
        TensorError: Tensors are missing, unexpected or of another shape; all three kinds are listed together.
    """
    # With keep_vars the state is the parameters and persistent buffers themselves, tied ones under each name.
    slots: dict[str, Tensor] = model.state_dict(keep_vars=True)
    given, unexpected = _match(tensors, renames, tuple(ignored), slots, where)
    counters = [name for name in slots if name.endswith(COUNTER)]
    given = {**dict.fromkeys(counters, torch.zeros((), dtype=torch.int64)), **given}
    by_owner = _share(given, slots, where)
    missing = [name for name, slot in slots.items() if id(slot) not in by_owner]
    misshaped = [
        f"{name} is {_form(by_owner[id(slot)])} where the model has {_form(slot)}"
        for name, slot in slots.items()
        if id(slot) in by_owner and _form(by_owner[id(slot)]) != _form(slot)
    ]
    if missing or unexpected or misshaped:
        kinds = (("missing", missing), ("unexpected", unexpected), ("of another form", misshaped))
        found = "; ".join(f"{len(names)} {kind}: {_listed(names)}" for kind, names in kinds if names)
        raise TensorError(
            f"{where}: the weights do not fit the model that the configuration describes. {found}. "
            "Check that config.json and the weights come from the same checkpoint."
        )
    _assign(model, slots, by_owner, dtype)


def _form(tensor: Tensor) -> str:
    # Integers where numbers are expected are a quantized checkpoint: its scales are elsewhere, or lost.
    return f"{tuple(tensor.shape)}{'' if tensor.is_floating_point() else f' {tensor.dtype}'}"


def _match(
    tensors: Mapping[str, Tensor],
    renames: Sequence[tuple[str, str]],
    ignored: tuple[str, ...],
    slots: Mapping[str, Tensor],
    where: str,
) -> tuple[dict[str, Tensor], list[str]]:
    """Return tensors by the model's names, and the stored names that found no place."""
    given: dict[str, Tensor] = {}
    unexpected: list[str] = []
    patterns = [(re.compile(pattern), replacement) for pattern, replacement in renames]
    unused = [re.compile(pattern) for pattern in ignored]
    for stored, tensor in tensors.items():
        name = stored
        for pattern, replacement in patterns:
            name = pattern.sub(replacement, name)
        if name in slots:
            if name in given:
                _refuse_conflict(given[name], tensor, f"{stored} and another tensor for {name}", where)
            given[name] = tensor
        elif not any(pattern.search(stored) or pattern.search(name) for pattern in unused):
            unexpected.append(stored if stored == name else f"{stored} (read as {name})")
    return given, unexpected


def _share(given: Mapping[str, Tensor], slots: Mapping[str, Tensor], where: str) -> dict[int, Tensor]:
    """Return one tensor per parameter object, so that tied parameters stay one."""
    by_owner: dict[int, Tensor] = {}
    for name, tensor in given.items():
        owner = id(slots[name])
        if owner in by_owner:
            _refuse_conflict(by_owner[owner], tensor, f"{name} and the parameter it is tied to", where)
        by_owner[owner] = tensor
    return by_owner


def _refuse_conflict(first: Tensor, second: Tensor, names: str, where: str) -> None:
    # Tied weights are often stored twice; harmless if equal. Of two different ones, neither is right.
    if first.shape != second.shape or not torch.equal(first, second):
        raise TensorError(
            f"{where}: {names} are one parameter of the model and have different values. If they are meant to be two, "
            "set tie_word_embeddings to false in config.json; else fetch the weights again."
        )


def _assign(
    model: nn.Module, slots: Mapping[str, Tensor], by_owner: Mapping[int, Tensor], dtype: torch.dtype | None
) -> None:
    made: dict[int, Tensor] = {}
    for name, slot in slots.items():
        owner = id(slot)
        if owner not in made:
            value = by_owner[owner]
            device = torch.device("cpu") if slot.is_meta else slot.device
            value = value.to(device=device, dtype=dtype if dtype and value.is_floating_point() else value.dtype)
            made[owner] = nn.Parameter(value, slot.requires_grad) if isinstance(slot, nn.Parameter) else value
        path, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(path), leaf, made[owner])


def write_checkpoint(
    folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor], dtype: torch.dtype = torch.float32
) -> None:
    """Write config.json and model.safetensors, floating-point tensors cast to `dtype`.

    Each file appears whole or not at all: a run that is killed in between leaves the former file, and a model
    that still maps the former file keeps reading it.

    Raises:
        TensorError: A finite value does not fit `dtype` (float16 ends at 65504), or the disk refuses.
    """
    stored: dict[str, Tensor] = {}
    storages: set[int] = set()
    for name, tensor in tensors.items():
        value = tensor.detach().cpu()
        cast = value.to(dtype) if value.is_floating_point() else value
        if cast.dtype != value.dtype and not cast.isfinite().equal(value.isfinite()):
            raise TensorError(
                f"{name} holds values up to {value.abs().max():.3g}, beyond {dtype} "
                f"({torch.finfo(dtype).max:.3g}). Write float32 or bfloat16."
            )
        # Safetensors refuses memory shared between names; tied weights are stored once per name.
        storage = cast.untyped_storage().data_ptr()
        stored[name] = cast.clone() if storage in storages else cast.contiguous()
        storages.add(storage)
    content = {**config, "dtype": str(dtype).removeprefix("torch.")}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_tensors(folder / SAFETENSORS, stored)
        text = json.dumps(content, indent=2, sort_keys=True) + "\n"
        _replace(folder / "config.json", lambda path: path.write_text(text, encoding="utf-8"))
    except (OSError, SafetensorError) as error:
        raise TensorError(f"{folder} cannot be written: {error}. Check path and free space.") from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file, whole or not at all; of tensors on the CPU that share no memory.

    Raises:
        OSError, SafetensorError: the disk refuses.
    """
    _replace(path, lambda partial: save_file(dict(tensors), partial, metadata={"format": "pt"}))


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.touch()
        mode = partial.stat().st_mode  # safetensors writes files that nobody else may read
        write(partial)
        partial.chmod(mode)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:LISTED])
    return shown if len(names) <= LISTED else f"{shown} and {len(names) - LISTED} more"


def _first_line(error: BaseException) -> Any:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
