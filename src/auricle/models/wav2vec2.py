"""wav2vec 2.0 with a CTC head: the base form, the large and XLS-R form, and MMS with its language adapters.

Papers: wav2vec 2.0 (arXiv 2006.11477), XLS-R (arXiv 2111.09296), MMS (arXiv 2305.13516).

Dimension key: B batch, S samples, T frames, D width, V vocabulary.

The encoder, with its two forms and what padding does, is in speech_encoder.py. Here are the head and two
parts that only some checkpoints have: language adapters in the layers, and convolutions after the encoder.
HuBERT and WavLM are small files that import this one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor, nn

from auricle.errors import ConfigError, OptionError
from auricle.models.speech_encoder import (
    Encoder,
    EncoderLayer,
    SpeechEncoder,
    SpeechEncoderConfig,
    valid_frames,
)

# Keys of config.json that concern training or another head, never what a CTC model computes.
# fmt: off
HARMLESS = frozenset({
    "apply_spec_augment", "classifier_proj_size",
    "codevector_dim", "contrastive_logits_temperature", "ctc_loss_reduction", "ctc_zero_infinity",
    "diversity_loss_weight", "feat_extract_dropout", "feat_quantizer_dropout",
    "freeze_feat_extract_train", "hidden_dropout_prob",
    "initializer_range", "mask_channel_length", "mask_channel_min_space",
    "mask_channel_other", "mask_channel_prob", "mask_channel_selection", "mask_feature_length",
    "mask_feature_min_masks", "mask_feature_min_space", "mask_feature_other", "mask_feature_prob",
    "mask_feature_selection", "mask_time_length", "mask_time_min_masks", "mask_time_min_space",
    "mask_time_other", "mask_time_prob", "mask_time_selection", "no_mask_channel_overlap",
    "no_mask_feature_overlap", "no_mask_time_overlap", "num_codevector_groups",
    "num_codevectors_per_group", "num_ctc_classes", "num_feat_extract_layers", "num_negatives",
    "proj_codevector_dim", "replace_prob", "tdnn_dilation", "tdnn_dim", "tdnn_kernel",
    "tie_word_embeddings", "use_weighted_layer_sum", "xvector_output_dim",
})
# fmt: on


@dataclass(frozen=True)
class ConvAdapterConfig(SpeechEncoderConfig):
    """What wav2vec2 and WavLM share: the strided convolutions that may follow the encoder."""

    add_adapter: bool = False
    adapter_kernel_size: int = 3
    adapter_stride: int = 2
    num_adapter_layers: int = 3
    output_hidden_size: int | None = None  # width after them; None: hidden_size


@dataclass(frozen=True)
class Wav2Vec2Config(ConvAdapterConfig):
    """A `wav2vec2` checkpoint's config.json."""

    adapter_attn_dim: int | None = None  # width inside the language adapters of MMS; None: it has none

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.adapter_attn_dim is not None and not self.do_stable_layer_norm:
            raise ConfigError(
                f"adapter_attn_dim is {self.adapter_attn_dim} and do_stable_layer_norm false; language "
                "adapters need the pre-norm form: set the second to true, or the first to null"
            )


class LanguageAdapter(nn.Module):
    """A narrow detour at the end of a layer: the part of MMS that is trained for each language."""

    def __init__(self, width: int, narrow: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear_1 = nn.Linear(width, narrow)
        self.linear_2 = nn.Linear(narrow, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(F.relu(self.linear_1(self.norm(x))))


class AdapterConv(nn.Module):
    """One gated, strided convolution after the encoder."""

    def __init__(self, width: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.conv = nn.Conv1d(width, 2 * width, kernel, stride, padding=1)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, D, T) and (B,) frame counts to fewer frames and their counts."""
        # Beyond its end a row alone reads zeros: in a batch it must, too.
        x = x.masked_fill(~valid_frames(lengths, x.shape[2])[:, None], 0.0)
        x = F.pad(x, (0, max(0, self.kernel - 2 - x.shape[2])))
        lengths = ((lengths + 2 - self.kernel).div(self.stride, rounding_mode="floor") + 1).clamp(min=0)
        return F.glu(self.conv(x), dim=1), lengths


class Adapter(nn.Module):
    """Convolutions after the encoder, for a slower frame rate and perhaps another width."""

    def __init__(self, config: ConvAdapterConfig) -> None:
        super().__init__()
        width = config.output_hidden_size or config.hidden_size
        self.proj = self.proj_layer_norm = None
        if width != config.hidden_size:
            self.proj = nn.Linear(config.hidden_size, width)
            self.proj_layer_norm = nn.LayerNorm(width)
        kernel, stride = config.adapter_kernel_size, config.adapter_stride
        self.layers = nn.ModuleList(AdapterConv(width, kernel, stride) for _ in range(config.num_adapter_layers))

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, T, D) and (B,) frame counts to fewer frames and their counts."""
        if self.proj is not None and self.proj_layer_norm is not None:
            x = self.proj_layer_norm(self.proj(x))
        x = x.transpose(1, 2)  # (B, D, T)
        for layer in self.layers:
            x, lengths = layer(x, lengths)  # (B, D, T / stride)
        return x.transpose(1, 2), lengths


class Wav2Vec2CTC(nn.Module):
    """wav2vec 2.0 with a linear layer from states to the vocabulary."""

    kind = "ctc"
    prefix = "wav2vec2"  # what a checkpoint calls everything but the head
    Config: type[SpeechEncoderConfig] = Wav2Vec2Config
    HARMLESS = HARMLESS
    # Older files spell the positional convolution as we do, newer ones as a parametrization; names of a
    # checkpoint without a head lack the prefix.
    RENAMES: tuple[tuple[str, str], ...] = (
        (r"\.parametrizations\.weight\.original0$", ".weight_g"),
        (r"\.parametrizations\.weight\.original1$", ".weight_v"),
        (r"^(?=(feature_extractor|feature_projection|encoder|adapter)\.)", "wav2vec2."),
    )
    # Pretraining only: what stands for a hidden frame, the quantizer and the contrastive projections.
    IGNORED_TENSORS: tuple[str, ...] = (r"(^|\.)masked_spec_embed$", r"^quantizer\.", r"^project_(q|hid)\.")

    def __init__(self, config: SpeechEncoderConfig, encoder: type[Encoder] = Encoder) -> None:
        super().__init__()
        self.config = config
        base = SpeechEncoder(config, encoder)
        width, self.samples_per_frame = config.hidden_size, math.prod(config.conv_stride)
        if isinstance(config, ConvAdapterConfig) and config.add_adapter:
            base.adapter = Adapter(config)
            width = config.output_hidden_size or width
            self.samples_per_frame *= config.adapter_stride**config.num_adapter_layers
        if isinstance(config, Wav2Vec2Config) and config.adapter_attn_dim is not None:
            for layer in base.encoder.layers:
                cast(EncoderLayer, layer).adapter_layer = LanguageAdapter(config.hidden_size, config.adapter_attn_dim)
        self.add_module(self.prefix, base)
        self.add_head(width)

    def add_head(self, width: int) -> None:
        """Add what stands after the states (B, T, width)."""
        self.lm_head = nn.Linear(width, self.config.vocab_size)

    @classmethod
    def tiny(cls, **changes: Any) -> SpeechEncoderConfig:
        """Make the config that tests use: 2 layers of width 32, the real strides."""
        sizes: dict[str, Any] = {
            "vocab_size": 20,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 48,
            "conv_dim": (16,) * 7,
            "num_conv_pos_embeddings": 16,
            # 16 channels a group (published models: 48 or 64): with fewer, oneDNN on CPUs with AMX computes
            # bfloat16 convolutions of 16 taps wrongly (torch 2.13.0).
            "num_conv_pos_embedding_groups": 2,
        }
        return cls.Config(**{**sizes, **changes})

    @property
    def base(self) -> SpeechEncoder:
        """Everything but the head, whatever the checkpoint calls it."""
        return cast(SpeechEncoder, self.get_submodule(self.prefix))

    def encode(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, S) samples, (B,) of them valid, to (B, T, D) states and (B,) frame counts."""
        return self.base(values, lengths)

    def forward(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, S) samples, (B,) of them valid, to (B, T, V) logits and (B,) frame counts."""
        states, lengths = self.encode(values, lengths)
        return self.lm_head(states), lengths  # (B, T, V)

    def head(self, states: Tensor) -> Tensor:
        """Map (B, T, D) states to (B, T, V) logits; in training with dropout before."""
        return self.lm_head(F.dropout(states, self.config.final_dropout, self.training))

    def adapter_parameters(self) -> dict[str, Tensor]:
        """Name what a file `adapter.<language>.safetensors` holds: each layer's adapter, and the head.

        A language brings its own vocabulary: build with `vocab_size` of its file's `lm_head.weight`.

        Raises: OptionError if the checkpoint has no language adapters.
        """
        parts = (".adapter_layer.", "lm_head.")
        named: dict[str, Tensor] = dict(self.named_parameters())
        chosen = {name: value for name, value in named.items() if any(part in name for part in parts)}
        if not any(".adapter_layer." in name for name in chosen):
            raise OptionError(
                f"this {self.prefix} checkpoint has no language adapters (adapter_attn_dim is not set), so "
                "no target language can be chosen; leave the language out, or use an MMS checkpoint"
            )
        return chosen
