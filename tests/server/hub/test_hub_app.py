"""The Hub's routes within the whole server: tokens, and the other routes beside them."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError

from auricle.server.access import TokenStore


def test_a_token_of_the_server_is_what_clients_send_to_the_hub(start_server, tmp_path: Path) -> None:
    server = start_server(models=("bundled",), token_required=True)
    text, _ = TokenStore(server.services.settings.data_dir).create("laptop", frozenset({"infer"}), None)
    to = {"endpoint": server.url, "cache_dir": tmp_path / "downloads"}
    folder = snapshot_download("bundled", token=text, **to)
    assert (Path(folder) / "model.safetensors").stat().st_size > 1 << 20
    assert HfApi(endpoint=server.url, token=text).whoami()["name"] == "laptop"
    for wrong in (False, "au_wrong"):
        with pytest.raises(HfHubHTTPError) as caught:
            list(HfApi(endpoint=server.url, token=wrong).list_models())
        assert caught.value.response.status_code == 401
    with pytest.raises(HfHubHTTPError):
        hf_hub_download("bundled", "config.json", token=False, endpoint=server.url, cache_dir=tmp_path / "empty")


def test_hub_and_page_answer_beside_each_other(live_server) -> None:
    def get(path: str, accept: str = "*/*") -> httpx.Response:
        return httpx.get(f"{live_server.url}{path}", headers={"accept": accept})

    assert get("/bundled/resolve/main/config.json").json()["model_type"]
    assert get("/models/bundled", "text/html").headers["content-type"].startswith("text/html")
    assert httpx.get(f"{live_server.url}/models/bundled", follow_redirects=True).json()["id"] == "bundled"
    assert isinstance(get("/api/samples").json(), list)
    assert "rows" in get("/api/leaderboard").json()
    missing = get("/api/models/none")
    assert (missing.status_code, missing.headers["x-error-code"]) == (404, "RepoNotFound")


def test_other_requests_are_answered_during_a_download(live_server) -> None:
    with httpx.stream("GET", f"{live_server.url}/bundled/resolve/main/model.safetensors") as download:
        chunks = download.iter_bytes(1 << 16)
        first = next(chunks)
        assert httpx.get(f"{live_server.url}/api/models/bundled", timeout=30).status_code == 200
        rest = sum(len(chunk) for chunk in chunks)
    assert len(first) + rest == int(download.headers["content-length"])
