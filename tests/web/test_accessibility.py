"""axe on every page in its states and in both schemes, narrow pages, reduced motion, the toggle of colours."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright")
from playwright.sync_api import Page, expect

OpenPage = Callable[..., Page]
RECORDING = Path(__file__).parents[2] / "samples" / "jfk.flac"
GRAVE = ("serious", "critical")
NARROW = {"width": 320, "height": 640}  # what WCAG asks of reflow


def faults(page: Page) -> list[str]:
    """Return what axe calls serious or critical; it is handed over by the debugger, past the page's policy."""
    axe = pytest.importorskip("axe_playwright_python.base", reason="axe-core comes with axe-playwright-python")
    page.evaluate(axe.AXE_SCRIPT)
    found = page.evaluate("() => axe.run(document)")
    return [
        f"{fault['id']}: {node['html'][:120]} {node['failureSummary']}"
        for fault in found["violations"]
        if fault["impact"] in GRAVE
        for node in fault["nodes"]
    ]


def catalogue(page: Page) -> None:
    expect(page.locator("#catalogue > li").first).to_be_visible()


def empty_catalogue(page: Page) -> None:
    page.get_by_role("searchbox").fill("nothing like this")
    expect(page.locator(".empty")).to_be_visible()


def model(page: Page) -> None:
    page.locator("input[type=file]").set_input_files(RECORDING)
    expect(page.locator(".warnings")).to_be_visible()
    page.locator(".word", has_text="country").first.click()
    expect(page.locator(".word.is-now")).to_be_visible()


def recording(page: Page) -> None:
    page.get_by_label("Live captions while recording").check()
    page.get_by_role("button", name="Record", exact=True).click()
    expect(page.locator(".captions")).to_contain_text("and so my")


def refused(page: Page) -> None:
    page.locator("input[type=file]").set_input_files(RECORDING)
    expect(page.get_by_role("alert")).to_be_visible()


def dialog(page: Page) -> None:
    page.locator("input[type=file]").set_input_files(RECORDING)
    expect(page.get_by_role("dialog")).to_be_visible()


def compare(page: Page) -> None:
    page.get_by_role("button", name="Kennedy").click()
    expect(page.locator(".figures").last).to_contain_text("Word errors")


def leaderboard(page: Page) -> None:
    expect(page.locator(".board")).to_be_visible()


def reference(page: Page) -> None:
    page.locator("summary", has_text="/api/export").click()
    expect(page.get_by_role("region", name="Parameters")).to_be_visible()


STATES = {
    "/": (catalogue, empty_catalogue),
    "/models/test/whisper": (model, recording),
    "/models/test/busy": (refused,),
    "/models/test/locked": (dialog,),
    "/compare?model=test/whisper&model=test/moonshine": (compare,),
    "/leaderboard": (leaderboard,),
    "/docs": (reference,),
}
CASES = [pytest.param(path, state, id=state.__name__) for path, states in STATES.items() for state in states]


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """A folder of results, one of them malformed."""
    row = {"model": "org/good", "dataset": "clean", "wer": 0.1, "wer_low": 0.09, "wer_high": 0.11, "rtfx": 30}
    (tmp_path / "results.json").write_text(json.dumps([row, {**row, "dataset": "noisy"}]))
    (tmp_path / "broken.json").write_text("{")
    return tmp_path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("path", "state"), CASES)
def test_axe_finds_no_serious_fault(
    start_scripted: Any,
    open_page: OpenPage,
    watched: Any,
    board: Path,
    path: str,
    state: Callable[[Page], None],
    scheme: str,
) -> None:
    watched.expected += ["429", "401"]
    page = open_page(start_scripted(leaderboard_dir=board).url + path, color_scheme=scheme, reduced_motion="reduce")
    state(page)
    assert faults(page) == []


@pytest.mark.parametrize(("path", "state"), CASES)
def test_nothing_is_wider_than_a_small_phone(
    start_scripted: Any, open_page: OpenPage, watched: Any, board: Path, path: str, state: Callable[[Page], None]
) -> None:
    watched.expected += ["429", "401"]
    page = open_page(start_scripted(leaderboard_dir=board).url + path, viewport=NARROW)
    state(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]


def test_colours_follow_the_system_until_the_toggle_says_otherwise(scripted: Any, open_page: OpenPage) -> None:
    page = open_page(scripted.url, color_scheme="dark")
    html = page.locator("html")
    expect(html).to_have_attribute("data-theme", "dark")
    page.get_by_role("button", name="Colours: Auto. Change").click()
    expect(html).to_have_attribute("data-theme", "light")
    page.reload()
    expect(html).to_have_attribute("data-theme", "light")
    page.get_by_role("button", name="Colours: Light. Change").click()
    page.get_by_role("button", name="Colours: Dark. Change").click()
    page.emulate_media(color_scheme="light")
    expect(html).to_have_attribute("data-theme", "light")


def test_nothing_moves_where_less_motion_is_wished(scripted: Any, open_page: OpenPage) -> None:
    page = open_page(scripted.url, reduced_motion="reduce")
    spinner = page.locator(".state-loading")
    expect(spinner).to_be_visible()
    assert page.evaluate(
        "getComputedStyle(document.querySelector('.state-loading'), '::before').animationDuration"
    ) == ("1e-05s")


@pytest.mark.parametrize("path", ["/", "/models/test/whisper", "/compare", "/leaderboard", "/docs"])
def test_every_page_has_its_landmarks_one_heading_and_a_title(scripted: Any, open_page: OpenPage, path: str) -> None:
    page = open_page(scripted.url + path)
    for role in ("banner", "main", "contentinfo"):
        expect(page.get_by_role(role)).to_have_count(1)
    expect(page.get_by_role("navigation", name="Pages")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    assert page.title().endswith(" · auricle")
    assert page.evaluate("document.documentElement.lang") == "en"
