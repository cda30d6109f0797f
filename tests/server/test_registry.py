"""Which names mean which models, when they are loaded and unloaded, and what those who wait are told."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from auricle.errors import CheckpointError, ModelNotFoundError, OptionError
from auricle.server.errors import Refused
from auricle.server.registry import Registry
from auricle.server.settings import Settings

DEADLINE_S = 10


class FakePipeline:
    task = "automatic-speech-recognition"


class Loader:
    """Loads nothing, when it is let, and notes what it was asked for."""

    def __init__(self) -> None:
        self.places: list[str] = []
        self.open = threading.Event()
        self.open.set()
        self.error: Exception | None = None

    def __call__(self, place: str, settings: Settings) -> Any:
        self.places.append(place)
        assert self.open.wait(DEADLINE_S)
        if self.error is not None:
            raise self.error
        return FakePipeline()


@pytest.fixture
def loader() -> Loader:
    return Loader()


def settings(folder: Path, **values: Any) -> Settings:
    return Settings(data_dir=folder, **values)


def test_a_model_is_loaded_once_for_all_who_ask_for_it(tmp_path: Path, loader: Loader) -> None:
    async def main() -> None:
        registry = Registry(settings(tmp_path, models=("a=some/folder",)), loader)

        async def ask() -> Any:
            async with registry.use("a") as model:
                return model

        assert registry.state("a") == "absent"
        models = await asyncio.gather(*(ask() for _ in range(5)))
        assert len(set(map(id, models))) == 1
        assert loader.places == ["some/folder"]
        assert registry.state("a") == "ready"
        await registry.close()

    asyncio.run(main())


def test_who_waits_too_long_is_told_how_long_it_will_take_and_the_load_goes_on(tmp_path: Path, loader: Loader) -> None:
    async def main() -> None:
        registry = Registry(settings(tmp_path, models=("a",)), loader)
        loader.open.clear()
        with pytest.raises(Refused) as refused:
            async with registry.use("a", wait=0.01):
                pass
        assert refused.value.status == 503
        assert refused.value.message == "Model a is currently loading"
        assert refused.value.extra["estimated_time"] > 0
        assert int(refused.value.headers["retry-after"]) >= 1
        assert registry.state("a") == "loading"
        loader.open.set()
        await registry.load("a")
        assert loader.places == ["a"]
        await registry.close()

    asyncio.run(main())


def test_the_estimate_is_what_the_last_load_took(tmp_path: Path, loader: Loader) -> None:
    async def main() -> None:
        first = Registry(settings(tmp_path, models=("a",)), loader)
        first._times.put("a", 42.0)
        again = Registry(settings(tmp_path, models=("a",)), loader)
        assert again.estimated_time("a") == 42.0

    asyncio.run(main())


def test_a_load_that_fails_is_told_to_all_who_wait_and_tried_again_later(
    tmp_path: Path, loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        registry = Registry(settings(tmp_path, models=("a",)), loader)
        loader.error = CheckpointError("it is broken")
        found = await asyncio.gather(*(registry.load("a") for _ in range(3)), return_exceptions=True)
        assert [str(one) for one in found] == ["it is broken"] * 3
        assert loader.places == ["a"]
        assert registry.state("a") == "failed"
        monkeypatch.setattr("auricle.server.registry.FAILED_AGAIN_S", 0.0)
        loader.error = None
        await registry.load("a")
        assert registry.state("a") == "ready"
        await registry.close()

    asyncio.run(main())


def test_a_setting_that_fits_no_model_is_the_servers_fault_and_not_its_clients(tmp_path: Path, loader: Loader) -> None:
    async def main() -> None:
        registry = Registry(settings(tmp_path, models=("a=some/folder",), dtype="float16"), loader)
        loader.error = OptionError("dtype 'float16' is not one that this engine computes in")
        with pytest.raises(CheckpointError, match="Model a cannot be loaded as this server is set up: dtype 'float16'"):
            await registry.load("a")

    asyncio.run(main())


def test_the_model_not_used_for_longest_makes_room(tmp_path: Path, loader: Loader) -> None:
    async def main() -> None:
        registry = Registry(settings(tmp_path, models=("a", "b", "c"), max_loaded=2), loader)
        for name in ("a", "b", "a", "c"):
            async with registry.use(name):
                pass
        assert sorted(model.name for model in registry.loaded()) == ["a", "c"]
        await registry.close()

    asyncio.run(main())


def test_a_model_in_use_is_not_unloaded_for_another(tmp_path: Path, loader: Loader) -> None:
    async def main() -> None:
        registry = Registry(settings(tmp_path, models=("a", "b"), max_loaded=1), loader)
        async with registry.use("a"):
            with pytest.raises(Refused):
                async with registry.use("b", wait=0.05):
                    pass
            assert registry.state("a") == "ready"
        await registry.load("b")
        assert registry.state("a") == "absent"
        await registry.close()

    asyncio.run(main())


def test_models_asked_for_at_once_are_never_more_in_memory_than_may_be(tmp_path: Path, loader: Loader) -> None:
    async def main() -> None:
        registry = Registry(settings(tmp_path, models=("a", "b", "c"), max_loaded=1), loader)
        sizes: list[int] = []

        async def ask(name: str) -> None:
            async with registry.use(name) as model:
                assert model.pipeline is not None
                sizes.append(len(registry.loaded()))

        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*(ask(name) for name in "abcabc"))
        assert sizes == [1] * 6
        await registry.close()

    asyncio.run(main())


def test_an_idle_model_is_unloaded(tmp_path: Path, loader: Loader) -> None:
    async def main() -> None:
        registry = Registry(settings(tmp_path, models=("a",), idle_unload=0.02), loader)
        await registry.load("a")
        watching = asyncio.create_task(registry.unload_idle())
        async with asyncio.timeout(DEADLINE_S):
            while registry.state("a") != "absent":
                await asyncio.sleep(0.005)
        watching.cancel()

    asyncio.run(main())


@pytest.mark.parametrize("name", ["../etc", "a/b/c", "/etc/passwd", "a\\b", "a/..", "", "a" * 300, "models--x", "a b"])
def test_a_name_that_is_none_is_not_served(name: str, tmp_path: Path) -> None:
    registry = Registry(settings(tmp_path, models=("a",), any_model=True))
    if name == "":
        assert registry.resolve(name) == "a"
        return
    with pytest.raises(ModelNotFoundError):
        Registry(settings(tmp_path, models=("a", "b"), any_model=True)).resolve(name, lenient=True)
    with pytest.raises(ModelNotFoundError):
        registry.resolve(name)


def test_names_are_resolved_as_they_were_served(tmp_path: Path) -> None:
    registry = Registry(settings(tmp_path, models=("whisper-1=openai/whisper-tiny", "b")))
    assert registry.resolve(None) == "whisper-1"
    assert registry.resolve("b") == "b"
    with pytest.raises(ModelNotFoundError, match="did you mean 'whisper-1'"):
        registry.resolve("whisper-2")
    lone = Registry(settings(tmp_path, models=("a",)))
    assert lone.resolve("dummy", lenient=True) == "a"
    with pytest.raises(ModelNotFoundError):
        lone.resolve("dummy")
    anything = Registry(settings(tmp_path, models=("a",), any_model=True))
    assert anything.resolve("org/model") == "org/model"
