"""CUDA graphs: a function of fixed buffers recorded once, and afterwards launched as a whole."""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch

# Runs as written before a function is captured. A capture takes as long as some dozens of runs, and shapes that occur
# once are never worth it: a window's language is found by a single token.
PLAIN_RUNS = 8

# Runs on the capture's own stream before it: libraries make their workspaces there, which a capture may not do.
WARM_UPS = 2


class Graphs:
    """Captures functions on one device.

    All graphs share one pool of memory for what they compute in between: they are replayed on one stream, so that
    no two run at once.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._lock = threading.Lock()
        self._pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None

    def prepare(self, function: Callable[[], None]) -> Callable[[], None]:
        """What does the same as `function`, faster once it has run `PLAIN_RUNS` times.

        The function reads and writes tensors that stay where they are, gives nothing back, never asks the device for a
        value, and comes to the same if it runs several times over, as it does before a capture.
        """
        return _Prepared(self, function)

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        """Record what `function` does, and do that; on a device without graphs, `function` itself."""
        if self._device.type != "cuda":
            return function
        with self._lock, torch.cuda.device(self._device):
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(WARM_UPS):
                    function()
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            # "thread_local": other threads may allocate memory meanwhile.
            with torch.cuda.graph(graph, pool=self._pool, stream=stream, capture_error_mode="thread_local"):
                function()
        return self._on_device(graph)

    def _on_device(self, graph: torch.cuda.CUDAGraph) -> Callable[[], None]:
        def replay() -> None:
            with torch.cuda.device(self._device):
                graph.replay()

        return replay


class _Prepared:
    """A function that is captured when it has run often enough."""

    def __init__(self, graphs: Graphs, function: Callable[[], None]) -> None:
        self._graphs = graphs
        self._run = function
        self._plain_runs_left = PLAIN_RUNS

    def __call__(self) -> None:
        if self._plain_runs_left == 0:
            self._run = self._graphs.capture(self._run)
        self._plain_runs_left -= 1
        self._run()
