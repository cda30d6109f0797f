"""In which arithmetic a model computes: products in half precision, everything between them in float32.

With all of the real whisper-base encoder in bfloat16 its states have a relative error of 0.026 and a smallest cosine of
0.877; with only the products in bfloat16, and the residual stream and the norms in float32, 0.010 and 0.991 (in float16
0.0014 and 0.9995, with overflow to guard against). So:

- Weights of linear layers and convolutions are stored in half precision, once; norms and positions in float32.
- Autocast rounds what goes into products, attention included; what it adds up is float32 on the tensor cores.
- A layer's output joins a float32 residual stream by type promotion; where a stream begins, it is made float32.

Autocast rather than replaced modules: models also multiply by a weight without calling its module.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn

from auricle.models import moonshine, parakeet, speech_encoder, whisper

PRODUCTS = (nn.Linear, nn.Conv1d, nn.Conv2d)

# Modules whose output begins a residual stream. Whisper's encoder begins by adding float32 positions.
STREAM_STARTS = (nn.Embedding, parakeet.Subsampling, speech_encoder.FeatureProjection)

# Norms that only products read: rounded once, not again by every product.
ROUNDED_NORMS: dict[type[nn.Module], tuple[str, ...]] = {
    whisper.EncoderLayer: ("self_attn_layer_norm", "final_layer_norm"),
    whisper.DecoderLayer: ("self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm"),
    moonshine.EncoderLayer: ("input_layernorm", "post_attention_layernorm"),
    moonshine.DecoderLayer: ("input_layernorm", "post_attention_layernorm", "final_layernorm"),
    parakeet.ConformerBlock: ("norm_feed_forward1", "norm_self_att", "norm_conv", "norm_feed_forward2"),
}

# The methods of a model that compute within autocast. `cross_attention`, of which word times are made, does not:
# it asks for scores in float32, which autocast would round. Its linear layers round what they are given.
ENTRANCES = frozenset({"forward", "encode", "decode", "new_cache", "hidden_states", "logits"})


class Arithmetic:
    """One arithmetic on one device: "float32" as written, or half-precision products."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device = device
        self.dtype = dtype
        self.is_exact = dtype == torch.float32

    def context(self) -> AbstractContextManager[Any]:
        """Within it, torch computes in this arithmetic.

        Exact float32 turns TensorFloat-32 off for the whole process, and leaves it off: to restore it would
        change the arithmetic of a thread that is computing.
        """
        if not self.is_exact:
            # Weights are stored rounded: a cache of rounded ones would only be a second copy.
            return torch.autocast(self.device.type, self.dtype, cache_enabled=False)
        if self.device.type == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = False
            torch.backends.cudnn.allow_tf32 = False
        return nullcontext()

    def adopt(self, model: nn.Module) -> InArithmetic:
        """Move a model's weights here, in place, and give it to whoever calls it in this arithmetic."""
        model.eval()
        self._move(model)
        if not self.is_exact:
            _keep_streams(model)
        return InArithmetic(model, self)

    def product(self, x: Tensor, weight: Tensor) -> Tensor:
        """Rows of `x` (B, S, D) times a matrix (V, D), in float32 (B, S, V).

        Rounded to bfloat16, logits of 20 lie 0.125 apart, and the first of several equal ones would win.
        """
        if self.is_exact or x.device.type != "cuda" or "dtype" not in torch.ops.aten.mm.overloads():
            with self.context():
                return nn.functional.linear(x, weight).float()
        rows = x.flatten(0, 1).to(self.dtype)
        return torch.mm(rows, weight.t(), out_dtype=torch.float32).unflatten(0, x.shape[:2])

    @torch.no_grad()
    def _move(self, model: nn.Module) -> None:
        products = [module for module in model.modules() if isinstance(module, PRODUCTS)]
        # By identity: a matrix that is tied to an embedding has two names and is one copy.
        rounded = {id(one) for module in products for one in module.parameters(recurse=False)}
        for parameter in model.parameters():
            parameter.data = parameter.data.to(self.device, self.dtype if id(parameter) in rounded else torch.float32)
        for module in model.modules():
            for name, buffer in module.named_buffers(recurse=False):
                kind = torch.float32 if buffer.is_floating_point() else buffer.dtype
                setattr(module, name, buffer.to(self.device, kind))


class InArithmetic:
    """A model whose methods in `ENTRANCES` compute in an engine's arithmetic; all else is its own."""

    def __init__(self, model: nn.Module, arithmetic: Arithmetic) -> None:
        self._model = model
        self._arithmetic = arithmetic

    def __getattr__(self, name: str) -> Any:
        if name in ("_model", "_arithmetic"):  # not set yet: while it is copied
            raise AttributeError(name)
        value = getattr(self._model, name)
        return self._within(value) if name in ENTRANCES else value

    def __call__(self, *args: Any) -> Any:
        """The model's `forward`."""
        return self._within(self._model)(*args)

    def _within(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            with self._arithmetic.context():
                return method(*args, **kwargs)

        return call


def _keep_streams(model: nn.Module) -> None:
    """Where a residual stream begins it becomes float32, and norms before products round once.

    Only within autocast, so that another engine may have the model later. Products round what they are given
    without it, too.
    """
    for module in model.modules():
        if isinstance(module, PRODUCTS):
            module.register_forward_pre_hook(_narrow)
        if isinstance(module, STREAM_STARTS):
            module.register_forward_hook(_widen)
        if isinstance(module, moonshine.Encoder):
            module.conv3.register_forward_hook(_widen)
        if isinstance(module, nn.Linear):
            module.register_forward_hook(_bound)
        for name in ROUNDED_NORMS.get(type(module), ()):
            module.get_submodule(name).register_forward_hook(_round)


def _narrow(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (inputs[0].to(cast("Tensor", module.weight).dtype), *inputs[1:])


def _widen(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    return output.float() if torch.is_autocast_enabled(output.device.type) else output


def _round(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    kind = output.device.type
    return output.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else output


def _bound(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    """Keep what overflowed in float16 at its largest numbers: one infinity would lose the whole window."""
    if output.dtype != torch.float16 or not torch.is_autocast_enabled(output.device.type):
        return output
    most = torch.finfo(torch.float16).max
    return output.clamp(-most, most)


def fastest_dtype(device: torch.device) -> torch.dtype:
    """The arithmetic that a device computes fastest with the accuracy of the half-precision ones."""
    if device.type != "cuda":
        return torch.float32
    # Before compute capability 8 bfloat16 is emulated; before 7 no half precision is fast.
    major, _ = torch.cuda.get_device_capability(device)
    return torch.bfloat16 if major >= 8 else torch.float16 if major == 7 else torch.float32
