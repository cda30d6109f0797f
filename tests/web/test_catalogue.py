"""The catalogue: what is found, by words, task, language and keyboard; and what is said when nothing is."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright")
from playwright.sync_api import Page, expect

OpenPage = Callable[..., Page]


def entries(page: Page) -> Any:
    return page.locator("#catalogue > li")


def test_all_models_are_listed_with_state_size_and_language(scripted: Any, open_page: OpenPage) -> None:
    page = open_page(scripted.url)
    expect(entries(page)).to_have_count(len(scripted.module.MODELS))
    expect(page.get_by_role("status")).to_have_text(f"{len(scripted.module.MODELS)} models")
    first = entries(page).first
    expect(first).to_contain_text("test/steps")
    expect(first).to_contain_text("default")
    expect(first).to_contain_text("18 MB")
    expect(first).to_contain_text("English")
    expect(first).to_contain_text("Ready")
    expect(entries(page).filter(has_text="whisper")).to_contain_text("Loading")
    expect(entries(page).filter(has_text="whisper")).to_contain_text("2 more")


@pytest.mark.parametrize(
    ("words", "found"), [("WHISP", "test/whisper"), ("swahili", "test/whisper"), ("wav2vec2 german", "test/german")]
)
def test_a_search_finds_names_families_and_languages(
    scripted: Any, open_page: OpenPage, words: str, found: str
) -> None:
    page = open_page(scripted.url)
    page.get_by_role("searchbox").fill(words)
    expect(entries(page)).to_have_count(1)
    expect(entries(page)).to_contain_text(found)


def test_language_filters_and_a_search_without_result_can_be_undone(scripted: Any, open_page: OpenPage) -> None:
    page = open_page(scripted.url)
    page.get_by_label("Language").select_option(label="German")
    expect(entries(page)).to_have_count(2)
    page.get_by_role("searchbox").fill("nothing like this")
    expect(page.get_by_role("heading", name="No model fits")).to_be_visible()
    page.get_by_role("button", name="Show all models").click()
    expect(entries(page)).to_have_count(len(scripted.module.MODELS))
    expect(page.get_by_role("searchbox")).to_be_focused()


def test_the_keyboard_alone_searches_and_opens_a_model(scripted: Any, open_page: OpenPage) -> None:
    page = open_page(scripted.url)
    expect(entries(page).first).to_be_visible()
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "search":
            break
    page.keyboard.type("moonshine")
    expect(entries(page)).to_have_count(1)
    for _ in range(3):  # task, language, the model
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/models/test/moonshine$"))
    expect(page.get_by_role("heading", level=1)).to_have_text("test/moonshine")


def test_a_model_that_is_not_fetched_yet_is_listed_without_what_nobody_knows(
    start_scripted: Any, open_page: OpenPage
) -> None:
    page = open_page(start_scripted(models=(("org/new", None, [], 0, "absent", None),)).url)
    expect(entries(page)).to_have_count(1)
    expect(entries(page)).to_contain_text("What it does is known once it has been fetched")
    expect(entries(page)).to_contain_text("Not fetched")
    page.get_by_role("searchbox").fill("org new")
    expect(entries(page)).to_have_count(1)


def test_a_server_without_models_says_how_to_name_one(start_scripted: Any, open_page: OpenPage) -> None:
    page = open_page(start_scripted(models=()).url)
    expect(page.locator(".empty")).to_contain_text("auricle serve --model")


def test_a_failure_is_told_and_can_be_tried_again(scripted: Any, open_page: OpenPage, watched: Any) -> None:
    watched.expected.append("500")
    page = open_page(f"{scripted.url}/leaderboard")
    page.route("**/api/models", lambda route: route.fulfill(status=500, json={"error": "the disk is on fire"}))
    page.goto(scripted.url)
    expect(page.get_by_role("alert")).to_contain_text("The disk is on fire.")
    page.unroute("**/api/models")
    page.get_by_role("button", name="Try again").click()
    expect(entries(page)).to_have_count(len(scripted.module.MODELS))


def test_what_the_server_tells_is_text_and_never_markup(scripted: Any, open_page: OpenPage) -> None:
    page = open_page(scripted.url)
    expect(entries(page).filter(has_text="test/german")).to_contain_text("<b>Not</b> markup")
    assert page.locator("#catalogue b").count() == 0
