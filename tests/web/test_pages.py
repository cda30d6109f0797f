"""The routes of the page without a browser: what they answer to whom, with which headers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

import auricle.server
from auricle.server.exports import FORMATS, MAX_EXPORT_BYTES

WEB = Path(auricle.server.__file__).parent / "web"
HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
PAGES = ("/", "/models/test/whisper", "/compare", "/leaderboard", "/docs")
SEGMENT = {
    "text": "and so my",
    "start": 0.4,
    "end": 2.0,
    "words": [
        {"word": "and", "start": 0.4, "end": 0.6, "confidence": 0.9},
        {"word": "so", "start": 0.8, "end": 1.0},
        {"word": "my", "start": 1.5, "end": 2.0, "confidence": None},
    ],
}


@pytest.fixture
def client(scripted_module: Any) -> Iterator[TestClient]:
    """A client of the scripted server."""
    with TestClient(scripted_module.scripted_app(scripted_module.Script()), follow_redirects=False) as found:
        yield found


@pytest.mark.parametrize("path", PAGES)
def test_pages_allow_no_inline_script_and_nothing_from_elsewhere(client: TestClient, path: str) -> None:
    answer = client.get(path, headers=HTML)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'self'; media-src 'self' blob:;")
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.head(path, headers=HTML).status_code == 200


def test_no_file_has_inline_handlers_styles_markup_strings_or_other_hosts() -> None:
    for path in [*WEB.rglob("*.html"), *WEB.rglob("*.js"), *WEB.rglob("*.css"), *WEB.rglob("*.svg")]:
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|<[^>]*\son\w+=", text), path.name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text), path.name
        assert not re.search(r"https?://(?!localhost)\w", text), path.name


def test_the_root_says_ok_to_programs_and_a_models_address_leads_them_to_the_api(client: TestClient) -> None:
    assert client.get("/").text == "Ok"
    answer = client.get("/models/test/whisper")
    assert (answer.status_code, answer.headers["location"]) == (307, "/api/models/test/whisper")


def test_a_model_that_is_not_there_is_404_and_its_name_is_text(client: TestClient) -> None:
    answer = client.get("/models/%3Cscript%3Ealert(1)%3C/script%3E", headers=HTML)
    assert answer.status_code == 404
    assert "<script>alert" not in answer.text
    assert "&lt;script&gt;alert(1)" in answer.text


@pytest.mark.parametrize(
    "path", ["/static/../pages/shell.html", "/static/%2e%2e/pages/shell.html", "/samples//etc/passwd"]
)
def test_no_path_leads_out_of_the_folders_of_files(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code in (404, 307)
    assert "<!doctype" not in answer.text


def test_files_are_asked_for_again_and_answered_by_304(client: TestClient) -> None:
    first = client.get("/static/base.css")
    assert first.headers["cache-control"] == "no-cache"
    again = client.get("/static/base.css", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/static/nothing.js").status_code == 404


def test_types_of_files_do_not_depend_on_the_machine(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("starlette.responses.guess_type", lambda *_, **__: (None, None))
    assert client.get("/static/api.js").headers["content-type"] == "text/javascript; charset=utf-8"
    assert client.get("/static/base.css").headers["content-type"] == "text/css; charset=utf-8"
    assert client.get("/samples/mohicans.ogg").headers["content-type"] == "audio/ogg"


def test_every_sample_is_there_with_its_words_and_its_licence(client: TestClient) -> None:
    samples = client.get("/api/samples").json()
    assert len(samples) == 2
    for sample in samples:
        assert client.get(f"/{sample['url']}").headers["content-type"].startswith("audio/")
        assert sample["text"]
        assert sample["licence"]


def test_behind_a_proxy_all_addresses_have_its_prefix(scripted_module: Any) -> None:
    app = scripted_module.scripted_app(scripted_module.Script())
    with TestClient(app, root_path="/speech") as client:
        text = client.get("/speech/compare", headers=HTML).text
    assert 'src="/speech/static/page-compare.js"' in text
    assert not re.search(r'(src|href)="/(?!speech/)', text)


@pytest.mark.parametrize("form", FORMATS)
def test_a_transcript_is_written_in_every_format(client: TestClient, form: str) -> None:
    # RTTM says who speaks and nothing else.
    speaks = {"speaker": "Ann"} if form == "rttm" else {}
    sent = {"text": "and so my", "duration": 11.0, "segments": [{**SEGMENT, **speaks}], "unknown": 1}
    answer = client.post(f"/api/export/{form}", json=sent)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(FORMATS[form])
    assert ("Ann" if speaks else "and") in answer.text


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"{", "the body: Invalid JSON"),
        (b"[]", "the body: Input should be an object"),
        (b"{}", "text: Field required"),
        (json.dumps({"text": "a", "segments": [{**SEGMENT, "start": -1}]}).encode(), "segments.0.start: "),
        (b'{"text": "a", "duration": NaN}', "duration: Input should be a finite number"),
        (b'{"text": "\\ud800"}', "the body: Invalid JSON"),
    ],
)
def test_what_is_no_transcript_is_refused_in_words(client: TestClient, body: bytes, told: str) -> None:
    answer = client.post("/api/export/srt", content=body)
    assert answer.status_code == 422
    assert told in answer.json()["error"]


def test_exports_of_unknown_formats_and_of_any_size_are_refused(client: TestClient) -> None:
    assert client.post("/api/export/docx", json={"text": "a"}).status_code == 404
    assert client.post("/api/export/srt", content=b" " * (MAX_EXPORT_BYTES + 1)).status_code == 413
