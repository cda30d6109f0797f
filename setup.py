"""The native kernels: the same sources once for each instruction set; auricle chooses when it runs.

Everything else is in pyproject.toml. Where there is no compiler the package is built without kernels, and the cpu
engine computes with torch alone.
"""

from __future__ import annotations

import platform
import runpy
from pathlib import Path

from setuptools import Extension, setup

NATIVE = Path("src/auricle/engines/cpu/native")
SOURCES_NUMBER = runpy.run_path(str(NATIVE.with_name("native_sources.py")))["sources_number"]
# What each library's processor has at least; engines/cpu/native_library.py asks for the same before it loads one.
AVX2 = ["-mavx2", "-mfma", "-mf16c"]
AVX512 = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512vnni", "-mprefer-vector-width=512"]
ISAS = {
    "avx2": AVX2,
    "avx512": [*AVX2, *AVX512],
    "amx": [*AVX2, *AVX512, "-mamx-tile", "-mamx-int8"],
}


def extensions() -> list[Extension]:
    """One library an instruction set, or none on processors that have none of them."""
    if platform.machine().lower() not in ("x86_64", "amd64") or platform.system() != "Linux":
        return []
    return [
        Extension(
            f"auricle.engines.cpu.kernels_{isa}",
            sources=sorted(str(path) for path in NATIVE.glob("*.cpp")),
            depends=sorted(str(path) for path in NATIVE.glob("*.h")),
            define_macros=[("AURICLE_SOURCES", f"{SOURCES_NUMBER(NATIVE)}ull")],
            extra_compile_args=["-std=c++17", "-O3", "-fopenmp", "-fvisibility=hidden", "-fno-math-errno", *flags],
            extra_link_args=["-fopenmp"],
            language="c++",
            optional=True,
        )
        for isa, flags in ISAS.items()
    ]


setup(ext_modules=extensions())
