"""Memory for results: used again when nobody holds it any more, and not before."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from auricle.engines.cpu import memory
from auricle.engines.cpu.memory import HUGE_PAGE, lent

ELEMENTS = 3 * HUGE_PAGE // 4  # of three pages
pytestmark = pytest.mark.skipif(not hasattr(memory.mmap, "MADV_HUGEPAGE"), reason="a system without huge pages")


@pytest.fixture(autouse=True)
def nothing_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_idle", memory.defaultdict(memory.deque))


def test_memory_is_lent_again_when_its_tensor_is_gone() -> None:
    first = lent(3, ELEMENTS // 3)
    place = first.data_ptr()
    assert first.dtype == torch.float32
    assert first.shape == (3, ELEMENTS // 3)
    del first

    assert lent(ELEMENTS).data_ptr() == place


@pytest.mark.parametrize("view", [lambda x: x[1:], lambda x: x.numpy(), lambda x: x.view(-1, 2).T], ids=str)
def test_memory_is_not_lent_while_a_view_is_held(view: object) -> None:
    first = lent(ELEMENTS).fill_(1.0)
    held = view(first)  # type: ignore[operator]
    del first
    gc.collect()
    second = lent(ELEMENTS).fill_(2.0)

    assert (held == 1.0).all()
    assert (second == 2.0).all()


def test_small_results_are_ordinary_tensors() -> None:
    assert lent(4, 5).shape == (4, 5)
    assert not memory._idle


def test_no_more_than_so_much_memory_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MOST_IDLE", 7)
    held = [lent(ELEMENTS) for _ in range(4)]
    assert len({one.data_ptr() for one in held}) == 4
    del held

    assert [len(kept) for kept in memory._idle.values()] == [2]


def test_threads_never_share_a_tensor() -> None:
    def compute(number: int) -> bool:
        tensors = [lent(ELEMENTS).fill_(number + at) for at in range(3)]
        return all((tensor == number + at).all() for at, tensor in enumerate(tensors))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(compute, range(0, 120, 3)))
