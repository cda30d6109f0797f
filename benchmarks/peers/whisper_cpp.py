"""whisper.cpp through pywhispercpp, and the writing of its checkpoint format.

Source of the format: ggml-org/whisper.cpp, models/convert-h5-to-ggml.py and whisper.cpp, whisper_model_load.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from measure import n_threads

RATE = 16000
MAGIC = 0x67676D6C
F32, F16, Q8_0 = 0, 1, 8  # ggml_type
FILE_TYPES = {"f16": 1, "q8_0": 7}  # ggml_ftype
QUANTIZATION_VERSION = 2 * 1000  # that the file type of a quantized file carries (GGML_QNT_VERSION_FACTOR)
BLOCK = 32
# From the Hub's names to OpenAI's, which whisper.cpp reads.
RENAMES = (
    ("model.", ""), ("decoder.embed_tokens", "decoder.token_embedding"),
    ("encoder.embed_positions.weight", "encoder.positional_embedding"),
    ("decoder.embed_positions.weight", "decoder.positional_embedding"),
    ("encoder.layer_norm", "encoder.ln_post"), ("decoder.layer_norm", "decoder.ln"), (".layers.", ".blocks."),
    (".self_attn_layer_norm", ".attn_ln"), (".encoder_attn_layer_norm", ".cross_attn_ln"),
    (".final_layer_norm", ".mlp_ln"), (".self_attn.", ".attn."), (".encoder_attn.", ".cross_attn."),
    (".q_proj", ".query"), (".k_proj", ".key"), (".v_proj", ".value"), (".out_proj", ".out"),
    (".fc1", ".mlp.0"), (".fc2", ".mlp.2"),
)  # fmt: skip


def convert(model: str, kind: str) -> Path:
    """The checkpoint as one file, beside the checkpoint; `kind` is f16 or q8_0."""
    source = Path(model)
    path = source.with_name(f"{source.name}-ggml-{kind}.bin")
    if not path.is_file():
        unfinished = path.with_suffix(".part")
        with unfinished.open("wb") as file:
            _write(file, source, kind)
        unfinished.rename(path)
    return path


def _write(file: BinaryIO, source: Path, kind: str) -> None:
    from safetensors.numpy import load_file

    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    file_type = FILE_TYPES[kind] + (QUANTIZATION_VERSION if kind.startswith("q") else 0)
    file.write(struct.pack("<12i", MAGIC, config["vocab_size"], config["max_source_positions"], config["d_model"],
                           config["encoder_attention_heads"], config["encoder_layers"],
                           config["max_target_positions"], config["d_model"], config["decoder_attention_heads"],
                           config["decoder_layers"], config["num_mel_bins"], file_type))  # fmt: skip
    _write_filters(file, source)
    _write_vocabulary(file, source)
    for name, values in load_file(source / "model.safetensors").items():
        if name == "proj_out.weight":
            continue
        for old, new in RENAMES:
            name = name.replace(old, new)
        _write_tensor(file, name, values.astype(np.float32), kind)


def _write_filters(file: BinaryIO, source: Path) -> None:
    from transformers import WhisperFeatureExtractor

    filters = np.asarray(WhisperFeatureExtractor.from_pretrained(source).mel_filters, np.float32).T  # (mels, bins)
    file.write(struct.pack("<2i", *filters.shape))
    file.write(np.ascontiguousarray(filters).tobytes())


def _write_vocabulary(file: BinaryIO, source: Path) -> None:
    """The text tokens as bytes; whisper.cpp names the others itself."""
    content = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    special = {token["content"] for token in content["added_tokens"]}
    tokens = sorted((number, text) for text, number in content["model"]["vocab"].items() if text not in special)
    to_byte = {character: byte for byte, character in enumerate(_byte_characters())}
    file.write(struct.pack("<i", len(tokens)))
    for number, (expected, text) in enumerate(tokens):
        assert number == expected, f"token {expected} comes at place {number}"
        raw = bytes(to_byte[character] for character in text)
        file.write(struct.pack("<i", len(raw)) + raw)


def _byte_characters() -> list[str]:
    """The character that stands for each byte in GPT-2's vocabularies."""
    plain = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


def _write_tensor(file: BinaryIO, name: str, values: np.ndarray, kind: str) -> None:
    if name.endswith(("conv1.bias", "conv2.bias")):
        values = values[:, None]
    ggml_type = F16
    if values.ndim < 2 or name.endswith(("conv1.bias", "conv2.bias", "positional_embedding")):
        ggml_type = F32
    elif kind == "q8_0" and values.ndim == 2 and values.shape[-1] % BLOCK == 0:
        ggml_type = Q8_0
    encoded = name.encode()
    file.write(struct.pack("<3i", values.ndim, len(encoded), ggml_type))
    file.write(struct.pack(f"<{values.ndim}i", *values.shape[::-1]) + encoded)
    if ggml_type == Q8_0:
        file.write(_q8_0(values))
    else:
        file.write(np.ascontiguousarray(values, np.float32 if ggml_type == F32 else np.float16).tobytes())


def _q8_0(values: np.ndarray) -> bytes:
    """Blocks of 32: a float16 scale and 32 signed bytes."""
    blocks = values.reshape(-1, BLOCK)
    scale = np.abs(blocks).max(1, keepdims=True) / 127
    whole = np.round(np.divide(blocks, scale, out=np.zeros_like(blocks), where=scale > 0)).astype(np.int8)
    rows = np.zeros(len(blocks), dtype=[("scale", "<f2"), ("values", "i1", BLOCK)])
    rows["scale"], rows["values"] = scale[:, 0], whole
    return rows.tobytes()


def transcriber(model: str, recording: str, kind: str, parameters: dict[str, Any]) -> Callable[[], str]:
    """One window after the other, greedily, with its own rules."""
    from pywhispercpp.model import Model

    whisper = Model(
        str(convert(model, kind)), n_threads=n_threads(), language="en", redirect_whispercpp_logs_to=None,
        print_progress=False, print_realtime=False, **parameters,
    )  # fmt: skip
    samples = np.load(recording)

    def transcribe(heard: np.ndarray = samples) -> str:
        return " ".join(segment.text.strip() for segment in whisper.transcribe(heard))

    transcribe(samples[: 30 * RATE])
    return transcribe
