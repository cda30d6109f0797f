"""CUDA graphs: a function of fixed buffers recorded once, and afterwards launched as a whole."""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch

# Runs before a capture: libraries make their workspaces and choose kernels, which a capture may not do.
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

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        """What does the same as `function`, faster; on a device without graphs, `function` itself.

        The function reads and writes tensors that stay where they are, gives nothing back, never asks the device
        for a value, and comes to the same if it is run several times: it is run `WARM_UPS` times first.
        """
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
