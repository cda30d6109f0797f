"""The served models as a Hub: found by a client's address, chosen and ordered for its lists, page by page."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, unquote

import anyio
import anyio.to_thread
from pydantic import BaseModel, Field
from starlette.requests import Request

from auricle.server.errors import Refused
from auricle.server.hub_files import HubFile, HubFiles, refs_of
from auricle.server.hub_rows import EXPANDABLE, MAIN, PROVIDER, Repository, brief_row, tags_of

if TYPE_CHECKING:
    from auricle.server.model_cards import ModelCard
    from auricle.server.services import Services

PAGE = 1000  # rows of one reply
_THREADS = 4  # that list folders and hash files, beside those that send them
_SHOWN = 96  # letters of a client's name that an error repeats
_SORTS = {"lastModified": "lastModified", "createdAt": "createdAt", "last_modified": "lastModified", "id": "id"}
_UNSORTED = frozenset({"downloads", "likes", "trendingScore", "trending_score"})  # all models are alike in these
_Result = TypeVar("_Result")
_Item = TypeVar("_Item")


class PageQuery(BaseModel):
    """Which page of a list is asked for."""

    limit: int = Field(PAGE, ge=1)
    cursor: str = ""

    def cut(self, items: Sequence[_Item]) -> tuple[Sequence[_Item], str | None]:
        """Return the page, and the cursor of the next one if there is more.

        Raises:
            Refused: 400 for a cursor that this server did not give.
        """
        start = _read_cursor(self.cursor) if self.cursor else 0
        end = start + min(self.limit, PAGE)
        return items[start:end], base64.urlsafe_b64encode(b"%d" % end).decode() if end < len(items) else None


class ExpandQuery(BaseModel):
    """Which properties alone are asked for."""

    expand: list[str] = []
    expand_each: list[str] = Field([], alias="expand[]")

    @property
    def expanded(self) -> list[str]:
        """The properties, none if all are wanted.

        Raises:
            Refused: 400 for a name that the Hub does not know.
        """
        names = [*self.expand, *self.expand_each]
        unknown = sorted(set(names) - EXPANDABLE)
        if unknown:
            raise Refused(
                400, f"expand has {', '.join(unknown)[:_SHOWN]}; expected of {', '.join(sorted(EXPANDABLE))}."
            )
        return names


class InfoQuery(ExpandQuery):
    """What is asked of one model."""

    blobs: bool = False


class TreeQuery(PageQuery):
    """What is asked of a file tree."""

    recursive: bool = False
    expand: bool = False


class ModelsQuery(ExpandQuery, PageQuery):
    """What is asked of the list of models, in the Hub's words."""

    search: str = ""
    author: str = ""
    filter: list[str] = []
    pipeline_tag: str = ""
    library: list[str] = []
    language: list[str] = []
    inference: str = ""
    inference_provider: list[str] = []
    gated: bool = False
    sort: str = ""
    direction: int = -1
    full: bool = False
    config: bool = False
    card_data: bool = Field(False, alias="cardData")

    def chosen(self, repositories: Sequence[Repository]) -> list[Repository]:
        """Return those that fit, in the order that is asked for; without one, the server's own.

        Raises:
            Refused: 400 for an order that there is not.
        """
        found = [repository for repository in repositories if self._fits(repository)]
        if self.sort in _SORTS:
            key = _SORTS[self.sort]
            found.sort(key=lambda repository: brief_row(repository)[key] or "", reverse=self.direction < 0)
        elif self.sort and self.sort not in _UNSORTED:
            known = ", ".join(sorted({*_SORTS, *_UNSORTED}))
            raise Refused(400, f"sort is {self.sort[:_SHOWN]!r}; expected one of {known}.", param="sort")
        return found

    def _fits(self, repository: Repository) -> bool:
        card = repository.card
        named = [*self.filter, *self.library, *self.language, self.pipeline_tag]
        tags = {tag.strip() for value in named for tag in value.split(",") if tag.strip()}
        author = card.id.partition("/")[0] if "/" in card.id else ""
        return (
            self.search.lower() in card.id.lower()
            and (not self.author or self.author.lower() == author.lower())
            and tags <= set(tags_of(repository))
            and (self.inference != "warm" or card.state == "ready")
            and (not self.inference_provider or not {"all", PROVIDER}.isdisjoint(self.inference_provider))
            and not self.gated
        )


class Hub:
    """What the Hub's routes share: the served models, and what is known of their files."""

    def __init__(self, services: Services) -> None:
        self.files = HubFiles()
        self._services = services
        self._limiter = anyio.CapacityLimiter(_THREADS)

    async def apart(self, work: Callable[..., _Result], *arguments: Any) -> _Result:
        """Run what reads the disk in a thread, so that no other request waits for it."""
        return await anyio.to_thread.run_sync(partial(work, *arguments), limiter=self._limiter)

    async def all(self) -> list[Repository]:
        """Return every served model."""
        return await self.apart(lambda: [self._open(card) for card in self._services.registry.catalogue()])

    async def find(self, name: str) -> Repository:
        """Return the served model of exactly this name.

        Raises:
            Refused: 404, as the Hub's clients understand it.
        """
        return await self.apart(self._find, name)

    async def find_revision(self, name: str, revision: str) -> Repository:
        """Return the served model if it is here at a revision.

        Raises:
            Refused: 404, as the Hub's clients understand it.
        """
        repository = await self.find(name)
        if repository.commit is None:
            told = (
                f"Repository not found: {name} is served here, but its files are not on this server's disk (yet). Have "
                f"it loaded once (POST /admin/models/{name}/load), then download it."
            )
            raise Refused(404, told, code="RepoNotFound")
        if not repository.has(revision):
            here = ", ".join(dict.fromkeys((MAIN, *repository.refs, repository.commit)))
            told = f"Invalid rev id: {revision[:_SHOWN]!r}; of {name}, this server has {here}."
            raise Refused(404, told, code="RevisionNotFound")
        return repository

    async def find_file(self, name: str, revision: str, path: str) -> tuple[Repository, HubFile]:
        """Return a file that is shown of a served model.

        Raises:
            Refused: 404, as the Hub's clients understand it.
        """
        repository = await self.find_revision(name, revision)
        file = repository.files.get(path)
        if file is None:
            raise entry_not_found(repository, path)
        return repository, file

    def _find(self, name: str) -> Repository:
        registry = self._services.registry
        if name not in registry.names():
            told = f"Repository not found: {name[:_SHOWN]!r} is not served here; GET /api/models lists what is."
            raise Refused(404, told, code="RepoNotFound")
        return self._open(registry.card(name))

    def _open(self, card: ModelCard) -> Repository:
        if card.folder is None:
            return Repository(card)
        try:
            files = self.files.files_of(card.folder)
            return Repository(card, files, self.files.commit_of(card.folder, files), refs_of(card.folder))
        except OSError:
            return Repository(card)  # the folder is gone or may not be read: listed, with nothing to download


class Address:
    """Where a request points: a model's name, and what stands behind the verb, told apart before %2F becomes "/"."""

    def __init__(self, request: Request, before: int, name_parts: int) -> None:
        raw = request.scope.get("raw_path") or quote(request.scope["path"]).encode()
        path = raw.decode("ascii", "replace").removeprefix(quote(request.scope.get("root_path", "")))
        parts = [unquote(part) for part in path.split("/")[1 + before :]]
        named, behind = parts[:name_parts], parts[name_parts + 1 :]
        # An escaped slash in a name makes other parts of the path than the route saw: no model is called so.
        self.name = "/".join(named) if not any("/" in part for part in named) else "%2F"
        self.revision = behind[0] if behind else MAIN
        self.path = "/".join(behind[1:])


def entry_not_found(repository: Repository, path: str) -> Refused:
    """Return the refusal of a file or folder that is not there; clients remember it for the commit."""
    told = f"Entry not found: {path[:_SHOWN]!r} is not among the files of {repository.card.id}."
    return Refused(404, told, code="EntryNotFound", headers={"x-repo-commit": repository.commit or ""})


def _read_cursor(cursor: str) -> int:
    try:
        start = int(base64.urlsafe_b64decode(cursor.encode()))
    except (ValueError, binascii.Error):
        start = -1
    if start < 0:
        told = f"cursor is {cursor[:_SHOWN]!r}, which this server did not give; follow the Link header's next page."
        raise Refused(400, told, param="cursor")
    return start
