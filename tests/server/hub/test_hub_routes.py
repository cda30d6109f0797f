"""The Hub's routes, byte by byte: what is answered, what is refused, and what is never shown."""

from __future__ import annotations

import hashlib
import http.client
import json
from urllib.parse import urlsplit

import httpx
import pytest

COMMIT = "c0ffee" * 6 + "abcd"


def get(live, path: str, **headers: str) -> httpx.Response:
    return httpx.get(f"{live.url}{path}", headers={"accept-encoding": "identity", **headers})


def get_raw(live, path: str) -> tuple[int, str]:
    """Ask for a path exactly as it is written: other clients tidy it up first."""
    address = urlsplit(live.url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=10)
    connection.putrequest("GET", path, skip_host=False)
    connection.endheaders()
    reply = connection.getresponse()
    text = reply.read().decode("utf-8", "replace")
    connection.close()
    return reply.status, text


def test_list_has_every_served_model_the_default_first(live) -> None:
    rows = get(live, "/api/models").json()
    assert [row["id"] for row in rows] == ["org/tiny", "org/cached", "bundled", "org/absent"]
    tiny = rows[0]
    assert tiny["pipeline_tag"] == "automatic-speech-recognition"
    assert {"transformers", "safetensors", "wav2vec2", "en", "de"} <= set(tiny["tags"])
    assert tiny["auricle"] == {
        "state": "absent", "languages": ["en", "de"], "size": tiny["auricle"]["size"], "default": True,
        "summary": "a tiny one", "model_type": "wav2vec2", "bridged": False,
    }  # fmt: skip
    assert rows[1]["sha"] == COMMIT
    assert rows[3]["sha"] is None


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("search=TIN", ["org/tiny"]),
        ("author=org", ["org/tiny", "org/cached", "org/absent"]),
        ("filter=de", ["org/tiny"]),
        ("filter=wav2vec2&filter=en", ["org/tiny"]),
        ("filter=wav2vec2,de", ["org/tiny"]),
        ("pipeline_tag=automatic-speech-recognition&author=org", ["org/tiny", "org/cached"]),
        ("pipeline_tag=text-generation", []),
        ("library=keras", []),
        ("gated=True", []),
        ("inference=warm", []),
        ("inference_provider=hf-inference&search=tiny", ["org/tiny"]),
        ("inference_provider=cohere", []),
        ("sort=id", ["org/tiny", "org/cached", "org/absent", "bundled"]),
        ("sort=id&direction=1", ["bundled", "org/absent", "org/cached", "org/tiny"]),
        ("sort=downloads", ["org/tiny", "org/cached", "bundled", "org/absent"]),
    ],
)
def test_list_is_chosen_and_ordered_by_the_query(live, query: str, ids: list[str]) -> None:
    assert [row["id"] for row in get(live, f"/api/models?{query}").json()] == ids


@pytest.mark.parametrize("query", ["sort=beauty", "cursor=!!", "cursor=LTE=", "expand=everything"])
def test_list_refuses_what_it_cannot_do(live, query: str) -> None:
    reply = get(live, f"/api/models?{query}")
    assert reply.status_code == 400
    assert "expected" in reply.json()["error"] or "follow" in reply.json()["error"]


def test_link_leads_through_all_pages(live) -> None:
    url, ids = f"{live.url}/api/models?limit=3&full=true", []
    while url:
        reply = httpx.get(url)
        ids += [row["id"] for row in reply.json()]
        url = reply.links.get("next", {}).get("url", "")
    assert ids == ["org/tiny", "org/cached", "bundled", "org/absent"]


def test_list_tells_more_when_asked(live) -> None:
    plain, full = (
        get(live, f"/api/models?search=tiny{more}").json()[0] for more in ("", "&full=1&config=1&cardData=1")
    )
    assert not {"siblings", "config", "cardData"} & set(plain)
    assert {one["rfilename"] for one in full["siblings"]} == set(live.contents)
    assert full["config"] == {"architectures": ["Wav2Vec2ForCTC"], "model_type": "wav2vec2"}
    assert full["cardData"]["license"] == "mit"
    assert full["cardData"]["date"] == "2024-05-01"


def test_info_has_files_parameters_and_provider(live) -> None:
    info = get(live, "/api/models/org/tiny").json()
    assert [one["rfilename"] for one in info["siblings"]] == sorted(live.contents)
    assert info["safetensors"] == {"parameters": {"F32": 300_000, "F16": 7}, "total": 300_007}
    assert info["inferenceProviderMapping"]["hf-inference"]["task"] == "automatic-speech-recognition"
    only = get(live, "/api/models/org/tiny?expand[]=sha&expand[]=safetensors").json()
    assert set(only) == {"_id", "id", "sha", "safetensors", "auricle"}
    assert only["sha"] == info["sha"]


def test_info_tells_sizes_and_hashes_when_asked(live) -> None:
    siblings = {one["rfilename"]: one for one in get(live, "/api/models/org/tiny?blobs=true").json()["siblings"]}
    config, weights = live.contents["config.json"], live.contents["model.safetensors"]
    assert siblings["config.json"]["blobId"] == hashlib.sha1(b"blob %d\0" % len(config) + config).hexdigest()
    assert siblings["model.safetensors"]["lfs"]["sha256"] == hashlib.sha256(weights).hexdigest()
    assert siblings["model.safetensors"]["size"] == len(weights)


def test_models_without_an_organisation_are_found(live) -> None:
    info = get(live, "/api/models/bundled").json()
    assert info["id"] == "bundled"
    for path in ("revision/main", f"revision/{info['sha']}", "tree/main", "refs", "commits/main", "auth-check"):
        assert get(live, f"/api/models/bundled/{path}").status_code == 200, path
    assert get(live, "/bundled/resolve/main/config.json").json()["model_type"]


def test_a_folders_commit_begins_its_digest_and_changes_with_any_file(live, tmp_path) -> None:
    from auricle.pipelines.provenance import folder_digest
    from auricle.server.hub_files import HubFiles

    files = HubFiles()
    (tmp_path / "config.json").write_text("{}")
    first = files.commit_of(tmp_path, files.files_of(tmp_path))
    assert f"sha256:{first}" == folder_digest(tmp_path)[:47]
    commits = {first}
    for name in ("README.md", "lm/unigrams.txt", "vocab.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("new")
        commits.add(files.commit_of(tmp_path, files.files_of(tmp_path)))
    assert len(commits) == 4


def test_tree_lists_folders_and_files_page_by_page(live) -> None:
    entries = get(live, "/api/models/org/tiny/tree/main").json()
    assert [(one["type"], one["path"]) for one in entries][:2] == [
        ("directory", "language_model"),
        ("file", "README.md"),
    ]
    inner = get(live, "/api/models/org/tiny/tree/main/language_model").json()
    assert [one["path"] for one in inner] == ["language_model/unigrams.txt"]
    url, paths = f"{live.url}/api/models/org/tiny/tree/main?recursive=True&limit=2&expand=true", []
    while url:
        reply = httpx.get(url)
        assert len(reply.json()) <= 2
        paths += [one["path"] for one in reply.json() if one["type"] == "file"]
        url = reply.links.get("next", {}).get("url", "")
    assert sorted(paths) == sorted(live.contents)
    weights = next(one for one in entries if one["path"] == "model.safetensors")
    pointer = get(live, "/org/tiny/raw/main/model.safetensors").content
    assert weights["lfs"]["pointerSize"] == len(pointer)
    assert weights["oid"] == hashlib.sha1(b"blob %d\0" % len(pointer) + pointer).hexdigest()


def test_paths_info_takes_forms_and_json_and_leaves_out_what_is_absent(live) -> None:
    url = f"{live.url}/api/models/org/tiny/paths-info/main"
    asked = ["config.json", "nothing.json", "language_model", "../config.json"]
    for reply in (httpx.post(url, data={"paths": asked, "expand": True}), httpx.post(url, json={"paths": asked})):
        assert [(one["type"], one["path"]) for one in reply.json()] == [
            ("file", "config.json"), ("directory", "language_model"),
        ]  # fmt: skip
    for body in (b"", b"{", b"paths", b"\xff=1"):
        assert httpx.post(url, content=body).status_code == 400
    json_type = {"content-type": "application/json"}
    assert httpx.post(url, content=b"[" * 100_000, headers=json_type).status_code == 400
    for wrong in ([], {"paths": 3}, {"paths": [1]}):
        assert httpx.post(url, json=wrong).status_code == 400
    assert httpx.post(url, content=b"paths=" + b"x" * 2_000_000).status_code == 413


def test_small_files_are_named_by_git_and_large_ones_by_sha256(live) -> None:
    sha = get(live, "/api/models/org/tiny").json()["sha"]
    for revision in ("main", sha):
        small = httpx.head(f"{live.url}/org/tiny/resolve/{revision}/config.json")
        content = live.contents["config.json"]
        assert small.headers["etag"] == f'"{hashlib.sha1(b"blob %d" % len(content) + bytes(1) + content).hexdigest()}"'
        assert small.headers["content-length"] == str(len(content))
        assert small.headers["x-repo-commit"] == sha
        assert small.headers["accept-ranges"] == "bytes"
        assert 'filename="config.json"' in small.headers["content-disposition"]
        assert "x-linked-etag" not in small.headers
    large = httpx.head(f"{live.url}/org/tiny/resolve/main/model.safetensors")
    sha256 = hashlib.sha256(live.contents["model.safetensors"]).hexdigest()
    assert large.headers["etag"] == large.headers["x-linked-etag"] == f'"{sha256}"'
    assert large.headers["x-linked-size"] == str(len(live.contents["model.safetensors"]))


def test_every_shown_file_arrives_byte_for_byte(live) -> None:
    for name, content in live.contents.items():
        assert get(live, f"/org/tiny/resolve/main/{name}").content == content


def test_ranges_and_known_contents(live) -> None:
    path, content = "/org/tiny/resolve/main/model.safetensors", live.contents["model.safetensors"]
    part = get(live, path, range="bytes=1000-1999")
    assert (part.status_code, part.content) == (206, content[1000:2000])
    assert part.headers["content-range"] == f"bytes 1000-1999/{len(content)}"
    assert get(live, path, range=f"bytes={len(content) - 5}-").content == content[-5:]
    assert get(live, path, range="bytes=-7").content == content[-7:]
    beyond = get(live, path, range=f"bytes={len(content)}-")
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(content)}")
    etag = part.headers["etag"]
    for value in (etag, f'"other", W/{etag}', "*"):
        known = get(live, path, **{"if-none-match": value})
        assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", etag)
    assert get(live, path, **{"if-none-match": '"other"'}).status_code == 200
    assert get(live, path, range="bytes=0-9", **{"if-range": '"other"'}).status_code == 200


def test_a_cached_models_blobs_are_served_under_its_commit_and_refs(live) -> None:
    for revision in ("main", "HEAD", "refs%2Fheads%2Fmain", COMMIT, "v1.0", "refs%2Fpr%2F1"):
        reply = get(live, f"/org/cached/resolve/{revision}/config.json")
        assert (reply.status_code, reply.headers["x-repo-commit"]) == (200, COMMIT), revision
        assert get(live, f"/api/models/org/cached/revision/{revision}").json()["sha"] == COMMIT
    refs = get(live, "/api/models/org/cached/refs").json()
    assert refs["branches"] == [{"name": "main", "ref": "refs/heads/main", "targetCommit": COMMIT}]
    assert [ref["name"] for ref in refs["tags"]] == ["v1.0"]
    assert [ref["ref"] for ref in refs["pullRequests"]] == ["refs/pr/1"]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/api/models/org/none", "RepoNotFound"),
        ("/none/resolve/main/config.json", "RepoNotFound"),
        ("/org/absent/resolve/main/config.json", "RepoNotFound"),
        ("/api/models/org/absent/tree/main", "RepoNotFound"),
        ("/api/datasets/org/set", "RepoNotFound"),
        ("/datasets/org/resolve/main/x.json", "RepoNotFound"),
        ("/api/models/org/tiny/revision/v9", "RevisionNotFound"),
        ("/org/tiny/resolve/0123456789/config.json", "RevisionNotFound"),
        ("/org/tiny/resolve/main/none.json", "EntryNotFound"),
        ("/org/tiny/resolve/main/language_model", "EntryNotFound"),
        ("/org/tiny/raw/main/none.json", "EntryNotFound"),
        ("/api/models/org/tiny/tree/main/none", "EntryNotFound"),
        ("/api/models/org/tiny/tree/main/config.json", "EntryNotFound"),
    ],
)
def test_what_is_not_there_is_named_as_the_hub_names_it(live, path: str, code: str) -> None:
    reply = get(live, path)
    assert (reply.status_code, reply.headers["x-error-code"]) == (404, code)
    assert reply.json()["error"] == reply.headers["x-error-message"]
    assert httpx.head(f"{live.url}{path}").status_code in (404, 405)


def test_absence_is_told_with_the_commit_that_lacks_it(live) -> None:
    reply = httpx.head(f"{live.url}/org/cached/resolve/main/adapter_config.json")
    assert (reply.status_code, reply.headers["x-repo-commit"]) == (404, COMMIT)


@pytest.mark.parametrize(
    "path",
    [
        "/org/tiny/resolve/main/.secret.json",
        "/org/tiny/resolve/main/.git/config.json",
        "/org/tiny/resolve/main/inside.json",
        "/org/tiny/resolve/main/link.json",
        "/org/tiny/resolve/main/training_args.bin",
        "/org/tiny/resolve/main/notes.pdf",
        "/org/tiny/resolve/main/../../tiny/config.json",
        "/org/tiny/resolve/main/..%2f..%2ftiny%2fconfig.json",
        "/org/tiny/resolve/main/%2e%2e/config.json",
        "/org/tiny/resolve/main//etc/hostname",
        "/org/tiny/resolve/main/%2Fetc%2Fhostname",
        "/org/tiny/resolve/main/config.json%00",
        "/org/tiny/resolve/main/..%5cconfig.json",
        "/org/tiny/resolve/main/language_model/",
        "/org/tiny/resolve/main/language_model/../config.json",
        "/org/tiny/resolve/../main/config.json",
        "/org/..%2forg%2ftiny/resolve/main/config.json",
        "/org%2Ftiny/resolve/main/config.json",
        "/api/models/org%2Ftiny",
        "/api/models/org%2Ftiny/tree/main",
        "/api/models/..%2f..%2fetc/tree/main",
        "/api/models/org/%00/tree/main",
        "/org/ti%FFny/resolve/main/config.json",
        "/%2e%2e/%2e%2e/resolve/main/config.json",
    ],
)
def test_no_path_leads_out_of_what_is_shown(live, path: str) -> None:
    status, text = get_raw(live, path)
    assert status == 404
    assert str(live.folder) not in text
    assert "hostname" not in text or "not among the files" in text


def test_escaped_folders_of_trees_are_understood_as_clients_escape_them(live) -> None:
    assert get_raw(live, "/api/models/org/tiny/tree/main/language_model%2F")[0] == 200
    assert get_raw(live, "/org/tiny/resolve/main/language_model%2Funigrams.txt")[0] == 200
    assert get_raw(live, "/org/tiny/resolve/main/with%20space.txt") == (200, "a name that is escaped")


def test_no_reply_names_a_folder_of_this_machine(live) -> None:
    paths = ["/api/models?full=1&config=1&cardData=1", "/api/models/org/tiny?blobs=1", "/api/models/org/cached/refs"]
    paths += ["/api/models/org/tiny/tree/main?recursive=1&expand=1", "/org/tiny/resolve/x/y", "/api/models/org/absent"]
    for path in paths:
        reply = get(live, path)
        for text in (reply.text, json.dumps(dict(reply.headers))):
            assert str(live.folder.parent) not in text, path


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/repos/create"),
        ("DELETE", "/api/repos/delete"),
        ("POST", "/api/models/org/tiny/commit/main"),
        ("POST", "/api/models/org/tiny/preupload/main"),
        ("PUT", "/api/models/org/tiny/settings"),
    ],
)
def test_nothing_can_be_written(live, method: str, path: str) -> None:
    reply = httpx.request(method, f"{live.url}{path}", content=b"{}")
    assert reply.status_code == 403
    assert "read-only" in reply.json()["error"]


def test_other_routes_are_left_alone(live) -> None:
    for path in ("/models/org/tiny", "/v1/models/org/tiny", "/jobs/1", "/org/tiny", "/api/leaderboard", "/"):
        assert get(live, path).json() == {"detail": "Not Found"}, path


def test_openapi_describes_the_routes(live) -> None:
    paths = get(live, "/openapi.json").json()["paths"]
    told = paths["/{org}/{name}/resolve/{revision}/{path}"]["get"]
    assert [one["name"] for one in told["parameters"]] == ["org", "name", "revision", "path"]
    assert "recursive" in json.dumps(paths["/api/models/{name}/tree/{revision}"])
