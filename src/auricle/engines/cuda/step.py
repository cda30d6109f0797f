"""Decoders with memory in a leased arena: prompts as the model is written, single tokens in fixed shapes.

Dimension key: B rows of the step, R rows of a fixed shape (B and what pads it), S new tokens, T frames, D width,
V vocabulary.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from auricle.engines.cuda.arena import Arena, Arenas, rows_with_padding, span_of
from auricle.engines.cuda.arithmetic import Arithmetic
from auricle.engines.cuda.cache import FixedCache, GrowingCache
from auricle.engines.cuda.families import Family, Layout, heard_by
from auricle.engines.cuda.graphs import Graphs
from auricle.errors import OptionError


@dataclass(frozen=True)
class Decoder:
    """What all steps of one engine share."""

    model: Any  # in the engine's arithmetic
    family: Family
    layout: Layout
    arithmetic: Arithmetic
    arenas: Arenas
    graphs: Graphs
    in_fixed_shapes: bool  # whether single tokens are read in fixed shapes, with graphs where there are any

    def logits(self, hidden: Tensor) -> Tensor:
        """What follows, by hidden states (B, S, D): float32 (B, S, V)."""
        return self.arithmetic.product(hidden, self.model.proj_out.weight)

    def single_token(self, arena: Arena, n_rows: int, n_frames: int, span: int) -> Callable[[], None]:
        """Read `arena.tokens` at `arena.position` and write `arena.hidden` and `arena.logits`, of the first rows.

        What is returned is kept by the arena, and so holds neither it nor what leads to it.
        """
        model, read_token, arithmetic = self.model, self.family.read_token, self.arithmetic
        cache = FixedCache(arena, n_rows, n_frames, span)
        tokens, position = arena.tokens[:n_rows], arena.position
        hidden, logits = arena.hidden[:n_rows], arena.logits[:n_rows]
        places = torch.arange(span, device=position.device)
        shape = (1, 1, 1, span)

        def read() -> None:
            with torch.inference_mode(), arithmetic.context():
                mask = torch.zeros(shape, dtype=arithmetic.dtype, device=position.device)
                mask.masked_fill_(places > position, -math.inf)
                hidden.copy_(read_token(model, tokens, position, cache, mask))  # (R, 1, D)
                logits.copy_(arithmetic.product(hidden, model.proj_out.weight))  # (R, 1, V)

        return read


class CachedStep:
    """The decoder of some rows, with the arena it leases until it dies."""

    def __init__(self, decoder: Decoder, states: Tensor, lengths: Tensor) -> None:
        self._decoder = decoder
        self._n_rows, self._n_frames = states.shape[0], self._padded(states.shape[1])
        self._length = 0
        self._hidden: Tensor | None = None
        # Which row of the batch first given each row now hears.
        self._source = torch.arange(self._n_rows)
        self._lease(self._n_rows)
        with decoder.arithmetic.context():
            states = states.to(decoder.arithmetic.dtype)  # once, not in every layer
            for layer in range(decoder.layout.n_layers):
                self._arena.hear(layer, *heard_by(decoder.model, layer, states))
        self._arena.hide(lengths.to(states.device))

    @property
    def n_rows(self) -> int:
        """Rows of the batch."""
        return self._n_rows

    @property
    def length(self) -> int:
        """Tokens each row has seen."""
        return self._length

    @property
    def max_length(self) -> int:
        """Tokens a row can see at most."""
        return self._decoder.layout.n_positions

    @property
    def hidden(self) -> Tensor:
        """(B, S, D) what the model made of the tokens last appended, before its output layer, until `reorder`."""
        assert self._hidden is not None, "read after advance and before reorder"
        return self._hidden.clone()  # the next token is written to the same place

    @torch.inference_mode()
    def advance(self, tokens: Tensor, n_last: int = 1) -> Tensor:
        """Append (B, S) tokens; (B, n_last, V) float32 logits after the last `n_last` of them.

        Raises:
            OptionError: if the tokens run past `max_length`.
        """
        n_new = tokens.shape[1]
        if self._length + n_new > self.max_length:
            raise OptionError(
                f"{self._length + n_new} tokens were given to a decoder with {self.max_length} positions; "
                "shorten the prompt, or lower the number of new tokens"
            )
        if n_new == 1 and self._decoder.in_fixed_shapes:
            logits = self._read_one(tokens)
        else:
            logits = self._read(tokens, n_last)
        self._length += n_new
        return logits

    @torch.inference_mode()
    def reorder(self, rows: Tensor) -> None:
        """Keep these rows, in this order; a row may be repeated or left out.

        Places among the beams of a recording change at every token: what they hear is large and stays.
        """
        self._hidden = None
        chosen = rows.cpu()
        source = self._source[chosen]
        if torch.equal(chosen, torch.arange(self._n_rows)):
            return
        hears_other = not torch.equal(source, self._source)
        before = self._arena
        if len(chosen) > before.n_rows:
            give_back = self._lease(len(chosen))
            hears_other = True
        else:
            give_back = None
        self._arena.move_rows(before, rows.to(before.text.device), self._length, hears_other)
        if give_back is not None:
            give_back()
        self._n_rows, self._source = len(chosen), source

    def _read(self, tokens: Tensor, n_last: int) -> Tensor:
        """As the model's own decoder is written."""
        cache = GrowingCache(self._arena, self._n_rows, self._n_frames, self._length)
        self._hidden = hidden = self._decoder.model.hidden_states(tokens.to(self._arena.text.device), cache)
        return self._decoder.logits(hidden[:, -n_last:])

    def _read_one(self, tokens: Tensor) -> Tensor:
        """In fixed shapes: the rows that pad them read token 0 and are not looked at."""
        arena, n_rows = self._arena, self._n_rows
        arena.tokens.zero_()
        arena.tokens[:n_rows].copy_(tokens)
        arena.position.fill_(self._length)
        key = (rows_with_padding(n_rows), span_of(self._length + 1, self.max_length), self._n_frames)
        if key not in arena.graphs:
            rows, span, n_frames = key
            arena.graphs[key] = self._decoder.graphs.prepare(self._decoder.single_token(arena, rows, n_frames, span))
        arena.graphs[key]()
        self._hidden = arena.hidden[:n_rows]
        return arena.logits[:n_rows].clone()

    def _padded(self, n_frames: int) -> int:
        step = self._decoder.layout.frame_step
        return -(-n_frames // step) * step

    def _lease(self, n_rows: int) -> Callable[[], None] | None:
        """Take an arena; what gives the one before it back, once it is no longer read."""
        before = getattr(self, "_give_back", None)
        self._arena = self._decoder.arenas.take(n_rows, self._n_frames)
        self._give_back = weakref.finalize(self, self._decoder.arenas.give_back, self._arena)
        self._give_back.atexit = False
        return before
