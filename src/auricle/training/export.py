"""A trained run as a checkpoint folder in the Hub's format, loadable by auricle and by transformers alike."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor

from auricle.checkpoints.tensors import write_checkpoint
from auricle.errors import OptionError
from auricle.loading import load
from auricle.models.parakeet import ParakeetConfig
from auricle.training.text import ALPHABET

BLANK_TOKEN = "<pad>"
_SPACE = "▁"


def letter_tokenizer() -> Tokenizer:
    """A tokenizer whose pieces are the letters of `ALPHABET`, in its order, and the blank after them."""
    vocabulary = {letter.replace(" ", _SPACE): index for index, letter in enumerate(ALPHABET)}
    tokenizer = Tokenizer(models.BPE(vocab={**vocabulary, BLANK_TOKEN: len(ALPHABET)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme="never", split=False)
    tokenizer.decoder = decoders.Metaspace(replacement=_SPACE, prepend_scheme="never", split=False)
    tokenizer.add_special_tokens([AddedToken(BLANK_TOKEN, special=True, normalized=False)])
    return tokenizer


def mean_of(tensors: dict[str, Tensor], folders: Sequence[Path]) -> dict[str, Tensor]:
    """The mean of a run's weights and those of checkpoint folders of the same shape, each weighing the same.

    Ends of runs that began from the same weights, and these, err differently; what lies between them errs less
    (Wortsman et al., "Model soups", 2022, section 3).

    Raises:
        OptionError: if a folder's weights have other names or shapes.
    """
    total = {name: one.double() if one.is_floating_point() else one for name, one in tensors.items()}
    for folder in folders:
        others = load(folder).model.state_dict()
        if {name: one.shape for name, one in tensors.items()} != {name: one.shape for name, one in others.items()}:
            raise OptionError(
                f"the weights of {folder} have other names or shapes than the run's; give one of its own kind"
            )
        total = {name: one + others[name] if one.is_floating_point() else one for name, one in total.items()}
    return {
        name: (one / (1 + len(folders))).to(tensors[name].dtype) if one.is_floating_point() else one
        for name, one in total.items()
    }


def export(tensors: dict[str, Tensor], config: ParakeetConfig, folder: Path, card: dict[str, Any]) -> None:
    """Write config, float16 weights, tokenizer, feature settings and `card` (as auricle.json) to `folder`.

    Raises:
        TensorError: a weight does not fit float16.
    """
    encoder = {**asdict(config.encoder_config), "model_type": "parakeet_encoder"}
    write_checkpoint(
        folder,
        {
            "architectures": ["ParakeetForCTC"],
            "model_type": "parakeet_ctc",
            "vocab_size": config.vocab_size,
            "pad_token_id": config.pad_token_id,
            "encoder_config": encoder,
        },
        tensors,
        torch.float16,
    )
    letter_tokenizer().save(str(folder / "tokenizer.json"))
    _write(folder / "tokenizer_config.json", {"tokenizer_class": "ParakeetTokenizer", "pad_token": BLANK_TOKEN})
    _write(
        folder / "preprocessor_config.json",
        {
            "feature_extractor_type": "ParakeetFeatureExtractor",
            "processor_class": "ParakeetProcessor",
            "feature_size": config.encoder_config.num_mel_bins,
            "sampling_rate": 16000,
            "hop_length": 160,
            "n_fft": 512,
            "win_length": 400,
            "preemphasis": 0.97,
            "padding_value": 0.0,
        },
    )
    _write(folder / "auricle.json", card)


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
