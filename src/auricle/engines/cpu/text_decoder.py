"""Decoders of text on the CPU: Llama and its relatives in native code, with 8-bit weights and 16-bit keys and values.

A weight has 8 bits and a row of weights a scale; what is multiplied by them has 16 bits and a scale for each token.
Sums are exact integers, so that a text does not depend on its neighbours, nor on the parts that it is read in.

Dimension key: `B` rows, `S` tokens of each row, `M` tokens of a pass over all rows, `L` layers, `G` groups of keys and
values, `P` tokens of room, `K` width of a head, `D` width, `F` width of the feed-forward part, `V` vocabulary.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from auricle.engines.cpu import text_library as c
from auricle.engines.cpu.draft_library import Int8Weights, int8_of, int8_room, pointer_to
from auricle.engines.cpu.memory import Block, large
from auricle.errors import OptionError
from auricle.models.gemma import Gemma2
from auricle.models.llama import Llama
from auricle.models.rotary import angles, frequencies

ACTIVATIONS = {"gelu": 2, "gelu_new": 3, "gelu_fast": 3, "gelu_pytorch_tanh": 3, "silu": 4, "swish": 4}  # activations.h
UNIT = 32  # text_decoder.cpp: outputs come in multiples of this
GATES = 16  # outputs of the gate that lie side by side, before as many of what it lets through
PLACES = 16  # text_attention.h: keys lie in blocks of so many tokens
ROOM = 256  # tokens of room that a full row gains
TOKENS = 64  # read at once: as many as the caches hold beside the weights that pass by


def can_run(model: nn.Module) -> bool:
    """Whether the native code has what a model computes, in widths that it divides evenly."""
    if not isinstance(model, Llama):
        return False
    config = model.config
    widths = (config.hidden_size, config.intermediate_size, config.num_attention_heads * config.head_width)
    function = getattr(config, "function", config.hidden_act)
    fits = all(width % UNIT == 0 for width in widths) and config.head_width % 16 == 0
    return fits and config.n_groups * config.head_width % 16 == 0 and function in ACTIVATIONS


class TextDecoder:
    """A checkpoint's decoder, ready to run; shared by all its steps. The model is consumed: its weights are freed."""

    def __init__(self, model: Any) -> None:
        config, decoder = model.config, model.model
        self.n_layers, self.groups, self.width = config.num_hidden_layers, config.n_groups, config.head_width
        self.d, self.vocabulary, self.max_length = config.hidden_size, config.vocab_size, model.max_positions
        self._is_gemma = isinstance(model, Gemma2)
        self._keep: list[Tensor] = []
        self._turns: dict[Any, Tensor] = {}
        self.embedding = decoder.embed_tokens.weight.detach()  # (V, D) as it was stored
        self.growth = config.hidden_size**0.5 if self._is_gemma else 1.0
        matrices = [one.weight for one in decoder.layers.modules() if isinstance(one, nn.Linear)]
        self._block = Block(int8_room([*matrices, model.lm_head.weight]))
        logits = int8_of(model.lm_head.weight, None, self._keep, self._block)
        self._layers = (c.TextLayer * self.n_layers)(
            *(self._layer(config, number, layer) for number, layer in enumerate(decoder.layers))
        )
        query_scale = config.query_pre_attn_scalar if self._is_gemma else config.head_width
        self.model = c.TextModel(
            self.n_layers,
            config.num_attention_heads,
            self.groups,
            self.width,
            self.d,
            config.intermediate_size,
            self.vocabulary,
            config.rms_norm_eps,
            query_scale**-0.5,
            getattr(config, "attn_logit_softcapping", None) or 0.0,
            getattr(config, "final_logit_softcapping", None) or 0.0,
            ACTIVATIONS[getattr(config, "function", config.hidden_act)],
            ctypes.addressof(self._layers),
            self._norm(decoder.norm),
            logits,
        )
        if not config.tie_word_embeddings:
            _free(model.lm_head)

    def embed(self, tokens: Tensor) -> Tensor:
        """What the first layer reads of tokens (M,): (M, D) float32."""
        # Gemma grows them in the type of its weights, which rounds the root.
        growth = torch.tensor(self.growth, dtype=self.embedding.dtype)
        found = self.embedding[tokens]
        return (found * growth if self._is_gemma else found).float().contiguous()

    def _layer(self, config: Any, number: int, layer: Any) -> c.TextLayer:
        attention, forward = layer.self_attn, layer.mlp
        if self._is_gemma:
            norms = [layer.input_layernorm, layer.post_attention_layernorm]
            norms += [layer.pre_feedforward_layernorm, layer.post_feedforward_layernorm]
        else:
            norms = [layer.input_layernorm, None, layer.post_attention_layernorm, None]
        norms += [getattr(attention, "q_norm", None), getattr(attention, "k_norm", None)]
        made = c.TextLayer(
            *(None if norm is None else self._norm(norm) for norm in norms),
            self._rotation(config, number) if attention.has_positions else None,
            config.window(number) or 0,
            self._product(attention.q_proj, attention.k_proj, attention.v_proj),
            self._product(attention.o_proj),
            self._gates(forward.gate_proj, forward.up_proj),
            self._product(forward.down_proj),
        )
        for module in layer.modules():
            if isinstance(module, nn.Linear):
                _free(module)
        return made

    def _product(self, *linears: Any) -> Int8Weights:
        weight = torch.cat([one.weight.detach().float() for one in linears])
        has_bias = any(one.bias is not None for one in linears)
        parts = [torch.zeros(one.out_features) if one.bias is None else one.bias.detach().float() for one in linears]
        return int8_of(weight, torch.cat(parts) if has_bias else None, self._keep, self._block)

    def _gates(self, gate: Any, up: Any) -> Int8Weights:
        """Weights (2 F, D), blocks of the gate's outputs and of the others in turn."""

        def woven(first: Tensor, second: Tensor) -> Tensor:
            blocks = [one.detach().float().unflatten(0, (-1, GATES)) for one in (first, second)]
            return torch.stack(blocks, 1).flatten(0, 2)

        bias = None if gate.bias is None else woven(gate.bias, up.bias)
        return int8_of(woven(gate.weight, up.weight), bias, self._keep, self._block)

    def _norm(self, module: Any) -> int:
        weight = module.weight.detach().float() + float(self._is_gemma)
        self._keep.append(weight.contiguous())
        return pointer_to(self._keep[-1])

    def _rotation(self, config: Any, number: int) -> int:
        """Cosines and sines of all positions (P, 2, K / 2); layers that rotate alike share them."""
        rotation = config.rotation_of(config.kind_of(number)) if self._is_gemma else config.rotation
        if rotation not in self._turns:
            turns = frequencies(self.width, *rotation)
            cosines, sines = angles(torch.arange(self.max_length), turns)  # (1, P, K)
            half = self.width // 2
            self._turns[rotation] = torch.stack([cosines[0, :, :half], sines[0, :, :half]], 1).contiguous()
        return pointer_to(self._turns[rotation])


class _Row:
    """One row's keys (L, G, P / 16, K, 16) and values (L, G, P, K) in 16-bit floats, and how many tokens they hold."""

    def __init__(self, decoder: TextDecoder) -> None:
        self._decoder = decoder
        self.length = self.room = 0
        self.keys = self.values = torch.zeros(0, dtype=torch.float16)

    def make_room(self, length: int) -> None:
        """Have room for so many tokens."""
        if length <= self.room:
            return
        room = -(-max(length, self.room + self.room // 2) // ROOM) * ROOM
        self._move(room)

    def copy(self) -> _Row:
        """A row of its own that holds the same."""
        other = _Row(self._decoder)
        other.keys, other.values, other.room, other.length = self.keys, self.values, self.room, self.length
        other._move(self.room)
        return other

    def _move(self, room: int) -> None:
        one, n_blocks = self._decoder, -(-self.length // PLACES)
        keys = large([one.n_layers, one.groups, room // PLACES, one.width, PLACES], torch.float16)
        values = large([one.n_layers, one.groups, room, one.width], torch.float16)
        if self.length:
            keys[:, :, :n_blocks] = self.keys[:, :, :n_blocks]
            values[:, :, : self.length] = self.values[:, :, : self.length]
        self.keys, self.values, self.room = keys, values, room


class NativeTextStep:
    """Rows of any lengths; pads are never read."""

    def __init__(self, decoder: TextDecoder, n_pads: Tensor) -> None:
        self._decoder = decoder
        self._pads = n_pads.tolist()  # of each row, those that are still to come
        self._rows = [_Row(decoder) for _ in self._pads]
        self._hidden: Tensor | None = None

    @property
    def n_rows(self) -> int:
        """Rows of the batch."""
        return len(self._rows)

    @property
    def length(self) -> int:
        """Tokens that the longest row has seen."""
        return max((row.length for row in self._rows), default=0)

    @property
    def max_length(self) -> int:
        """Tokens a row can see at most."""
        return int(self._decoder.max_length)

    @property
    def hidden(self) -> Tensor:
        """(B, S, D) what the model made of the tokens last appended, before its output layer, until `reorder`."""
        assert self._hidden is not None, "read after advance and before reorder"
        return self._hidden

    @torch.inference_mode()
    def advance(self, tokens: Tensor, n_last: int = 1) -> Tensor:
        """Append (B, S) tokens; (B, n_last, V) float32 logits after the last `n_last` of them.

        Raises:
            OptionError: if a row runs past `max_length`.
        """
        B, S = tokens.shape
        self._hidden = torch.zeros(B, S, self._decoder.d)
        logits = torch.zeros(B, n_last, self._decoder.vocabulary)
        places: list[tuple[int, int]] = []  # row and column of each token that is no pad
        for number, row in enumerate(self._rows):
            n_pads = min(self._pads[number], S)
            self._pads[number] -= n_pads
            n_tokens = row.length + S - n_pads
            if n_tokens > self.max_length:
                raise OptionError(
                    f"{n_tokens} tokens were given to a decoder with {self.max_length} positions; shorten the prompt, "
                    "or lower the number of new tokens"
                )
            row.make_room(n_tokens)
            places += [(number, column) for column in range(n_pads, S)]
        for begin in range(0, len(places), TOKENS):
            self._read(tokens, places[begin : begin + TOKENS], logits)
        return logits

    @torch.inference_mode()
    def reorder(self, rows: Tensor) -> None:
        """Keep these rows, in this order; a row may be repeated or left out."""
        self._hidden = None
        chosen = rows.tolist()
        self._rows = self._picked(chosen, copies_all=False)
        self._pads = [self._pads[number] for number in chosen]

    def keep(self, length: int) -> None:
        """Keep the first `length` tokens of every row, and forget the rest."""
        self._hidden = None
        for row in self._rows:
            row.length = min(length, row.length)

    @torch.inference_mode()
    def fork(self, rows: Tensor) -> NativeTextStep:
        """A step of its own that begins with copies of these rows."""
        chosen = rows.tolist()
        other = NativeTextStep(self._decoder, torch.tensor([self._pads[number] for number in chosen]))
        other._rows = self._picked(chosen, copies_all=True)
        return other

    def join(self, other: NativeTextStep) -> None:
        """Take the rows of another step behind the own ones; the other one is not used any more."""
        self._hidden = None
        self._rows += other._rows
        self._pads += other._pads

    def _picked(self, chosen: Sequence[int], copies_all: bool) -> list[_Row]:
        """These rows; one that is taken again is a copy."""
        taken: set[int] = set()
        found: list[_Row] = []
        for number in chosen:
            found.append(self._rows[number].copy() if copies_all or number in taken else self._rows[number])
            taken.add(number)
        return found

    def _read(self, tokens: Tensor, places: Sequence[tuple[int, int]], logits: Tensor) -> None:
        """Read tokens at these rows and columns, and write the states and logits that are wanted."""
        decoder, (_, S) = self._decoder, tokens.shape
        n_last = logits.shape[1]
        given = (c.TextToken * len(places))()
        for at, (number, _) in enumerate(places):
            row = self._rows[number]
            given[at] = c.TextToken(pointer_to(row.keys), pointer_to(row.values), row.room, row.length)
            row.length += 1
        rows, columns = torch.tensor(places).T
        x = decoder.embed(tokens.cpu()[rows, columns])  # (M, D)
        wanted = (columns >= S - n_last).nonzero()[:, 0].contiguous()
        hidden, found = torch.empty_like(x), torch.empty(len(wanted), decoder.vocabulary)
        c.library().auricle_read_text(
            ctypes.byref(decoder.model),
            ctypes.byref(given),
            len(places),
            pointer_to(x),
            pointer_to(wanted),
            len(wanted),
            pointer_to(hidden),
            pointer_to(found),
            torch.get_num_threads(),
        )
        assert self._hidden is not None, "made by advance"
        self._hidden[rows, columns] = hidden
        logits[rows[wanted], columns[wanted] - (S - n_last)] = found


def _free(module: nn.Linear) -> None:
    """Let go of weights that live on in 8 bits."""
    module.weight = nn.Parameter(torch.empty(0), requires_grad=False)
