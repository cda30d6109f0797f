"""The number that compiled kernels and their sources have in common, read by setup.py and when kernels are loaded.

It imports nothing of the package: setup.py runs this file before there is one.
"""

from __future__ import annotations

import hashlib
from pathlib import Path


def sources_number(folder: Path) -> int | None:
    """Return 64 bits of the digest of all C++ in `folder`; None where there is none, as in an installed wheel."""
    paths = sorted(path for ending in ("*.cpp", "*.h") for path in folder.glob(ending))
    digest = hashlib.sha256()
    for path in paths:
        content = path.read_bytes().replace(b"\r\n", b"\n")
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return int.from_bytes(digest.digest()[:8], "big") if paths else None
