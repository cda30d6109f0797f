from __future__ import annotations

import pytest

from auricle.text.normalize import normalize_english


@pytest.mark.parametrize(
    ("written", "scored"),
    [
        ("Don’t -- he said, 'Stop!'", "don't he said stop"),
        ("rock 'n' roll's end", "rock n roll's end"),
        ("  Naïve\tÉTÉ\n", "naïve été"),
        ("well-known snake_case 3.5%", "well known snake case 3 5"),
        ("", ""),
        ("…!?", ""),
    ],
)
def test_only_words_and_inner_apostrophes_remain(written: str, scored: str) -> None:
    assert normalize_english(written) == scored


def test_normalizing_twice_changes_nothing() -> None:
    once = normalize_english("It’s “QUITE” — well—fine, 'tis.")
    assert normalize_english(once) == once
