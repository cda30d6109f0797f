"""A model's page: the text as it comes, its words and playback, files, options, and what goes wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright")
from playwright.sync_api import Page, expect

OpenPage = Callable[..., Page]
SAMPLES = Path(__file__).parents[2] / "samples"
# What a page does with files that are dropped on it.
DROP = """async ([url, name]) => {
  const file = new File([await (await fetch(url)).blob()], name, { type: "audio/flac" });
  const data = new DataTransfer();
  data.items.add(file);
  for (const kind of ["dragover", "drop"])
    document.body.dispatchEvent(new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
}"""


def choose(page: Page, path: Path = SAMPLES / "jfk.flac") -> None:
    page.locator("input[type=file]").set_input_files(path)


def transcribed(open_page: OpenPage, scripted: Any, model: str = "test/whisper") -> Page:
    """Open a model's page and transcribe a recording."""
    page = open_page(f"{scripted.url}/models/{model}")
    expect(page.locator(".facts")).to_contain_text("Family")
    choose(page)
    expect(page.locator(".status-text")).to_contain_text("of audio, written down in")
    return page


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.01)


def test_a_dropped_file_is_written_down_step_by_step(scripted: Any, open_page: OpenPage) -> None:
    page = open_page(f"{scripted.url}/models/test/steps")
    expect(page.locator(".sample")).to_have_count(2)
    page.evaluate(DROP, [f"{scripted.url}/samples/jfk.flac", "address.flac"])
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    expect(page.locator(".player-name")).to_have_text("address.flac")
    segments = page.locator(".segment")
    for number, (text, _, end) in enumerate(scripted.module.SAID, 1):
        scripted.script.step()
        expect(segments).to_have_count(number)
        expect(segments.last).to_contain_text(text)
        if number < len(scripted.module.SAID):
            expect(page.locator(".status-text")).to_have_text(f"Heard 0:0{int(end)} of 0:11")
            expect(page.get_by_role("button", name="Download as srt")).to_be_hidden()
    expect(page.locator(".status-text")).to_contain_text("0:11.0 of audio, written down in")
    assert page.locator(".said").all_inner_texts() == [text for text, _, _ in scripted.module.SAID]
    spoken = page.get_by_role("log", name="New text").locator("p")
    assert spoken.all_text_contents() == [text for text, _, _ in scripted.module.SAID]


def test_what_was_written_stays_when_it_is_cancelled_and_the_server_hears_of_it(
    scripted: Any, open_page: OpenPage
) -> None:
    page = open_page(f"{scripted.url}/models/test/steps")
    choose(page)
    wait_until(lambda: bool(scripted.script.forms), "the server is asked")
    scripted.script.step()
    expect(page.locator(".segment")).to_have_count(1)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".status-text")).to_have_text("Cancelled. What had been written stays.")
    expect(page.locator(".segment")).to_have_count(1)
    wait_until(lambda: scripted.script.cancelled == 1, "the server learns that nobody listens")
    page.get_by_role("button", name="Transcribe again").click()
    for _ in scripted.module.SAID:
        scripted.script.step()
    expect(page.locator(".segment")).to_have_count(3)
    assert scripted.script.headers[-1]["x-use-cache"] == "false"


def test_words_are_marked_in_step_with_playback(scripted: Any, open_page: OpenPage) -> None:
    page = transcribed(open_page, scripted)
    page.evaluate("""() => {
      window.marked = [];
      const note = () => {
        const word = document.querySelector(".word.is-now");
        if (word) marked.push([word.textContent, document.querySelector("audio").currentTime]);
      };
      // Called right after each mark is set, so that a busy machine does not part the word from its time.
      new MutationObserver(note).observe(document.querySelector(".segments"), {
        subtree: true, attributes: true, attributeFilter: ["class"],
      });
    }""")
    page.get_by_label("Speed").select_option("0.75")
    page.get_by_role("button", name="Play", exact=True).click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    page.wait_for_function("() => document.querySelector('audio').currentTime > 3.5")
    page.get_by_role("button", name="Pause").click()
    spoken = [word for segment in scripted.module.segments("test/whisper") for word in segment["words"]][:5]
    words = {word["word"]: word for word in spoken}
    seen = [(word, at) for word, at in page.evaluate("marked") if word in words]
    slack = 0.3  # seconds: the hold after a word, and what the sound goes on while the mark is set
    assert all(words[word]["start"] - 0.05 <= at <= words[word]["end"] + slack for word, at in seen)
    # On a busy machine a frame may be longer than a word; most of them are seen all the same, in their order.
    order = [*dict.fromkeys(word for word, _ in seen)]
    assert order == [word for word in words if word in order]
    assert len(order) >= 3


def test_a_click_on_a_word_a_time_or_the_waveform_goes_there(scripted: Any, open_page: OpenPage) -> None:
    page = transcribed(open_page, scripted)
    now = "document.querySelector('audio').currentTime"
    page.locator(".word", has_text="fellow").click()
    expect(page.locator(".word.is-now")).to_have_text("fellow")
    page.get_by_role("button", name="Play from 0:03.2").first.click()
    assert page.evaluate(now) == pytest.approx(3.2, abs=0.05)
    box = page.locator(".waveform").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] * 0.66, box["y"] + 10)
    assert page.evaluate(now) == pytest.approx(7.26, abs=0.2)
    page.get_by_role("slider", name="Position").press("ArrowLeft")
    expect(page.get_by_role("slider")).to_have_attribute("aria-valuetext", "2 seconds of 11 seconds")


def test_the_waveform_shows_where_the_voice_is(scripted: Any, open_page: OpenPage) -> None:
    page = transcribed(open_page, scripted)
    page.wait_for_function(
        """() => {
          const canvas = document.querySelector(".waveform canvas");
          const pen = canvas.getContext("2d");
          const inked = (from, to) => {
            const x = Math.floor(canvas.width * from / 11);
            const data = pen.getImageData(x, 0, Math.floor(canvas.width * (to - from) / 11), canvas.height).data;
            return data.filter((value, i) => i % 4 === 3 && value > 0).length / (data.length / 4);
          };
          return inked(0.6, 2.2) > 4 * inked(2.5, 3.1);
        }"""
    )


def test_doubtful_words_are_shaded_and_told(scripted: Any, open_page: OpenPage) -> None:
    page = transcribed(open_page, scripted)
    assert page.locator(".doubt-1").all_inner_texts() == ["fellow"]
    assert page.locator(".doubt-2").all_inner_texts() == ["cuntree."]
    expect(page.locator(".doubt-2")).to_have_attribute("title", "40 % sure")
    expect(page.get_by_text("2 of 22 words are doubtful")).to_be_visible()
    shaded = "getComputedStyle(document.querySelector('.doubt-2')).backgroundColor"
    before = page.evaluate(shaded)
    page.get_by_label("Shade doubtful words").uncheck()
    assert page.evaluate(shaded) != before


def test_warnings_have_their_spans_and_markup_in_them_is_text(scripted: Any, open_page: OpenPage) -> None:
    page = transcribed(open_page, scripted)
    warnings = page.get_by_role("region", name="Warnings")
    expect(warnings).to_contain_text("2 things to know")
    expect(warnings).to_contain_text("<img src=x onerror=alert(1)>")
    warnings.get_by_role("button", name="Play from 0:02.3").click()
    assert page.evaluate("document.querySelector('audio').currentTime") == pytest.approx(2.3, abs=0.05)


def test_downloads_hold_the_text_and_its_times(scripted: Any, open_page: OpenPage, tmp_path: Path) -> None:
    page = transcribed(open_page, scripted)
    files = {}
    for kind in ("txt", "srt", "vtt", "json"):
        with page.expect_download() as download:
            page.get_by_role("button", name=f"Download as {kind}").click()
        assert download.value.suggested_filename == f"jfk.{kind}"
        download.value.save_as(tmp_path / kind)
        files[kind] = (tmp_path / kind).read_text(encoding="utf-8")
    text = " ".join(said for said, _, _ in scripted.module.SAID)
    assert files["txt"] == text + "\n"
    assert files["srt"].startswith("1\n00:00:00,400 --> ")
    assert files["vtt"].startswith("WEBVTT\n")
    assert all(said.split()[0] in files["vtt"] for said, _, _ in scripted.module.SAID)
    whole = json.loads(files["json"])
    assert (whole["text"], whole["duration"], len(whole["segments"])) == (text, 11.0, 3)
    assert len(scripted.script.forms) == 1  # nothing was recognised again


def test_only_options_that_a_model_knows_are_shown_and_they_are_sent(scripted: Any, open_page: OpenPage) -> None:
    page = open_page(f"{scripted.url}/models/test/whisper")
    page.get_by_label("Language spoken").select_option(label="Swahili")
    page.get_by_label("Prompt").fill("Habari.")
    page.get_by_label("Words to favour").fill("Nairobi, Mombasa")
    choose(page)
    expect(page.locator(".status-text")).to_contain_text("of audio, written down in")
    sent = scripted.script.forms[-1]
    assert (sent["language"], sent["prompt"], sent["hotwords"]) == ("sw", "Habari.", "Nairobi, Mombasa")
    assert (sent["units"], "task" in sent) == (["segment", "word"], False)
    page.get_by_label("Write").select_option(label="A translation into English")
    page.get_by_role("button", name="Transcribe again").click()
    wait_until(lambda: len(scripted.script.forms) == 2, "it is asked again")
    assert scripted.script.forms[-1]["task"] == "translate"
    page.goto(f"{scripted.url}/models/test/moonshine")
    expect(page.locator(".facts")).to_contain_text("moonshine")
    expect(page.get_by_label("Tell who spoke")).to_be_visible()
    for label in ("Language spoken", "Times of", "Prompt", "Words to favour"):
        expect(page.get_by_label(label)).to_have_count(0)
    choose(page)
    expect(page.locator(".status-text")).to_contain_text("of audio, written down in")
    assert scripted.script.forms[-1]["units"] == ["segment"]


def test_what_is_chosen_before_the_model_is_described_stays(scripted: Any, open_page: OpenPage) -> None:
    page = open_page(scripted.url)
    asked: list[Any] = []

    def hold(route: Any) -> None:
        asked.append(route)
        if len(asked) == 1:  # the page's own question, which decides on the widget
            route.continue_()

    page.route("**/api/models/test/whisper", hold)
    page.goto(f"{scripted.url}/models/test/whisper")
    page.get_by_label("Tell who spoke").check()
    page.get_by_label("How many speak").select_option("3")
    page.get_by_label("Times of").select_option("segment")
    expect(page.get_by_label("Prompt")).to_have_count(0)
    wait_until(lambda: len(asked) == 2, "the widget asks what the model knows")
    asked[1].continue_()
    expect(page.get_by_label("Prompt")).to_be_visible()
    expect(page.get_by_label("Tell who spoke")).to_be_checked()
    expect(page.get_by_label("How many speak")).to_have_value("3")
    expect(page.get_by_label("Times of")).to_have_value("segment")
    expect(page.locator(".code")).to_contain_text("speakers=3")


def test_a_model_that_is_loading_is_waited_for(scripted: Any, open_page: OpenPage, watched: Any) -> None:
    watched.expected.append("503")
    page = open_page(f"{scripted.url}/models/test/loading")
    choose(page)
    expect(page.locator(".status-text")).to_have_text("The model is loading; trying again in 1 s.")
    expect(page.locator(".status-text")).to_contain_text("of audio, written down in")
    assert len(scripted.script.forms) == 2


@pytest.mark.parametrize(
    ("model", "status", "told"),
    [
        ("test/busy", "429", "Too many requests. The limit of 5 a minute is reached. Try again in 7 s."),
        ("test/large", "413", "Too large for this server. 5000 bytes arrived, at most 100 are taken."),
        ("test/cut", "none", "No answer. The server ended before the text was complete."),
    ],
)
def test_refusals_are_told_in_words(
    scripted: Any, open_page: OpenPage, watched: Any, model: str, status: str, told: str
) -> None:
    watched.expected.append(status)
    page = open_page(f"{scripted.url}/models/{model}")
    choose(page)
    expect(page.get_by_role("alert")).to_contain_text(told)
    expect(page.get_by_role("button", name="Try again")).to_be_visible()


def test_a_token_is_asked_for_and_kept_for_the_tab(scripted: Any, open_page: OpenPage, watched: Any) -> None:
    watched.expected.append("401")
    page = open_page(f"{scripted.url}/models/test/locked")
    choose(page)
    dialog = page.get_by_role("dialog", name="This server asks for a token")
    expect(dialog.get_by_label("Access token")).to_be_focused()
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    expect(dialog).to_contain_text("It did not take the last one: malformed token")
    page.keyboard.type(scripted.module.TOKEN)
    page.keyboard.press("Enter")
    expect(page.locator(".status-text")).to_contain_text("of audio, written down in")
    expect(page.locator(".snippet").first).to_contain_text("Authorization: Bearer $AURICLE_TOKEN")
    assert page.evaluate("localStorage.length") == 0
    page.reload()
    choose(page)
    expect(page.locator(".status-text")).to_contain_text("of audio, written down in")
    page.evaluate("sessionStorage.clear()")
    page.get_by_role("button", name="Transcribe again").click()
    dialog.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("alert")).to_contain_text("A token is needed. No token arrived.")


def test_a_model_that_is_not_there_is_told(scripted: Any, open_page: OpenPage, watched: Any) -> None:
    watched.expected.append("404")
    page = open_page(f"{scripted.url}/models/nobody/nothing")
    expect(page.get_by_role("alert")).to_contain_text("This server has no model 'nobody/nothing'.")


def test_a_file_that_no_browser_plays_is_transcribed_all_the_same(
    scripted: Any, open_page: OpenPage, tmp_path: Path
) -> None:
    path = tmp_path / "old.amr"
    path.write_bytes(b"#!AMR\n" + bytes(100))
    page = open_page(f"{scripted.url}/models/test/whisper")
    choose(page, path)
    expect(page.locator(".segment")).to_have_count(3)
    expect(page.get_by_text("This browser cannot play this kind of file")).to_be_visible()
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_disabled()


def test_the_keyboard_alone_transcribes_and_walks_through_the_text(scripted: Any, open_page: OpenPage) -> None:
    page = open_page(f"{scripted.url}/models/test/whisper")
    expect(page.locator(".sample").first).to_be_visible()

    def focused() -> str:
        return str(page.evaluate("document.activeElement.textContent || document.activeElement.ariaLabel"))

    def tab_to(text: str) -> None:
        for _ in range(40):
            page.keyboard.press("Tab")
            if text in focused():
                return
        raise AssertionError(f"no Tab leads to {text!r}")

    tab_to("Skip to the content")
    page.keyboard.press("Enter")
    tab_to("Kennedy")
    page.keyboard.press("Enter")
    expect(page.locator(".segment")).to_have_count(3)
    tab_to("0:00.4")
    page.keyboard.press("ArrowDown")
    assert focused() == "0:03.2"
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    assert focused() == "not"
    assert page.evaluate("[document.activeElement.role, document.activeElement.ariaLabel]") == ["button", "not, 0:03.6"]
    page.keyboard.press("Enter")
    expect(page.locator(".word.is-now")).to_have_text("not")
    tab_to("srt")
    with page.expect_download():
        page.keyboard.press("Enter")
    tab_to("curl")
    page.keyboard.press("ArrowRight")
    assert focused() == "Python"
    expect(page.get_by_role("tabpanel", name="Python")).to_be_visible()


def test_one_tag_is_the_widget_in_a_page_of_ones_own(scripted: Any, open_page: OpenPage) -> None:
    page = open_page(f"{scripted.url}/compare")
    html = """<!doctype html><title>Mine</title>
      <link rel="stylesheet" href="/static/base.css"><link rel="stylesheet" href="/static/widget.css">
      <script type="module" src="/static/widget.js"></script><auricle-widget model="test/whisper"></auricle-widget>"""
    page.route("**/mine.html", lambda route: route.fulfill(body=html, content_type="text/html"))
    page.goto(f"{scripted.url}/mine.html")
    choose(page)
    expect(page.locator(".segment")).to_have_count(3)
    expect(page.get_by_label("Prompt")).to_be_visible()
