"""What tests of every folder share."""

from __future__ import annotations

import pytest

from auricle import engines


@pytest.fixture(params=sorted(engines.ENGINES))
def every_engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test on every engine: "auto" means each of them in turn.

    The GPU engine computes on the CPU here, in the shapes that a model's own decoder has; its tests for GPUs and for
    fixed shapes are in tests/unit/engines.
    """
    monkeypatch.setattr(engines, "BEST", {"cpu": request.param})
    return str(request.param)
