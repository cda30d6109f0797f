"""A Whisper decoder as it is trained: over few tokens, with dropout, told by some heads where it should listen.

Dimension key: B windows, T encoder frames, S tokens, D width, H supervised heads, V numbers of a vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.models.layers import Cache
from auricle.models.whisper import Decoder, Whisper, WhisperConfig, sinusoids
from auricle.text.tokenizer import N_TIMESTAMPS
from auricle.training.precision import fast_dtype
from auricle.training.whisper_batches import Batch, span_shares
from auricle.training.whisper_targets import Vocabulary

# (layer, head) pairs, first heads of a layer, one kind a layer, that listen to the token they predict: those that word
# times are read from.
NEXT_HEADS = ((1, 0), (1, 1), (2, 0), (2, 1))
# Those that listen to the token they read, from which the upper ones find what comes next.
LAST_HEADS = ((0, 0), (0, 1))
TIME_SPREAD = (0.05, 0.2, 0.5, 0.2, 0.05)  # what a timestamp and its neighbours get of a target


@dataclass(frozen=True)
class LossOptions:
    """How the loss is made up."""

    smoothing: float = 0.1
    dropout: float = 0.1
    attention: float = 0.3  # weight of the supervised heads


class Listening(torch.autograd.Function):
    """softmax(q xᵀ) x for bfloat16 queries (B, N, D) and states (B, T, D), and the first scores.

    Given both layouts of the states, since a product with a transposed factor takes two to three times as long (torch
    2.13.0, AMX), and without a gradient for them.
    """

    @staticmethod
    def forward(ctx: Any, queries: Tensor, states: Tensor, turned: Tensor, n_scores: int) -> tuple[Tensor, Tensor]:
        """What is heard (B, N, D), and the scores of the first `n_scores` queries (B, n_scores, T)."""
        scores = queries.to(states.dtype) @ turned  # (B, N, T)
        shares = scores.softmax(-1)
        ctx.save_for_backward(shares, states, turned)
        return shares @ states, scores[:, :n_scores].clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Of the queries alone."""
        heard, scores = gradients
        shares, states, turned = ctx.saved_tensors
        wanted = heard.to(states.dtype) @ turned  # (B, N, T)
        wanted = torch.ops.aten._softmax_backward_data(wanted, shares, -1, shares.dtype)
        wanted[:, : scores.shape[1]] += scores
        return wanted @ states, None, None, None


class Student(nn.Module):
    """The decoder's own weights, and an embedding of a vocabulary's numbers in place of all tokens.

    Timestamps are a linear map of the sinusoids of their time, so that rare ones are learnt from their neighbours.
    """

    def __init__(self, config: WhisperConfig, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.config = config
        self.n_free, self.n_times = vocabulary.n_free, N_TIMESTAMPS
        self.n_unseen = config.vocab_size - len(vocabulary.ids)
        decoder = Decoder(config)
        self.layers, self.layer_norm = decoder.layers, decoder.layer_norm
        self.positions = nn.Parameter(torch.randn(config.max_target_positions, config.d_model) * 0.01)
        self.rows = nn.Parameter(torch.randn(vocabulary.n_free + 1, config.d_model) * 0.02)  # the last: unseen
        self.time_map = nn.Parameter(torch.randn(config.d_model, config.d_model) * 0.02)
        waves = sinusoids(N_TIMESTAMPS, config.d_model)
        self.register_buffer("waves", waves / waves.norm(dim=1, keepdim=True), persistent=False)
        for name, parameter in self.layers.named_parameters():
            if parameter.dim() == 2:
                scale = 0.5 if name.endswith(("out_proj.weight", "fc2.weight")) else 1.0
                nn.init.normal_(parameter, std=scale * parameter.shape[1] ** -0.5)

    def table(self) -> Tensor:
        """The embedding of every number, (V, D)."""
        assert isinstance(self.waves, Tensor)
        return torch.cat([self.rows[: self.n_free], self.waves @ self.time_map, self.rows[self.n_free :]])

    def forward(self, batch: Batch, options: LossOptions) -> tuple[Tensor, Tensor, Tensor]:
        """Scores (B, S, V) of what follows, the embedding (V, D), and the supervised heads' mean loss."""
        # Outside of autocast everything is in one type.
        table = self.table()
        states = batch.states.to(fast_dtype() if torch.is_autocast_enabled("cpu") else torch.float32)
        turned = states.transpose(1, 2).contiguous()  # (B, D, T)
        x = F.embedding(batch.inputs, table) + self.positions[: batch.inputs.shape[1]]  # (B, S, D)
        x = self._drop(x, options.dropout)
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
        shares = span_shares(batch.spans)  # (B, S, T)
        listened = torch.zeros(())
        for index, layer in enumerate(self.layers):
            y = layer.self_attn_layer_norm(x)
            x = x + self._drop(layer.self_attn(y, *layer.self_attn.keys_values(y), mask), options.dropout)
            brought, scores = self._listen(index, layer.encoder_attn_layer_norm(x), states, turned)
            if options.attention:
                listened = listened + self._attention_loss(index, scores, shares)
            x = x + self._drop(brought, options.dropout)
            y = layer.fc1(layer.final_layer_norm(x))
            x = x + self._drop(layer.fc2(layer.activation(y)), options.dropout)
        return F.linear(self.layer_norm(x), table), table, listened / len(NEXT_HEADS + LAST_HEADS)

    def _listen(self, index: int, y: Tensor, heard: Tensor, turned: Tensor) -> tuple[Tensor, Tensor]:
        """Attention to the recording: what (B, S, D) it brings, and the supervised heads' scores (B, H, S, T).

        The projections of keys and values are applied to the few tokens instead of the many frames, which is the same
        by associativity: keys have no bias, and that of the values passes through weights that sum to one.
        """
        attention = self.layers[index].encoder_attn
        n_heads, (_, n_tokens, width) = attention.n_heads, y.shape
        queries = attention.q_proj(y).unflatten(2, (n_heads, -1)) * (width // n_heads) ** -0.5  # (B, S, H, K)
        to_keys = attention.k_proj.weight.unflatten(0, (n_heads, -1))  # (H, K, D)
        queries = torch.einsum("bshk,hkd->bhsd", queries, to_keys).flatten(1, 2)  # (B, H S, D)
        chosen = sum(layer == index for layer, _ in NEXT_HEADS + LAST_HEADS) * n_tokens
        found, scores = Listening.apply(queries, heard, turned, chosen)
        found = found.unflatten(1, (n_heads, n_tokens))  # (B, H, S, D)
        to_values = attention.v_proj.weight.unflatten(0, (n_heads, -1))  # (H, K, D)
        brought = torch.einsum("bhsd,hkd->bshk", found, to_values).flatten(2) + attention.v_proj.bias  # (B, S, D)
        return attention.out_proj(brought), scores.unflatten(1, (-1, n_tokens))

    def _attention_loss(self, index: int, scores: Tensor, shares: Tensor) -> Tensor:
        """Mean cross-entropy of a layer's supervised heads with even attention to a token's span, summed over them."""
        heads = [pair for pair in NEXT_HEADS + LAST_HEADS if pair[0] == index]
        if not heads:
            return torch.zeros(())
        if heads[0] in LAST_HEADS:  # what a row reads was predicted one row before
            shares = F.pad(shares, (0, 0, 1, 0))[:, :-1]
        told = scores.float()  # (B, H, S, T)
        counted = shares.any(-1)[:, None]  # (B, 1, S)
        missed = told.logsumexp(-1) - (told * shares[:, None]).sum(-1)  # (B, H, S)
        return (missed * counted).sum() / counted.sum().clamp(min=1)

    def _drop(self, x: Tensor, share: float) -> Tensor:
        return F.dropout(x, share, self.training) if share else x

    def into(self, model: Whisper, vocabulary: Vocabulary) -> None:
        """Lay the weights into a whole network; tokens that were never trained all get the row of `unseen`."""
        decoder, table = model.model.decoder, self.table().detach()
        tokens = table[-1].repeat(self.config.vocab_size, 1)
        tokens[vocabulary.ids] = table[:-1]
        state = {f"layers.{name}": value for name, value in self.layers.state_dict().items()}
        state |= {f"layer_norm.{name}": value for name, value in self.layer_norm.state_dict().items()}
        state |= {"embed_positions.weight": self.positions.detach(), "embed_tokens.weight": tokens}
        decoder.load_state_dict(state)


def student_loss(student: Student, batch: Batch, options: LossOptions) -> tuple[Tensor, dict[str, float]]:
    """The loss of a batch, and its parts in nats: text and times, and the supervised heads."""
    with torch.autocast("cpu", torch.bfloat16, enabled=fast_dtype() == torch.bfloat16):
        scores, _, listened = student(batch, options)
    counted = batch.weights > 0
    scores, wanted, weights = scores[counted].float(), batch.outputs[counted], batch.weights[counted]  # (N, V), (N,)
    # The last column stands for every token never seen, of which each scores the same.
    offset = torch.zeros(scores.shape[1])
    offset[-1] = math.log(max(1, student.n_unseen))
    log_probs = (scores + offset).log_softmax(-1)
    exact = -log_probs.gather(1, wanted[:, None])[:, 0]
    first, last = student.n_free, student.n_free + student.n_times - 1
    is_time = wanted >= first
    if is_time.any():
        around = wanted[is_time, None] + torch.arange(-2, 3)
        spread = log_probs[is_time].gather(1, around.clamp(first, last)) @ torch.tensor(TIME_SPREAD)
        exact = exact.masked_scatter(is_time, -spread)
    smooth = -log_probs[:, :-1].mean(1)
    written = ((1 - options.smoothing) * exact + options.smoothing * smooth) * weights
    total = written.sum() / weights.sum()
    right = float((log_probs.argmax(1) == wanted)[~is_time].float().mean())
    parts = {
        "text": float(exact[~is_time].detach().mean()),
        "times": float(exact[is_time].detach().mean()) if is_time.any() else 0.0,
        "right": right,
        "attention": float(listened.detach()),
    }
    return total + options.attention * listened, parts


def write_greedily(model: Whisper, states: Tensor, prompt: list[int], eos: int, n_most: int) -> list[list[int]]:
    """The most probable tokens behind a prompt, for each row of (B, T, D) states, up to `eos`."""
    with torch.inference_mode():
        lengths = torch.full((len(states),), states.shape[1])
        cache: Cache = model.new_cache(states, lengths)
        tokens = torch.tensor([prompt] * len(states))
        found: list[list[int]] = [[] for _ in range(len(states))]
        ended = [False] * len(states)
        for _ in range(n_most):
            tokens = model.decode(tokens, cache)[:, -1].argmax(-1, keepdim=True)  # (B, 1)
            for row, token in enumerate(tokens[:, 0].tolist()):
                ended[row] = ended[row] or token == eos
                if not ended[row]:
                    found[row].append(token)
            if all(ended):
                break
    return found
