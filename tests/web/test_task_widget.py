"""The pages of models of every other task, before the real server and tiny random models over the bridge."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright")
from playwright.sync_api import Page, expect

OpenPage = Callable[..., Page]
MODELS = {"fill": "masked_words", "segments": "segments", "speaks": "speech", "alike": "alike", "sounds": "sounds"}
GRAVE = ("serious", "critical")


def module_of(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"web_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[f"web_{path.stem}"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of five models."""
    from auricle.server.app import create_app
    from auricle.server.registry import Registry
    from auricle.server.settings import Settings

    tiny, root = module_of(Path(__file__).parents[1] / "tiny_models.py"), tmp_path_factory.mktemp("bridged")
    models = tuple(f"org/{name}={getattr(tiny, maker)(root / name)}" for name, maker in MODELS.items())
    settings = Settings(models=models, data_dir=root / "data", max_loaded=5, device="cpu")
    with module_of(Path(__file__).with_name("conftest.py")).running(
        create_app(Registry(settings), settings)
    ) as address:
        yield address


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("picture") / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(path)
    return path


def test_masked_words_come_as_bars(url: str, open_page: OpenPage) -> None:
    page = open_page(f"{url}/models/org/fill")
    page.get_by_label("Text with a mask").fill("the quick [MASK] fox")
    page.get_by_role("button", name="Run").click()
    expect(page.locator(".bar")).to_have_count(5)
    expect(page.locator("section.code")).to_contain_text("the quick [MASK] fox")


def test_an_empty_text_is_told_and_not_sent(url: str, open_page: OpenPage) -> None:
    page = open_page(f"{url}/models/org/fill")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("alert")).to_have_text("Fill in first: Text with a mask.")


def test_masks_come_as_pictures(url: str, open_page: OpenPage, picture: Path) -> None:
    page = open_page(f"{url}/models/org/segments")
    page.locator("input[type=file]").set_input_files(picture)
    mask = page.get_by_role("img", name="Mask of sky")
    expect(mask).to_be_visible()
    assert mask.evaluate("one => one.decode().then(() => one.naturalWidth)") == 64


def test_speech_comes_as_sound(url: str, open_page: OpenPage) -> None:
    page = open_page(f"{url}/models/org/speaks")
    page.get_by_label("Text").fill("the quick fox")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_label("What was spoken")).to_be_visible()


def test_labels_of_the_moment_stand_beside_an_image(url: str, open_page: OpenPage, picture: Path) -> None:
    page = open_page(f"{url}/models/org/alike")
    page.locator("input[type=file]").set_input_files(picture)
    page.get_by_label("Labels").fill("fox, dog")
    page.keyboard.press("Enter")
    expect(page.locator(".bar")).to_have_count(2)


def test_recordings_come_from_the_picker_of_speech(url: str, open_page: OpenPage) -> None:
    page = open_page(f"{url}/models/org/sounds")
    expect(page.get_by_role("button", name="Record")).to_be_visible()
    page.locator(".sample").first.click()
    expect(page.locator(".bar")).to_have_count(2)


def test_nothing_grave_is_found_by_axe(url: str, open_page: OpenPage) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = open_page(f"{url}/models/org/fill")
    page.get_by_label("Text with a mask").fill("the quick [MASK] fox")
    page.get_by_role("button", name="Run").click()
    expect(page.locator(".bar")).to_have_count(5)
    found: Any = Axe().run(page).response["violations"]
    assert [one["id"] for one in found if one["impact"] in GRAVE] == []
