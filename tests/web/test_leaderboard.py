"""The leaderboard: how the page shows, sorts and filters results."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright")
from playwright.sync_api import Page, expect
from typer.testing import CliRunner

from auricle.cli import app

OpenPage = Callable[..., Page]
GOOD = {
    "model": "org/good",
    "dataset": "clean",
    "wer": 0.021,
    "wer_low": 0.018,
    "wer_high": 0.024,
    "cer": 0.007,
    "rtfx": 1.31,
    "hardware": "2 cores",
    "date": "2026-11-21",
    "n_utterances": 1033,
}
QUICK = {"model": "org/quick", "dataset": "clean", "wer": 0.545, "rtfx": 120.4}
NOISY = {"model": "org/quick", "dataset": "noisy", "wer": 0.7}


def write(folder: Path, name: str, content: Any) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def names(page: Page) -> list[str]:
    return page.locator(".board tbody th").all_inner_texts()


def test_the_table_is_sorted_by_the_keyboard(start_scripted: Any, open_page: OpenPage, tmp_path: Path) -> None:
    write(tmp_path, "results.json", [QUICK, NOISY, GOOD])
    page = open_page(f"{start_scripted(leaderboard_dir=tmp_path).url}/leaderboard")
    expect(page.get_by_role("columnheader", name="Word errors")).to_have_attribute("aria-sort", "ascending")
    assert names(page) == ["org/good", "org/quick", "org/quick"]
    expect(page.locator(".board tbody tr").first).to_contain_text("1.8 % to 2.4 %")
    page.get_by_role("button", name="Speed").focus()
    page.keyboard.press("Enter")
    # What has no speed comes last, whichever way.
    assert page.locator(".board tbody tr td:nth-of-type(3)").all_inner_texts() == ["120 ×", "1.3 ×", "—"]
    expect(page.get_by_role("button", name="Speed")).to_be_focused()
    page.keyboard.press("Enter")
    assert page.locator(".board tbody tr td:nth-of-type(3)").all_inner_texts() == ["1.3 ×", "120 ×", "—"]


def test_the_table_is_filtered_by_data_set_and_tells_of_bad_files(
    start_scripted: Any, open_page: OpenPage, tmp_path: Path
) -> None:
    write(tmp_path, "results.json", [QUICK, NOISY, GOOD])
    write(tmp_path, "broken.json", "{")
    page = open_page(f"{start_scripted(leaderboard_dir=tmp_path).url}/leaderboard")
    expect(page.locator(".notice.warn")).to_contain_text("broken.json: is no JSON")
    page.get_by_label("Data set").select_option("noisy")
    expect(page.get_by_role("status")).to_have_text("1 result")
    assert names(page) == ["org/quick"]
    assert page.get_by_role("columnheader").all_inner_texts() == ["Model", "Word errors", "Data set"]


def test_without_results_the_page_says_how_to_make_some(scripted: Any, open_page: OpenPage) -> None:
    page = open_page(f"{scripted.url}/leaderboard")
    evaluate, serve = page.locator(".command").inner_text().splitlines()
    # Flags are read before the help is shown: one that there is not fails.
    assert CliRunner().invoke(app, [*evaluate.split()[1:], "--help"]).exit_code == 0
    assert serve.startswith("AURICLE_LEADERBOARD_DIR=")
