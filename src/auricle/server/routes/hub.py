"""Hub at home: the served models listed and downloaded by the Hub's own clients, with HF_ENDPOINT pointing here.

Read-only. A client's names are looked up in lists of what is here; no path is built from them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import parse_qs, quote

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response

from auricle.server import hub_rows
from auricle.server.errors import Refused
from auricle.server.hub_files import HubFile, Identity
from auricle.server.hub_models import Address, Hub, InfoQuery, ModelsQuery, TreeQuery, entry_not_found
from auricle.server.hub_rows import Repository

if TYPE_CHECKING:
    from auricle.server.services import Services

_NAMED, _UNNAMED = "{org}/{name}", "{name}"
_BODY_BYTES = 1 << 20  # of the list of names that paths-info takes
# A file is shown, never run: it has the same origin as the page, which holds a token.
_HARMLESS = {"x-content-type-options": "nosniff", "content-security-policy": "default-src 'none'; sandbox"}


def router(services: Services) -> APIRouter:
    """Return the routes of the Hub's API and of the files."""
    hub = Hub(services)
    routes = APIRouter(tags=["Hub"])
    _add_lists(routes, hub)
    # "{name}/refs" before "{org}/{name}": the first that fits answers.
    for add in (_add_trees, _add_histories, _add_info, _add_files):
        for ids in (_NAMED, _UNNAMED):
            add(routes, hub, ids)
    _add_refusals(routes)
    return routes


def _add_lists(routes: APIRouter, hub: Hub) -> None:
    @routes.get("/api/models")
    async def list_models(request: Request, query: Annotated[ModelsQuery, Query()]) -> Response:
        """Lists the served models, as the Hub does."""
        wanted = query.expanded
        chosen, cursor = query.cut(query.chosen(await hub.all()))
        rows = await hub.apart(_list_rows, hub, chosen, query, wanted)
        return JSONResponse(rows, headers=_link(request, cursor))

    @routes.get("/api/whoami-v2")
    async def who_am_i(request: Request) -> Response:
        """Tells whose token was sent; without one, that nobody is known."""
        principal = getattr(request.state, "principal", None)
        name, identity = getattr(principal, "name", "anonymous"), getattr(principal, "id", "anonymous")
        token = {"displayName": name, "role": "read"}
        person = {"type": "user", "id": identity, "name": name, "fullname": name, "email": None, "isPro": False}
        return JSONResponse({**person, "orgs": [], "auth": {"type": "access_token", "accessToken": token}})


def _add_trees(routes: APIRouter, hub: Hub, ids: str) -> None:
    async def list_tree(request: Request, query: Annotated[TreeQuery, Query()]) -> Response:
        """Lists the files of a model."""
        to = _api_address(request, ids)
        repository = await hub.find_revision(to.name, to.revision)
        names = hub_rows.tree(repository, to.path.rstrip("/"), query.recursive)
        if names is None:
            raise entry_not_found(repository, to.path)
        page, cursor = query.cut(names)
        entries = await hub.apart(hub_rows.tree_entries, repository, page, hub.files, query.expand)
        return JSONResponse(entries, headers=_link(request, cursor))

    for path in ("tree/{revision}", "tree/{revision}/{path:path}"):
        routes.get(f"/api/models/{ids}/{path}", openapi_extra=_parts(ids, path))(list_tree)

    path = "paths-info/{revision:path}"

    @routes.post(f"/api/models/{ids}/{path}", openapi_extra=_parts(ids, path))
    async def paths_info(request: Request) -> Response:
        """Tells size and hashes of the files that the body names; those that are not there are left out."""
        to = _api_address(request, ids)
        repository = await hub.find_revision(to.name, to.revision)
        paths, expand = await _read_paths(request)
        found = (hub_rows.entry_name(repository, path) for path in paths)
        names = [name for name in dict.fromkeys(found) if name is not None]
        return JSONResponse(await hub.apart(hub_rows.tree_entries, repository, names, hub.files, expand))


def _add_histories(routes: APIRouter, hub: Hub, ids: str) -> None:
    @routes.get(f"/api/models/{ids}/refs", openapi_extra=_parts(ids))
    async def list_refs(request: Request) -> Response:
        """Lists the branches and tags of a model that are here."""
        to = _api_address(request, ids)
        return JSONResponse(hub_rows.refs(await hub.find_revision(to.name, hub_rows.MAIN)))

    path = "commits/{revision:path}"

    @routes.get(f"/api/models/{ids}/{path}", openapi_extra=_parts(ids, path))
    async def list_commits(request: Request) -> Response:
        """Lists the one commit of a model that is here."""
        to = _api_address(request, ids)
        return JSONResponse(hub_rows.commits(await hub.find_revision(to.name, to.revision)))

    @routes.get(f"/api/models/{ids}/auth-check", openapi_extra=_parts(ids))
    async def check_access(request: Request) -> Response:
        """Says whether a model may be downloaded: each that is served may."""
        await hub.find(_api_address(request, ids).name)
        return JSONResponse({})


def _add_info(routes: APIRouter, hub: Hub, ids: str) -> None:
    async def answer(repository: Repository, query: InfoQuery) -> Response:
        wanted = query.expanded
        row = await hub.apart(hub_rows.full_row, repository, hub.files)
        if query.blobs:
            row["siblings"] = await hub.apart(hub_rows.siblings_with_blobs, repository, hub.files)
        return JSONResponse(hub_rows.expanded_row(row, wanted) if wanted else row)

    path = "revision/{revision:path}"

    @routes.get(f"/api/models/{ids}/{path}", openapi_extra=_parts(ids, path))
    async def describe_revision(request: Request, query: Annotated[InfoQuery, Query()]) -> Response:
        """Tells everything of one model at a revision."""
        to = _api_address(request, ids)
        return await answer(await hub.find_revision(to.name, to.revision), query)

    @routes.get(f"/api/models/{ids}", openapi_extra=_parts(ids))
    async def describe(request: Request, query: Annotated[InfoQuery, Query()]) -> Response:
        """Tells everything of one model, also of one whose files are not here yet."""
        return await answer(await hub.find(_api_address(request, ids).name), query)


def _add_files(routes: APIRouter, hub: Hub, ids: str) -> None:
    async def resolve(request: Request) -> Response:
        """Sends a file of a model, or a range of it."""
        to = Address(request, 0, ids.count("{"))
        repository, file = await hub.find_file(to.name, to.revision, to.path)
        identity = await hub.apart(hub.files.identity_of, file)
        headers = _file_headers(repository, file, identity)
        if _is_known(request, identity.etag):
            return Response(status_code=304, headers=headers)
        return FileResponse(file.place, headers=headers, media_type=_media_type(file))

    async def raw(request: Request) -> Response:
        """Sends a file as git holds it: of a large one, the pointer to its content."""
        to = Address(request, 0, ids.count("{"))
        repository, file = await hub.find_file(to.name, to.revision, to.path)
        identity = await hub.apart(hub.files.identity_of, file)
        headers = {**_file_headers(repository, file, identity), "etag": f'"{identity.blob_id}"'}
        if identity.pointer:
            return PlainTextResponse(identity.pointer, headers=headers)
        return FileResponse(file.place, headers=headers, media_type="text/plain")

    for verb, send in (("resolve", resolve), ("raw", raw)):
        path = f"{verb}/{{revision}}/{{path:path}}"
        routes.get(f"/{ids}/{path}", openapi_extra=_parts(ids, path))(send)
        routes.head(f"/{ids}/{path}", include_in_schema=False)(send)


def _add_refusals(routes: APIRouter) -> None:
    async def refuse(request: Request) -> None:
        """Refuses what is no model, and to change anything."""
        if request.method != "GET":
            raise Refused(403, "This server's Hub is read-only: models are added where it is started (--model).")
        raise Refused(404, "Repository not found: there are only models, /api/models/org/name.", code="RepoNotFound")

    for kind in ("models", "datasets", "spaces", "repos"):
        methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        routes.api_route(f"/api/{kind}/{{rest:path}}", methods=methods, include_in_schema=False)(refuse)


def _list_rows(hub: Hub, chosen: Sequence[Repository], query: ModelsQuery, wanted: list[str]) -> list[dict[str, Any]]:
    if wanted:
        rows = [hub_rows.expanded_row(hub_rows.full_row(repository, hub.files), wanted) for repository in chosen]
        for row in rows:
            if "inferenceProviderMapping" in row:  # lists have it as a list, single models as a table
                mapping = row["inferenceProviderMapping"]
                row["inferenceProviderMapping"] = [{"provider": name, **what} for name, what in mapping.items()]
        return rows
    rows = []
    for repository in chosen:
        row = hub_rows.brief_row(repository)
        if query.full:
            row["siblings"] = [{"rfilename": name} for name in repository.files]
        if query.config:
            row["config"] = hub_rows.config_of(repository)
        if query.card_data:
            row["cardData"] = hub_rows.card_data(repository)
        rows.append(row)
    return rows


def _api_address(request: Request, ids: str) -> Address:
    return Address(request, len(("api", "models")), ids.count("{"))


def _parts(ids: str, path: str = "") -> dict[str, Any]:
    """Describe the parts of a path for OpenAPI; Address reads them."""
    names = re.findall(r"{(\w+)", f"{ids}/{path}")
    text = {"type": "string"}
    return {"parameters": [{"name": name, "in": "path", "required": True, "schema": text} for name in names]}


def _link(request: Request, cursor: str | None) -> dict[str, str]:
    if cursor is None:
        return {}
    return {"link": f'<{request.url.include_query_params(cursor=cursor)}>; rel="next"'}


async def _read_paths(request: Request) -> tuple[list[str], bool]:
    """Read what paths-info is asked for, as a form (the Python client) or as JSON (the JavaScript client)."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _BODY_BYTES:
            raise Refused(413, f"the list of paths has more than {_BODY_BYTES} bytes; ask in several requests.")
    try:
        if "json" in request.headers.get("content-type", ""):
            told = json.loads(body)
            paths, expand = told["paths"], bool(told.get("expand", False))
        else:
            form = parse_qs(body.decode())
            paths, expand = form["paths"], form.get("expand", [""])[-1].lower() == "true"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        paths = None
    paths = [paths] if isinstance(paths, str) else paths
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise Refused(400, "the body names no paths; expected a form or JSON with 'paths', a list of file names.")
    return paths, expand


def _file_headers(repository: Repository, file: HubFile, identity: Identity) -> dict[str, str]:
    name = quote(file.path.rsplit("/", 1)[-1])
    headers = {
        "etag": f'"{identity.etag}"',
        "x-repo-commit": repository.commit or "",
        "accept-ranges": "bytes",
        "content-disposition": f"inline; filename*=UTF-8''{name}; filename=\"{name}\";",
        **_HARMLESS,
    }
    if identity.sha256 is not None:
        headers |= {"x-linked-etag": f'"{identity.sha256}"', "x-linked-size": str(file.size)}
    return headers


def _is_known(request: Request, etag: str) -> bool:
    """Say whether the client has the content already, by its If-None-Match."""
    known = [
        value.strip().removeprefix("W/").strip('"') for value in request.headers.get("if-none-match", "").split(",")
    ]
    return etag in known or known == ["*"]


def _media_type(file: HubFile) -> str:
    return "application/octet-stream" if file.is_large else "text/plain"
