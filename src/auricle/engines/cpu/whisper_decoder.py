"""Whisper's decoder on the CPU: native code drafts with 8-bit weights, and the engine's own arithmetic decides.

Both write into one cache of the tokens' keys and values: what a draft left there is replaced when its tokens are
checked, so that the next draft begins from exact numbers.

Dimension key: `R` rows, `M` tokens of a pass over all rows, `S` tokens of each row, `T` encoder frames, `P` positions
of room, `D` width, `H` heads, `K` width of a head, `L` layers, `V` vocabulary.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.engines.cpu import draft_library as c
from auricle.engines.cpu import products
from auricle.engines.cpu.linear import Arithmetic
from auricle.engines.cpu.memory import Block, room_for
from auricle.engines.cpu.modules_products import joined_product, make_product, normalized, product_of
from auricle.errors import OptionError
from auricle.models.whisper import Whisper

WIDTH_STEP = 32  # of a head, so that every vector width divides it
MOST_FRAMES = 4096  # beyond, the 8-bit attention's sums could overflow
ROOM = 64  # positions that a full cache gains at least
MOST_IDLE = 2  # blocks of memory kept for the next recordings
# Where shapes are to be few, passes have a multiple of this many rows.
ROW_STEP = 16
# Tokens of a draft at most. Longer ones share the cost of a check among more, and lose more where it differs. With the
# one before them they are a tile of the matrix units.
DRAFT = 15
# A draft ends behind a token whose logit leads by less than this: where it is wrong, it mostly is so there.
MARGIN = 0.25

# How a layer's keys and values of recordings are kept precisely.
KeysValues: TypeAlias = products.PackedKeysValues | c.HalfKeysValues | c.FloatKeysValues


def can_run(model: nn.Module) -> bool:
    """Whether the native kernels fit a model: Whisper, with head widths and an activation that they have."""
    if not isinstance(model, Whisper):
        return False
    config = model.config
    width, rest = divmod(config.d_model, config.decoder_attention_heads)
    fits = rest == 0 and width % WIDTH_STEP == 0 and width <= 256 and config.d_model % WIDTH_STEP == 0
    return fits and config.activation_function == "gelu" and config.max_source_positions <= MOST_FRAMES


class Layer:
    """One layer's products in the engine's arithmetic."""

    def __init__(self, module: Any, arithmetic: Arithmetic) -> None:
        attn, cross = module.self_attn, module.encoder_attn
        self.qkv = joined_product([attn.q_proj, attn.k_proj, attn.v_proj], arithmetic)
        self.self_out = product_of(attn.out_proj, arithmetic)
        self.cross_query = product_of(cross.q_proj, arithmetic)
        self.cross_keys_values = joined_product([cross.k_proj, cross.v_proj], arithmetic)
        self.cross_out = product_of(cross.out_proj, arithmetic)
        self.fc1, self.fc2 = product_of(module.fc1, arithmetic), product_of(module.fc2, arithmetic)
        self.norms = (module.self_attn_layer_norm, module.encoder_attn_layer_norm, module.final_layer_norm)


class WhisperDecoder:
    """A checkpoint's decoder, ready to run; shared by all its steps."""

    def __init__(self, model: Any, arithmetic: Arithmetic) -> None:
        config, decoder = model.config, model.model.decoder
        self.heads, self.width = config.decoder_attention_heads, config.d_model // config.decoder_attention_heads
        self.vocabulary, self.max_length = config.vocab_size, config.max_target_positions
        # The recording's keys and values.
        kinds: dict[Arithmetic, type[KeysValues]] = {
            "float32": c.FloatKeysValues,
            "bfloat16": c.HalfKeysValues,
            "int16": products.PackedKeysValues,
        }
        self.kept = kinds[arithmetic]
        self.layers = [Layer(module, arithmetic) for module in decoder.layers]
        self.project = make_product(model.proj_out.weight.float(), None, arithmetic)
        # oneDNN prepares its kernels for every number of rows, and keeps them.
        self.row_step = ROW_STEP if arithmetic == "bfloat16" else 1
        self.norm = decoder.layer_norm
        self.tokens = decoder.embed_tokens.weight.detach().float().contiguous()  # (V, D)
        self.positions = decoder.embed_positions.weight.detach().float().contiguous()  # (P, D)
        self._keep: list[Tensor] = []
        matrices = [one.weight for one in decoder.layers.modules() if isinstance(one, nn.Linear)]
        self._block = Block(c.int8_room([*matrices, model.proj_out.weight], for_draft=True))
        self._layers = (c.DraftLayer * len(self.layers))(*(self._draft_layer(module) for module in decoder.layers))
        self.draft_model = c.DraftModel(
            len(self.layers),
            self.heads,
            self.width,
            config.decoder_ffn_dim,
            self.vocabulary,
            ctypes.addressof(self._layers),
            c.pointer_to(self.tokens),
            c.pointer_to(self.positions),
            c.norm_of(decoder.layer_norm, self._keep),
            c.int8_of(model.proj_out.weight, None, self._keep, self._block, for_draft=True),
        )
        self._tables: dict[int, tuple[c.Grammar, c.Table]] = {}
        self._idle: list[Block] = []

    def table(self, grammar: c.Grammar) -> c.Table:
        """A grammar written out; the last one is kept, since every row and step of a call asks for it."""
        known = self._tables.get(0)
        if known is None or known[0] != grammar:
            known = grammar, c.table_of(grammar, self.vocabulary)
            self._tables = {0: known}
        return known[1]

    def lend(self, n_bytes: int) -> Block:
        """Memory for a recording: fresh pages cost more than what is written there."""
        fitting = [block for block in self._idle if n_bytes <= len(block.bytes)]
        if not fitting:
            self._idle.clear()  # what is too small would only lie beside it
            return Block(n_bytes)
        block = min(fitting, key=lambda one: len(one.bytes))
        self._idle = [one for one in self._idle if one is not block]
        block.clear()
        return block

    def give_back(self, block: Block) -> None:
        """Take memory back that nobody reads any more; the largest is kept."""
        self._idle = sorted([*self._idle, block], key=lambda one: -len(one.bytes))[:MOST_IDLE]

    def _draft_layer(self, module: Any) -> c.DraftLayer:
        attn, cross, keep, block = module.self_attn, module.encoder_attn, self._keep, self._block
        return c.DraftLayer(
            c.norm_of(module.self_attn_layer_norm, keep),
            c.norm_of(module.encoder_attn_layer_norm, keep),
            c.norm_of(module.final_layer_norm, keep),
            c.int8_of(*c.stacked(attn.q_proj, attn.k_proj, attn.v_proj), keep, block, for_draft=True),
            *(
                c.int8_of(one.weight, one.bias, keep, block, for_draft=True)
                for one in (attn.out_proj, cross.q_proj, cross.out_proj, module.fc1, module.fc2)
            ),
        )


class Recording:
    """What all layers read of the encoder's states (R, T, D): keys and values in 8 bits and precisely."""

    def __init__(self, decoder: WhisperDecoder, states: Tensor) -> None:
        n_heads, kind = decoder.heads, decoder.kept
        states = states.float().contiguous()
        n_rows, self.n_frames, d = states.shape
        padded, width = -(-self.n_frames // c.FRAMES) * c.FRAMES, d // n_heads
        values: products.Shape = (n_rows, n_heads, padded * width), torch.int8
        scales: products.Shape = (n_rows, d), torch.float32
        small = [values, values, scales, scales]
        exact = kind.shapes(n_rows, self.n_frames, d, n_heads)
        block = decoder.lend(len(decoder.layers) * sum(room_for(*shape) for shape in (*small, *exact)))
        weakref.finalize(self, decoder.give_back, block)
        self.layers: list[KeysValues] = []
        self._small: list[list[Tensor]] = []
        for layer in decoder.layers:
            in_8_bits = [block.take(*shape) for shape in small]
            precise = kind(self.n_frames, n_heads, d, [block.take(*shape) for shape in exact])
            # One at a time stays in the processor's caches.
            for row in range(n_rows):
                both = layer.cross_keys_values(states[row : row + 1]).float()  # (1, T, 2 D)
                sizes = c.pointer_to(both), 1, self.n_frames, n_heads, width
                c.library().auricle_pack_small(*sizes, *(c.pointer_to(one[row]) for one in in_8_bits))
                precise.keep(row, both)
            self._small.append(in_8_bits)
            self.layers.append(precise)
        self.draft = (c.CrossCache * len(decoder.layers))(
            *(c.CrossCache(*(c.pointer_to(one) for one in layer)) for layer in self._small)
        )


class WhisperStep:
    """Rows of tokens over encoded windows. Rows may have different lengths once they were drafted."""

    def __init__(self, decoder: WhisperDecoder, states: Tensor) -> None:
        self._decoder = decoder
        self._recording = Recording(decoder, states)
        self._source = torch.arange(len(states))
        self._lengths = [0] * len(states)
        self._room = 0
        self._cache: list[Tensor] = []  # of each layer (2, R, H, P, K), keys and values
        self._hidden: Tensor | None = None

    @property
    def n_rows(self) -> int:
        """Rows of the batch."""
        return len(self._lengths)

    @property
    def length(self) -> int:
        """Tokens that the longest row has seen."""
        return max(self._lengths, default=0)

    @property
    def max_length(self) -> int:
        """Tokens a row can see at most."""
        return int(self._decoder.max_length)

    @property
    def hidden(self) -> Tensor:
        """(R, S, D) what the model made of the tokens last appended, before its output layer, until `reorder`."""
        assert self._hidden is not None, "read after advance and before reorder"
        return self._hidden

    @torch.inference_mode()
    def advance(self, tokens: Tensor, n_last: int = 1) -> Tensor:
        """Append (R, S) tokens; (R, n_last, V) float32 logits after the last `n_last` of them.

        Raises:
            OptionError: if they run past `max_length`.
        """
        n_rows, n_tokens = tokens.shape
        hidden = self._append(range(n_rows), tokens.tolist())  # (R * S, D)
        self._hidden = hidden.view(n_rows, n_tokens, -1)
        last = self._hidden[:, -n_last:].flatten(0, 1)  # (R * n_last, D)
        return self._logits(last).view(n_rows, n_last, -1)

    @torch.inference_mode()
    def reorder(self, rows: Tensor) -> None:
        """Keep these rows, in this order; a row may be repeated or left out."""
        self._hidden = None
        self._cache = [held[:, rows].contiguous() for held in self._cache]
        self._source = self._source[rows].contiguous()
        self._lengths = [self._lengths[row] for row in rows.tolist()]

    def forget(self, row: int, length: int) -> None:
        """Keep the first tokens of a row only."""
        self._lengths[row] = length

    @torch.inference_mode()
    def draft(
        self,
        rows: Sequence[int],
        last: Sequence[int],
        written: Sequence[c.Written],
        room: Sequence[int],
        grammar: c.Grammar,
    ) -> list[list[int]]:
        """What probably follows each row's last token, which the step has not seen; at most `room` tokens."""
        most = min(DRAFT, max(room))
        if most <= 0:
            return [[] for _ in rows]
        self._make_room(max(self._lengths[row] for row in rows) + most + 1)
        decoder, n_layers = self._decoder, len(self._cache)
        pointers = (ctypes.c_void_p * n_layers)(*(c.pointer_to(one) for one in self._cache))
        cache = c.DraftCache(
            self.n_rows,
            self._room,
            self._recording.n_frames,
            ctypes.addressof(pointers),
            ctypes.addressof(self._recording.draft),
            c.pointer_to(self._source),
        )
        wanted = (c.DraftRow * len(rows))(
            *(
                c.DraftRow(row, self._lengths[row], token, left, c.state_of(one))
                for row, token, left, one in zip(rows, last, room, written, strict=True)
            )
        )
        tokens, counts = torch.empty(len(rows), most, dtype=torch.long), torch.empty(len(rows), dtype=torch.long)
        c.library().auricle_draft(
            ctypes.addressof(decoder.draft_model),
            ctypes.addressof(cache),
            ctypes.addressof(decoder.table(grammar).rules),
            ctypes.addressof(wanted),
            len(rows),
            most,
            MARGIN,
            c.pointer_to(tokens),
            c.pointer_to(counts),
        )
        return [row[:count] for row, count in zip(tokens.tolist(), counts.tolist(), strict=True)]

    @torch.inference_mode()
    def check(
        self,
        rows: Sequence[int],
        tokens: Sequence[Sequence[int]],
        written: Sequence[Sequence[c.Written]],
        grammar: c.Grammar,
    ) -> list[list[tuple[int, float]]]:
        """Append tokens to rows; what is chosen after each of them, and its log-probability after the grammar."""
        logits = self._logits(self._append(rows, tokens))  # (M, V)
        chosen = self.choose(logits, [one for row in written for one in row], grammar)
        ends = list(accumulate(len(row) for row in tokens))
        return [chosen[end - len(row) : end] for row, end in zip(tokens, ends, strict=True)]

    def choose(self, logits: Tensor, written: Sequence[c.Written], grammar: c.Grammar) -> list[tuple[int, float]]:
        """What is chosen by logits (M, V), and its log-probability after the grammar."""
        n_rows, logits = len(written), logits.contiguous()
        states = (c.RowState * n_rows)(*(c.state_of(one) for one in written))
        tokens, logprobs = torch.empty(n_rows, dtype=torch.long), torch.empty(n_rows)
        c.library().auricle_choose(
            c.pointer_to(logits),
            n_rows,
            ctypes.addressof(self._decoder.table(grammar).rules),
            ctypes.addressof(states),
            c.pointer_to(tokens),
            c.pointer_to(logprobs),
        )
        if (tokens < 0).any():
            raise OptionError(
                "the options leave no token that may follow, or what the model computes are no numbers; allow more "
                "tokens"
            )
        return list(zip(tokens.tolist(), logprobs.tolist(), strict=True))

    def _logits(self, hidden: Tensor) -> Tensor:
        """What follows, by hidden states (M, D): float32 logits (M, V)."""
        return self._decoder.project(self._padded(hidden))[: len(hidden)].float()

    def _padded(self, x: Tensor) -> Tensor:
        """Rows (M, D) and, where shapes are to be few, rows of zeros."""
        rest = -len(x) % self._decoder.row_step
        return F.pad(x, (0, 0, 0, rest)) if rest else x

    def _append(self, rows: Sequence[int], tokens: Sequence[Sequence[int]]) -> Tensor:
        """Read tokens of some rows, in their order, in the engine's arithmetic: hidden states (M, D)."""
        row = [one for one, some in zip(rows, tokens, strict=True) for _ in some]
        position = [self._lengths[one] + at for one, some in zip(rows, tokens, strict=True) for at in range(len(some))]
        if max(position) >= self.max_length:
            raise OptionError(
                f"{max(position) + 1} tokens were given to a decoder with {self.max_length} positions; "
                "shorten the prompt, or lower the number of new tokens"
            )
        self._make_room(max(position) + 1)
        decoder = self._decoder
        flat = torch.tensor([token for some in tokens for token in some])  # (M,)
        places = torch.tensor(row), torch.tensor(position)
        first = torch.tensor([0, *accumulate(len(some) for some in tokens)])  # (rows + 1,)
        source = self._source[torch.tensor(list(rows))].contiguous()
        x = self._padded(decoder.tokens[flat] + decoder.positions[places[1]])  # (M, D), or more rows
        for index, layer in enumerate(decoder.layers):
            x = self._layer(x, layer, index, places, first, source)
        for one, some in zip(rows, tokens, strict=True):
            self._lengths[one] += len(some)
        return normalized(x[: len(flat)], decoder.norm)

    def _layer(
        self, x: Tensor, layer: Layer, index: int, places: tuple[Tensor, Tensor], first: Tensor, source: Tensor
    ) -> Tensor:
        decoder, library = self._decoder, c.library()
        heads, width = decoder.heads, decoder.width
        to_tokens, to_recording, to_network = layer.norms
        qkv = layer.qkv(x, norm=to_tokens).float()  # (M, 3 D)
        heard = torch.zeros_like(x)
        library.auricle_attend_tokens(
            c.pointer_to(qkv),
            *(c.pointer_to(one) for one in places),
            len(places[0]),
            self.n_rows,
            heads,
            width,
            self._room,
            c.pointer_to(self._cache[index]),
            c.pointer_to(heard),
        )
        x = layer.self_out(heard, residual=x)
        query = layer.cross_query(x, norm=to_recording).float()  # (M, D)
        heard = torch.zeros_like(x)
        self._recording.layers[index].attend(query, first, source, heard)
        x = layer.cross_out(heard, residual=x)
        return layer.fc2(layer.fc1(x, "gelu", norm=to_network), residual=x)

    def _make_room(self, n_positions: int) -> None:
        """Let the cache hold at least so many tokens of every row."""
        if n_positions <= self._room:
            return
        decoder = self._decoder
        room = min(max(n_positions + ROOM, 2 * self._room), max(self.max_length, n_positions))
        larger = [torch.empty(2, self.n_rows, decoder.heads, room, decoder.width) for _ in decoder.layers]
        for new, old in zip(larger, self._cache, strict=False):
            new[:, :, :, : self._room] = old
        self._cache, self._room = larger, room
