"""config.json of models that see, as the Hub's older files have it, with everything that was written in those days."""

from __future__ import annotations

from typing import Any

import pytest

from auricle.checkpoints.config import build_config
from auricle.errors import ConfigError
from auricle.models.blip import Blip
from auricle.models.deit import DeiT
from auricle.models.labels import LabelsConfig
from auricle.models.vilt import Vilt

# What transformers 4.26 wrote into each nested object.
LEGACY: dict[str, Any] = {
    "_name_or_path": "",
    "add_cross_attention": False,
    "architectures": None,
    "bad_words_ids": None,
    "chunk_size_feed_forward": 0,
    "cross_attention_hidden_size": None,
    "diversity_penalty": 0.0,
    "do_sample": False,
    "early_stopping": False,
    "exponential_decay_length_penalty": None,
    "finetuning_task": None,
    "id2label": {"0": "LABEL_0", "1": "LABEL_1"},
    "initializer_factor": 1.0,
    "label2id": {"LABEL_0": 0, "LABEL_1": 1},
    "length_penalty": 1.0,
    "min_length": 0,
    "output_attentions": False,
    "prefix": None,
    "problem_type": None,
    "pruned_heads": {},
    "tf_legacy_loss": False,
    "tie_encoder_decoder": False,
    "tie_word_embeddings": True,
    "torch_dtype": None,
    "torchscript": False,
    "typical_p": 1.0,
    "use_bfloat16": False,
}


def test_blip_vqa_base() -> None:
    raw = {
        "_commit_hash": None,
        "architectures": ["BlipForQuestionAnswering"],
        "image_text_hidden_size": 256,
        "logit_scale_init_value": 2.6592,
        "model_type": "blip",
        "projection_dim": 512,
        "text_config": {
            **LEGACY,
            "encoder_hidden_size": 768,
            "is_decoder": True,
            "max_length": 20,
            "num_attention_heads": 12,
            "num_beams": 1,
            "vocab_size": 30524,
        },
        "vision_config": {**LEGACY, "dropout": 0.0, "is_decoder": False, "num_channels": 3, "image_size": 384},
    }
    config = build_config(Blip, raw, "config.json")
    assert config.text_config.num_attention_heads == 12
    assert config.text_config.max_length == 20
    assert config.vision_config.grid == (24, 24)


def test_a_teacher_is_told_by_the_architecture() -> None:
    for ending, expected in (("", False), ("WithTeacher", True)):
        raw = {"architectures": [f"DeiTForImageClassification{ending}"], "model_type": "deit"}
        assert build_config(DeiT, raw, "config.json").has_teacher is expected


def test_patches_by_chance_are_refused() -> None:
    with pytest.raises(ConfigError, match="draws patches by chance"):
        build_config(Vilt, {"model_type": "vilt", "max_image_length": 200}, "config.json")


def test_labels() -> None:
    assert LabelsConfig().labels == ("LABEL_0", "LABEL_1")
    assert LabelsConfig(num_labels=1).labels == ("LABEL_0",)
    assert LabelsConfig({"1": "dog", "0": "cat"}).labels == ("cat", "dog")
    with pytest.raises(ConfigError, match="not by the numbers"):
        _ = LabelsConfig({"0": "cat", "2": "dog"}).labels
