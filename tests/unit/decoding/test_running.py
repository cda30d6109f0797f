"""Texts that are written side by side: what one writes does not depend on its neighbours, or on when it began."""

from __future__ import annotations

import pytest
import torch

from auricle.decoding.generate import GenerateOptions, generate
from auricle.decoding.running import Row, Running, read_prompts
from auricle.engines.reference import ReferenceEngine
from auricle.errors import OptionError
from auricle.models.llama import Llama, Mistral

END = 7
PROMPTS = [[3, 4, 5, 6, 8], [9], [10, 11, 12], [3, 4, 5, 6, 8]]


@pytest.fixture(params=[Llama, Mistral])
def engine(request: pytest.FixtureRequest) -> ReferenceEngine:
    torch.manual_seed(0)
    windows = {"sliding_window": 5} if request.param is Mistral else {}
    model = request.param(request.param.tiny(vocab_size=40, **windows))
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.4)
    return ReferenceEngine(model.requires_grad_(False), torch.device("cpu"), torch.float32)


def options(**given: object) -> GenerateOptions:
    return GenerateOptions(**{"eos": END, "max_new_tokens": 12, **given})  # type: ignore[arg-type]


def row(prompt: list[int], seed: int | None = None, **given: object) -> Row:
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    return Row(prompt, options(**given), generator=generator, n_best=2)


def write(engine: ReferenceEngine, begin_at: dict[int, list[Row]]) -> None:
    """Write rows to their ends; `begin_at` says at which token some begin."""
    running = Running()
    for moment in range(40):
        new = begin_at.get(moment, [])
        if new:
            running.add(new, *read_prompts(engine.text, [one.tokens for one in new]))
        over = [
            one
            for one, choice in running.advance()
            if one.ends_with(choice.token) or len(one.tokens) - one.n_prompt == one.options.max_new_tokens
        ]
        if over:
            running.remove(over)


def test_a_row_writes_what_generate_does(engine: ReferenceEngine) -> None:
    rows = [row(prompt) for prompt in PROMPTS]
    write(engine, {0: rows})
    for one, prompt in zip(rows, PROMPTS, strict=True):
        expected = generate(engine.text(torch.zeros(1, dtype=torch.long)), torch.tensor([prompt]), options())[0]
        new = one.tokens[one.n_prompt :]
        assert tuple(token for token in new if token != END) == expected.tokens


@pytest.mark.parametrize("way", [{}, {"repetition_penalty": 1.4}, {"temperature": 0.9, "do_sample": True, "top_k": 9}])
def test_neighbours_that_come_and_go_change_nothing(engine: ReferenceEngine, way: dict[str, object]) -> None:
    seed = 5 if way.get("do_sample") else None
    alone = [row(prompt, seed, **way) for prompt in PROMPTS]
    for one in alone:
        write(engine, {0: [one]})
    together = [row(prompt, seed, **way) for prompt in PROMPTS]
    lengths = [row([5, 6], max_new_tokens=n) for n in (1, 3, 20)]
    write(engine, {0: [together[0], lengths[0]], 2: [together[1], lengths[1]], 3: [lengths[2]], 6: together[2:]})
    assert [one.tokens for one in together] == [one.tokens for one in alone]


def test_what_a_row_leaves_behind_can_be_gone_on_with(engine: ReferenceEngine) -> None:
    first, other = row(PROMPTS[0], max_new_tokens=4), row(PROMPTS[1], max_new_tokens=9)
    running = Running()
    running.add([other, first], *read_prompts(engine.text, [other.tokens, first.tokens]))
    for _ in range(4):
        running.advance()
    (step,) = running.remove([first], taken=[first])
    seen = first.tokens[:-1]
    step.keep(len(seen) - 2)
    logits = step.advance(torch.tensor([[*seen[-2:], 4, 5]]))
    fresh = engine.text(torch.zeros(1, dtype=torch.long)).advance(torch.tensor([[*seen, 4, 5]]))
    torch.testing.assert_close(logits, fresh, atol=1e-4, rtol=1e-4)
    assert [one for one, _ in running.advance()] == [other]


def test_probabilities_are_those_of_the_model(engine: ReferenceEngine) -> None:
    one = row([3, 4])
    running = Running()
    running.add([one], *read_prompts(engine.text, [one.tokens]))
    ((_, choice),) = running.advance()
    expected = engine.model(torch.tensor([[3, 4]]))[0, -1].log_softmax(-1)
    assert choice.logprob == pytest.approx(float(expected.max()), abs=1e-4)
    assert choice.best[0] == (choice.token, pytest.approx(choice.logprob))
    assert choice.best[1][1] <= choice.best[0][1]


def test_several_tokens_end_a_row(engine: ReferenceEngine) -> None:
    free = row([3, 4, 5])
    write(engine, {0: [free]})
    third = free.tokens[free.n_prompt + 2]
    ended = row([3, 4, 5], more_ends=(third,))
    write(engine, {0: [ended]})
    first_place = free.tokens[free.n_prompt :].index(third)
    assert ended.tokens == free.tokens[: free.n_prompt + first_place + 1]


def test_searches_that_follow_several_texts_are_refused() -> None:
    with pytest.raises(OptionError, match="follow several texts"):
        row([3], n_beams=2)


def test_a_draw_needs_a_generator() -> None:
    with pytest.raises(OptionError, match="pass a generator"):
        row([3], temperature=0.5)
