"""The page that `auricle leaderboard` writes: one file, opened from the disk, in both schemes and without scripts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright")
from playwright.sync_api import Page, expect

from auricle.evaluation.leaderboard import Entry, boards, duels
from auricle.evaluation.normalizers import normalizer
from auricle.evaluation.page import marked, page
from auricle.evaluation.predictions import Prediction
from auricle.evaluation.rows import Made, speech_row
from auricle.evaluation.scoring import score

OpenPage = Callable[..., Page]
GRAVE = ("serious", "critical")
SAID = ["the quick brown fox", "jumps over <b>the</b> lazy dog", "a much longer sentence than the others are"]
HEARD = {
    "good/model": [
        "the quick brown fox",
        "jumps over b the b lazy frog",
        "a much longer sentence than others are here",
    ],
    "poor <model>": ["quick brown box", "jumps over it", "some much longer sentence than the others are now here so"],
}


def written(folder: Path) -> str:
    """Write a page of two models on two data sets; return its address."""
    way = normalizer("basic")
    scores, entries = {}, []
    for dataset in ("clean", "noisy"):
        for number, (model, texts) in enumerate(HEARD.items()):
            lines = [
                Prediction(f"{dataset}-{at}", said, heard, duration=1.5 + 4 * at, seconds=0.1 * (number + 1))
                for at, (said, heard) in enumerate(zip(SAID * 5, texts * 5, strict=True))
            ]
            scores[model, dataset] = score(lines, way)
            entries.append(Entry(speech_row(scores[model, dataset], Made(model, dataset, hardware="2 cores; engine"))))
    path = folder / "page.html"
    path.write_text(page("Results", boards(entries), [scores], duels(scores), n_worst=20), encoding="utf-8")
    return path.as_uri()


def test_differences_are_marked_and_texts_are_only_texts() -> None:
    assert marked("a <b> c d", "a x c") == (
        'a <del class="sub">&lt;b&gt;</del> <ins class="sub">x</ins> c <del>d</del>'
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_grave(open_page: OpenPage, tmp_path: Path, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.base", reason="axe-core comes with axe-playwright-python")
    shown = open_page(written(tmp_path), color_scheme=scheme, bypass_csp=True)
    shown.locator("details").evaluate_all("all => all.forEach(one => { one.open = true })")
    shown.evaluate(axe.AXE_SCRIPT)
    found = shown.evaluate("() => axe.run(document)")
    assert [
        f"{fault['id']}: {fault['nodes'][0]['html'][:200]} {fault['nodes'][0]['failureSummary']}"
        for fault in found["violations"]
        if fault["impact"] in GRAVE
    ] == []


def test_tables_are_sorted_by_a_click(open_page: OpenPage, tmp_path: Path) -> None:
    shown = open_page(written(tmp_path))
    board = shown.locator("table").first
    names = board.locator("tbody th")
    assert names.all_inner_texts() == ["good/model", "poor <model>"]
    button = board.get_by_role("button", name="mean WER")
    button.click()
    button.click()
    expect(board.get_by_role("columnheader", name="mean WER")).to_have_attribute("aria-sort", "descending")
    assert names.all_inner_texts() == ["poor <model>", "good/model"]


def test_differences_are_sorted_by_their_insertions(open_page: OpenPage, tmp_path: Path) -> None:
    shown = open_page(written(tmp_path))
    worst = shown.locator("details").nth(1)
    worst.locator("summary").click()
    button = worst.get_by_role("button", name="ins")
    button.click()
    button.click()
    row = worst.locator("tbody tr").first
    expect(row.locator("td").nth(3)).to_have_text("3")
    expect(row.locator("ins").last).to_have_text("so")


def test_plots_have_names_and_every_model(open_page: OpenPage, tmp_path: Path) -> None:
    shown = open_page(written(tmp_path))
    labels = [plot.get_attribute("aria-label") for plot in shown.get_by_role("img").all()]
    assert labels == [
        "WER on clean, lower is better; the line is the interval",
        "WER on noisy, lower is better; the line is the interval",
        "WER against speed",
        "WER by the length of utterances: clean",
        "WER by the length of utterances: noisy",
    ]
    speeds = shown.get_by_role("img", name="WER against speed")
    assert speeds.locator("circle").count() == 2
    expect(speeds).to_contain_text("poor <model>")


def test_it_is_read_without_scripts_and_on_a_phone(open_page: OpenPage, tmp_path: Path) -> None:
    size = {"width": 320, "height": 640}
    shown = open_page(written(tmp_path), java_script_enabled=False, viewport=size)
    expect(shown.get_by_role("heading", name="Results")).to_be_visible()
    expect(shown.locator("table").first).to_contain_text("good/model")
    expect(shown.get_by_text("good/model better than poor <model> in 100.0 % of resamples").first).to_be_visible()
