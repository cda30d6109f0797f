"""Uploads that go on where they broke (tus 1.0); a whole one becomes a job with POST /jobs {"upload": id}."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fastapi import APIRouter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from auricle.server.errors import Refused
from auricle.server.jobs import tus
from auricle.server.jobs.uploads import Upload, Uploads

if TYPE_CHECKING:
    from auricle.server.services import Services

_PIECE_BODY = {"requestBody": {"content": {tus.PIECE: {"schema": {"type": "string", "format": "binary"}}}}}


def router(services: Services) -> APIRouter:
    """Return the routes of uploads."""
    routes = APIRouter(prefix="/uploads", tags=["uploads"])
    _add_creation(routes, services.jobs.uploads)
    _add_pieces(routes, services.jobs.uploads)
    return routes


def _add_creation(routes: APIRouter, uploads: Uploads) -> None:
    @routes.options("")
    @routes.options("/{upload_id}", include_in_schema=False)
    async def options() -> Response:
        """Tells what this server can do of tus."""
        return Response(status_code=204, headers=tus.about(uploads.max_bytes))

    @routes.post("", status_code=201, openapi_extra=_PIECE_BODY)
    async def create(request: Request) -> Response:
        """Begins an upload."""
        with _tus(request):
            length = tus.read_length(request.headers)
            metadata, raw = tus.read_metadata(request.headers)
            owner = request.state.principal.id
            upload = await asyncio.to_thread(uploads.create, owner, length, metadata, raw)
            if _type(request) == tus.PIECE:
                upload = await uploads.append(upload, 0, _pieces(request), tus.read_checksum(request.headers))
            root = str(request.scope.get("root_path", "")).rstrip("/")
            location = {"location": f"{root}/uploads/{upload.id}"}
            return Response(status_code=201, headers={**location, **tus.state(upload)})


def _add_pieces(routes: APIRouter, uploads: Uploads) -> None:
    @routes.head("/{upload_id}")
    async def head(request: Request, upload_id: str) -> Response:
        """Tells how many bytes of an upload are here."""
        with _tus(request):
            upload = await _own(uploads, request, upload_id)
            return Response(headers=tus.description(upload))

    @routes.patch("/{upload_id}", status_code=204, openapi_extra=_PIECE_BODY)
    async def patch(request: Request, upload_id: str) -> Response:
        """Adds bytes at Upload-Offset."""
        with _tus(request):
            return await _patched(uploads, request, upload_id)

    @routes.delete("/{upload_id}", status_code=204)
    async def delete(request: Request, upload_id: str) -> Response:
        """Removes an upload."""
        with _tus(request):
            return await _deleted(uploads, request, upload_id)

    @routes.post("/{upload_id}", include_in_schema=False)
    async def override(request: Request, upload_id: str) -> Response:
        """Stands for PATCH or DELETE where a client or proxy knows neither."""
        with _tus(request):
            method = request.headers.get("x-http-method-override", "").upper()
            if method == "PATCH":
                return await _patched(uploads, request, upload_id)
            if method == "DELETE":
                return await _deleted(uploads, request, upload_id)
            raise Refused(405, "an upload takes HEAD, PATCH and DELETE", headers={"allow": "HEAD, PATCH, DELETE"})


async def _patched(uploads: Uploads, request: Request, upload_id: str) -> Response:
    upload = await _own(uploads, request, upload_id)
    if _type(request) != tus.PIECE:
        raise Refused(415, f"Content-Type is {_type(request)[:100]!r}; a piece of an upload is {tus.PIECE}")
    offset = tus.read_count(request.headers, "Upload-Offset")
    checksum = tus.read_checksum(request.headers)
    if "upload-length" in request.headers:
        length = tus.read_count(request.headers, "Upload-Length")
        upload = await asyncio.to_thread(uploads.declare, upload, length)
    upload = await uploads.append(upload, offset, _pieces(request), checksum)
    return Response(status_code=204, headers=tus.state(upload))


async def _deleted(uploads: Uploads, request: Request, upload_id: str) -> Response:
    upload = await _own(uploads, request, upload_id)
    await asyncio.to_thread(uploads.remove, upload.id)
    return Response(status_code=204, headers={"Tus-Resumable": tus.VERSION})


async def _own(uploads: Uploads, request: Request, upload_id: str) -> Upload:
    return await asyncio.to_thread(uploads.get, upload_id, request.state.principal.id)


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    """Give the body as it comes; what came before the connection broke is kept, so that is no fault of ours."""
    try:
        async for piece in request.stream():
            yield piece
    except ClientDisconnect:
        raise Refused(400, "the connection broke off; ask with HEAD how far it is", code="incomplete_body") from None


@contextmanager
def _tus(request: Request) -> Iterator[None]:
    """Check the version, and name ours in refusals, too."""
    try:
        tus.check_version(request.headers)
        yield
    except Refused as refused:
        refused.headers.setdefault("Tus-Resumable", tus.VERSION)
        raise


def _type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
