"""The models that are served: by which names, which are in memory, and how long those that are not will take.

A model is loaded when it is first asked for, in a thread; requests wait for it, up to `Settings.hold` seconds. A
failed load is told to all who wait for it, once, and tried again by the next request.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auricle.errors import AuricleError, CheckpointError, ModelNotFoundError, OptionError, nearest
from auricle.hub import cached_models
from auricle.server.desk import Desk
from auricle.server.errors import Refused
from auricle.server.model_cards import ModelCard, card_of, checked_name
from auricle.server.scheduling import Batcher, Places
from auricle.server.settings import Settings

if TYPE_CHECKING:
    from auricle.pipelines import Pipeline

logger = logging.getLogger("auricle.server")

# Before anything was loaded here: what reading and preparing weights takes.
FIRST_GUESS_S = 3.0
GUESSED_BYTES_PER_S = 150e6
FAILED_AGAIN_S = 2.0  # a load that failed is not tried again sooner
UNLOAD_CHECKS = 10  # of idle models, in the time after which they are unloaded

Load = Callable[[str, Settings], "Pipeline"]


def load_pipeline(place: str, settings: Settings) -> Pipeline:
    """Load a Hub name or a folder with its own task."""
    from auricle.pipelines import pipeline

    device = None if settings.device == "auto" else settings.device
    loaded = pipeline(model=place, device=device, dtype=settings.dtype, engine=settings.engine)
    speakers = getattr(loaded, "speaker_models", None)
    if speakers is not None and settings.diarization_model is not None:
        speakers.default = settings.diarization_model
    return loaded


@dataclass(eq=False)
class ServedModel:
    """A model in memory."""

    name: str
    pipeline: Any  # of its task
    batcher: Places
    loaded_in: float  # seconds
    n_users: int = 0
    last_used: float = field(default_factory=time.monotonic)

    @property
    def task(self) -> str:
        """What the model does, such as "automatic-speech-recognition"."""
        return str(self.pipeline.task)


def refuse_bridged(model: ServedModel) -> None:
    """Refuse a model that transformers runs, on routes that need one of our own.

    Raises:
        Refused: 422.
    """
    if getattr(model.pipeline, "is_bridged", False):
        raise Refused(
            422, f"Model {model.name} is run by transformers: ask it at POST /models/{model.name}", code="bridged_model"
        )


@dataclass(eq=False)
class _Loading:
    task: asyncio.Task[ServedModel]
    began: float


class Registry:
    """Names to models; everything but the loading itself runs on the event loop."""

    def __init__(
        self,
        settings: Settings,
        load: Load = load_pipeline,
        on_batch: Callable[[str, int], None] | None = None,
    ) -> None:
        """Take the settings; `on_batch` is told a model's name and the size of every batch."""
        self.settings = settings
        self.on_load: Callable[[str, float], None] | None = None  # told the seconds of every load
        self.on_batch = on_batch
        self._load = load
        self._models: dict[str, ServedModel] = {}
        self._loading: dict[str, _Loading] = {}
        self._failed: dict[str, tuple[float, BaseException]] = {}
        self._wanted: Counter[str] = Counter()  # requests that wait for a model, which is not to go before their turn
        self._freed = asyncio.Event()
        self._room = asyncio.Lock()  # one at a time is loaded: two would both find room for the last place
        self._times = LoadTimes(settings.data_dir / "load-times.json")

    @property
    def default(self) -> str:
        """The model of requests that name none."""
        return next(iter(self.settings.served))

    def names(self) -> list[str]:
        """Return what clients may name: the models that were asked for, then those that lie in the cache."""
        names = list(self.settings.served)
        if not self.settings.models:
            names += [one.name for one in cached_models()]
        return list(dict.fromkeys(names))

    def catalogue(self) -> list[ModelCard]:
        """Return what is known of every model; blocks, since it reads folders."""
        return [self.card(name) for name in self.names()]

    def card(self, name: str) -> ModelCard:
        """Return what is known of a model; blocks."""
        place = self.settings.served.get(name, name)
        return card_of(name, place, self.state(name), name == self.default)

    def resolve(self, name: str | None, lenient: bool = False) -> str:
        """Return the served name that a client's name means; None means the default one.

        `lenient` takes any name for a lone model's: some clients make one up.

        Raises:
            ModelNotFoundError: nothing of that name is served.
        """
        if name is None or name == "":
            return self.default
        if name in self.settings.served:
            return name
        with suppress(ModelNotFoundError):
            checked = checked_name(name)
            if self.settings.any_model or (not self.settings.models and checked in self.names()):
                return checked
        if lenient and len(self.settings.models) <= 1:
            return self.default
        known = self.names()
        hint = nearest(name, known) or f"; it serves {', '.join(known[:10])}"
        raise ModelNotFoundError(f"Model {name[:200]} is not served here{hint}")

    def state(self, name: str) -> str:
        """Return "ready", "loading", "failed" or "absent"."""
        if name in self._models:
            return "ready"
        if name in self._loading:
            return "loading"
        return "failed" if name in self._failed else "absent"

    async def task_of(self, name: str, wait: float | None) -> str | None:
        """Return what a model does; one that says so only once it is loaded is loaded, for `wait` seconds at most.

        Raises:
            Refused: 503, it is still being loaded. AuricleError: it cannot be loaded.
        """
        if name in self._models:
            return self._models[name].task
        card = await asyncio.to_thread(self.card, name)
        if card.task is not None and not card.is_bridged:
            return card.task
        async with self.use(name, wait) as model:
            return model.task

    def is_bridged(self, name: str) -> bool:
        """Say whether transformers runs a model; blocks."""
        if name in self._models:
            return bool(getattr(self._models[name].pipeline, "is_bridged", False))
        return self.settings.engine == "transformers" or self.card(name).is_bridged

    def loaded(self) -> list[ServedModel]:
        """Return the models in memory."""
        return list(self._models.values())

    def estimated_time(self, name: str) -> float:
        """Return in how many seconds a model that is not in memory is likely to be: as before, or by its size."""
        whole = self._times.get(name) or self._guess(name)
        loading = self._loading.get(name)
        left = whole - (time.monotonic() - loading.began) if loading is not None else whole
        # What takes longer than it should goes on for a part of that.
        return round(max(left, 0.1 * whole, 0.5), 1)

    @asynccontextmanager
    async def use(self, name: str, wait: float | None = None) -> AsyncIterator[ServedModel]:
        """Hold a model in memory while it is used, loading it first if need be.

        `wait` is how many seconds loading may take, None as long as it does.

        Raises:
            Refused: 503, it is still being loaded. AuricleError: it cannot be loaded.
        """
        self._wanted[name] += 1
        try:
            # An explicit unload may come between.
            while (model := self._models.get(name)) is None:
                await self._wait_for(name, wait)
            model.n_users += 1
        finally:
            self._wanted[name] -= 1
            self._freed.set()
        try:
            yield model
        finally:
            model.n_users -= 1
            model.last_used = time.monotonic()
            self._freed.set()

    async def load(self, name: str) -> ServedModel:
        """Load a model and wait for it."""
        return self._models.get(name) or await self._wait_for(name, None)

    async def unload(self, name: str, wait: float | None = None) -> bool:
        """Let go of a model once nobody uses it; False if it is not in memory.

        `wait` is how many seconds its users may take, None as long as they do.

        Raises:
            TimeoutError: it is still being used.
        """
        deadline = None if wait is None else asyncio.get_running_loop().time() + wait
        while (model := self._models.get(name)) is not None:
            if model.n_users == 0:
                await self._let_go(model)
                return True
            self._freed.clear()
            async with asyncio.timeout_at(deadline):
                await self._freed.wait()
        return False

    async def unload_idle(self) -> None:
        """Unload models that nobody used for `Settings.idle_unload` seconds, until cancelled."""
        limit = self.settings.idle_unload
        assert limit is not None, "asked for only where it is set"
        while True:
            await asyncio.sleep(limit / UNLOAD_CHECKS)
            now = time.monotonic()
            for model in self.loaded():
                if model.n_users == 0 and now - model.last_used >= limit:
                    logger.info("model %s was not used for %g s and is unloaded", model.name, limit)
                    await self._let_go(model)

    async def close(self) -> None:
        """Let go of all models."""
        for loading in list(self._loading.values()):
            loading.task.cancel()
        for model in self.loaded():
            await self._let_go(model)

    def made(self, name: str) -> ServedModel:
        """Load a model, in a thread; a registry whose models are elsewhere does this, and only this, differently."""
        began = time.monotonic()
        try:
            pipeline = self._load(self.settings.served.get(name, name), self.settings)
        except OptionError as error:
            # Of the server's settings: no client has chosen it, or could choose another.
            raise CheckpointError(f"Model {name} cannot be loaded as this server is set up: {error}") from error
        told = self.on_batch
        on_batch = None if told is None else lambda n_rows: told(name, n_rows)
        batcher: Places
        if pipeline.task == "text-generation" and not getattr(pipeline, "is_bridged", False):
            batcher = Desk(pipeline.writer, on_batch, name)  # type: ignore[attr-defined]  # of this task
        else:
            batcher = Batcher(self.settings.batch_size, on_batch, name)
        return ServedModel(name, pipeline, batcher, time.monotonic() - began)

    async def _wait_for(self, name: str, wait: float | None) -> ServedModel:
        failed = self._failed.get(name)
        if failed is not None and time.monotonic() - failed[0] < FAILED_AGAIN_S:
            raise failed[1]
        if name not in self._loading:
            task = asyncio.create_task(self._loaded(name))
            task.add_done_callback(_retrieve)
            self._loading[name] = _Loading(task, time.monotonic())
        task = self._loading[name].task
        # Shielded: who waits may go away, and the model is loaded for the others.
        done, _ = await asyncio.wait({task}, timeout=wait)
        if not done:
            seconds = self.estimated_time(name)
            raise Refused(
                503,
                f"Model {name} is currently loading",
                code="model_loading",
                headers={"retry-after": str(max(1, round(seconds)))},
                extra={"estimated_time": seconds},
            )
        return task.result()

    async def _loaded(self, name: str) -> ServedModel:
        """Make room, load, and take the time."""
        try:
            async with self._room:
                await self._make_room()
                model = await asyncio.to_thread(self.made, name)
                self._models[name] = model
            seconds = model.loaded_in
            self._failed.pop(name, None)
            self._times.put(name, seconds)
            if self.on_load is not None:
                self.on_load(name, seconds)
            logger.info("model %s was loaded in %.1f s", name, seconds)
            return model
        except Exception as error:
            self._failed[name] = time.monotonic(), error
            logger.error("model %s could not be loaded: %s", name, error, exc_info=not isinstance(error, AuricleError))
            raise
        finally:
            del self._loading[name]

    async def _make_room(self) -> None:
        """Let go of the model that was not used for longest, while there are as many as may be."""
        while len(self._models) >= self.settings.max_loaded:
            unused = [model for model in self.loaded() if model.n_users == 0 and not self._wanted[model.name]]
            if unused:
                await self._let_go(min(unused, key=lambda model: model.last_used))
                continue
            self._freed.clear()
            await self._freed.wait()

    async def _let_go(self, model: ServedModel) -> None:
        del self._models[model.name]
        await asyncio.to_thread(model.batcher.close)
        model.pipeline = None
        await asyncio.to_thread(_return_memory)

    def _guess(self, name: str) -> float:
        return FIRST_GUESS_S + self.card(name).size / GUESSED_BYTES_PER_S


class LoadTimes:
    """How long models took to load, kept from run to run in a small file that may be missing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._times: dict[str, float] = {}
        with suppress(OSError, ValueError):
            read = json.loads(path.read_text(encoding="utf-8"))
            self._times = {str(name): float(seconds) for name, seconds in read.items()}

    def get(self, name: str) -> float | None:
        """Return the seconds of the last load."""
        return self._times.get(name)

    def put(self, name: str, seconds: float) -> None:
        """Note a load."""
        self._times[name] = round(seconds, 2)
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            new = self._path.with_suffix(".new")
            new.write_text(json.dumps(self._times), encoding="utf-8")
            new.replace(self._path)


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Take note of a task's error, which nobody may be waiting for any more."""
    if not task.cancelled():
        task.exception()


def _return_memory() -> None:
    """Give freed memory back to the system, which the C library keeps otherwise."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


__all__ = ["Load", "ModelCard", "Registry", "ServedModel", "load_pipeline"]
