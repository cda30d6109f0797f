"""A live server of tiny random models that see."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def image_server(
    live_serving: Any, tmp_path_factory: pytest.TempPathFactory, image_checkpoints: dict[str, Path]
) -> Iterator[Any]:
    """A server of a classifier, of a model that chooses answers, and of one that writes them."""
    models = tuple(f"org/{kind}={folder}" for kind, folder in image_checkpoints.items())
    folder = tmp_path_factory.mktemp("image-server")
    with live_serving(models=models, data_dir=folder, device="cpu", max_loaded=3, preload=True) as server:
        yield server
