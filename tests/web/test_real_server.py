"""The page before the real server and the bundled model; and what it shows to copy is run."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright")
from playwright.sync_api import Page, expect

from auricle.server.access.tokens import TokenStore

OpenPage = Callable[..., Page]
SAMPLES = Path(__file__).parents[2] / "samples"
NAME = "librispeech-1320-122612-0008.ogg"
BEGINNING = "the eyes of the whole party follow"  # what the bundled model hears in it


def transcribed(open_page: OpenPage, url: str) -> Page:
    page = open_page(f"{url}/models/bundled")
    expect(page.locator(".facts")).to_contain_text("Family")
    page.locator("input[type=file]").set_input_files(SAMPLES / NAME)
    expect(page.locator(".status-text")).to_contain_text("of audio, written down in")
    return page


def test_a_file_becomes_words_that_are_marked(live_url: str, open_page: OpenPage) -> None:
    page = transcribed(open_page, live_url)
    expect(page.locator(".said").first).to_contain_text(BEGINNING)
    expect(page.locator(".state")).to_have_text("Ready")
    page.locator(".word", has_text="party").click()
    expect(page.locator(".word.is-now")).to_have_text("party")


def test_what_the_microphone_hears_becomes_text_and_captions(live_url: str, open_page: OpenPage) -> None:
    page = open_page(f"{live_url}/models/bundled")
    page.get_by_label("Live captions while recording").check()
    page.get_by_role("button", name="Record", exact=True).click()
    # "And so, my fellow Americans", played in a loop
    expect(page.locator(".captions")).to_contain_text(re.compile(r"\w+ \w+"))
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".status-text")).to_contain_text("of audio, written down in")
    expect(page.locator(".said").first).to_contain_text(re.compile(r"\w+ \w+"))
    expect(page.locator(".source-note .notice")).to_have_count(0)


def test_a_downloaded_file_is_what_the_api_writes(live_url: str, open_page: OpenPage, tmp_path: Path) -> None:
    page = transcribed(open_page, live_url)
    for kind in ("srt", "vtt"):
        with page.expect_download() as download:
            page.get_by_role("button", name=f"Download as {kind}").click()
        download.value.save_as(tmp_path / kind)
        answer = httpx.post(
            f"{live_url}/v1/audio/transcriptions",
            data={"model": "bundled", "response_format": kind},
            files={"file": (SAMPLES / NAME).read_bytes()},
            timeout=60,
        )
        assert (tmp_path / kind).read_text(encoding="utf-8") == answer.text


def run_copied(page: Page, tab: str, program: Callable[[str], list[str]], folder: Path) -> str:
    """Copy what a tab shows, run it where the recording lies, and return what it writes."""
    page.get_by_role("tab", name=tab).click()
    panel = page.get_by_role("tabpanel", name=tab)
    panel.get_by_role("button", name="Copy").click()
    expect(panel.get_by_role("button")).to_have_text("Copied")
    source = page.evaluate("navigator.clipboard.readText()")
    assert source == panel.locator("code").inner_text()
    shutil.copy(SAMPLES / NAME, folder / NAME)
    environment = {**os.environ, "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "*"}
    done = subprocess.run(
        program(source), cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("options", ["", "Words to favour", "Punctuation"])
@pytest.mark.parametrize("tab", ["curl", "Python", "huggingface_hub", "JavaScript"])
def test_what_is_copied_runs(live_url: str, open_page: OpenPage, tmp_path: Path, tab: str, options: str) -> None:
    programs: dict[str, Callable[[str], list[str]]] = {
        "curl": lambda source: ["sh", "-c", source],
        "Python": lambda source: [sys.executable, "-c", source],
        "huggingface_hub": lambda source: [sys.executable, "-c", source],
        "JavaScript": lambda source: ["node", "--input-type=module", "-e", source],
    }
    needed = {"curl": "curl", "JavaScript": "node"}.get(tab)
    if needed and shutil.which(needed) is None:
        pytest.skip(f"there is no {needed} here")
    if tab == "Python" and importlib.util.find_spec("requests") is None:
        pytest.skip("requests is not installed")
    page = open_page(f"{live_url}/models/bundled", permissions=["microphone", "clipboard-read", "clipboard-write"])
    expect(page.locator(".facts")).to_contain_text("Family")
    page.locator("input[type=file]").set_input_files(SAMPLES / NAME)
    expect(page.locator(".status-text")).to_contain_text("of audio, written down in")
    if options == "Words to favour":
        page.get_by_label(options).fill("triumph, O'Brien")
        page.get_by_label(options).blur()
    elif options:
        page.get_by_label(options).select_option(label="Put into English")
        page.get_by_role("button", name="Transcribe again").click()
        expect(page.locator(".said").first).to_contain_text(BEGINNING.capitalize())
    written = run_copied(page, tab, programs[tab], tmp_path)
    assert (BEGINNING.capitalize() if options == "Punctuation" else BEGINNING) in written


def test_two_models_of_one_name_are_one_and_compare_still_works(live_url: str, open_page: OpenPage) -> None:
    page = open_page(f"{live_url}/compare?model=bundled&model=bundled")
    page.get_by_role("button", name="Mohicans").click()
    run = page.get_by_role("region", name="bundled", exact=True)
    expect(run.locator(".figures")).to_contain_text("Word errors")
    expect(run).to_have_count(1)
    expect(run.locator("ins").first).to_be_visible()


def test_where_a_token_is_required_the_page_opens_and_asks_for_it(
    start_real: Callable[..., str], tmp_path: Path, open_page: OpenPage, watched: Any
) -> None:
    watched.expected.append("401")
    token, _ = TokenStore(tmp_path).create("page", ["infer"])
    page = open_page(start_real(data_dir=tmp_path, token_required=True))
    dialog = page.get_by_role("dialog", name="This server asks for a token")
    expect(dialog).to_contain_text("auricle token create")
    page.keyboard.type(token)
    page.keyboard.press("Enter")
    page.get_by_role("link", name="bundled").click()
    page.get_by_label("Live captions while recording").check()
    page.get_by_role("button", name="Record", exact=True).click()
    expect(page.locator(".captions")).to_contain_text(re.compile(r"\w+ \w+"))
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".said").first).to_contain_text(re.compile(r"\w+ \w+"))


def test_what_is_no_recording_is_refused_in_the_servers_words(
    live_url: str, open_page: OpenPage, watched: Any, tmp_path: Path
) -> None:
    watched.expected.append("400")
    (tmp_path / "notes.wav").write_text("this is no sound")
    page = open_page(f"{live_url}/models/bundled")
    page.locator("input[type=file]").set_input_files(tmp_path / "notes.wav")
    expect(page.get_by_role("alert")).to_contain_text("The server refused this. notes.wav is text")
