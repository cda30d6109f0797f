"""What a request may do: how tokens arrive, and what is said of each that will not do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from auricle.server.access.areas import OPEN, is_counted, needed_scope
from auricle.server.access.authorization import Access, take_token
from auricle.server.access.principal import INFER, MANAGE
from auricle.server.access.tokens import TokenStore
from auricle.server.errors import Refused

STRANGE = f"aur_{'0' * 12}_{'x' * 43}"  # of the right form, made by nobody


def http(method: str, path: str, **headers: str) -> dict[str, Any]:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": method, "path": path, "headers": raw, "query_string": b""}


def websocket(path: str, query: str = "", protocols: tuple[str, ...] = (), **headers: str) -> dict[str, Any]:
    scope = http("GET", path, **headers)
    return {**scope, "type": "websocket", "query_string": query.encode(), "subprotocols": list(protocols)}


@pytest.fixture
def store(tmp_path: Path) -> TokenStore:
    return TokenStore(tmp_path)


@pytest.fixture
def strict(store: TokenStore) -> Access:
    return Access(store, is_required=True)


@pytest.fixture
def lenient(store: TokenStore) -> Access:
    return Access(store, is_required=False)


def refusal(access: Access, text: str | None, needed: str = INFER) -> Refused:
    with pytest.raises(Refused) as caught:
        access.authorize(text, needed)
    return caught.value


@pytest.mark.parametrize("written", ["Bearer x", "Bearer: x", "bearer x", "BEARER:x", "  Bearer   x  ", "x"])
def test_a_header_is_read_however_it_is_written(written: str) -> None:
    assert take_token(http("POST", "/", authorization=written)) == "x"


@pytest.mark.parametrize("written", ["Bearer", "Bearer ", "Bearer: ", ""])
def test_a_header_without_a_token_is_none(written: str) -> None:
    assert take_token(http("POST", "/", authorization=written)) is None


def test_a_websocket_brings_its_token_in_a_header_the_query_or_a_subprotocol() -> None:
    protocols = ("realtime", "openai-insecure-api-key.x", "openai-beta.realtime-v1")
    assert take_token(websocket("/live", authorization="Bearer x")) == "x"
    assert take_token(websocket("/live", query="model=a&token=x")) == "x"
    assert take_token(websocket("/live", protocols=protocols)) == "x"
    assert take_token(websocket("/live", protocols=("realtime",))) is None


def test_a_token_in_a_query_gets_into_no_log() -> None:
    scope = websocket("/live", query="model=a%2Fb&token=x&language=")
    take_token(scope)
    assert scope["query_string"] == b"model=a%2Fb&language="


def test_a_query_of_http_brings_no_token() -> None:
    scope = {**http("POST", "/"), "query_string": b"token=x"}
    assert take_token(scope) is None


def test_each_fault_has_its_own_message_and_code(strict: Access, store: TokenStore) -> None:
    revoked, _ = store.create("old", ["infer"])
    store.revoke("old")
    expired, _ = store.create("guest", ["infer"], lifetime=1e-9)
    weak, _ = store.create("weak", ["infer"])
    faults = {
        "token_missing": refusal(strict, None),
        "token_malformed": refusal(strict, "hf_xxxxxxxx"),
        "token_unknown": refusal(strict, STRANGE),
        "token_expired": refusal(strict, expired),
        "token_revoked": refusal(strict, revoked),
        "scope_missing": refusal(strict, weak, MANAGE),
    }
    assert {code: refused.code for code, refused in faults.items()} == {code: code for code in faults}
    assert [refused.status for refused in faults.values()] == [401, 401, 401, 401, 401, 403]
    assert len({refused.message for refused in faults.values()}) == len(faults)
    assert "invalid token" in faults["token_unknown"].message
    assert "a token of Hugging Face" in faults["token_malformed"].message
    assert "'guest' expired at 2" in faults["token_expired"].message
    assert "'old' was revoked at 2" in faults["token_revoked"].message
    assert "has the scope infer, and this takes manage" in faults["scope_missing"].message


def test_refusals_repeat_no_secret(strict: Access, store: TokenStore) -> None:
    text, _ = store.create("old", ["infer"])
    store.revoke("old")
    for arrived in (text, STRANGE, text[:-1], "hf_secretsecret", "Basic dXNlcjpwYXNz"):
        refused = refusal(strict, arrived)
        assert arrived[6:] not in refused.message + str(refused.headers)


def test_refusals_name_the_scheme_as_rfc_6750_asks(strict: Access, store: TokenStore) -> None:
    weak, _ = store.create("weak", ["infer"])
    assert refusal(strict, None).headers["www-authenticate"] == 'Bearer realm="auricle"'
    assert 'error="invalid_token"' in refusal(strict, STRANGE).headers["www-authenticate"]
    assert 'error="insufficient_scope", scope="manage"' in refusal(strict, weak, MANAGE).headers["www-authenticate"]


@pytest.mark.parametrize("text", [None, "hf_xxx", "anything", STRANGE])
def test_where_none_is_required_any_header_will_do(lenient: Access, text: str | None) -> None:
    assert lenient.authorize(text, MANAGE).id == "anonymous"


def test_where_none_is_required_a_token_still_names_its_holder(lenient: Access, store: TokenStore) -> None:
    text, token = store.create("laptop", ["infer"])
    assert lenient.authorize(text, INFER).id == token.id
    assert refusal(lenient, text, MANAGE).status == 403


def test_a_revoked_token_ends_with_the_next_request(strict: Access, store: TokenStore) -> None:
    text, token = store.create("laptop", ["infer"])
    assert strict.authorize(text, INFER).id == token.id
    TokenStore(store.path.parent).revoke("laptop")
    assert refusal(strict, text).code == "token_revoked"


@pytest.mark.parametrize(
    ("method", "path", "needed"),
    [
        ("GET", "/", OPEN),
        ("POST", "/", INFER),
        ("GET", "/health", OPEN),
        ("HEAD", "/ready", OPEN),
        ("GET", "/docs", OPEN),
        ("GET", "/docs/oauth2-redirect", OPEN),
        ("GET", "/openapi.json", OPEN),
        ("GET", "/metrics", INFER),
        ("GET", "/models/a/b/health", INFER),
        ("POST", "/models/a/b", INFER),
        ("GET", "/admin", MANAGE),
        ("POST", "/admin/models/a/b/load", MANAGE),
        ("WEBSOCKET", "/admin/x", MANAGE),
        ("POST", "/v1/models/a/b/load", MANAGE),
        ("POST", "/api/models/a/b/unload", MANAGE),
        ("DELETE", "/v1/models/a/b", MANAGE),
        ("POST", "/api/models/a/b/paths-info/main", INFER),
        ("DELETE", "/jobs/1", INFER),
        ("GET", "/administration", INFER),
        ("GET", "/static/app.js", OPEN),
        ("POST", "/static/app.js", INFER),
        ("GET", "/staticky", INFER),
        ("GET", "/samples/a.flac", OPEN),
        ("GET", "/samples/a/resolve/main/model.safetensors", INFER),
        ("GET", "/compare", OPEN),
        ("GET", "/models/a/b", OPEN),
        ("GET", "/models/a", OPEN),
        ("GET", "/models/a/health", INFER),
        ("GET", "/models/a/healthy", OPEN),
        ("GET", "/models/a/resolve/main/model.safetensors", INFER),
        ("GET", "/api/models/a/b", INFER),
        ("WEBSOCKET", "/live", INFER),
        ("WEBSOCKET", "/health", INFER),
    ],
)
def test_routes_take_the_scope_of_the_table(method: str, path: str, needed: str) -> None:
    scope = websocket(path) if method == "WEBSOCKET" else http(method, path)
    assert needed_scope(scope) == needed


def test_the_prefix_of_a_proxy_hides_no_route() -> None:
    assert needed_scope({**http("POST", "/speech/admin/x"), "root_path": "/speech"}) == MANAGE
    assert needed_scope({**http("POST", "/admin/x"), "root_path": "/speech"}) == MANAGE
    assert needed_scope({**http("GET", "/speech"), "root_path": "/speech"}) == INFER


def test_only_requests_for_work_count() -> None:
    counted = [http("POST", "/models/a/b"), http("POST", "/v1/audio/transcriptions"), websocket("/live")]
    others = [http("GET", "/jobs/1"), http("PATCH", "/uploads/1"), http("POST", "/admin/x"), http("GET", "/health")]
    others.append(http("POST", "/api/models/a/b/paths-info/main"))
    assert [is_counted(scope, needed_scope(scope)) for scope in counted] == [True] * 3
    assert [is_counted(scope, needed_scope(scope)) for scope in others] == [False] * 5
