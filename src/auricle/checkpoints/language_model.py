"""A CTC checkpoint's own language model: the folder `language_model` beside its weights.

Source: the layout of transformers' Wav2Vec2ProcessorWithLM, which pyctcdecode writes.
"""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auricle.checkpoints.config import read_json
from auricle.errors import ConfigError

FOLDER = "language_model"
# What holds the model itself; the first that is there is taken.
PATTERNS = ("*.safetensors", "*.bin", "*.binary", "*.arpa", "*.arpa.gz")
_DEFAULTS = {"alpha": 0.5, "beta": 1.5, "unk_score_offset": -10.0}


@dataclass(frozen=True)
class OwnLanguageModel:
    """Where it is, and how the search weighs it."""

    path: Path
    alpha: float
    beta: float
    unknown_penalty: float

    @property
    def needs_kenlm(self) -> bool:
        """Whether it is a binary that only the kenlm package reads."""
        return self.path.suffix in (".bin", ".binary")


def find_language_model(folder: Path) -> OwnLanguageModel | None:
    """Return the language model of the checkpoint in `folder`, None where it has none.

    Raises: ConfigError for a folder that holds no model, weights that are no numbers, and a search that is not here.
    """
    inside = folder / FOLDER
    if not inside.is_dir():
        return None
    found = next((path for pattern in PATTERNS for path in sorted(inside.glob(pattern)) if path.is_file()), None)
    if found is None:
        raise ConfigError(f"{inside} holds none of {', '.join(PATTERNS)}; fetch the checkpoint again, or remove it")
    with found.open("rb") as file:
        if file.read(64).startswith(b"version https://git-lfs"):
            raise ConfigError(
                f"{found} is a git-LFS pointer and not the language model. Run 'git lfs pull' in {folder}, or download "
                "the model by its Hub name."
            )
    attributes = read_json(inside, "attrs.json")
    weights = {name: attributes.get(name, default) for name, default in _DEFAULTS.items()}
    wrong = [name for name, value in weights.items() if not _is_number(value)]
    if wrong:
        raise ConfigError(f"{inside / 'attrs.json'}: {wrong[0]} is {weights[wrong[0]]!r}; expected a number")
    if attributes.get("score_boundary", True) is not True:
        raise ConfigError(
            f"{inside / 'attrs.json'}: score_boundary is {attributes['score_boundary']!r}; the search scores the ends "
            "of a text, too. Set it to true, or remove the folder to decode without the model"
        )
    return OwnLanguageModel(found, float(weights["alpha"]), float(weights["beta"]), float(weights["unk_score_offset"]))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def copy_language_model(source: Path, target: Path) -> None:
    """Put the language model of one checkpoint folder, where it has one, beside the weights of another."""
    if find_language_model(source) is not None:
        shutil.copytree(source / FOLDER, target / FOLDER, dirs_exist_ok=True)
