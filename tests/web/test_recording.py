"""The microphone: a recording becomes text, its captions come while it runs, and a refusal is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright")
from playwright.sync_api import Page, expect

OpenPage = Callable[..., Page]


def record(page: Page, least_s: float = 2.0) -> None:
    """Record until the page says that so many seconds have passed."""
    page.get_by_role("button", name="Record").click()
    page.wait_for_function(
        """(least) => {
          const [minutes, seconds] = document.querySelector(".elapsed").textContent.split(":").map(Number);
          return 60 * minutes + seconds >= least;
        }""",
        arg=least_s,
    )


def test_a_recording_is_played_drawn_and_written_down(scripted: Any, open_page: OpenPage) -> None:
    page = open_page(f"{scripted.url}/models/test/whisper")
    record(page)
    expect(page.get_by_role("timer")).to_be_visible()
    page.wait_for_function("() => document.querySelectorAll('.meter .is-lit').length > 3")
    expect(page.get_by_role("button", name="Choose a file")).to_be_disabled()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".segment")).to_have_count(3)
    expect(page.locator(".player-name")).to_have_text("recording.webm")
    page.wait_for_function("() => !document.querySelector('.play').disabled")
    # What MediaRecorder writes has no duration in its head: the page finds it, and it is not the script's 11 s.
    page.wait_for_function(
        """() => {
          const seconds = Number(document.querySelector(".waveform").ariaValueMax);
          return seconds >= 2 && seconds <= 10;
        }"""
    )
    expect(page.locator("pre code").first).to_contain_text("file=@recording.webm")


def test_captions_come_while_the_microphone_runs(scripted: Any, open_page: OpenPage) -> None:
    page = open_page(f"{scripted.url}/models/test/whisper")
    page.get_by_label("Language spoken").select_option("de")
    page.get_by_label("Live captions while recording").check()
    page.get_by_role("button", name="Record").click()
    captions = page.locator(".captions")
    expect(captions).to_have_text("and so my")
    expect(captions.locator(".pending")).to_have_text("and so my")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".segment")).to_have_count(3)
    start = scripted.script.live_start
    assert (start["format"], start["language"]) == ("s16le", "de")
    assert start["sample_rate"] in (16000, 44100, 48000)
    assert scripted.script.live_bytes >= 2 * 4096


def test_a_microphone_that_is_refused_is_told(scripted: Any, open_page: OpenPage) -> None:
    page = open_page(f"{scripted.url}/models/test/whisper")
    page.evaluate(
        """() => {
          navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("no", "NotAllowedError"));
        }"""
    )
    page.get_by_role("button", name="Record").click()
    expect(page.get_by_role("alert")).to_contain_text("was not allowed to use the microphone")
    expect(page.get_by_role("button", name="Record")).to_be_enabled()


def test_a_page_without_a_microphone_says_why(scripted: Any, open_page: OpenPage) -> None:
    page = open_page(f"{scripted.url}/models/test/whisper")
    page.evaluate(
        """() => {
          Object.defineProperty(navigator, "mediaDevices", { value: undefined });
          Object.defineProperty(window, "isSecureContext", { value: false });
        }"""
    )
    page.get_by_role("button", name="Record").click()
    expect(page.locator(".source-note")).to_contain_text("only to https:// addresses and to localhost")
