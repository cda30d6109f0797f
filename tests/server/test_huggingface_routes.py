"""The Inference API's routes with the bundled model: every way to send a recording, every header, every status."""

from __future__ import annotations

import base64
import http.server
import io
import json
import threading
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from auricle.audio.decode import open_audio
from auricle.pipelines import pipeline
from auricle.server.access.tokens import TokenStore

LONG_S = 60.0
WAYS = ["/models/bundled", "/models/bundled/", "/pipeline/automatic-speech-recognition/bundled",
        "/hf-inference/models/bundled", "/hf-inference/models/bundled/pipeline/automatic-speech-recognition",
        "/", "/predict"]  # fmt: skip
MODEL = "/models/bundled"


@pytest.fixture(scope="module")
def text(recording: Path) -> str:
    """What the pipeline says without any server."""
    return str(pipeline("automatic-speech-recognition", "bundled")(str(recording))["text"])


@pytest.fixture(scope="module")
def data(recording: Path) -> bytes:
    return recording.read_bytes()


@pytest.fixture
def post(live_server: Any) -> Iterator[Callable[..., httpx.Response]]:
    with httpx.Client(base_url=live_server.url, timeout=LONG_S) as client:
        yield client.post


def in_wav(samples: np.ndarray) -> bytes:
    """16 kHz samples, as loud as they can be, as a WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, 16000, 0, "NONE", ""))
        writer.writeframes((samples / np.abs(samples).max() * 32767).astype("<i2").tobytes())
    return file.getvalue()


def in_json(data: bytes, **more: Any) -> dict[str, Any]:
    return {"inputs": base64.b64encode(data).decode(), **more}


@pytest.mark.parametrize("path", WAYS)
def test_every_route_recognizes(post: Any, data: bytes, text: str, path: str) -> None:
    response = post(path, content=data)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {"text": text}


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "application/json",
        "application/x-www-form-urlencoded",
        "audio/flac",
        "audio/x-wav",
        "text/plain",
        "nonsense",
    ],
)
def test_raw_bytes_are_heard_whatever_is_said_of_them(
    post: Any, data: bytes, text: str, content_type: str | None
) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    assert post(MODEL, content=data, headers=headers).json() == {"text": text}


@pytest.mark.parametrize(
    "write",
    [
        base64.b64encode,
        base64.urlsafe_b64encode,
        base64.encodebytes,
        lambda data: b"data:audio/flac;base64," + base64.b64encode(data),
    ],
)
def test_json_with_base64_is_heard(post: Any, data: bytes, text: str, write: Callable[[bytes], bytes]) -> None:
    body = {"inputs": write(data).decode()}
    assert post(MODEL, json=body).json() == {"text": text}
    assert post(MODEL, content=json.dumps(body)).json() == {"text": text}, "without a Content-Type"


def test_a_form_is_heard_and_its_fields_are_parameters(post: Any, data: bytes, text: str) -> None:
    response = post(MODEL, files={"file": ("jfk.flac", data)}, data={"return_timestamps": "word"})
    assert " ".join(chunk["text"] for chunk in response.json()["chunks"]) == text


def chunks_of(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    return list(response.json()["chunks"])


def test_times_are_asked_for_in_json_in_the_query_and_in_a_form(post: Any, data: bytes, text: str) -> None:
    expected = chunks_of(post(MODEL, params={"return_timestamps": "word"}, content=data))
    assert " ".join(chunk["text"] for chunk in expected) == text
    for value in (True, "true", "word"):
        assert chunks_of(post(MODEL, json=in_json(data, parameters={"return_timestamps": value}))) == expected
    assert chunks_of(post(MODEL, params={"return_timestamps": "true"}, content=data)) == expected
    assert chunks_of(post(MODEL, params={"parameters": '{"return_timestamps": true}'}, content=data)) == expected
    for value in (False, None, "false"):
        assert "chunks" not in post(MODEL, json=in_json(data, parameters={"return_timestamps": value})).json()


def test_what_the_body_says_wins_over_the_query(post: Any, data: bytes) -> None:
    body = in_json(data, parameters={"return_timestamps": False})
    assert "chunks" not in post(MODEL, params={"return_timestamps": "word"}, json=body).json()
    assert chunks_of(post(MODEL, params={"return_timestamps": "word"}, json=in_json(data)))


@pytest.mark.parametrize("kind", ["word", "char", "segment"])
def test_chunks_carry_their_times_under_both_names(post: Any, data: bytes, text: str, kind: str) -> None:
    chunks = chunks_of(post(MODEL, params={"return_timestamps": kind}, content=data))
    assert {frozenset(chunk) for chunk in chunks} == {frozenset({"text", "timestamp", "timestamps"})}
    assert all(chunk["timestamp"] == chunk["timestamps"] for chunk in chunks)
    assert all(len(chunk["timestamp"]) == 2 for chunk in chunks)
    assert ("" if kind == "char" else " ").join(chunk["text"] for chunk in chunks) == text
    times = [time for chunk in chunks for time in chunk["timestamp"]]
    assert times == sorted(times)
    assert 0 <= times[0] < times[-1] <= 11


def test_what_a_model_does_not_use_is_told_in_headers_and_in_the_body(post: Any, data: bytes, text: str) -> None:
    body = in_json(data, parameters={"generation_parameters": {"temperature": 0.5, "max_new_tokens": 9}}, oddity=1)
    response = post(MODEL, json=body, headers={"x-use-cache": "false"})
    assert response.json()["text"] == text
    told = response.json()["warnings"]
    assert [one["kind"] for one in told] == ["parameter"] * 3
    assert [one["message"].split()[0] for one in told] == ["'oddity'", "temperature=0.5", "max_new_tokens=9"]
    assert response.headers.get_list("x-hf-warning")[1].startswith("temperature; temperature=0.5 is not used by a CTC")


def test_warnings_of_the_recording_have_spans_and_no_place_on_the_server(
    post: Any, recording: Path, live_server: Any
) -> None:
    # Speech backwards, of which no recogniser can be sure, and cut off.
    backwards = in_wav(open_audio(recording, 16000).read()[::-1])[:-20_000]
    response = post(MODEL, files={"file": ("mine.wav", backwards)})
    told = response.json()["warnings"]
    assert {"recording", "doubtful"} <= {one["kind"] for one in told}
    assert all(set(one) == {"kind", "message", "start", "end"} for one in told)
    assert any(one["start"] is not None and one["end"] > one["start"] for one in told)
    for secret in (str(live_server.services.settings.data_dir), "incoming", "mine.wav"):
        assert secret not in response.text


def test_headers_say_what_it_took(post: Any, data: bytes) -> None:
    response = post(MODEL, content=data, headers={"x-use-cache": "false"})
    assert response.headers["x-compute-type"] == "cpu"
    assert 0 < float(response.headers["x-compute-time"]) < LONG_S
    assert response.headers["x-compute-audio-length"] == "11.000"
    assert response.headers["x-cache"] == "bypass"
    assert len(response.headers["x-request-id"]) >= 8


def test_a_repeated_request_comes_from_the_cache(start_server: Any, data: bytes, text: str) -> None:
    with httpx.Client(base_url=start_server().url, timeout=LONG_S) as client:
        first, again = (client.post(MODEL, content=data) for _ in range(2))
        times = client.post(MODEL, json=in_json(data, parameters={"return_timestamps": True}))
        anew = [
            client.post(MODEL, content=data, headers={"x-use-cache": "false"}),
            client.post(MODEL, json=in_json(data, options={"use_cache": False})),
        ]
        kept = client.post(MODEL, json=in_json(data, options={"use_cache": False}), headers={"x-use-cache": "true"})
        other = client.post(MODEL, json=in_json(data, parameters={"num_beams": 3}))
    assert [one.headers["x-cache"] for one in (first, again, times)] == ["miss", "hit", "hit"]
    assert [one.headers["x-cache"] for one in (*anew, kept, other)] == ["bypass", "bypass", "hit", "miss"]
    assert again.json() == first.json() == {"text": text}
    assert again.headers["x-compute-type"] == "cache"
    assert "x-compute-time" not in again.headers
    assert again.headers["x-compute-audio-length"] == "11.000"
    assert again.headers["x-request-id"] != first.headers["x-request-id"]


def test_without_a_cache_nothing_hits(start_server: Any, data: bytes) -> None:
    with httpx.Client(base_url=start_server(cache_bytes=0).url, timeout=LONG_S) as client:
        assert [client.post(MODEL, content=data).headers["x-cache"] for _ in range(2)] == ["bypass", "bypass"]


@pytest.mark.parametrize("headers", [{"x-wait-for-model": "true"}, {"x-load-model": "0"}, {"x-use-gpu": "true"},
                                     {"x-compute-type": "gpu"}, {"Authorization": "Bearer hf_abc"},
                                     {"Authorization": "Bearer: hf_abc"}])  # fmt: skip
def test_headers_of_old_clients_are_taken(post: Any, data: bytes, text: str, headers: dict[str, str]) -> None:
    assert post(MODEL, content=data, headers=headers).json() == {"text": text}


def refused(response: httpx.Response, status: int) -> str:
    """Assert what every refusal has, and return its message."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    assert response.headers["x-error-code"]
    message = response.json()["error"]
    assert isinstance(message, str)
    assert len(message) > 20
    assert response.headers["x-error-message"].isascii()
    for secret in ("/tmp", "/home", "incoming", "Traceback", ".py"):
        assert secret not in message
    return message


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "the body is empty"),
        (b"words and no sound", "holds no audio"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt nonsense", "cannot be decoded"),
        (b"fLaC" + bytes(100), "cannot be decoded"),
        (b"{", "begins like JSON"),
        (b"[]", "the JSON is a list; expected an object"),
        (b"{}", "no 'inputs'"),
        (b'{"input": "QUJD"}', "no 'inputs'; it has 'input'"),
        (b'{"inputs": null}', "'inputs' is null"),
        (b'{"inputs": 5}', "'inputs' is a number"),
        (b'{"inputs": true}', "'inputs' is true or false"),
        (b'{"inputs": ["QUJD"]}', "'inputs' is a list"),
        (b'{"inputs": {"question": "who?", "image": "QUJD"}}', "'inputs' is an object"),
        (b'{"inputs": ""}', "'inputs' is empty"),
        (b'{"inputs": "not base64!"}', "no base64"),
        (b'{"inputs": "QUJD"}', "holds no audio"),
        (b'{"inputs": "QUJD", "parameters": "word"}', "'parameters' is text"),
        (b'{"inputs": "QUJD", "parameters": []}', "'parameters' is a list"),
        (b'{"inputs": "QUJD", "options": [1]}', "'options' is a list"),
        (b'{"inputs": "QUJD", "options": {"use_cache": "perhaps"}}', "use_cache is"),
        (b'{"inputs": "https://example.org/a.flac"}', "fetches none"),
        (b'{"inputs": "http:\\/\\/127.0.0.1\\/a.flac"}', "fetches none"),
    ],
)
@pytest.mark.parametrize("path", [MODEL, "/"])
def test_what_cannot_be_used_is_refused_with_400(post: Any, path: str, body: bytes, told: str) -> None:
    assert told in refused(post(path, content=body), 400)


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"return_timestamps": "sentence"}, "return_timestamps='sentence'"),
        ({"return_timestamps": 1}, "return_timestamps=1"),
        ({"generation_parameters": {"top_p": 2}}, "top_p is 2; expected a number from 0 to 1"),
        ({"generation_parameters": {"early_stopping": "always"}}, 'true, false or "never"'),
        ({"generation_parameters": 5}, "generation_parameters is 5"),
        ({"num_beamz": 5}, "The following `model_kwargs` are not used by the model: ['num_beamz']"),
        ({"lm": "/etc/passwd"}, "'lm' is not taken over HTTP"),
        ({"resume": "/tmp/x"}, "not used by the model"),
        ({"language": "de"}, "language='de' is refused by a CTC model"),
        ({"chunk_length_s": -1}, "chunk_length_s"),
        ({"beam_width": "wide"}, "beam_width"),
    ],
)
def test_wrong_parameters_are_refused_with_400(post: Any, data: bytes, parameters: Any, told: str) -> None:
    assert told in refused(post(MODEL, json=in_json(data, parameters=parameters)), 400).replace("/tmp", "")


def test_half_of_a_character_is_told_as_a_question_mark(post: Any, data: bytes) -> None:
    query = {"hotwords": "x", "parameters": '{"hotwords": "\\ud800"}'}
    assert 'hotwords is "x" and "?"; give it once' in refused(post(MODEL, content=data, params=query), 400)


def test_a_form_without_recording_is_refused(post: Any) -> None:
    files: dict[str, Any] = {"prompt": (None, "x")}
    assert "no file (its fields: prompt)" in refused(post(MODEL, files=files), 400)
    files["other"] = "a.flac", b"fLaC"
    assert "its part 'other' is a file; send the file as 'file'" in refused(post(MODEL, files=files), 400)


def test_headers_that_are_neither_true_nor_false_are_refused(post: Any, data: bytes) -> None:
    assert "x-use-cache" in refused(post(MODEL, content=data, headers={"x-use-cache": "perhaps"}), 400)


def test_without_a_token_401(start_server: Any, data: bytes, text: str) -> None:
    server = start_server(token_required=True)
    secret, _ = TokenStore(server.services.settings.data_dir).create("test", ["infer"])
    with httpx.Client(base_url=server.url, timeout=LONG_S) as client:
        assert "requires a token" in refused(client.post(MODEL, content=data), 401)
        wrong = client.post(MODEL, content=data, headers={"Authorization": "Bearer hf_abc"})
        assert "malformed token" in refused(wrong, 401)
        for spelling in (f"Bearer {secret}", f"Bearer: {secret}"):
            assert client.post(MODEL, content=data, headers={"Authorization": spelling}).json() == {"text": text}


@pytest.mark.parametrize(
    "path", ["/models/openai/whisper-large-v3", "/models/bundle", "/hf-inference/models/no/one", "/models/a/b/c/d",
             "/pipeline/automatic-speech-recognition/no/one", "/models/..%2f..%2fetc%2fpasswd", "/models/a%00b"],
)  # fmt: skip
def test_an_unknown_model_is_404(post: Any, data: bytes, path: str) -> None:
    message = refused(post(path, content=data), 404)
    assert "bundled" in message or "a model's name" in message


def test_an_unknown_route_is_404(post: Any, data: bytes) -> None:
    refused(post("/nothing/here", content=data), 404)


def test_a_large_body_is_413(start_server: Any) -> None:
    with httpx.Client(base_url=start_server(max_body_bytes=1000).url, timeout=LONG_S) as client:
        assert "at most 1000" in refused(client.post(MODEL, content=b"RIFF" + bytes(2000)), 413)

        def pieces() -> Iterator[bytes]:
            yield b"RIFF"
            yield bytes(2000)

        assert "at most 1000" in refused(client.post(MODEL, content=pieces()), 413)
        assert client.get("/models/bundled/health").status_code == 200


def test_a_long_recording_is_413(start_server: Any, data: bytes) -> None:
    with httpx.Client(base_url=start_server(max_duration=5).url, timeout=LONG_S) as client:
        assert "11.0 s long" in refused(client.post(MODEL, content=data), 413)


@pytest.mark.parametrize(
    "path", ["/pipeline/text-generation/bundled", "/hf-inference/models/bundled/pipeline/feature-extraction"]
)
def test_a_model_of_another_task_is_422(post: Any, data: bytes, path: str) -> None:
    assert "bundled does automatic-speech-recognition, not" in refused(post(path, content=data), 422)


def test_beyond_the_rate_429(start_server: Any, data: bytes) -> None:
    with httpx.Client(base_url=start_server(rate_limit="2/5 minutes").url, timeout=LONG_S) as client:
        responses = [client.post(MODEL, content=data) for _ in range(3)]
    assert [one.status_code for one in responses[:2]] == [200, 200]
    refused(responses[2], 429)
    assert int(responses[2].headers["retry-after"]) > 0
    assert responses[2].headers["ratelimit"]


def test_health_info_and_status_are_those_that_clients_ask_for(live_server: Any, post: Any, data: bytes) -> None:
    post(MODEL, content=data)
    with httpx.Client(base_url=live_server.url, timeout=LONG_S) as client:
        assert client.get("/models/bundled/health").text == "Ok"
        info = client.get("/models/bundled/info").json()
        assert client.get("/info").json() == info
        assert client.get("/status/bundled").json()["state"] == "Loaded"
        assert client.head("/models/bundled").status_code == 200
        assert client.head("/").status_code == 200
        about = client.get("/models/bundled", follow_redirects=True).json()
        for path in ("/models/no/one/health", "/models/no/one/info", "/status/no/one"):
            refused(client.get(path), 404)
        assert client.head("/models/no/one").status_code == 404
    assert (info["model_id"], info["model_pipeline_tag"], info["state"]) == ("bundled", about["pipeline_tag"], "ready")


@pytest.fixture
def far(data: bytes, until: Any) -> Iterator[str]:
    """Another server, which gives a recording at /jfk.flac."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/jfk.flac" else 404)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_address_is_fetched_where_the_settings_allow_it(start_server: Any, far: str, text: str) -> None:
    server = start_server(allow_urls=True, allow_private_urls=True)
    with httpx.Client(base_url=server.url, timeout=LONG_S) as client:
        assert client.post(MODEL, json={"inputs": f"{far}/jfk.flac"}).json() == {"text": text}
        escaped = f'{{"inputs": "{far}/jfk.flac"}}'.replace("/", "\\/")
        assert client.post(MODEL, content=escaped).headers["x-cache"] == "hit"
        assert "404" in refused(client.post(MODEL, json={"inputs": f"{far}/none.flac"}), 400)
        assert "address" in refused(client.post(MODEL, json={"inputs": "http://" + "a" * 100_000}), 400)
    assert list((server.services.settings.data_dir / "incoming").iterdir()) == []


def test_an_address_within_the_network_is_refused(start_server: Any, far: str) -> None:
    with httpx.Client(base_url=start_server(allow_urls=True).url, timeout=LONG_S) as client:
        assert "private or reserved" in refused(client.post(MODEL, json={"inputs": f"{far}/jfk.flac"}), 400)


def test_a_model_that_clients_make_up_is_the_only_one(post: Any, data: bytes, text: str) -> None:
    assert post("/", json=in_json(data, model="dummy")).json() == {"text": text}


def test_the_api_is_described(live_server: Any) -> None:
    paths = httpx.get(f"{live_server.url}/openapi.json").json()["paths"]
    for path in (
        "/models/{model_id}",
        "/pipeline/{task}/{model_id}",
        "/hf-inference/models/{model_id}",
        "/",
        "/predict",
    ):
        described = paths[path]["post"]
        assert {"audio/*", "application/json", "multipart/form-data"} <= set(described["requestBody"]["content"])
        assert {"200", "400", "401", "404", "413", "422", "429", "503"} <= set(described["responses"])
        assert "x-wait-for-model" in {one["name"] for one in described["parameters"]}
