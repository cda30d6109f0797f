"""A device that computes on the CPU and is another one: what mixes the two fails, as on a GPU.

torch lets a backend be written in Python. A tensor of this one holds a tensor of the CPU and says that it lies
elsewhere; an operation runs on what its tensors hold, and refuses those of two places, as torch does for GPUs: only
numbers without dimensions may come from the CPU. All is in inference mode; there is no autocast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from auricle import engines
from auricle.engines.cuda import arithmetic

NAME = "elsewhere"
_setup_privateuseone_for_python_backend(NAME)
DEVICE = torch.device(f"{NAME}:0")
aten = torch.ops.aten
# Operations that bring numbers from one place to another.
MOVES = {aten.copy_.default, aten._to_copy.default, aten.to.device, aten.to.dtype_layout, aten.to.other}
# Of these the places may come from the CPU, as they may for a GPU.
INDEXED = {aten.index.Tensor, aten.index_put_.default, aten._index_put_impl_.default}


class Elsewhere(Tensor):
    """A tensor of the CPU that says that it lies on `DEVICE`."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Elsewhere:
        made: Any = Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
        )
        made.held = held
        return cast(Elsewhere, made)

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        """The numbers, and where."""
        return f"Elsewhere({self.held!r})"

    def tolist(self) -> Any:
        """The numbers; torch has no way for classes like this one."""
        return self.held.tolist()

    def numpy(self, **_: Any) -> Any:
        """Refuse, as tensors of a GPU do."""
        raise TypeError(f"{DEVICE} holds this tensor; .cpu() brings it here")

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run an operation that was given such a tensor."""
        return _run(function, args, kwargs or {})


class _Everything(TorchDispatchMode):
    """Sees operations without tensors, too, which make them."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})


class _Written(TorchFunctionMode):
    """Makes tensors of Python's numbers here and sends them: torch makes those beyond an operation's sight."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = dict(kwargs or {})
        if function in (Tensor.__getitem__, Tensor.__setitem__):
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            index = tuple(torch.tensor(one) if isinstance(one, list) else one for one in index)
            return function(args[0], index, *args[2:])
        if function not in (torch.tensor, torch.as_tensor) or named.get("device") is None:
            return function(*args, **named)
        device = named.pop("device")
        return function(*args, **named).to(device)


def _run(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    leaves = tree_leaves((args, kwargs))
    tensors = [one for one in leaves if isinstance(one, Tensor)]
    if function in INDEXED:
        tensors = [one for one in (args[0], *args[2:3]) if isinstance(one, Tensor)]
    there = [one for one in tensors if isinstance(one, Elsewhere)]
    here = [tuple(one.shape) for one in tensors if not isinstance(one, Elsewhere) and one.dim()]
    if there and here and function not in MOVES:
        raise RuntimeError(f"{function} was given tensors of {DEVICE} and, of shapes {here}, of the CPU")
    given, named = tree_map(_brought, (args, kwargs))
    result = function(*given, **named)
    asked = [one for one in leaves if isinstance(one, torch.device)]
    if asked:
        is_there = asked[0].type == NAME
    else:
        is_there = bool(there) if function is not aten.copy_.default else isinstance(args[0], Elsewhere)
    known = {id(one.held): one for one in there}  # in place: the tensor that was given is what comes back
    return tree_map(lambda one: _sent(one, known), result) if is_there else result


def _brought(one: Any) -> Any:
    if isinstance(one, Elsewhere):
        return one.held
    return torch.device("cpu") if isinstance(one, torch.device) else one


def _sent(one: Any, known: dict[int, Elsewhere]) -> Any:
    if not isinstance(one, Tensor) or isinstance(one, Elsewhere):
        return one
    return known[id(one)] if id(one) in known else Elsewhere(one)


@contextmanager
def elsewhere(patch: pytest.MonkeyPatch) -> Iterator[str]:
    """Within it there is the device, under the name that is given, for models and pipelines."""
    patch.setattr(engines, "_devices", lambda: [NAME, "cpu"])
    patch.setattr(nn.Module, "to", _to)
    patch.setattr(arithmetic.Arithmetic, "_move", _move)
    with torch.inference_mode(), _Written(), _Everything():
        yield NAME


def _to(model: nn.Module, device: Any = None, dtype: torch.dtype | None = None) -> nn.Module:
    """`nn.Module.to`, which cannot exchange a parameter for one of another class."""
    return _place(model, torch.device(device) if device is not None else None, lambda one: dtype or one.dtype)


def _move(self: arithmetic.Arithmetic, model: nn.Module) -> None:
    """`Arithmetic._move`, for the same reason; only in float32."""
    assert self.is_exact, "there is no autocast here"
    _place(model, self.device, lambda _: torch.float32)


def _place(model: nn.Module, device: torch.device | None, kind: Callable[[Tensor], torch.dtype]) -> nn.Module:
    made: dict[int, nn.Parameter] = {}  # by the one before: what is tied stays tied
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                placed = parameter.detach().to(device or parameter.device, kind(parameter))
                module._parameters[name] = made.setdefault(id(parameter), nn.Parameter(placed, requires_grad=False))
        for name, buffer in module._buffers.items():
            if buffer is not None:
                wanted = kind(buffer) if buffer.is_floating_point() else buffer.dtype
                module._buffers[name] = buffer.to(device or buffer.device, wanted)
    return model
