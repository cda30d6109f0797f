"""The page: HTML for browsers, its scripts and styles, samples, the leaderboard's rows, and files to download.

Include this router last: ``GET /models/{id}`` takes every path below /models that no other route has.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from auricle.errors import ModelNotFoundError
from auricle.server.errors import Refused
from auricle.server.exports import EXPORT_BODY, FORMATS, MAX_EXPORT_BYTES, exported
from auricle.server.leaderboard import read_leaderboard

if TYPE_CHECKING:
    from auricle.server.services import Services

WEB = Path(__file__).parents[1] / "web"

# No inline script or style, nothing from elsewhere; blob: is what was recorded or dropped, played or shown in the page.
SECURITY = {
    "content-security-policy": "; ".join(
        (
            "default-src 'self'",
            "media-src 'self' blob:",
            "img-src 'self' blob:",
            "connect-src 'self'",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'self'",
        )
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "permissions-policy": "microphone=(self), camera=(), geolocation=()",
    "cross-origin-opener-policy": "same-origin",
}
# Asked for again each time and answered 304 where nothing changed: an update of auricle is seen at once.
FRESH = {"cache-control": "no-cache"}
VARY = {"vary": "accept"}
# Said here, for what a machine makes of endings differs, and browsers run no script of another type.
TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".flac": "audio/flac",
    ".ogg": "audio/ogg",
}
READ = ["GET", "HEAD"]


def router(services: Services) -> APIRouter:
    """Return the routes of the page; which models there are and where results lie come from `services`."""
    routes = APIRouter()
    _add_pages(routes, services)
    _add_files(routes)
    _add_data(routes, services)
    return routes


def _add_pages(routes: APIRouter, services: Services) -> None:
    @routes.api_route("/", methods=READ, include_in_schema=False)
    async def index(request: Request) -> Response:
        """Show the catalogue to browsers; to anything else say Ok, as inference containers do."""
        return _page(request, "index", "Models") if _wants_html(request) else PlainTextResponse("Ok", headers=VARY)

    @routes.api_route("/compare", methods=READ, include_in_schema=False)
    async def compare(request: Request) -> Response:
        return _page(request, "compare", "Compare")

    @routes.api_route("/leaderboard", methods=READ, include_in_schema=False)
    async def leaderboard(request: Request) -> Response:
        return _page(request, "leaderboard", "Leaderboard")

    @routes.api_route("/docs", methods=READ, include_in_schema=False)
    async def docs(request: Request) -> Response:
        """Show the reference of the API; FastAPI's own loads its scripts from another host, so it is switched off."""
        return _page(request, "docs", "API")

    @routes.api_route("/models/{model_id:path}", methods=READ, include_in_schema=False)
    async def model(request: Request, model_id: str) -> Response:
        """Show a model's page to browsers; send anything else to what the API says of it."""
        if not _wants_html(request):
            return RedirectResponse(f"{_root(request)}/api/models/{model_id}", 307, VARY)
        try:
            services.registry.resolve(model_id)
        except ModelNotFoundError:
            return _page(request, "model", model_id, status=404)
        return _page(request, "model", model_id)


def _add_files(routes: APIRouter) -> None:
    static, samples = StaticFiles(directory=WEB / "static"), StaticFiles(directory=WEB / "samples")

    @routes.api_route("/static/{path:path}", methods=READ, include_in_schema=False)
    async def static_file(request: Request, path: str) -> Response:
        return await _file(static, path, request)

    @routes.api_route("/samples/{path:path}", methods=READ, include_in_schema=False)
    async def sample(request: Request, path: str) -> Response:
        return await _file(samples, path, request)

    @routes.api_route("/favicon.ico", methods=READ, include_in_schema=False)
    async def favicon(request: Request) -> Response:
        return await _file(static, "favicon.svg", request)


def _add_data(routes: APIRouter, services: Services) -> None:
    listed = json.loads((WEB / "samples" / "samples.json").read_text(encoding="utf-8"))

    @routes.get("/api/samples", tags=["Page"])
    async def samples() -> JSONResponse:
        """Lists short recordings that come with the server, for a first try; `url` is relative to its root."""
        return JSONResponse([{**sample, "url": f"samples/{sample['file']}"} for sample in listed])

    @routes.get("/api/leaderboard", tags=["Page"])
    async def leaderboard() -> JSONResponse:
        """Tells the rows of the results files in the folder of the setting `leaderboard_dir`."""
        return JSONResponse(await run_in_threadpool(read_leaderboard, services.settings.leaderboard_dir))

    @routes.post("/api/export/{form}", tags=["Page"], openapi_extra=EXPORT_BODY)
    async def export(request: Request, form: str) -> Response:
        """Writes a transcript that the client has as txt, srt, vtt, …, by the rules of response_format."""
        if form not in FORMATS:
            raise Refused(404, f"format {form!r} is none of {', '.join(FORMATS)}", code="unknown_format")
        content = await run_in_threadpool(exported, await _limited(request), form)
        return Response(content, media_type=f"{FORMATS[form]}; charset=utf-8")


def _wants_html(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "")


def _root(request: Request) -> str:
    """Return the prefix under which a proxy has put the server, without its last slash."""
    return str(request.scope.get("root_path", "")).rstrip("/")


def _page(request: Request, name: str, title: str, status: int = 200) -> HTMLResponse:
    values = {"root": _root(request), "title": title, "page": name}
    safe: Mapping[str, str] = {key: escape(value) for key, value in values.items()}
    content = Template((WEB / "pages" / f"{name}.html").read_text(encoding="utf-8")).substitute(safe)
    current = {f"current_{page}": "" for page in ("index", "compare", "leaderboard", "docs", "model")}
    current[f"current_{name}"] = 'aria-current="page"'
    shell = Template((WEB / "pages" / "shell.html").read_text(encoding="utf-8"))
    return HTMLResponse(shell.substitute(safe, main=content, **current), status, {**SECURITY, **FRESH, **VARY})


async def _file(files: StaticFiles, path: str, request: Request) -> Response:
    try:
        response: Any = await files.get_response(path, request.scope)
    except HTTPException as error:
        raise Refused(error.status_code, f"there is no file {path!r} here", code="not_found") from None
    response.headers.update({**SECURITY, **FRESH})
    if "content-type" in response.headers:
        response.headers["content-type"] = TYPES.get(Path(path).suffix, response.headers["content-type"])
    return response


async def _limited(request: Request) -> bytes:
    """Return a body that is small enough to be held in memory.

    Raises: Refused, 413.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_EXPORT_BYTES:
            raise Refused(
                413, f"more than {MAX_EXPORT_BYTES} bytes; ask for response_format with the recording instead"
            )
    return bytes(body)
