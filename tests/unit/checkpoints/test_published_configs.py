"""Configurations as published checkpoints have them: the keys that libraries of several years left behind."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from auricle.checkpoints.config import build_config
from auricle.models import MODELS

CONVOLUTIONS = {
    "conv_bias": False,
    "conv_dim": [512, 512, 512, 512, 512, 512, 512],
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "num_feat_extract_layers": 7,
    "num_conv_pos_embedding_groups": 16,
    "num_conv_pos_embeddings": 128,
    "feat_extract_activation": "gelu",
    "feat_extract_dropout": 0.0,
    "feat_extract_norm": "group",
}
TRAINING = {
    "activation_dropout": 0.1,
    "apply_spec_augment": True,
    "attention_dropout": 0.1,
    "ctc_loss_reduction": "sum",
    "ctc_zero_infinity": False,
    "feat_proj_dropout": 0.1,
    "final_dropout": 0.1,
    "gradient_checkpointing": False,
    "hidden_dropout": 0.1,
    "hidden_dropout_prob": 0.1,
    "initializer_range": 0.02,
    "layerdrop": 0.1,
    "mask_feature_length": 10,
    "mask_feature_prob": 0.0,
    "mask_time_length": 10,
    "mask_time_prob": 0.05,
}
QUANTIZER = {
    "codevector_dim": 256,
    "contrastive_logits_temperature": 0.1,
    "diversity_loss_weight": 0.1,
    "feat_quantizer_dropout": 0.0,
    "num_codevector_groups": 2,
    "num_codevectors_per_group": 320,
    "num_negatives": 100,
    "proj_codevector_dim": 256,
}
FAIRSEQ_MASKS = {
    "mask_channel_length": 10,
    "mask_channel_min_space": 1,
    "mask_channel_other": 0.0,
    "mask_channel_prob": 0.0,
    "mask_channel_selection": "static",
    "mask_time_min_space": 1,
    "mask_time_other": 0.0,
    "mask_time_selection": "static",
}
LATER = {
    "adapter_kernel_size": 3,
    "adapter_stride": 2,
    "add_adapter": False,
    "classifier_proj_size": 256,
    "mask_feature_min_masks": 0,
    "mask_time_min_masks": 2,
    "num_adapter_layers": 3,
    "output_hidden_size": 768,
    "tdnn_dilation": [1, 2, 3, 1, 1],
    "tdnn_dim": [512, 512, 512, 512, 1500],
    "tdnn_kernel": [5, 3, 3, 1, 1],
    "use_weighted_layer_sum": False,
    "xvector_output_dim": 512,
}
BASE = {
    **CONVOLUTIONS,
    **TRAINING,
    "_name_or_path": "facebook/wav2vec2-base-960h",
    "bos_token_id": 1,
    "do_stable_layer_norm": False,
    "eos_token_id": 2,
    "hidden_act": "gelu",
    "hidden_size": 768,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-05,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "pad_token_id": 0,
    "torch_dtype": "float32",
    "transformers_version": "4.7.0.dev0",
    "vocab_size": 32,
}
WHISPER = {
    "_name_or_path": "openai/whisper-tiny",
    "activation_dropout": 0.0,
    "activation_function": "gelu",
    "attention_dropout": 0.0,
    "begin_suppress_tokens": [220, 50257],
    "bos_token_id": 50257,
    "d_model": 384,
    "decoder_attention_heads": 6,
    "decoder_ffn_dim": 1536,
    "decoder_layerdrop": 0.0,
    "decoder_layers": 4,
    "decoder_start_token_id": 50258,
    "dropout": 0.0,
    "encoder_attention_heads": 6,
    "encoder_ffn_dim": 1536,
    "encoder_layerdrop": 0.0,
    "encoder_layers": 4,
    "eos_token_id": 50257,
    "forced_decoder_ids": [[1, 50259], [2, 50359], [3, 50363]],
    "init_std": 0.02,
    "is_encoder_decoder": True,
    "max_length": 448,
    "max_source_positions": 1500,
    "max_target_positions": 448,
    "num_hidden_layers": 4,
    "num_mel_bins": 80,
    "pad_token_id": 50257,
    "scale_embedding": False,
    "suppress_tokens": [1, 2, 7],
    "torch_dtype": "float32",
    "transformers_version": "4.27.0.dev0",
    "use_cache": True,
    "vocab_size": 51865,
}
MOONSHINE = {
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "decoder_hidden_act": "silu",
    "decoder_num_attention_heads": 8,
    "decoder_num_hidden_layers": 6,
    "decoder_num_key_value_heads": 8,
    "decoder_start_token_id": 1,
    "encoder_hidden_act": "gelu",
    "encoder_num_attention_heads": 8,
    "encoder_num_hidden_layers": 6,
    "encoder_num_key_value_heads": 8,
    "eos_token_id": 2,
    "hidden_size": 288,
    "initializer_range": 0.02,
    "intermediate_size": 1152,
    "is_encoder_decoder": True,
    "max_position_embeddings": 194,
    "partial_rotary_factor": 0.9,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "torch_dtype": "float32",
    "transformers_version": "4.48.0.dev0",
    "use_cache": True,
    "vocab_size": 32768,
}

PUBLISHED: dict[str, tuple[str, dict[str, Any]]] = {
    "wav2vec2-base-960h": ("wav2vec2", {**BASE, **QUANTIZER}),
    "xlsr-53 fine-tuned in 2021": (
        "wav2vec2",
        {**BASE, **FAIRSEQ_MASKS, "do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True},
    ),
    "xls-r fine-tuned later": ("wav2vec2", {**BASE, **QUANTIZER, **LATER}),
    "mms-1b-all": (
        "wav2vec2",
        {
            **BASE,
            **QUANTIZER,
            **LATER,
            "adapter_attn_dim": 16,
            "do_stable_layer_norm": True,
            "feat_extract_norm": "layer",
        },
    ),
    "hubert-large-ls960-ft": ("hubert", {**BASE, "feat_proj_layer_norm": True, "tokenizer_class": "X"}),
    "wavlm-base-plus fine-tuned": (
        "wavlm",
        {
            **BASE,
            **QUANTIZER,
            **LATER,
            **FAIRSEQ_MASKS,
            "freeze_feat_extract_train": True,
            "max_bucket_distance": 800,
            "no_mask_channel_overlap": False,
            "no_mask_time_overlap": False,
            "num_buckets": 320,
            "num_ctc_classes": 80,
            "replace_prob": 0.5,
        },
    ),
    "whisper-tiny": ("whisper", WHISPER),
    "whisper-large-v3": (
        "whisper",
        {
            **WHISPER,
            "apply_spec_augment": False,
            "classifier_proj_size": 256,
            "mask_feature_length": 10,
            "mask_feature_min_masks": 0,
            "mask_feature_prob": 0,
            "mask_time_length": 10,
            "mask_time_min_masks": 2,
            "mask_time_prob": 0.05,
            "median_filter_width": 7,
            "num_mel_bins": 128,
            "use_weighted_layer_sum": False,
        },
    ),
    "moonshine-tiny": ("moonshine", MOONSHINE),
    "moonshine saved by transformers 5": (
        "moonshine",
        {
            **{key: value for key, value in MOONSHINE.items() if not key.startswith("rope")},
            "dtype": "float32",
            "pad_head_dim_to_multiple_of": 8,
            "rope_parameters": {"partial_rotary_factor": 0.9, "rope_theta": 10000.0, "rope_type": "default"},
            "tie_word_embeddings": True,
        },
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configuration_is_understood(name: str) -> None:
    model_type, raw = PUBLISHED[name]
    module, _, attribute = MODELS[model_type].partition(":")
    model_class = getattr(importlib.import_module(module), attribute)
    config = build_config(model_class, {**raw, "model_type": model_type, "architectures": ["X"]}, name)
    assert config.vocab_size == raw["vocab_size"]
