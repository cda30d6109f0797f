"""The result cache: what it keeps, what it forgets, and what happens to its file."""

from __future__ import annotations

import logging
import multiprocessing
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from auricle.server.cache import ResultCache, cache_key, is_cacheable

DAY_S = 86400.0
KEY = {
    "sha256": "ab" * 32,
    "task": "automatic-speech-recognition",
    "model": "org/name",
    "revision": "c0ffee",
    "engine": "cpu",
    "dtype": "float32",
    "options": {"n_beams": 5, "language": "en"},
    "version": "0.1.0",
}


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(tmp_path: Path, clock: Clock) -> Iterator[ResultCache]:
    opened = ResultCache(tmp_path / "cache.sqlite3", 1 << 20, DAY_S, clock)
    yield opened
    opened.close()


def noise(n: int, seed: int) -> dict[str, str]:
    """A value that does not compress below n bytes."""
    import random

    return {"text": random.Random(seed).randbytes(n).hex()}


def test_a_value_comes_back_as_it_was(cache: ResultCache) -> None:
    value = {"text": "naïve \udce9 λ", "duration": 0.1 + 0.2, "words": [["a", 1.0, None]]}
    cache.put("key", value)
    assert cache.get("key") == value


def test_an_unknown_key_gives_none(cache: ResultCache) -> None:
    assert cache.get("key") is None


def test_a_value_outlives_its_object(cache: ResultCache, clock: Clock) -> None:
    cache.put("key", {"text": "kept"})
    cache.close()
    again = ResultCache(cache.path, 1 << 20, DAY_S, clock)
    assert again.get("key") == {"text": "kept"}
    again.close()


def test_what_is_too_old_is_gone(cache: ResultCache, clock: Clock) -> None:
    cache.put("key", {"text": "old"})
    clock.now += DAY_S + 1
    assert cache.get("key") is None
    assert cache.stats()["entries"] == 0


def test_what_is_too_old_leaves_the_disk_with_the_next_value(cache: ResultCache, clock: Clock) -> None:
    cache.put("old", {"text": "old"})
    clock.now += DAY_S + 1
    cache.put("new", {"text": "new"})
    assert cache.stats()["entries"] == 1


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    cache = ResultCache(tmp_path / "cache.sqlite3", 3500, DAY_S)
    for number, key in enumerate("abc"):
        cache.put(key, noise(1000, number))
    cache.get("a")
    cache.put("d", noise(1000, 4))
    assert [key for key in "abcd" if cache.get(key)] == ["a", "c", "d"]
    cache.close()


def test_bytes_never_exceed_the_limit(tmp_path: Path) -> None:
    cache = ResultCache(tmp_path / "cache.sqlite3", 10_000, DAY_S)
    for number in range(50):
        cache.put(str(number % 20), noise(100 * (number % 30), number))
        assert cache.stats()["bytes"] <= 10_000
    file = sqlite3.connect(cache.path)
    assert (
        file.execute("SELECT entries, bytes FROM total").fetchone()
        == file.execute("SELECT COUNT(*), SUM(LENGTH(value)) FROM entries").fetchone()
    )
    file.close()
    cache.close()


def test_a_value_larger_than_the_cache_is_not_kept_and_evicts_nothing(tmp_path: Path) -> None:
    cache = ResultCache(tmp_path / "cache.sqlite3", 2000, DAY_S)
    cache.put("small", {"text": "stays"})
    cache.put("large", noise(3000, 0))
    assert cache.get("large") is None
    assert cache.get("small") == {"text": "stays"}
    cache.close()


def test_hits_and_misses_are_counted(cache: ResultCache) -> None:
    cache.put("key", {"text": "x"})
    cache.get("key")
    cache.get("other")
    cache.get("other")
    found = cache.stats()
    assert (found["entries"], found["hits"], found["misses"]) == (1, 1, 2)
    assert 0 < found["bytes"] < 100


def test_clear_removes_all(cache: ResultCache) -> None:
    cache.put("key", {"text": "x"})
    cache.clear()
    assert cache.get("key") is None
    assert cache.stats()["bytes"] == 0


def test_a_damaged_file_is_put_aside_and_a_new_one_begun(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "cache.sqlite3"
    path.write_bytes(b"no database at all" * 1000)
    with caplog.at_level(logging.WARNING, "auricle.server"):
        cache = ResultCache(path, 1 << 20, DAY_S)
    cache.put("key", {"text": "x"})
    assert cache.get("key") == {"text": "x"}
    assert [one.read_bytes()[:11] for one in tmp_path.glob("cache.sqlite3.damaged-*")] == [b"no database"]
    assert "was damaged" in caplog.text
    cache.close()


def test_a_file_that_is_damaged_while_open_is_replaced(cache: ResultCache) -> None:
    for number in range(200):
        cache.put(str(number), noise(500, number))
    cache.close()
    data = bytearray(cache.path.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    cache.path.write_bytes(data)
    again = ResultCache(cache.path, 1 << 20, DAY_S)
    again.put("key", {"text": "x"})
    assert again.get("key") == {"text": "x"}
    again.close()


def test_a_damaged_entry_is_a_miss(cache: ResultCache) -> None:
    cache.put("key", {"text": "x"})
    file = sqlite3.connect(cache.path)
    file.execute("UPDATE entries SET value = x'0102'")
    file.commit()
    file.close()
    assert cache.get("key") is None
    assert cache.stats()["entries"] == 0


def test_a_folder_in_its_place_is_said_and_costs_no_request(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = ResultCache(tmp_path, 1 << 20, DAY_S)
    cache.put("key", {"text": "x"})
    assert cache.get("key") is None
    assert "going on without" in caplog.text


def test_a_file_of_another_format_is_begun_anew(cache: ResultCache) -> None:
    cache.put("key", {"text": "x"})
    cache.close()
    file = sqlite3.connect(cache.path)
    file.execute("PRAGMA user_version = 99")
    file.commit()
    file.close()
    again = ResultCache(cache.path, 1 << 20, DAY_S)
    assert again.get("key") is None
    again.put("key", {"text": "y"})
    assert again.get("key") == {"text": "y"}
    again.close()


def test_threads_share_one_cache(cache: ResultCache) -> None:
    def work(number: int) -> None:
        for turn in range(30):
            cache.put(f"{number} {turn}", {"text": str(turn)})
            assert cache.get(f"{number} {turn}") == {"text": str(turn)}

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.stats()["entries"] == 240
    assert cache.stats()["hits"] == 240


def _fill(path: Path, number: int) -> None:
    cache = ResultCache(path, 1 << 20, DAY_S)
    for turn in range(50):
        cache.put(f"{number} {turn}", {"text": str(turn)})
    cache.close()


def test_processes_share_one_file(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    path = tmp_path / "cache.sqlite3"
    workers = [context.Process(target=_fill, args=(path, number)) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    cache = ResultCache(path, 1 << 20, DAY_S)
    assert cache.stats()["entries"] == 150
    cache.close()


def test_the_order_of_options_does_not_change_the_key() -> None:
    assert cache_key(**KEY) == cache_key(**{**KEY, "options": {"language": "en", "n_beams": 5}})


@pytest.mark.parametrize("name", KEY)
def test_every_part_changes_the_key(name: str) -> None:
    other = {"n_beams": 4} if name == "options" else "other"
    assert cache_key(**KEY) != cache_key(**{**KEY, name: other})


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, True),
        ({"do_sample": True}, False),
        ({"do_sample": True, "temperature": 0.7}, False),
        ({"temperature": 0.7}, False),
        ({"temperature": "0.7"}, False),
        ({"temperature": 0}, True),
        ({"temperature": (0.0, 0.2, 0.4)}, True),
        ({"temperature": [0.4, 0.6]}, False),
        ({"do_sample": True, "temperature": 0.7, "seed": 3}, True),
        ({"generation_parameters": {"do_sample": True}}, False),
        ({"generate_kwargs": {"do_sample": True}, "seed": 0}, True),
        ({"do_sample": False}, True),
    ],
)
def test_samples_are_cached_only_with_a_seed(parameters: dict[str, object], expected: bool) -> None:
    assert is_cacheable(parameters) is expected
