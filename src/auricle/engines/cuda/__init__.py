"""The engine for NVIDIA GPUs: half-precision products, memory of fixed shapes, single tokens replayed as CUDA graphs.

Read `engine.py` first, then `step.py`. Everything but the capture itself runs, and is tested, on the CPU too.
"""

from __future__ import annotations

from auricle.engines.cuda.arithmetic import fastest_dtype
from auricle.engines.cuda.engine import CudaEngine

__all__ = ["CudaEngine", "fastest_dtype"]
