"""Single tokens as a graph would replay them, on the CPU: the same operations on the same memory, and no Python."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from auricle.audio.features import Features
from auricle.engines.cuda import CudaEngine
from auricle.engines.cuda.graphs import PLAIN_RUNS, Graphs
from auricle.engines.reference import ReferenceEngine
from auricle.models.moonshine import Moonshine
from auricle.models.whisper import Whisper

# float32 sums in another order, over two layers of width 32.
TOLERANCE = 1e-4
CPU = torch.device("cpu")
# Operations that wait for a value of the device, or whose shape depends on one.
WAITING = ("aten.item", "_local_scalar_dense", "nonzero", "aten.equal", "masked_select")


class Recorded(TorchDispatchMode):
    """Runs operations and keeps them with the memory they read and wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, tuple, dict, Any]] = []

    def __torch_dispatch__(self, operation: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = operation(*args, **(kwargs or {}))
        self.operations.append((operation, args, kwargs or {}, result))
        return result

    def replay(self) -> None:
        """Run them again, every result into the place where it was."""
        with torch.inference_mode():
            for operation, args, kwargs, result in self.operations:
                for before, again in zip(tree_leaves(result), tree_leaves(operation(*args, **kwargs)), strict=True):
                    if isinstance(before, Tensor) and before.data_ptr() != again.data_ptr():
                        before.copy_(again)


class RecordedGraphs(Graphs):
    """Captures as CUDA does: what a function did is repeated, whatever it would do now."""

    def __init__(self) -> None:
        super().__init__(CPU)
        self.names: set[str] = set()

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        with Recorded() as recorded:
            function()
        self.names |= {str(one[0]) for one in recorded.operations}
        return recorded.replay


def small(family: str) -> tuple[Whisper | Moonshine, Features]:
    torch.manual_seed(0)
    if family == "whisper":
        lengths = torch.tensor([100, 60, 80])
        return Whisper(Whisper.tiny(max_source_positions=50)), Features(torch.randn(3, 80, 100), lengths)
    return Moonshine(Moonshine.tiny()), Features(torch.randn(3, 9000), torch.tensor([9000, 5000, 7000]))


def recorded_engine(model: Whisper | Moonshine, dtype: torch.dtype) -> tuple[CudaEngine, RecordedGraphs]:
    engine, graphs = CudaEngine(model, CPU, dtype, in_fixed_shapes=True), RecordedGraphs()
    object.__setattr__(engine._decoder, "graphs", graphs)
    return engine, graphs


@pytest.mark.parametrize("family", ["whisper", "moonshine"])
def test_replayed_tokens_equal_the_reference(family: str) -> None:
    model, features = small(family)
    reference = ReferenceEngine(copy.deepcopy(model), CPU, torch.float32)
    engine, graphs = recorded_engine(model, torch.float32)

    for order in ([0, 1, 2], [2, 2, 0, 1], [1]):  # the second decoder replays what the first captured
        expected, step = reference.decoder(*reference.encode(features)), engine.decoder(*engine.encode(features))
        for n_new in (3, 1, 1):
            tokens = torch.randint(0, 100, (3, n_new))
            torch.testing.assert_close(step.advance(tokens), expected.advance(tokens), atol=TOLERANCE, rtol=0)
        for one in (expected, step):
            one.reorder(torch.tensor(order))
        for _ in range(70):
            tokens = torch.randint(0, 100, (len(order), 1))
            torch.testing.assert_close(step.advance(tokens), expected.advance(tokens), atol=TOLERANCE, rtol=0)
            torch.testing.assert_close(step.hidden, expected.hidden, atol=TOLERANCE, rtol=0)

    assert graphs.names


@pytest.mark.parametrize("family", ["whisper", "moonshine"])
def test_replay_in_bfloat16_equals_running_the_function(family: str) -> None:
    model, features = small(family)
    plain = CudaEngine(copy.deepcopy(model), CPU, torch.bfloat16, in_fixed_shapes=True)
    engine, _ = recorded_engine(model, torch.bfloat16)
    expected, step = plain.decoder(*plain.encode(features)), engine.decoder(*engine.encode(features))

    for n_new in (3, *[1] * 2 * PLAIN_RUNS):
        tokens = torch.randint(0, 100, (3, n_new))
        assert torch.equal(step.advance(tokens), expected.advance(tokens))


@pytest.mark.parametrize("family", ["whisper", "moonshine"])
def test_captured_tokens_never_wait_for_the_device(family: str) -> None:
    model, features = small(family)
    engine, graphs = recorded_engine(model, torch.bfloat16)
    step = engine.decoder(*engine.encode(features))
    for _ in range(PLAIN_RUNS + 1):
        step.advance(torch.tensor([[1], [2], [3]]))

    assert graphs.names
    assert not [name for name in graphs.names if any(one in name for one in WAITING)]
