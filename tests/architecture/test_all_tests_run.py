"""`make test` names the folders of tests in two halves; together they are all of them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_folder_of_tests_is_in_one_half() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = [path for line in re.findall(r"pytest -q (tests/.*)", makefile) for path in line.split()]
    there = {str(path.relative_to(ROOT)) for path in (ROOT / "tests").iterdir() if any(path.rglob("test_*.py"))}
    assert sorted(named) == sorted(there)
