"""A trained decoder and the encoder it listened to as one checkpoint folder, for auricle and transformers alike."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from auricle.checkpoints.tensors import write_checkpoint
from auricle.models.whisper import Whisper
from auricle.training.whisper_student import NEXT_HEADS

COPIED = ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json")


def export_whisper(model: Whisper, tokenizer: Path, folder: Path, card: dict[str, Any]) -> None:
    """Write the whole folder beside `folder` and put it in its place; `card` becomes auricle.json.

    `tokenizer` is a folder with tokenizer.json, its companions and generation_config.json.
    """
    new = folder.with_name(folder.name + ".part")
    shutil.rmtree(new, ignore_errors=True)
    tensors = {name: value for name, value in model.state_dict().items() if name != "proj_out.weight"}
    config = {"architectures": ["WhisperForConditionalGeneration"], "model_type": "whisper", **asdict(model.config)}
    write_checkpoint(new, config, tensors, torch.float16)
    for name in COPIED:
        (new / name).write_bytes((tokenizer / name).read_bytes())
    generation = json.loads((tokenizer / "generation_config.json").read_text(encoding="utf-8"))
    generation["alignment_heads"] = [list(pair) for pair in NEXT_HEADS]
    for name, content in (("generation_config.json", generation), ("auricle.json", card)):
        (new / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
