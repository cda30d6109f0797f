"""Who spoke, on the page: colours and names, renaming, one speaker alone, files; the real server and turns by hand."""

from __future__ import annotations

import json
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright")
import pysubs2
import webvtt
from playwright.sync_api import Page, expect

from auricle.audio.decode import load_audio, open_audio
from auricle.results import SpeakerTurn
from auricle.speech.diarization import Diarization

OpenPage = Callable[..., Page]
SAMPLES = Path(__file__).parents[2] / "samples"
RATE = 16000
COLD_MS = 120_000  # a server that was just begun loads its model first
KENNEDY_S = 11.0  # then a reader goes on, and he again


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two voices in turns, one after the other: Kennedy, a reader, Kennedy."""
    kennedy: Any = load_audio(SAMPLES / "jfk.flac", RATE)
    reader: Any = load_audio(SAMPLES / "librispeech-1320-122612-0008.ogg", RATE)
    samples = np.concatenate([kennedy, reader, kennedy[: 4 * RATE]])
    path = tmp_path_factory.mktemp("talk") / "two-voices.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return path


class ByHand:
    """Who speaks in `talk`, as it was put together."""

    name = "by hand"

    def voice(self, source: Any) -> list[float]:
        return [0.0]

    def diarizations(self, sources: Any, **parameters: Any) -> Iterator[Diarization]:
        for source in sources:
            end = open_audio(source, RATE).read().size / RATE
            spans = (
                ("SPEAKER_00", 0.0, KENNEDY_S),
                ("SPEAKER_01", KENNEDY_S, end - 4.0),
                ("SPEAKER_00", end - 4.0, end),
            )
            yield Diarization(tuple(SpeakerTurn(*span) for span in spans), ("SPEAKER_00", "SPEAKER_01"), end)


def loaded(place: str, settings: Any) -> Any:
    from auricle.server.registry import load_pipeline

    pipeline: Any = load_pipeline(place, settings)
    pipeline.speaker_models.default = ByHand()
    return pipeline


@pytest.fixture
def page_of_talk(start_real: Any, open_page: OpenPage, talk: Path, tmp_path: Path) -> Callable[..., Page]:
    """Return a function that opens the model's page and has `talk` transcribed with its speakers."""

    def show(**options: Any) -> Page:
        page = open_page(f"{start_real(load=loaded, data_dir=tmp_path / 'data')}/models/bundled", **options)
        expect(page.get_by_label("Tell who spoke")).to_be_attached(timeout=COLD_MS)
        if not page.get_by_label("Tell who spoke").is_visible():
            page.locator("summary", has_text="Options").click()
        page.get_by_label("Tell who spoke").check()
        page.locator("input[type=file]").set_input_files(talk)
        expect(page.get_by_role("heading", name="Who spoke")).to_be_visible(timeout=COLD_MS)
        return page

    return show


def downloaded(page: Page, kind: str) -> str:
    with page.expect_download() as waiting:
        page.get_by_role("button", name=f"Download as {kind}").click()
    return Path(waiting.value.path()).read_text()


def test_speakers_have_names_colours_and_shares(page_of_talk: Callable[..., Page]) -> None:
    page = page_of_talk()
    assert [page.get_by_label(f"Name of Speaker {n}").input_value() for n in (1, 2)] == ["Speaker 1", "Speaker 2"]
    shares = page.locator(".voices .share").all_inner_texts()
    assert len(shares) == 2
    assert abs(sum(int(text.partition("· ")[2].removesuffix(" %")) for text in shares) - 100) <= 1
    labels = page.locator(".said .speaker").all_inner_texts()
    assert [label.strip() for label in labels] == ["Speaker 1", "Speaker 2", "Speaker 1"]
    colours = page.eval_on_selector_all(".said .speaker", "all => all.map(one => getComputedStyle(one).color)")
    assert colours[0] == colours[2] != colours[1]


def test_a_name_is_changed_everywhere_and_in_every_file(page_of_talk: Callable[..., Page]) -> None:
    page = page_of_talk()
    name = page.get_by_label("Name of Speaker 1")
    name.fill("Ann <b>Lee</b>")
    name.press("Enter")
    labels = page.locator(".said .speaker").all_inner_texts()
    assert [label.strip() for label in labels] == ["Ann <b>Lee</b>", "Speaker 2", "Ann <b>Lee</b>"]
    expect(page.get_by_role("button", name="Show only Ann <b>Lee</b>")).to_be_visible()
    lines = downloaded(page, "txt").splitlines()
    assert [line.partition(":")[0] for line in lines] == ["Ann <b>Lee</b>", "Speaker 2", "Ann <b>Lee</b>"]
    cues = list(webvtt.from_string(downloaded(page, "vtt")))
    assert {cue.voice for cue in cues} == {"Ann &lt;b&gt;Lee&lt;/b&gt;", "Speaker 2"}
    events = pysubs2.SSAFile.from_string(downloaded(page, "srt"), format_="srt")
    assert any(event.plaintext.startswith("Speaker 2: ") for event in events)
    told = json.loads(downloaded(page, "json"))
    assert told["segments"][0]["speaker"] == told["words"][0]["speaker"] == "Ann <b>Lee</b>"
    name.fill("  ")
    name.press("Enter")
    assert name.input_value() == "Speaker 1", "a name cannot be empty"


def test_one_speaker_is_shown_alone_by_keyboard(page_of_talk: Callable[..., Page]) -> None:
    page = page_of_talk()
    only = page.get_by_role("button", name="Show only Speaker 2")
    only.focus()
    page.keyboard.press("Enter")
    expect(only).to_have_attribute("aria-pressed", "true")
    shown = page.locator(".segment:visible")
    assert {one.get_attribute("data-speaker") for one in shown.all()} == {"SPEAKER_01"}
    page.keyboard.press("Enter")
    expect(only).to_have_attribute("aria-pressed", "false")
    assert shown.count() == page.locator(".segment").count()


def test_number_of_speakers_and_the_request_by_program_follow_the_options(page_of_talk: Callable[..., Page]) -> None:
    page = page_of_talk()
    assert "speakers=true" in page.locator(".code").inner_text()
    page.get_by_label("How many speak").select_option("2")
    assert "speakers=2" in page.locator(".code").inner_text()
    page.get_by_label("Tell who spoke").uncheck()
    expect(page.get_by_label("How many speak")).to_be_hidden()
    page.get_by_role("button", name="Transcribe again").click()
    expect(page.get_by_role("heading", name="Who spoke")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_and_the_page_looks_right(
    page_of_talk: Callable[..., Page], scheme: str, tmp_path: Path
) -> None:
    axe = pytest.importorskip("axe_playwright_python.base", reason="axe-core comes with axe-playwright-python")
    page = page_of_talk(color_scheme=scheme, reduced_motion="reduce", viewport={"width": 1280, "height": 1000})
    page.get_by_label("Name of Speaker 1").fill("Kennedy")
    page.get_by_label("Name of Speaker 1").press("Enter")
    page.evaluate(axe.AXE_SCRIPT)
    found = page.evaluate("() => axe.run(document)")["violations"]
    assert [
        (one["id"], one["nodes"][0]["html"][:120]) for one in found if one["impact"] in ("serious", "critical")
    ] == []
    page.screenshot(path=str(tmp_path / f"speakers-{scheme}.png"), full_page=True)


def test_it_fits_a_small_phone(page_of_talk: Callable[..., Page]) -> None:
    page = page_of_talk(viewport={"width": 320, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_every_voice_can_be_read_on_every_ground(scripted: Any, open_page: OpenPage) -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for scheme in ("light", "dark"):
        page = open_page(scripted.url, color_scheme=scheme)
        names = [*(f"--voice-{letter}" for letter in "abcdefgh"), "--paper", "--surface", "--sunk"]
        script = "names => names.map(n => getComputedStyle(document.documentElement).getPropertyValue(n).trim())"
        *voices, paper, surface, sunk = map(luminance, page.evaluate(script, names))
        for voice in voices:
            for ground in (paper, surface, sunk):
                high, low = max(voice, ground), min(voice, ground)
                assert (high + 0.05) / (low + 0.05) >= 4.5
