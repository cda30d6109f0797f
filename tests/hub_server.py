"""A local server that speaks as much of the Hub's API as downloading a model takes; for tests.

It answers model and revision lookups, file trees, and file requests with ETag, X-Repo-Commit and Range;
weights are served by redirect, as the Hub's storage does. It counts requests, asks for tokens, cuts connections
and fails on demand.
"""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

REDIRECTED = (".safetensors", ".bin")  # what the Hub keeps in its large-file storage


@dataclass
class Repository:
    """Revisions of a model: commit to files, and names of branches and tags to commits."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    gated: bool = False  # visible to all, files only with the token
    private: bool = False  # nothing without the token

    def find(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """Return the commit that a branch, tag or commit names, and its files."""
        commit = self.refs.get(revision, revision)
        return (commit, self.commits[commit]) if commit in self.commits else None


class HubServer:
    """Serves repositories on a free port of this machine; use as a context manager."""

    def __init__(self, token: str = "hf_right") -> None:
        self.token = token
        self.repositories: dict[str, Repository] = {}
        self.requests: list[tuple[str, str]] = []  # (method, path)
        self.cut: dict[str, int] = {}  # file name: bytes after which its next download is cut off, once
        self.failing: dict[str, int] = {}  # file name: the HTTP status of its downloads
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        """The value for HF_ENDPOINT."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def storage_url(self) -> str:
        """The same server under another host name, for a redirect that leaves the Hub's host."""
        return self.url.replace("127.0.0.1", "localhost")

    def add(self, name: str, files: dict[str, bytes], revision: str = "main", **access: bool) -> str:
        """Make `revision` of a repository hold `files`; returns the new commit."""
        repository = self.repositories.setdefault(name, Repository(**access))
        digest = hashlib.sha1(name.encode())
        for path, content in sorted(files.items()):
            digest.update(path.encode() + b"\0" + content)
        commit = digest.hexdigest()
        repository.commits[commit] = dict(files)
        repository.refs[revision] = commit
        return commit

    def downloads(self) -> list[str]:
        """Return the names of the files whose content was asked for, in order."""
        return [path.rsplit("/", 1)[-1] for method, path in self.requests if method == "GET" and "/api/" not in path]

    def __enter__(self) -> HubServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _handler(hub: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            """Stay silent: tests read `requests` instead."""

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append((self.command, path))
            if path.startswith("/storage/"):
                _, _, name, commit, file = path.split("/", 4)
                self.send_file(file, hub.repositories[name.replace("--", "/")].commits[commit][file], {}, body)
            elif path.startswith("/api/models/"):
                self.answer_api(path.removeprefix("/api/models/"))
            elif "/resolve/" in path:
                name, _, rest = path[1:].partition("/resolve/")
                revision, _, file = rest.partition("/")
                self.answer_file(name, revision, file, body)
            else:
                self.refuse(404, "", "no such route")

        def answer_api(self, path: str) -> None:
            name, verb, revision = path, "", "main"
            for candidate in ("/revision/", "/tree/"):
                if candidate in path:
                    verb = candidate
                    name, _, revision = path.partition(candidate)
            found = self.find(name, revision, gate=False)
            if found is None:
                return
            commit, files = found
            if verb == "/tree/":
                self.send_json([_entry(path, content) for path, content in sorted(files.items())])
                return
            siblings = [{"rfilename": path} for path in sorted(files)]
            self.send_json({"id": name, "modelId": name, "sha": commit, "siblings": siblings, "tags": []})

        def answer_file(self, name: str, revision: str, file: str, body: bool) -> None:
            found = self.find(name, revision, gate=True)
            if found is None:
                return
            commit, files = found
            if file not in files:
                self.refuse(404, "EntryNotFound", f"{file} is not in {name}", {"X-Repo-Commit": commit})
            elif file.endswith(REDIRECTED):
                self.send_response(302)
                self.send_header("Location", f"{hub.storage_url}/storage/{name.replace('/', '--')}/{commit}/{file}")
                self.send_header("X-Repo-Commit", commit)
                self.send_header("X-Linked-Etag", f'"{_etag(files[file])}"')
                self.send_header("X-Linked-Size", str(len(files[file])))
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                self.send_file(file, files[file], {"X-Repo-Commit": commit}, body)

        def find(self, name: str, revision: str, gate: bool) -> tuple[str, dict[str, bytes]] | None:
            repository = hub.repositories.get(name)
            allowed = self.headers.get("Authorization") == f"Bearer {hub.token}"
            if repository is None or (repository.private and not allowed):
                # The Hub answers alike for what does not exist and what may not be known to exist.
                self.refuse(404 if allowed else 401, "RepoNotFound", "Repository not found")
            elif repository.gated and gate and not allowed:
                self.refuse(401, "GatedRepo", f"Access to model {name} is restricted")
            elif (found := repository.find(revision)) is None:
                self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            else:
                return found
            return None

        def send_file(self, file: str, content: bytes, headers: dict[str, str], body: bool) -> None:
            if body and file in hub.failing:
                self.refuse(hub.failing[file], "", "failing on demand")
                return
            start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
            part = content[start:]
            self.send_response(206 if start else 200)
            self.send_header("ETag", f'"{_etag(content)}"')
            self.send_header("Content-Length", str(len(part)))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            for key, value in headers.items():
                self.send_header(key, value)
            self.end_headers()
            if body and file in hub.cut:
                self.wfile.write(part[: hub.cut.pop(file)])
                self.close_connection = True
            elif body:
                self.wfile.write(part)

        def send_json(self, content: Any) -> None:
            text = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def refuse(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for key, value in {"X-Error-Code": code, "X-Error-Message": message, **(headers or {})}.items():
                if value:
                    self.send_header(key, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

    return Handler


def _etag(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def _entry(path: str, content: bytes) -> dict[str, Any]:
    return {"type": "file", "path": path, "size": len(content), "oid": _etag(content)}
