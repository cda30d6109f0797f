"""The CUDA engine's decoders on the CPU, with single tokens in fixed shapes and without: equal to the reference."""

from __future__ import annotations

import copy
import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor

from auricle.audio.features import Features
from auricle.decoding.generate import GenerateOptions, generate
from auricle.engines.cuda import CudaEngine
from auricle.engines.cuda.arena import MOST_IDLE, rows_with_padding, span_of
from auricle.engines.cuda.graphs import PLAIN_RUNS
from auricle.engines.reference import ReferenceEngine
from auricle.errors import OptionError
from auricle.models.moonshine import Moonshine
from auricle.models.whisper import Whisper

# float32 sums in another order, over two layers of width 32.
TOLERANCE = 1e-4
CPU = torch.device("cpu")

FAMILIES = ["whisper", "moonshine", "moonshine in groups"]
N_ROWS = 3


def small(family: str) -> tuple[Whisper | Moonshine, Features]:
    torch.manual_seed(0)
    if family == "whisper":
        lengths = torch.tensor([100, 60, 80])
        return Whisper(Whisper.tiny(max_source_positions=50)), Features(torch.randn(N_ROWS, 80, 100), lengths)
    groups = 2 if family == "moonshine in groups" else None
    config = Moonshine.tiny(decoder_num_key_value_heads=groups)
    return Moonshine(config), Features(torch.randn(N_ROWS, 9000), torch.tensor([9000, 5000, 7000]))


def engines(family: str, fixed: bool) -> tuple[ReferenceEngine, CudaEngine, Features]:
    model, features = small(family)
    reference = ReferenceEngine(copy.deepcopy(model), CPU, torch.float32)
    return reference, CudaEngine(model, CPU, torch.float32, in_fixed_shapes=fixed), features


def steps(family: str, fixed: bool) -> tuple[Any, Any]:
    reference, engine, features = engines(family, fixed)
    return reference.decoder(*reference.encode(features)), engine.decoder(*engine.encode(features))


def same(expected: Tensor, found: Tensor) -> None:
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)


def random_tokens(n_rows: int, n_tokens: int) -> Tensor:
    return torch.randint(0, 100, (n_rows, n_tokens))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("fixed", [True, False])
def test_prompt_and_single_tokens_and_several_equal_the_reference(family: str, fixed: bool) -> None:
    expected, step = steps(family, fixed)

    for n_new, n_last in ((4, 3), (1, 1), (1, 1), (3, 2), (1, 1)):
        tokens = random_tokens(N_ROWS, n_new)
        same(expected.advance(tokens, n_last), step.advance(tokens, n_last))
        same(expected.hidden, step.hidden)
        assert (step.n_rows, step.length, step.max_length) == (N_ROWS, expected.length, expected.max_length)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("fixed", [True, False])
def test_step_without_a_prompt_equals_the_reference(family: str, fixed: bool) -> None:
    expected, step = steps(family, fixed)

    for _ in range(3):
        tokens = random_tokens(N_ROWS, 1)
        same(expected.advance(tokens), step.advance(tokens))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize(
    "orders",
    [
        [[2, 0, 1]],
        [[0, 1, 2]],
        [[1]],
        [[2, 2, 2]],
        [[0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2], [1, 1, 0, 3, 7, 7, 4, 4, 8, 11, 9, 10]],
        [[1, 2], [0, 0, 1, 1, 1], [4], [0] * 9, [8, 3]],
        [[0, 1, 2] * 50, [149, 3]],
    ],
    ids=["moved", "kept", "dropped", "repeated", "beams", "many times", "more than any shape"],
)
def test_reordered_rows_go_on_as_in_the_reference(family: str, fixed: bool, orders: list[list[int]]) -> None:
    expected, step = steps(family, fixed)
    tokens = random_tokens(N_ROWS, 4)
    same(expected.advance(tokens), step.advance(tokens))

    for order in orders:
        rows = torch.tensor(order)
        expected.reorder(rows)
        step.reorder(rows)
        assert step.n_rows == len(order)
        for n_new in (1, 1, 2):
            tokens = random_tokens(len(order), n_new)
            same(expected.advance(tokens), step.advance(tokens))


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_may_be_repeated_before_the_first_token(family: str) -> None:
    expected, step = steps(family, True)
    rows = torch.tensor([0, 0, 1, 1, 2, 2])
    expected.reorder(rows)
    step.reorder(rows)

    tokens = random_tokens(6, 1)
    same(expected.advance(tokens), step.advance(tokens))


@pytest.mark.parametrize("family", FAMILIES)
def test_decoder_takes_as_many_tokens_as_it_has_positions_and_no_more(family: str) -> None:
    expected, step = steps(family, True)
    tokens = random_tokens(N_ROWS, step.max_length - 2)
    same(expected.advance(tokens), step.advance(tokens))
    for _ in range(2):
        tokens = random_tokens(N_ROWS, 1)
        same(expected.advance(tokens), step.advance(tokens))

    with pytest.raises(OptionError, match=r"tokens were given to a decoder with \d+ positions; shorten the prompt"):
        step.advance(tokens)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_span_equals_the_reference(family: str) -> None:
    expected, step = steps(family, True)
    while step.length < 320:
        tokens = random_tokens(N_ROWS, 61 if step.length % 64 == 0 else 1)  # single ones over each border
        same(expected.advance(tokens), step.advance(tokens))

    assert {key[1] for key in step._arena.graphs} == {64, 128, 256, step.max_length}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("fixed", [True, False])
def test_step_without_a_cache_comes_to_the_same(family: str, fixed: bool) -> None:
    reference, engine, features = engines(family, fixed)
    expected = reference.decoder(*reference.encode(features))
    step = engine.decoder(*engine.encode(features), use_cache=False)

    tokens = random_tokens(N_ROWS, 2)
    same(expected.advance(tokens, 2), step.advance(tokens, 2))
    for one in (expected, step):
        one.reorder(torch.tensor([1, 1, 0]))
    tokens = random_tokens(N_ROWS, 1)
    same(expected.advance(tokens), step.advance(tokens))
    same(expected.hidden, step.hidden)


@pytest.mark.parametrize("family", ["whisper", "moonshine"])
@pytest.mark.parametrize(
    "options",
    [
        GenerateOptions(eos=2, max_new_tokens=70),
        GenerateOptions(eos=2, max_new_tokens=20, n_beams=4),
        GenerateOptions(eos=2, max_new_tokens=20, penalty_alpha=0.6, top_k=4),
    ],
    ids=["greedy", "beams", "contrastive"],
)
def test_searches_write_what_they_write_with_the_reference(family: str, options: GenerateOptions) -> None:
    expected, step = steps(family, True)
    prompt = random_tokens(N_ROWS, 3)

    found = [generate(one, prompt, options) for one in (expected, step)]

    assert [one.tokens for one in found[0]] == [one.tokens for one in found[1]]


@pytest.mark.parametrize("family", ["whisper", "moonshine"])
def test_live_steps_do_not_share_memory_and_dead_ones_leave_theirs(family: str) -> None:
    reference, engine, features = engines(family, True)
    states, lengths = engine.encode(features)
    order = torch.tensor([2, 1, 0])
    first, second = engine.decoder(states, lengths), engine.decoder(states[order], lengths[order])
    plain = reference.decoder(states, lengths), reference.decoder(states[order], lengths[order])
    for _ in range(3):
        for step, expected in zip((first, second), plain, strict=True):
            tokens = random_tokens(N_ROWS, 1)
            same(expected.advance(tokens), step.advance(tokens))

    arena = first._arena
    graphs = dict(arena.graphs)
    with torch.inference_mode():
        arena.text.fill_(torch.nan)  # as after a recording that broke the arithmetic
    del first
    third, expected = engine.decoder(states[:2], lengths[:2]), reference.decoder(states[:2], lengths[:2])

    assert third._arena is arena
    assert third._arena is not second._arena
    for n_new in (2, 1):
        tokens = random_tokens(2, n_new)
        same(expected.advance(tokens), third.advance(tokens))
    assert graphs.items() <= arena.graphs.items()


def test_rows_of_one_size_are_captured_once_when_they_were_seen_often() -> None:
    _, engine, features = engines("whisper", True)
    captured = []
    capture = engine._decoder.graphs.capture
    engine._decoder.graphs.capture = lambda function: (captured.append(1), capture(function))[1]  # type: ignore
    seen_often = PLAIN_RUNS + 2
    for n_rows, n_tokens in ((3, seen_often), (2, PLAIN_RUNS), (3, seen_often), (2, 1), (1, PLAIN_RUNS), (3, 1)):
        states, lengths = engine.encode(features)
        step = engine.decoder(states[:n_rows], lengths[:n_rows])
        for _ in range(n_tokens):
            step.advance(random_tokens(n_rows, 1))
        del step

    assert len(captured) == 2  # of one row they were too few


def test_engine_and_its_memory_end_with_their_last_user() -> None:
    _, engine, features = engines("whisper", True)
    step = engine.decoder(*engine.encode(features))
    step.advance(random_tokens(N_ROWS, 1))
    gc.collect()
    gc.disable()
    try:
        model, arena = weakref.ref(engine.model.model), weakref.ref(step._arena)
        del step, engine
        assert model() is None
        assert arena() is None
    finally:
        gc.enable()


def test_only_few_idle_arenas_are_kept() -> None:
    _, engine, features = engines("whisper", True)
    states, lengths = engine.encode(features)
    alive = [engine.decoder(states, lengths) for _ in range(MOST_IDLE + 3)]
    del alive
    gc.collect()

    assert len(engine._decoder.arenas._idle) == MOST_IDLE


def test_longer_recordings_after_shorter_ones_are_heard_whole() -> None:
    model, _ = small("moonshine")
    reference = ReferenceEngine(copy.deepcopy(model), CPU, torch.float32)
    engine = CudaEngine(model, CPU, torch.float32, in_fixed_shapes=True)
    for n_samples in (60_000, 9000, 20_000, 120_000, 5000):
        features = Features(torch.randn(2, n_samples), torch.tensor([n_samples, n_samples - 3000]))
        expected, step = reference.decoder(*reference.encode(features)), engine.decoder(*engine.encode(features))
        for rows in ([0, 1], [1, 0, 0, 1, 1]):
            for one in (expected, step):
                one.reorder(torch.tensor(rows))
            for n_new in (2, 1, 1):
                tokens = random_tokens(len(rows), n_new)
                same(expected.advance(tokens), step.advance(tokens))


def test_logits_and_hidden_states_stay_when_more_tokens_come() -> None:
    _, step = steps("whisper", True)
    logits = step.advance(random_tokens(N_ROWS, 1))
    hidden = step.hidden
    kept = logits.clone(), hidden.clone()
    step.advance(random_tokens(N_ROWS, 1))

    assert torch.equal(logits, kept[0])
    assert torch.equal(hidden, kept[1])


@pytest.mark.parametrize(("n_rows", "expected"), [(1, 1), (5, 6), (16, 16), (17, 24), (128, 128), (129, 192)])
def test_rows_are_padded_to_few_shapes(n_rows: int, expected: int) -> None:
    assert rows_with_padding(n_rows) == expected


@pytest.mark.parametrize(
    ("length", "n_positions", "expected"),
    [(1, 448, 64), (64, 448, 64), (65, 448, 128), (257, 448, 448), (448, 448, 448), (30, 50, 50), (65, 128, 128)],
)
def test_spans_hold_what_is_attended_to(length: int, n_positions: int, expected: int) -> None:
    assert span_of(length, n_positions) == expected
