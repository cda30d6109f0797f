"""One surface, several ways to run a model; `reference.py` is the plain one and defines what is correct.

`ENGINES` is the whole registry, and no engine imports another.
"""

from __future__ import annotations

import importlib
import math
from typing import TYPE_CHECKING, Any, Protocol, cast

from auricle.errors import OptionError, TensorError, nearest

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from auricle.audio.features import Features

__all__ = ["ENGINES", "Engine", "Step", "TextStep", "make_engine", "resolve_device", "resolve_dtype"]

ENGINES: dict[str, str] = {
    "reference": "auricle.engines.reference:ReferenceEngine",
    "cpu": "auricle.engines.cpu:CpuEngine",
    "cuda": "auricle.engines.cuda:CudaEngine",
}
# What "auto" means on each kind of device; the reference engine runs on the others.
BEST: dict[str, str] = {"cpu": "cpu", "cuda": "cuda"}

# Names that `dtype` may have, beside torch's own objects and "auto".
DTYPES = ("float32", "bfloat16", "float16")


class Step(Protocol):
    """A decoder over a batch of recordings that remembers the tokens it has seen."""

    @property
    def n_rows(self) -> int:
        """Rows of the batch."""
        ...

    @property
    def length(self) -> int:
        """Tokens each row has seen."""
        ...

    @property
    def max_length(self) -> int:
        """Tokens a row can see at most."""
        ...

    @property
    def hidden(self) -> Tensor:
        """(B, S, D) what the model made of the tokens last appended, before its output layer, until `reorder`."""
        ...

    def advance(self, tokens: Tensor, n_last: int = 1) -> Tensor:
        """Append (B, S) tokens; (B, n_last, V) float32 logits after the last `n_last` of them."""
        ...

    def reorder(self, rows: Tensor) -> None:
        """Keep these rows, in this order; a row may be repeated or left out."""
        ...


class TextStep(Step, Protocol):
    """A step of a model that writes text: its rows may be longer and shorter, and come and go."""

    def keep(self, length: int) -> None:
        """Keep the first `length` tokens of every row, and forget the rest; only where no row has pads."""
        ...

    def fork(self, rows: Tensor) -> TextStep:
        """A step of its own that begins with copies of these rows."""
        ...

    def join(self, other: Any) -> None:
        """Take the rows of another step of this engine behind the own ones; the other one is not used any more."""
        ...


class Engine(Protocol):
    """Runs one model on one device in one arithmetic."""

    device: torch.device
    dtype: torch.dtype
    arithmetic: str  # of its matrix products: a dtype's name, or "int16"
    model: nn.Module

    def ctc(self, features: Features) -> tuple[Tensor, Tensor]:
        """CTC models: (B, T, V) float32 log-probabilities and (B,) valid frames, both on the CPU."""
        ...

    def classify(self, values: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Classifiers: (B, L) float32 logits of pixels, or of features with their lengths, on the CPU."""
        ...

    def encode(self, features: Features) -> tuple[Tensor, Tensor]:
        """Encoder states (B, T, D) and (B,) valid frames, on the engine's device."""
        ...

    def decoder(self, states: Tensor, lengths: Tensor, use_cache: bool = True) -> Step:
        """Start decoding what `encode` gave, one row for each of its rows.

        Without `use_cache` every token is computed from all before it: slow, and the same.
        """
        ...

    def text(self, n_pads: Tensor) -> TextStep:
        """Models that write text: begin texts, one row for each of `n_pads` (B,), after so many pads."""
        ...


def make_engine(
    model: nn.Module,
    *,
    device: str | int | torch.device = "cpu",
    dtype: str | torch.dtype = "float32",
    name: str = "auto",
) -> Engine:
    """Move `model` to a device and an arithmetic, in place, and return what runs it there.

    `name` is a key of `ENGINES`, or "auto" for the best one that exists for the device. A dtype of "auto" is the
    fastest arithmetic of that engine there whose text is that of float32; for the reference engine, float32.

    Raises:
        OptionError: for an engine, device or dtype that is unknown or absent from this machine.
        TensorError: for weights that are no numbers; those of a model that writes text are not looked at.
    """
    if name != "auto" and name not in ENGINES:
        raise OptionError(
            f"engine {name!r} does not exist{nearest(name, ENGINES)}; expected 'auto' or one of {', '.join(ENGINES)}"
        )
    place = resolve_device(device)
    if name == "auto":
        is_half = str(dtype).removeprefix("torch.") == "float16" and place.type == "cpu"  # nothing there multiplies it
        name = "reference" if is_half else BEST.get(place.type, "reference")
    module, _, attribute = ENGINES[name].partition(":")
    engine = getattr(importlib.import_module(module), attribute)
    # Kernels would make integers of NaN. aminmax is NaN where a number is, and many times as fast as isfinite. What
    # writes text lies in its file, gigabytes of it, and is not read for this.
    for tensor, weights in model.named_parameters() if getattr(model, "kind", None) != "causal" else ():
        if weights.numel() and not all(math.isfinite(float(one)) for one in weights.detach().aminmax()):
            raise TensorError(
                f"the weights {tensor} hold NaN or infinite numbers, and finite ones were expected: the checkpoint is "
                "damaged or its training went astray; take another one, or an earlier step of it"
            )
    chosen = None if dtype == "auto" and name != "reference" else resolve_dtype(dtype)
    return cast("Engine", engine(model, place, chosen))


def resolve_device(device: str | int | torch.device) -> torch.device:
    """The device that a name means.

    Names are "cpu", "cuda", "cuda:1", "mps", "auto" (the fastest here), or a GPU's index, -1 for the CPU.

    Raises:
        OptionError: if it is unknown, or this machine has none.
    """
    import torch

    present = _devices()
    if isinstance(device, int) and not isinstance(device, bool):
        wanted = "cpu" if device < 0 else f"cuda:{device}"
    else:
        wanted = str(device)
    if wanted == "auto":
        wanted = present[-1]
    kind, _, index = wanted.partition(":")
    counts = {"cpu": 1, "mps": 1, "cuda": torch.cuda.device_count()}
    known = kind in present and (not index or (index.isdecimal() and int(index) < counts[kind]))
    if not known:
        raise OptionError(
            f"device {device!r} is not available here; this machine has {', '.join(present)} "
            f"(torch {torch.__version__}): pass one of these, or 'auto'"
        )
    return torch.device(wanted)


def resolve_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """The arithmetic that a name means; "auto" is float32, which every device computes.

    Raises:
        OptionError: if it is not a floating-point type that models run in.
    """
    import torch

    name = "float32" if dtype == "auto" else str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise OptionError(
            f"dtype {dtype!r} is not one that models run in{nearest(name, DTYPES)}; "
            f"expected 'auto', {', '.join(DTYPES)} or the torch.dtype of that name"
        )
    return cast("torch.dtype", getattr(torch, name))


def _devices() -> list[str]:
    """The kinds of device here, the best one last."""
    import torch

    present = ["cpu"]
    if torch.backends.mps.is_available():
        present.append("mps")
    if torch.cuda.is_available():
        present.append("cuda")
    return present
