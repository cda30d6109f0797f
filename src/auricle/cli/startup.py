"""What makes a command start quickly: garbage is not looked for, and the parts of torch that nobody uses wait.

Only the command line does this, to its own process; `import auricle` leaves the process as it is.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

# `import torch` imports these and uses nothing of them. They take a third of its time, most of it for what
# tells compilers the shapes that operators give.
KERNELS_OF_SHAPES = ("torch._meta_registrations", "torch.distributed._meta_registrations")
POSTPONED = frozenset(
    {
        *KERNELS_OF_SHAPES,
        "torch.distributions",
        "torch.export",
        "torch.masked",
        "torch.nn.intrinsic",
        "torch.nn.qat",
        "torch.nn.quantizable",
        "torch.nn.quantized",
        "torch.profiler",
        "torch.quantization",
    }
)
# Who needs the kernels of shapes without naming them: they are in torch's table of operators.
COMPILERS = frozenset({"torch._decomp", "torch._dynamo", "torch._inductor", "torch._export", "torch.onnx"})


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import without looking for garbage, of which there is none, and without the parts of torch that can wait.

    A part that waits is loaded when something of it is first used. What was imported is never looked through later.
    """
    if "torch" not in sys.modules and not any(isinstance(finder, _Postponing) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Postponing())
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.freeze()
            gc.enable()


class _Postponing:
    """Finds the modules of `POSTPONED` as modules that are loaded when they are used."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        if name in COMPILERS:
            for kernels in KERNELS_OF_SHAPES:
                waiting = sys.modules.get(kernels)
                if isinstance(waiting, _Waiting):
                    waiting.load()
        if name not in POSTPONED:
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            spec.loader = _LaterLoader(spec.loader)
        return spec


class _LaterLoader(Loader):
    """Makes a module that executes itself when it is used."""

    def __init__(self, real: Loader) -> None:
        self.real = real

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Waiting(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["_real_loader"] = self.real


class _Waiting(ModuleType):
    """A module that has its name and place, and the rest of it when an attribute is asked for.

    Unlike those of importlib.util.LazyLoader it is not loaded by who only asks where its file is, as `inspect` asks
    every module there is.
    """

    _lock = threading.RLock()

    def __getattr__(self, name: str) -> Any:
        # While it is being made, importlib asks for what it lacks; `warnings` asks for its registry.
        if "_real_loader" not in self.__dict__ or name == "__warningregistry__":
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        self.load()
        return getattr(self, name)

    def load(self) -> None:
        """Execute the module, once."""
        with self._lock:
            loader = self.__dict__.pop("_real_loader", None)
            if loader is None:
                return
            self.__loader__ = loader
            if self.__spec__ is not None:
                self.__spec__.loader = loader
            loader.exec_module(self)
            self.__class__ = ModuleType  # type: ignore[assignment]
