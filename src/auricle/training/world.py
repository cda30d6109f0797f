"""The processes that train together: what torchrun and `accelerate launch` say in the environment, and sums over all.

Both launchers set RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT, and that is all that is read.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from auricle.errors import OptionError

# Others wait for the first while it prepares the data: computing the states of hundreds of hours takes long.
PATIENCE = datetime.timedelta(hours=24)


@dataclass(frozen=True)
class World:
    """This process among all."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_first(self) -> bool:
        """Whether this one writes files and speaks."""
        return self.rank == 0

    def wait(self) -> None:
        """Go on when every process is here."""
        if self.size > 1:
            torch.distributed.barrier()

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes, in place, in one exchange."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        torch.distributed.all_reduce(flat)
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view(tensor.shape))

    def add_gradients(self, parameters: Iterable[Tensor]) -> list[Tensor]:
        """Replace the parameters' gradients by their sums over all processes, and return them.

        Of several processes all exchange the same: what one has no gradient for counts as zeros.
        """
        gradients = []
        for parameter in parameters:
            if parameter.grad is None and self.size > 1:
                parameter.grad = torch.zeros_like(parameter)
            if parameter.grad is not None:
                gradients.append(parameter.grad)
        self.add(gradients)
        return gradients

    def gather(self, value: Any) -> list[Any]:
        """Every process' value, by rank."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(found, value)
        return found

    def agreed(self, value: Any) -> Any:
        """The first process' value."""
        return self.gather(value)[0]


def join_world(device: str) -> World:
    """Meet the other processes, if a launcher started several.

    Raises:
        OptionError: the environment speaks of several processes and does not say enough, or a device is absent.
    """
    from auricle.engines import resolve_device

    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World(device=resolve_device(device))
    absent = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if absent:
        raise OptionError(
            f"WORLD_SIZE is {size} and {', '.join(absent)} not set; start the processes with torchrun or "
            "accelerate launch, which set all of them"
        )
    rank, local = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    place = resolve_device(f"cuda:{local}" if device == "auto" and torch.cuda.is_available() else device)
    if place.type == "cuda":
        torch.cuda.set_device(place)
    if not torch.distributed.is_initialized():
        backend = "nccl" if place.type == "cuda" else "gloo"
        torch.distributed.init_process_group(backend, rank=rank, world_size=size, timeout=PATIENCE)
    return World(rank, size, place)


def leave_world(world: World) -> None:
    """Say goodbye to the others."""
    if world.size > 1 and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
