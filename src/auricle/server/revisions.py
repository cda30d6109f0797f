"""Which weights a loaded model has, for results that are kept: a commit of the Hub, or the digest of a folder."""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

from auricle.server.registry import Registry, ServedModel


class Revisions:
    """Remembers them as long as their models are in memory."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._known: WeakKeyDictionary[ServedModel, str | None] = WeakKeyDictionary()

    async def of(self, model: ServedModel) -> str | None:
        """Return the revision of a model, None where its files are not on this machine."""
        return await asyncio.to_thread(self._read, model)

    def _read(self, model: ServedModel) -> str | None:
        from auricle.pipelines.provenance import folder_digest

        if model not in self._known:
            card = self._registry.card(model.name)
            self._known[model] = card.revision or (folder_digest(card.folder) if card.folder is not None else None)
        return self._known[model]
