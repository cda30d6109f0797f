"""The reference engine over models that write text: rows, lengths, reordering, and every arithmetic."""

from __future__ import annotations

import pytest
import torch

from auricle.audio.features import Features
from auricle.engines import make_engine
from auricle.models.moonshine import Moonshine
from auricle.models.whisper import Whisper

pytestmark = pytest.mark.usefixtures("every_engine")

# bfloat16 keeps 8 bits: after two layers of random weights, a few hundredths of logits of order one.
HALF_PRECISION = 0.1


def small(family: str) -> tuple[Whisper | Moonshine, Features]:
    torch.manual_seed(0)
    if family == "whisper":
        return Whisper(Whisper.tiny(max_source_positions=50)), Features(
            torch.randn(2, 80, 100), torch.tensor([100, 60])
        )
    return Moonshine(Moonshine.tiny()), Features(torch.randn(2, 9000), torch.tensor([9000, 5000]))


@pytest.mark.parametrize("family", ["whisper", "moonshine"])
def test_step_counts_its_rows_and_tokens(family: str) -> None:
    model, features = small(family)
    engine = make_engine(model)
    step = engine.decoder(*engine.encode(features))

    logits = step.advance(torch.tensor([[1, 2, 3], [4, 5, 6]]), n_last=2)

    assert (step.n_rows, step.length, step.max_length) == (2, 3, model.max_positions)
    assert (logits.shape, logits.dtype) == ((2, 2, 120), torch.float32)


@pytest.mark.parametrize("family", ["whisper", "moonshine"])
def test_reordered_step_goes_on_from_the_rows_it_kept(family: str) -> None:
    model, features = small(family)
    engine = make_engine(model)
    states, lengths = engine.encode(features)

    step = engine.decoder(states, lengths)
    step.advance(torch.tensor([[1, 2], [3, 4]]))
    step.reorder(torch.tensor([1, 1, 0]))
    logits = step.advance(torch.tensor([[5], [6], [7]]))

    rows = torch.tensor([1, 1, 0])
    fresh = engine.decoder(states[rows], lengths[rows])
    expected = fresh.advance(torch.tensor([[3, 4, 5], [3, 4, 6], [1, 2, 7]]))
    assert (step.n_rows, step.length) == (3, 3)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", ["whisper", "moonshine"])
@pytest.mark.parametrize("use_cache", [True, False])
@torch.inference_mode()
def test_hidden_states_are_those_of_the_tokens_last_appended(family: str, use_cache: bool) -> None:
    model, features = small(family)
    engine = make_engine(model)
    states, lengths = engine.encode(features)
    tokens = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])
    expected = model.hidden_states(tokens, model.new_cache(states, lengths))

    step = engine.decoder(states, lengths, use_cache)
    step.advance(tokens[:, :3])
    torch.testing.assert_close(step.hidden, expected[:, :3], atol=1e-5, rtol=0)
    logits = step.advance(tokens[:, 3:])
    torch.testing.assert_close(step.hidden, expected[:, 3:], atol=1e-5, rtol=0)

    torch.testing.assert_close(logits, model.logits(step.hidden), atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", ["whisper", "moonshine"])
def test_step_without_a_cache_computes_every_token_again_and_comes_to_the_same(family: str) -> None:
    model, features = small(family)
    engine = make_engine(model)
    states, lengths = engine.encode(features)
    seen: list[int] = []
    read = model.hidden_states
    model.hidden_states = lambda tokens, cache: (seen.append(tokens.shape[1]), read(tokens, cache))[1]  # type: ignore
    logits = []
    for use_cache in (True, False):
        step = engine.decoder(states, lengths, use_cache)
        step.advance(torch.tensor([[1, 2], [3, 4]]))
        step.reorder(torch.tensor([1, 1, 0]))
        step.advance(torch.tensor([[5], [6], [7]]))
        logits.append(step.advance(torch.tensor([[8], [9], [1]])))
        assert (step.n_rows, step.length) == (3, 4)

    assert seen == [2, 1, 1, 2, 3, 4]
    torch.testing.assert_close(*logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", ["whisper", "moonshine"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_stays_near_float32_and_answers_in_float32(family: str, dtype: str) -> None:
    tokens = torch.tensor([[1, 2, 3], [4, 5, 6]])
    logits = []
    for arithmetic in ("float32", dtype):
        model, features = small(family)
        engine = make_engine(model, dtype=arithmetic)
        logits.append(engine.decoder(*engine.encode(features)).advance(tokens, 3))

    assert logits[1].dtype == torch.float32
    assert (logits[0] - logits[1]).abs().max() < HALF_PRECISION * logits[0].std()


@pytest.mark.parametrize("family", ["whisper", "moonshine"])
def test_model_moves_with_its_two_names_of_one_matrix(family: str) -> None:
    model, _ = small(family)
    make_engine(model, dtype="bfloat16")

    assert model.proj_out.weight is model.model.decoder.embed_tokens.weight
