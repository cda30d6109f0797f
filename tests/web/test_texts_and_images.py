"""The pages of models that write and see, before the real server and tiny random models."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright")
from playwright.sync_api import Page, expect

OpenPage = Callable[..., Page]
GRAVE = ("serious", "critical")
NARROW = {"width": 320, "height": 640}  # what WCAG asks of reflow
# What reaches beyond the window, but for what scrolls within a box of its own.
WIDER = """() => [...document.querySelectorAll("body *")].filter((one) => {
  for (let box = one.parentElement; box; box = box.parentElement)
    if (["auto", "scroll", "hidden"].includes(getComputedStyle(box).overflowX)) return false;
  return one.getBoundingClientRect().right > innerWidth + 1;
}).map((one) => `${one.tagName}.${one.className} ${one.getBoundingClientRect().right} ${one.textContent}`)"""
PASTE = """async ([data, name]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const carried = new DataTransfer();
  carried.items.add(new File([bytes], name, { type: "image/png" }));
  document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData: carried, bubbles: true }));
}"""


@pytest.fixture(scope="module")
def folder_without_chats(tmp_path_factory: pytest.TempPathFactory, text_checkpoint: Path) -> Path:
    """The same model without a template."""
    folder = tmp_path_factory.mktemp("plain") / "model"
    shutil.copytree(text_checkpoint, folder)
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<|im_end|>"}')
    return folder


@pytest.fixture(scope="module")
def url(
    tmp_path_factory: pytest.TempPathFactory,
    text_checkpoint: Path,
    folder_without_chats: Path,
    image_checkpoints: dict[str, Path],
) -> Iterator[str]:
    """The address of a server of four models."""
    from auricle.server.app import create_app
    from auricle.server.registry import Registry
    from auricle.server.settings import Settings

    spec = importlib.util.spec_from_file_location("web_conftest", Path(__file__).with_name("conftest.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["web_conftest"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    models = (
        f"org/writer={text_checkpoint}",
        f"org/plain={folder_without_chats}",
        f"org/vit={image_checkpoints['vit']}",
        f"org/vilt={image_checkpoints['vilt']}",
    )
    folder = tmp_path_factory.mktemp("data")
    settings = Settings(models=models, data_dir=folder, max_loaded=4, engine="reference", device="cpu")
    with module.running(create_app(Registry(settings), settings)) as address:
        yield address


def say(page: Page, text: str) -> None:
    page.get_by_role("textbox", name="Message").fill(text)
    page.keyboard.press("Enter")


def chatted(open_page: OpenPage, url: str, **options: Any) -> Page:
    page = open_page(f"{url}/models/org/writer", **options)
    expect(page.get_by_role("tab", name="Chat")).to_be_visible()
    if not page.locator("details.side").evaluate("one => one.open"):
        page.locator("details.side summary").click()
    page.get_by_label("Tokens at most").fill("12")
    page.get_by_label("Seed").fill("1")
    say(page, "the quick")
    expect(page.locator(".status-text")).to_contain_text("12 tokens in")
    return page


def written(page: Page) -> None:
    page.get_by_role("tab", name="Write on").click()
    page.get_by_role("button", name="Write on", exact=True).click()
    expect(page.locator(".status-text")).to_contain_text("tokens in")


def classified(page: Page, picture: Path) -> None:
    page.locator("input[type=file]").set_input_files(picture)
    expect(page.locator(".bar")).to_have_count(5)


def asked(page: Page, picture: Path) -> None:
    page.locator("input[type=file]").set_input_files(picture)
    page.get_by_label("Question").fill("how many cats ?")
    page.keyboard.press("Enter")
    expect(page.locator(".bar")).to_have_count(5)


def test_a_chat_goes_on_turn_by_turn_by_keyboard_alone(url: str, open_page: OpenPage) -> None:
    page = chatted(open_page, url)
    turns = page.locator(".turn-text")
    expect(turns).to_have_count(2)
    answer = turns.last.inner_text()
    assert answer
    expect(page.get_by_role("textbox", name="Message")).to_be_focused()
    expect(page.get_by_role("status").filter(has_text=answer.strip()[:5]).first).to_be_attached()
    say(page, "and more")
    expect(turns).to_have_count(4)
    expect(page.locator(".status-text")).to_contain_text("known from before")


def test_an_answer_is_written_again_and_a_chat_begun_anew(url: str, open_page: OpenPage) -> None:
    page = chatted(open_page, url)
    first = page.locator(".turn-text").last.inner_text()
    page.get_by_label("Seed").fill("2")
    page.get_by_role("button", name="Answer again").click()
    expect(page.locator(".turn-assistant")).to_have_count(1)
    expect(page.locator(".turn-text").last).not_to_have_text(first)
    page.get_by_role("button", name="New chat").click()
    expect(page.locator(".turn")).to_have_count(0)
    expect(page.get_by_role("button", name="New chat")).to_be_disabled()


def test_a_system_prompt_stands_before_the_chat(url: str, open_page: OpenPage) -> None:
    page = open_page(f"{url}/models/org/writer")
    sent: list[Any] = []
    page.on("request", lambda one: sent.append(one.post_data_json) if "completions" in one.url else None)
    page.get_by_label("System prompt").fill("be brief")
    page.get_by_label("Tokens at most").fill("3")
    say(page, "the")
    expect(page.locator(".status-text")).to_contain_text("3 tokens in")
    assert sent[0]["messages"] == [{"role": "system", "content": "be brief"}, {"role": "user", "content": "the"}]
    assert "temperature" not in sent[0]


@pytest.mark.usefixtures("slow_writing")
def test_stop_ends_the_writing_and_keeps_what_there_is(url: str, open_page: OpenPage) -> None:
    page = open_page(f"{url}/models/org/writer")
    page.get_by_label("Tokens at most").fill("450")
    say(page, "the")
    expect(page.locator(".turn-assistant .turn-text")).not_to_be_empty()
    page.locator(".composer").get_by_role("button", name="Stop").first.click()
    expect(page.locator(".status-text")).to_have_text("Stopped. What had been written stays.")
    expect(page.locator(".turn-assistant .turn-text")).not_to_be_empty()
    expect(page.get_by_role("button", name="Answer again")).to_be_enabled()


def test_a_text_is_written_on_and_a_model_without_a_template_only_that(url: str, open_page: OpenPage) -> None:
    page = open_page(f"{url}/models/org/plain")
    expect(page.get_by_role("tab", name="Chat")).to_have_count(0)
    page.get_by_label("Tokens at most").fill("8")
    page.get_by_label("Beginning").fill("the quick")
    written(page)
    expect(page.locator(".written")).to_contain_text(re.compile("^the quick.+", re.DOTALL))


def test_what_the_server_refuses_is_told_in_its_words(url: str, open_page: OpenPage, watched: Any) -> None:
    watched.expected.append("400")
    page = open_page(f"{url}/models/org/writer")
    say(page, "quick " * 600)
    expect(page.get_by_role("alert")).to_contain_text("maximum context length is 512 tokens")


def test_an_image_is_classified_when_it_is_chosen_or_pasted(url: str, open_page: OpenPage, picture: Path) -> None:
    page = open_page(f"{url}/models/org/vit")
    classified(page, picture)
    expect(page.get_by_role("img", name="noise.png")).to_be_visible()
    shares = [float(text.split()[0]) for text in page.locator(".bar-share").all_inner_texts()]
    assert shares == sorted(shares, reverse=True)
    page.get_by_label("Labels at most").fill("2")
    page.get_by_label("Labels at most").blur()
    expect(page.locator(".bar")).to_have_count(2)
    import base64

    page.evaluate(PASTE, [base64.b64encode(picture.read_bytes()).decode(), "pasted.png"])
    expect(page.get_by_role("img", name="pasted.png")).to_be_visible()


def test_a_question_is_asked_about_an_image(url: str, open_page: OpenPage, picture: Path) -> None:
    page = open_page(f"{url}/models/org/vilt")
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_role("alert")).to_contain_text("Choose an image first.")
    asked(page, picture)
    expect(page.get_by_role("progressbar").first).to_be_visible()


def test_what_is_no_image_is_refused(url: str, open_page: OpenPage, watched: Any, tmp_path: Path) -> None:
    watched.expected.append("400")
    (tmp_path / "notes.png").write_text("these are words")
    page = open_page(f"{url}/models/org/vit")
    page.locator("input[type=file]").set_input_files(tmp_path / "notes.png")
    expect(page.get_by_role("alert")).to_contain_text("The server refused this.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("which", ["chat", "text", "labels", "answers"])
def test_axe_finds_no_serious_fault_and_nothing_is_wider_than_a_small_phone(
    url: str, open_page: OpenPage, picture: Path, which: str, scheme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.base", reason="axe-core comes with axe-playwright-python")
    look: dict[str, Any] = {"color_scheme": scheme, "reduced_motion": "reduce"}
    if which in ("chat", "text"):
        page = chatted(open_page, url, **look)
        if which == "text":
            written(page)
    else:
        page = open_page(f"{url}/models/org/{'vit' if which == 'labels' else 'vilt'}", **look)
        (classified if which == "labels" else asked)(page, picture)
    page.evaluate(axe.AXE_SCRIPT)
    found = page.evaluate("() => axe.run(document)")
    assert [one["id"] for one in found["violations"] if one["impact"] in GRAVE] == []
    page.set_viewport_size(NARROW)  # type: ignore[arg-type]
    assert page.evaluate(WIDER) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]


@pytest.mark.parametrize("tab", ["curl", "Python", "huggingface_hub", "JavaScript"])
@pytest.mark.parametrize("model", ["writer", "vilt"])
def test_what_is_copied_runs(
    url: str, open_page: OpenPage, picture: Path, tmp_path: Path, tab: str, model: str
) -> None:
    if model == "vilt" and tab == "Python":
        pytest.skip("OpenAI's client asks nothing about images here")
    needed = {"curl": "curl", "JavaScript": "node"}.get(tab)
    if needed and shutil.which(needed) is None:
        pytest.skip(f"there is no {needed} here")
    if model == "writer":
        page = chatted(open_page, url)
    else:
        page = open_page(f"{url}/models/org/vilt")
        asked(page, picture)
    page.get_by_role("tab", name=tab).click()
    source = page.get_by_role("tabpanel", name=tab).locator("code").inner_text()
    shutil.copy(picture, tmp_path / picture.name)
    program = {"curl": ["sh", "-c"], "JavaScript": ["node", "--input-type=module", "-e"]}.get(
        tab, [sys.executable, "-c"]
    )
    environment = {**os.environ, "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "*"}
    done = subprocess.run(
        [*program, source], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert '"error"' not in done.stdout
