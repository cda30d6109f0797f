"""What importing costs, and which way imports go."""

from __future__ import annotations

import subprocess
import sys

import pytest

HELP = """
import sys
sys.argv = ["auricle", "--help"]
try:
    import auricle.__main__ as command
    command.main()
except SystemExit:
    pass
"""
HEAVY = ("torch", "numpy", "av", "tokenizers", "huggingface_hub", "transformers")


@pytest.mark.parametrize(
    "code",
    [
        "import auricle",
        "import auricle.errors, auricle.results",
        HELP,
    ],
    ids=["import auricle", "errors and results", "auricle --help"],
)
def test_import_is_light(code: str) -> None:
    check = f"{code}\nimport sys; print('LOADED', [name for name in {HEAVY!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert result.stdout.rstrip().endswith("LOADED []")


def test_public_names_resolve() -> None:
    import auricle

    for name in auricle.__all__:
        assert getattr(auricle, name) is not None


def test_unknown_name_lists_what_exists() -> None:
    import auricle

    with pytest.raises(AttributeError, match="it has AuricleError"):
        _ = auricle.pipelin  # type: ignore[attr-defined]
