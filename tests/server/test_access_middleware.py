"""The guards around a small application: statuses, headers, dialects, websockets, pages of other sites, CORS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from auricle.errors import OptionError
from auricle.server.access import Access, RateLimits, TokenStore, allowed_url, check_binding, guard
from auricle.server.access.origins import checked_origins
from auricle.server.errors import Refused
from auricle.server.settings import Settings

LOCAL = "http://localhost:8000"
LIVE = "ws://localhost:8000/live"


async def echo(request: Request) -> JSONResponse:
    """Tell who the middleware says is asking."""
    return JSONResponse({"id": request.state.principal.id})


async def live(websocket: WebSocket) -> None:
    await websocket.accept(subprotocol=next(iter(websocket.scope["subprotocols"]), None))
    await websocket.send_json({"id": websocket.state.principal.id, "query": websocket.scope["query_string"].decode()})
    await websocket.close()


@dataclass
class Server:
    """An application behind its guards, and the tokens that it knows."""

    app: Starlette
    store: TokenStore

    def client(self, base: str = LOCAL, **headers: str) -> TestClient:
        return TestClient(self.app, base_url=base, headers=headers)


Make = Callable[..., Server]


@pytest.fixture
def serve(tmp_path: Path) -> Make:
    def make(**chosen: Any) -> Server:
        settings = Settings(data_dir=tmp_path, **chosen)
        methods = ["GET", "POST", "PUT", "DELETE"]
        app = Starlette(routes=[WebSocketRoute("/live", live), Route("/{path:path}", echo, methods=methods)])
        store = TokenStore(tmp_path)
        access = Access(store, is_required=settings.token_required)
        guard(app, settings, access, RateLimits(settings.rate_limit))
        return Server(app, store)

    return make


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


def test_a_required_token_is_asked_for_in_the_dialect_of_the_route(serve: Make) -> None:
    client = serve(token_required=True).client()
    answers = [client.post(path) for path in ("/models/a/b", "/v1/audio/transcriptions")]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert answers[0].json()["error"].startswith("this server requires a token")
    assert answers[1].json()["error"]["type"] == "authentication_error"
    assert answers[1].json()["error"]["code"] == "token_missing"
    assert answers[0].headers["x-error-code"] == "token_missing"
    assert answers[0].headers["www-authenticate"].startswith("Bearer")


def test_a_token_opens_what_its_scopes_allow(serve: Make) -> None:
    server = serve(token_required=True)
    text, token = server.store.create("laptop", ["infer"])
    client = server.client(**bearer(text))
    assert client.post("/models/a/b").json() == {"id": token.id}
    assert client.post("/admin/models/a/b/unload").status_code == 403
    assert server.client().get("/health").json() == {"id": "anonymous"}


def test_where_none_is_required_every_script_gets_in(serve: Make) -> None:
    client = serve().client()
    for headers in ({}, bearer("hf_xxx"), {"authorization": "Bearer: hf_xxx"}, {"authorization": "Basic eDp5"}):
        assert client.post("/models/a/b", headers=headers).json() == {"id": "anonymous"}
    assert client.post("/admin/models/a/b/load").status_code == 200


def test_a_damaged_store_is_an_error_and_opens_nothing(serve: Make) -> None:
    server = serve(token_required=True)
    text, _ = server.store.create("laptop", ["infer"])
    server.store.path.write_bytes(b"no database" * 1000)
    answer = server.client().post("/models/a/b", headers=bearer(text))
    assert answer.status_code == 500
    assert str(server.store.path.parent) not in answer.text


def test_every_counted_reply_tells_what_is_left_and_the_last_when_to_come_back(serve: Make) -> None:
    client = serve(rate_limit="2/5 minutes").client()
    answers = [client.post("/models/a/b") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["ratelimit"].split(";")[1] for answer in answers] == ["r=1", "r=0", "r=0"]
    assert answers[0].headers["ratelimit-policy"].endswith(";q=2;w=300")
    assert int(answers[2].headers["retry-after"]) == int(answers[2].headers["ratelimit"].rpartition("=")[2])
    assert answers[2].json()["error"].startswith("the rate limit of 2 requests per 300 s is reached")
    assert client.get("/metrics").status_code == 200
    assert "ratelimit" not in client.get("/metrics").headers


def test_a_refused_token_uses_up_nobody_s_rate(serve: Make) -> None:
    server = serve(token_required=True, rate_limit="1/minute")
    text, _ = server.store.create("laptop", ["infer"])
    for _ in range(3):
        assert server.client().post("/models/a/b").status_code == 401
    assert server.client(**bearer(text)).post("/models/a/b").status_code == 200


def test_a_websocket_opens_with_a_token_in_its_query(serve: Make) -> None:
    server = serve(token_required=True, rate_limit="9/minute")
    text, token = server.store.create("laptop", ["infer"])
    with server.client().websocket_connect(f"{LIVE}?model=a&token={text}") as socket:
        assert socket.receive_json() == {"id": token.id, "query": "model=a"}


def test_a_program_s_websocket_is_denied_by_http(serve: Make) -> None:
    client = serve(token_required=True).client()
    with pytest.raises(WebSocketDenialResponse) as caught, client.websocket_connect(LIVE):
        pass
    assert caught.value.status_code == 401
    assert "requires a token" in caught.value.json()["error"]


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ([], None),
        (["openai-insecure-api-key.x", "realtime"], "realtime"),
        (["openai-insecure-api-key.x"], "openai-insecure-api-key.x"),
    ],
)
def test_a_page_s_websocket_is_closed_with_a_code_it_can_read(
    serve: Make, offered: list[str], chosen: str | None
) -> None:
    client = serve(token_required=True).client(origin=LOCAL)
    with client.websocket_connect(LIVE, subprotocols=offered or None) as socket:
        assert socket.accepted_subprotocol == chosen
        with pytest.raises(WebSocketDisconnect) as caught:
            socket.receive_text()
    assert caught.value.code == 4401
    assert caught.value.reason.startswith(("this server requires a token", "malformed token: "))
    assert caught.value.reason.endswith(("Bearer aur_...'", "this is of length 1"))


def test_websockets_count_for_the_rate(serve: Make) -> None:
    client = serve(rate_limit="1/minute").client(origin=LOCAL)
    with client.websocket_connect(LIVE) as socket:
        assert socket.receive_json()["id"] == "anonymous"
    with client.websocket_connect(LIVE) as socket, pytest.raises(WebSocketDisconnect) as caught:
        socket.receive_text()
    assert caught.value.code == 4429


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:3000", "null", "http://127.0.0.1:8000"])
def test_a_page_of_another_origin_can_make_no_work(serve: Make, origin: str) -> None:
    client = serve().client(origin=origin)
    assert client.get("/models/a/b").status_code == 200  # the browser keeps this from the page
    answer = client.post("/models/a/b")
    assert answer.status_code == 403
    assert f"--cors-origin {origin}" in answer.json()["error"]
    assert client.post("/admin/models/a/b/unload").status_code == 403
    with client.websocket_connect(LIVE) as socket, pytest.raises(WebSocketDisconnect) as caught:
        socket.receive_text()
    assert caught.value.code == 4403
    assert f"a page of {origin!r}" in caught.value.reason


def test_the_server_s_own_page_may_do_all(serve: Make) -> None:
    client = serve().client(origin=LOCAL)
    assert client.post("/models/a/b").status_code == 200
    assert serve().client("http://localhost", origin="http://localhost:80").post("/").status_code == 200
    # Behind a proxy that takes the encryption off.
    listed = serve(allowed_hosts=("speech.example",)).client("http://speech.example", origin="https://speech.example")
    assert listed.post("/models/a/b").status_code == 200


def test_a_token_in_hand_takes_the_place_of_an_origin(serve: Make) -> None:
    server = serve(token_required=True)
    text, _ = server.store.create("laptop", ["infer"])
    client = server.client("http://elsewhere.example", origin="https://evil.example", **bearer(text))
    assert client.post("/models/a/b").status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example"]
)
def test_a_name_that_was_led_here_is_refused(serve: Make, host: str) -> None:
    answer = serve().client(f"http://{host}").get("/models/a/b")
    assert answer.status_code == 403
    assert "AURICLE_ALLOWED_HOSTS=" in answer.json()["error"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:8000", "127.0.0.2", "[::1]:8000", "speech"])
def test_the_server_s_own_names_are_taken(serve: Make, host: str) -> None:
    for listed in ("Speech", "speech:8000"):
        client = serve(allowed_hosts=(listed,)).client()
        assert client.get("/models/a/b", headers={"host": host}).status_code == 200


def test_a_public_server_is_called_by_any_name(serve: Make) -> None:
    assert serve(allowed_hosts=("*",)).client("http://speech.example").post("/").status_code == 200
    client = serve(host="0.0.0.0", public_without_tokens=True).client("http://speech.example")
    assert client.post("/models/a/b").status_code == 200
    assert client.post("/models/a/b", headers={"origin": "https://evil.example"}).status_code == 403


def test_listed_origins_may_call_and_read_the_headers(serve: Make) -> None:
    client = serve(cors_origins=("https://App.example/",), rate_limit="1/minute").client(origin="https://app.example")
    answers = [client.post("/models/a/b") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        exposed = answer.headers["access-control-expose-headers"].split(", ")
        assert {"x-compute-type", "x-compute-time", "x-request-id", "x-cache", "ratelimit", "retry-after"} <= {*exposed}
    assert client.post("/", headers={"origin": "https://other.example"}).status_code == 403


def test_a_preflight_needs_no_token(serve: Make) -> None:
    client = serve(cors_origins=("https://app.example",), token_required=True).client()
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,x-use-cache"}
    answer = client.options("/models/a/b", headers={"origin": "https://app.example", **asked})
    assert answer.status_code == 200
    assert "authorization" in answer.headers["access-control-allow-headers"]
    refused = client.post("/models/a/b", headers={"origin": "https://app.example"})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, "https://app.example")


def test_every_origin_may_be_let_in(serve: Make) -> None:
    answer = serve(cors_origins=("*",)).client(origin="https://any.example").post("/models/a/b")
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")


@pytest.mark.parametrize("origin", ["example.org", "https://", "https://example.org/path", "https://*.example.org"])
def test_an_origin_that_is_none_is_refused_at_the_start(origin: str) -> None:
    with pytest.raises(OptionError, match="which is no origin"):
        checked_origins([origin])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "myhost"])
def test_listening_beyond_this_machine_without_tokens_is_refused(host: str) -> None:
    with pytest.raises(OptionError, match=r"--token-required .* --public-without-tokens"):
        check_binding(Settings(host=host), has_tokens=True)
    assert "everybody" in (check_binding(Settings(host=host, public_without_tokens=True), has_tokens=False) or "")
    assert check_binding(Settings(host=host, token_required=True), has_tokens=True) is None


def test_a_server_for_this_machine_needs_no_words() -> None:
    for host in ("127.0.0.1", "localhost", "::1"):
        assert check_binding(Settings(host=host), has_tokens=False) is None
    told = check_binding(Settings(token_required=True), has_tokens=False)
    assert "`auricle token create --name NAME`" in (told or "")
    told = check_binding(Settings(token_required=True, data_dir=Path("/srv/a b")), has_tokens=False)
    assert "--name NAME --data-dir '/srv/a b'`" in (told or "")


def test_urls_are_taken_only_where_the_settings_say_so() -> None:
    url = "https://example.org/a.wav"
    with pytest.raises(Refused, match="--allow-urls") as caught:
        allowed_url(Settings(), url)
    assert caught.value.status == 400
    assert allowed_url(Settings(allow_urls=True), url) == url
