"""The compare page, and the word-level difference that it shows."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright")
from playwright.sync_api import Page, expect

OpenPage = Callable[..., Page]
RECORDING = Path(__file__).parents[2] / "samples" / "jfk.flac"
PAIR = "?model=test/whisper&model=test/moonshine"


def column(page: Page, model: str) -> Any:
    return page.get_by_role("region", name=model, exact=True)


def test_models_run_one_after_the_other_and_their_words_are_compared(scripted: Any, open_page: OpenPage) -> None:
    page = open_page(f"{scripted.url}/compare{PAIR}")
    page.locator("input[type=file]").set_input_files(RECORDING)
    first, second = column(page, "test/whisper"), column(page, "test/moonshine")
    expect(second.locator(".figures")).to_contain_text("Differs in")
    assert second.locator("del").all_inner_texts() == ["not", "cuntree."]
    assert second.locator("ins").all_inner_texts() == ["country."]
    expect(second.locator(".figures")).to_contain_text("2 (9.1 %)")
    expect(first.locator("del, ins")).to_have_count(0)
    for one in (first, second):
        expect(one.locator(".figures")).to_contain_text(re.compile(r"Time\s*\d+\.\d\d s\s*RTF\s*\d+\.\d\d\d"))
    # Neither was loaded, so each was woken with silence before its time was taken; no result came from the cache.
    assert [form["model"] for form in scripted.script.forms] == ["test/whisper"] * 2 + ["test/moonshine"] * 2
    assert all(headers["x-use-cache"] == "false" for headers in scripted.script.headers)
    page.get_by_label("Compare with").select_option(label="test/moonshine")
    assert first.locator("ins").all_inner_texts() == ["not", "cuntree."]


def test_a_sample_is_compared_with_what_was_really_said(scripted: Any, open_page: OpenPage) -> None:
    page = open_page(f"{scripted.url}/compare{PAIR}")
    page.get_by_role("button", name="Kennedy").click()
    expect(column(page, "test/whisper").locator(".figures")).to_contain_text(re.compile(r"Word errors\s*1 \(4\.5 %\)"))
    page.get_by_label("What was really said").fill("and so")
    expect(column(page, "test/whisper").locator(".figures")).to_contain_text("20 (1000.0 %)")


def test_models_are_added_and_removed_and_the_address_keeps_them(scripted: Any, open_page: OpenPage) -> None:
    page = open_page(f"{scripted.url}/compare{PAIR}")
    page.get_by_role("button", name="Remove test/whisper").click()
    expect(column(page, "test/whisper")).to_have_count(0)
    expect(page.get_by_role("button", name="Remove test/moonshine")).to_be_focused()
    page.get_by_label("Another model").select_option("test/german")
    page.get_by_role("button", name="Add", exact=True).click()
    assert page.url.endswith("/compare?model=test%2Fmoonshine&model=test%2Fgerman")
    page.reload()
    expect(page.get_by_role("list", name="Models to compare").locator("li")).to_have_text(
        ["test/moonshine", "test/german"]
    )


def test_one_model_that_fails_does_not_keep_the_others(scripted: Any, open_page: OpenPage, watched: Any) -> None:
    watched.expected.append("429")
    page = open_page(f"{scripted.url}/compare?model=test/busy&model=test/whisper")
    page.locator("input[type=file]").set_input_files(RECORDING)
    expect(column(page, "test/busy").get_by_role("alert")).to_contain_text("Too many requests")
    expect(column(page, "test/whisper").locator(".run-text")).to_contain_text("ask not what your country")


def common_length(a: list[str], b: list[str]) -> int:
    """The length of a longest common subsequence, by the table that every textbook has."""
    row = [0] * (len(b) + 1)
    for one in a:
        diagonal = 0
        for j, other in enumerate(b, 1):
            diagonal, row[j] = row[j], diagonal + 1 if one == other else max(row[j], row[j - 1])
    return row[-1]


def test_the_difference_keeps_as_many_words_as_can_be_kept(scripted: Any, open_page: OpenPage) -> None:
    page = open_page(f"{scripted.url}/compare")
    chance = random.Random(7)
    pairs = [
        [[chance.choice("abcd"[: 1 + case % 4]) for _ in range(chance.randrange(14))] for _ in "ab"]
        for case in range(1500)
    ]
    found = page.evaluate(
        """async ([root, pairs]) => {
          const { matches } = await import(`${root}/static/diff.js`);
          const keyed = (words) => words.map((key) => ({ key, written: key }));
          return pairs.map(([a, b]) => matches(keyed(a), keyed(b)));
        }""",
        [scripted.url, pairs],
    )
    for (a, b), kept in zip(pairs, found, strict=True):
        assert len(kept) == common_length(a, b)
        assert all(a[i] == b[j] for i, j in kept)
        assert all(i < k and j < m for (i, j), (k, m) in pairwise(kept))


def test_word_errors_are_those_that_jiwer_counts(scripted: Any, open_page: OpenPage) -> None:
    jiwer = pytest.importorskip("jiwer")
    page = open_page(f"{scripted.url}/compare")
    chance = random.Random(11)
    pairs = [
        [" ".join(chance.choice("abc") for _ in range(chance.randrange(1, 12))) for _ in range(2)] for _ in range(400)
    ]
    counted = page.evaluate(
        """async ([root, pairs]) => {
          const { wordErrors, words } = await import(`${root}/static/diff.js`);
          return pairs.map(([a, b]) => wordErrors(words(a), words(b)).rate);
        }""",
        [scripted.url, pairs],
    )
    assert counted == pytest.approx([jiwer.wer(reference, said) for reference, said in pairs])


def test_capitals_and_punctuation_are_no_difference(scripted: Any, open_page: OpenPage) -> None:
    page = open_page(f"{scripted.url}/compare")
    found = page.evaluate(
        """async (root) => {
          const { diffWords, words } = await import(`${root}/static/diff.js`);
          const parts = diffWords(words("So, my FELLOW Americans: don't!"), words("so my yellow fellow don't ask"));
          const text = (some) => some.map((word) => word.written).join(" ");
          return parts.map(({ kind, a, b }) => [kind, text(a), text(b)]);
        }""",
        scripted.url,
    )
    assert found == [
        ["same", "So, my", "so my"],
        ["added", "", "yellow"],
        ["same", "FELLOW", "fellow"],
        ["missing", "Americans:", ""],
        ["same", "don't!", "don't"],
        ["added", "", "ask"],
    ]
