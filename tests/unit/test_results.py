"""What results refuse to be."""

from __future__ import annotations

import pytest

from auricle.errors import OptionError
from auricle.results import WARNING_KINDS, Warning


@pytest.mark.parametrize("kind", WARNING_KINDS)
def test_every_kind_of_warning_can_be_given(kind: str) -> None:
    assert Warning(kind, "so it is", 0.0, 1.0).kind == kind


def test_a_mistyped_kind_of_warning_is_refused_with_the_nearest() -> None:
    with pytest.raises(OptionError, match=r"'skiped' is none of skipped.*did you mean 'skipped'"):
        Warning("skiped", "no voice")
