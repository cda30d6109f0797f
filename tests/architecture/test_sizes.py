"""Files and functions stay small enough to be read at once."""

from __future__ import annotations

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "auricle"
MAX_FILE_LINES = 400
MAX_BODY_LINES = 60
SHORT_BODY_LINES = 40
SHORT_SHARE = 0.96


def body_lengths() -> dict[str, int]:
    """Lines from the first statement after the docstring to the last, for every function."""
    lengths = {}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                length = body[-1].end_lineno - body[0].lineno + 1 if body else 0  # type: ignore[operator]
                lengths[f"{path.relative_to(SOURCE)}:{node.lineno} {node.name}"] = length
    return lengths


def test_files_have_at_most_400_lines() -> None:
    long = {
        str(path.relative_to(SOURCE)): n
        for path in SOURCE.rglob("*.py")
        if (n := len(path.read_text(encoding="utf-8").splitlines())) > MAX_FILE_LINES
    }
    assert not long


def test_function_bodies_have_at_most_60_lines() -> None:
    assert not {name: n for name, n in body_lengths().items() if n > MAX_BODY_LINES}


def test_nearly_all_function_bodies_have_at_most_40_lines() -> None:
    lengths = body_lengths()
    long = [name for name, n in lengths.items() if n > SHORT_BODY_LINES]
    assert len(long) <= (1 - SHORT_SHARE) * len(lengths), long
