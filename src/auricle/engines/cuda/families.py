"""What the engine must know of a family to decode a single token in fixed shapes.

The families' own decoders count positions with Python numbers, which a captured graph would repeat for ever. Here the
same layers read one token at a position that a tensor holds. A family that is not in `FAMILIES` decodes with its
own functions and its own cache.

Dimension key: B rows, T frames, D width, G heads of keys and values, K width of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from auricle.models.moonshine import Moonshine, rotations
from auricle.models.whisper import Whisper


@dataclass(frozen=True)
class Layout:
    """The shapes of a decoder's memory."""

    n_layers: int
    n_heads: int  # of keys and values, G
    head_width: int  # K
    width: int  # D
    vocabulary: int  # V
    n_positions: int  # tokens a row can see
    frame_step: int  # T is rounded up to a multiple of this, so that few shapes occur; 1: there is one T

    @property
    def hides_frames(self) -> bool:
        """Whether rows hear only their own frames, and not what pads them."""
        return self.frame_step > 1


@dataclass(frozen=True)
class Family:
    """One family's decoder."""

    layout: Callable[[Any], Layout]
    # (model, tokens (B, 1), their position (1,), cache, mask of the tokens) to (B, 1, D).
    read_token: Callable[[Any, Tensor, Tensor, Any, Tensor], Tensor]


def family_of(model: nn.Module) -> Family | None:
    """How to decode single tokens of a model in fixed shapes; None if that is not known."""
    return FAMILIES.get(type(model))


def heard_by(model: Any, layer: int, states: Tensor) -> tuple[Tensor, Tensor]:
    """The keys and values of what was heard for one layer, twice (B, G, T, K)."""
    keys, values = model.model.decoder.layers[layer].encoder_attn.keys_values(states)
    return keys, values


def _whisper_layout(model: Whisper) -> Layout:
    config = model.config
    n_heads = config.decoder_attention_heads
    width = config.d_model
    sizes = (config.decoder_layers, n_heads, width // n_heads, width, config.vocab_size)
    return Layout(*sizes, n_positions=config.max_target_positions, frame_step=1)


def _read_whisper_token(model: Whisper, tokens: Tensor, position: Tensor, cache: Any, mask: Tensor) -> Tensor:
    decoder = model.model.decoder
    x: Tensor = decoder.embed_tokens(tokens) + decoder.embed_positions.weight.index_select(0, position)  # (B, 1, D)
    for index, layer in enumerate(decoder.layers):
        x = layer.attend_to_text(x, cache, index, mask)
        x = layer.attend_to_recording(x, cache, index)
        x = layer.feed_forward(x)
    return decoder.layer_norm(x)


def _moonshine_layout(model: Moonshine) -> Layout:
    config = model.config
    n_heads, n_groups = config.heads("decoder")
    width = config.hidden_size
    sizes = (config.decoder_num_hidden_layers, n_groups, width // n_heads, width, config.vocab_size)
    # Steps of 128 frames, three seconds.
    return Layout(*sizes, n_positions=config.max_position_embeddings, frame_step=128)


def _read_moonshine_token(model: Moonshine, tokens: Tensor, position: Tensor, cache: Any, mask: Tensor) -> Tensor:
    decoder, config = model.model.decoder, model.config
    x: Tensor = decoder.embed_tokens(tokens)  # (B, 1, D)
    n_heads, _ = config.heads("decoder")
    rotation = rotations(position, config.hidden_size // n_heads, *config.rotation)
    for index, layer in enumerate(decoder.layers):
        x = layer(x, cache, index, rotation, mask)
    return decoder.norm(x)


FAMILIES: dict[type[nn.Module], Family] = {
    Whisper: Family(_whisper_layout, _read_whisper_token),
    Moonshine: Family(_moonshine_layout, _read_moonshine_token),
}
