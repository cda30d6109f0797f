"""The routes of jobs: what may be sent, what comes back, and who sees what."""

from __future__ import annotations

import base64
import json
import math
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from auricle.errors import AudioFormatError
from auricle.pipelines.dialects import WHISPER
from auricle.pipelines.speech_parameters import read_speech_parameters

AUDIO = b"RIFF\x00\x00\x00\x00WAVE and nothing that a fake would look at"
FILE = {"file": ("folder/talk.wav", AUDIO, "audio/wav")}
ALL = "whsec_" + base64.b64encode(b"k" * 32).decode()


def events(text: str) -> list[tuple[str, str | None, Any]]:
    """Read server-sent events: name, id, data."""
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(":"))
        if "event" in lines:
            found.append((lines["event"], lines.get("id"), json.loads(lines["data"])))
    return found


def test_a_form_is_accepted_and_its_job_followed_to_the_end(site: Any) -> None:
    reply = site.client.post("/jobs", files=FILE, data={"parameters": '{"return_timestamps": "word"}', "n_beams": "5"})
    assert reply.status_code == 202
    job = reply.json()
    assert reply.headers["location"] == f"/jobs/{job['id']}" == job["links"]["self"]
    assert job["status"] in ("queued", "running")
    assert job["name"] == "talk.wav"
    done = site.wait(job["id"])
    assert done["progress"] == {"done": 30.0, "duration": 30.0}
    assert done["parameters"] == {"return_timestamps": "word", "n_beams": "5"}
    assert done["created"] <= done["started"] <= done["finished"]
    assert done["outcome"]["model"] == "fake"
    assert done["links"]["result"] == f"/jobs/{job['id']}/result"


def test_raw_bytes_take_parameters_from_the_query(site: Any) -> None:
    query = {"model": "fake", "language": "en", "temperature": "0.5", "return_timestamps": "true", "name": "a.wav"}
    reply = site.client.post("/jobs", content=AUDIO, params=query)
    assert reply.status_code == 202
    assert reply.json()["parameters"] == {"language": "en", "temperature": "0.5", "return_timestamps": "true"}
    assert reply.json()["name"] == "a.wav"


def test_base64_in_json_is_accepted(site: Any) -> None:
    body = {"inputs": base64.b64encode(AUDIO).decode(), "parameters": {"n_beams": 2}}
    job = site.client.post("/jobs", json=body).json()
    site.wait(job["id"])
    assert site.recognition.calls[0]["source"].size == len(AUDIO)
    assert site.recognition.calls[0]["parameters"] == {"n_beams": 2}


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ({"url": "http://example.org/a.wav"}, 400, "fetches none"),
        ({"url": "ftp://example.org/a.wav"}, 400, "http or https"),
        ({"url": 5}, 400, "url is 5"),
        ({"url": "http://a\x00b/"}, 400, "http or https"),
        ({"url": "\ud800"}, 400, "lone surrogate"),
        ({"upload": "x", "name": "\ud800"}, 400, "lone surrogate"),
        ({"upload": "x", "parameters": {"\udfff": 1}}, 400, "lone surrogate"),
        ({"inputs": "UklGRg==", "parameters": {"temperature": math.inf}}, 400, "NaN or infinite"),
        ({"inputs": "UklGRg==", "parameters": {"temperature": [math.nan]}}, 400, "NaN or infinite"),
        ({"upload": "nope"}, 404, "no upload"),
        ({"uplaod": "nope"}, 400, "did you mean 'upload'"),
        ({}, 400, "one recording is expected, and none came"),
        ({"url": "http://a.org/", "upload": "x"}, 400, "a url and an upload came"),
        ([], 400, "the JSON is list"),
        ({"inputs": "UklGRg==", "model": "other"}, 404, "serves fake"),
        ({"inputs": "UklGRg==", "parameters": 3}, 400, "parameters is int"),
        ({"inputs": "UklGRg==", "webhook": {"address": "x"}}, 400, "webhook has the keys address"),
        ({"inputs": "UklGRg==", "webhook": {"url": "http://127.0.0.1/hook"}}, 400, "private or reserved"),
        ({"inputs": "UklGRg==", "webhook": {"url": "https://a.org", "secret": "short"}}, 400, "webhook.secret"),
        ({"inputs": "UklGRg==", "webhook": {"url": "https://a.org", "events": ["x"]}}, 400, "webhook.events"),
    ],
)
def test_what_is_wrong_is_said_and_leaves_nothing(site: Any, body: Any, status: int, told: str) -> None:
    reply = site.client.post("/jobs", content=json.dumps(body), headers={"content-type": "application/json"})
    assert reply.status_code == status
    assert told in reply.json()["error"]
    assert site.client.get("/jobs").json()["jobs"] == []
    assert list(site.jobs.files.folder.iterdir()) == []


@pytest.mark.parametrize("value", ['{"prompt": "\\ud800"}', '{"temperature": NaN}', '{"temperature": -1e400}'])
def test_what_could_not_be_told_back_is_refused_in_the_query_too(site: Any, value: str) -> None:
    for name in ("parameters", "webhook"):
        reply = site.client.post("/jobs", content=AUDIO, params={name: value})
        assert (reply.status_code, reply.json()["error"][:12]) == (400, "the JSON has")
    assert site.client.get("/jobs").json()["jobs"] == []


def test_a_job_of_before_with_what_json_lacks_is_listed(site: Any) -> None:
    job = site.client.post("/jobs", content=AUDIO).json()
    with site.jobs.store.database.writing() as file:
        file.execute("UPDATE jobs SET parameters = ?", ('{"temperature": Infinity, "prompt": "\\ud800"}',))
    (listed,) = site.client.get("/jobs").json()["jobs"]
    assert (listed["id"], listed["parameters"]) == (job["id"], {"temperature": "inf", "prompt": "?"})


@pytest.mark.parametrize(
    ("parameters", "told"),
    [({"num_beans": 3}, "num_beams"), ({"return_timestamps": "page"}, "return_timestamps"), ({"task": "sing"}, "task")],
)
def test_what_a_model_in_memory_refuses_becomes_no_job(site: Any, parameters: Any, told: str) -> None:
    pipeline = SimpleNamespace(
        dialect=WHISPER, read_parameters=lambda given, size: read_speech_parameters(given, WHISPER, size)
    )
    model = SimpleNamespace(name="fake", task="automatic-speech-recognition", pipeline=pipeline)
    body = {"inputs": base64.b64encode(AUDIO).decode(), "parameters": parameters}
    site.loaded.append(model)
    reply = site.client.post("/jobs", json=body)
    assert reply.status_code == 400
    assert told in reply.json()["error"]
    assert site.client.get("/jobs").json()["jobs"] == []
    site.loaded.clear()  # before the model is there nobody can know
    headers = {"idempotency-key": "abc"}
    first = site.client.post("/jobs", json=body, headers=headers)
    assert first.status_code == 202
    site.loaded.append(model)  # and the same request gives the same job afterwards
    again = site.client.post("/jobs", json=body, headers=headers)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])


def test_the_same_key_gives_the_same_job(site: Any) -> None:
    headers = {"idempotency-key": "abc"}
    first = site.client.post("/jobs", files=FILE, headers=headers)
    again = site.client.post("/jobs", files=FILE, headers=headers)
    assert again.status_code == 202
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert len(site.client.get("/jobs").json()["jobs"]) == 1


def test_the_same_key_for_something_else_is_refused(site: Any) -> None:
    headers = {"idempotency-key": "abc"}
    site.client.post("/jobs", files=FILE, headers=headers)
    reply = site.client.post("/jobs", files=FILE, data={"n_beams": "5"}, headers=headers)
    assert reply.status_code == 422
    assert "Idempotency-Key" in reply.json()["error"]


def test_keys_of_two_people_are_two_keys(site: Any) -> None:
    ids = {
        site.client.post("/jobs", files=FILE, headers={"idempotency-key": "abc", "x-who": who}).json()["id"]
        for who in ("anna", "bert")
    }
    assert len(ids) == 2


def test_people_see_their_own_jobs_and_managers_all(site: Any) -> None:
    made = {who: site.client.post("/jobs", files=FILE, headers={"x-who": who}).json()["id"] for who in ("anna", "bert")}
    listed = {
        who: {job["id"] for job in site.client.get("/jobs", headers={"x-who": who}).json()["jobs"]}
        for who in ("anna", "bert", "root")
    }
    assert listed == {"anna": {made["anna"]}, "bert": {made["bert"]}, "root": set(made.values())}
    for path in ("", "/events", "/result"):
        assert site.client.get(f"/jobs/{made['bert']}{path}").status_code == 404
    assert site.client.delete(f"/jobs/{made['bert']}").status_code == 404
    assert site.client.post(f"/jobs/{made['bert']}/cancel").status_code == 404
    assert site.client.get(f"/jobs/{made['bert']}", headers={"x-who": "root"}).status_code == 200


def test_pages_of_a_list_give_every_job_once_the_newest_first(site: Any) -> None:
    made = [site.client.post("/jobs", files=FILE).json()["id"] for _ in range(7)]
    found, cursor = [], None
    while True:
        page = site.client.get("/jobs", params={"limit": 3} | ({"cursor": cursor} if cursor else {})).json()
        found += [job["id"] for job in page["jobs"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert found == made[::-1]


def test_a_list_is_filtered_by_status(site: Any) -> None:
    site.recognition.errors.append(AudioFormatError("no audio"))
    failed = site.client.post("/jobs", files=FILE).json()["id"]
    site.wait(failed, "failed")
    done = site.client.post("/jobs", files=FILE).json()["id"]
    site.wait(done)
    listed = [job["id"] for job in site.client.get("/jobs", params={"status": "failed"}).json()["jobs"]]
    assert listed == [failed]
    assert len(site.client.get("/jobs", params={"status": "failed,done"}).json()["jobs"]) == 2
    assert site.client.get("/jobs", params={"status": "lost"}).status_code == 400
    far = base64.urlsafe_b64encode(b"seq:99999999999999999999").decode()
    for cursor in ("%%%", "é", far, "c2VxOg"):
        assert site.client.get("/jobs", params={"cursor": cursor}).status_code == 400


def test_events_tell_every_segment_the_progress_and_the_end(site: Any) -> None:
    job_id = site.client.post("/jobs", files=FILE).json()["id"]
    reply = site.client.get(f"/jobs/{job_id}/events")
    assert reply.headers["content-type"].startswith("text/event-stream")
    found = events(reply.text)
    segments = [(event_id, data["text"]) for name, event_id, data in found if name == "segment"]
    assert segments == [("1", " word 0"), ("2", " word 1"), ("3", " word 2")]
    assert found[-1][:2] == ("done", "end")
    assert found[-1][2]["status"] == "done"
    assert any(name == "progress" for name, _, _ in found)


def test_events_go_on_behind_the_last_one_that_was_seen(site: Any) -> None:
    job_id = site.client.post("/jobs", files=FILE).json()["id"]
    site.wait(job_id)
    reply = site.client.get(f"/jobs/{job_id}/events", headers={"last-event-id": "2"})
    assert [data["number"] for name, _, data in events(reply.text) if name == "segment"] == [3]
    assert site.client.get(f"/jobs/{job_id}/events", headers={"last-event-id": "end"}).status_code == 204


def test_a_quiet_stream_is_kept_alive(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auricle.server.jobs.events.KEEP_ALIVE_S", 0.0)
    site.recognition.hold()
    job_id = site.client.post("/jobs", files=FILE).json()["id"]
    site.wait(job_id, "running")
    cancel = threading.Timer(2.0, lambda: site.client.post(f"/jobs/{job_id}/cancel"))
    cancel.start()
    text = site.client.get(f"/jobs/{job_id}/events").text
    cancel.join()
    assert ": keep-alive\n\n" in text
    assert events(text)[-1][:2] == ("cancelled", "end")


@pytest.mark.parametrize(
    ("form", "media_type", "part"),
    [
        ("json", "application/json", '"provenance"'),
        ("verbose_json", "application/json", '"language": "english"'),
        ("pipeline", "application/json", '{"text": "word 0 word 1 word 2"}'),
        ("txt", "text/plain", "word 0 word 1 word 2\n"),
        ("text", "text/plain", "word 0 word 1 word 2\n"),
        ("srt", "application/x-subrip", "00:00:00,000 --> "),
        ("vtt", "text/vtt", "WEBVTT"),
        ("tsv", "text/tab-separated-values", "0\t10000\t"),
        ("lrc", "text/plain", "[00:00"),
    ],
)
def test_a_result_comes_in_every_format(site: Any, form: str, media_type: str, part: str) -> None:
    job_id = site.client.post("/jobs", files=FILE).json()["id"]
    site.wait(job_id)
    reply = site.client.get(f"/jobs/{job_id}/result", params={"format": form})
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith(media_type)
    assert part in reply.text


def test_an_unknown_format_names_the_known_ones(site: Any) -> None:
    job_id = site.client.post("/jobs", files=FILE).json()["id"]
    site.wait(job_id)
    reply = site.client.get(f"/jobs/{job_id}/result", params={"format": "srtt"})
    assert reply.status_code == 400
    assert "did you mean 'srt'" in reply.json()["error"]
    assert site.client.get(f"/jobs/{job_id}/result", params={"format": "srt", "paragraphs": 1}).status_code == 400


def test_a_result_that_is_not_there_says_why(site: Any) -> None:
    site.recognition.hold()
    running = site.client.post("/jobs", files=FILE).json()["id"]
    site.wait(running, "running")
    reply = site.client.get(f"/jobs/{running}/result")
    assert reply.status_code == 409
    assert reply.headers["x-error-code"] == "job_not_done"
    cancelled = site.client.post(f"/jobs/{running}/cancel")
    assert cancelled.status_code in (200, 202)
    site.wait(running, "cancelled")
    site.recognition.is_open = True
    site.recognition.errors.append(AudioFormatError("talk.wav is no audio"))
    failed = site.client.post("/jobs", files=FILE).json()["id"]
    site.wait(failed, "failed")
    reply = site.client.get(f"/jobs/{failed}/result")
    assert reply.status_code == 409
    assert "talk.wav is no audio" in reply.json()["error"]


def test_delete_cancels_first_and_removes_then(site: Any) -> None:
    site.recognition.hold()
    job_id = site.client.post("/jobs", files=FILE).json()["id"]
    site.wait(job_id, "running")
    assert site.client.delete(f"/jobs/{job_id}").status_code == 202
    site.wait(job_id, "cancelled")
    assert site.client.delete(f"/jobs/{job_id}").status_code == 204
    assert site.client.get(f"/jobs/{job_id}").status_code == 404


def test_a_body_beyond_the_limit_is_refused(make_site: Any) -> None:
    site = make_site(max_body_bytes=100)
    reply = site.client.post("/jobs", content=AUDIO * 10)
    assert reply.status_code == 413


def test_an_address_on_this_machine_is_not_fetched(make_site: Any) -> None:
    site = make_site(allow_urls=True)
    job_id = site.client.post("/jobs", json={"url": "http://127.0.0.1:1/a.wav?token=secret"}).json()["id"]
    job = site.wait(job_id, "failed")
    assert "private or reserved" in job["error"]["message"]
    assert job["url"] == "http://127.0.0.1:1/a.wav"
    assert job["name"] == "a.wav"


def test_the_cache_can_be_left_out(site: Any) -> None:
    for headers in ({}, {"x-use-cache": "false"}):
        site.wait(site.client.post("/jobs", files=FILE, headers=headers).json()["id"])
    assert [call["use_cache"] for call in site.recognition.calls] == [True, False]
