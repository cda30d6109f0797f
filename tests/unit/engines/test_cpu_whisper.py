"""Whisper's decoder on the CPU engine: kernels against the model's own decoder, drafted text against plain text."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
import torch

from auricle.audio.features import Features
from auricle.decoding.generate import Generated, GenerateOptions, Grammar, generate
from auricle.decoding.grammar import Written
from auricle.engines import make_engine
from auricle.engines.cpu import draft_library, whisper_decoder
from auricle.engines.cpu.native_library import kernels
from auricle.engines.model_step import ModelStep
from auricle.errors import OptionError
from auricle.models.whisper import Whisper

pytestmark = pytest.mark.skipif(kernels() is None, reason="the package was built without native kernels")

FLOAT32 = 1e-4  # of logits: both sum in float32, in another order
# Of logits, relative to their spread: two layers of products rounded to 13 bits, and to 8 bits of bfloat16.
ROUNDED = {"int16": 2e-3, "bfloat16": 5e-2}
VOCABULARY, EOS, NO_TIMESTAMPS, TIMESTAMPS = 400, 100, 199, 200


def whisper(seed: int = 0, **changes: Any) -> Whisper:
    """Two layers of 128 whose text changes with every position."""
    torch.manual_seed(seed)
    sizes = {"d_model": 128, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = Whisper.tiny(**{"vocab_size": VOCABULARY, "tie_word_embeddings": False, **sizes, **changes})
    model = Whisper(config).eval()
    with torch.no_grad():
        model.model.decoder.embed_positions.weight.mul_(2)
    return model


def windows(model: Whisper, n_rows: int) -> Features:
    mel = torch.randn(n_rows, model.config.num_mel_bins, 3000, generator=torch.Generator().manual_seed(1))
    return Features(mel, torch.full((n_rows,), 3000))


def grammar(timestamps: bool = True, **changes: Any) -> Grammar:
    rules = Grammar(EOS, banned=(7, 101, 102, 103), n_prompt=3, blank=(EOS, 9))
    if timestamps:
        rules = Grammar(**{**vars(rules), "timestamp_begin": TIMESTAMPS, "no_timestamps": NO_TIMESTAMPS, "begin": 3})
    return Grammar(**{**vars(rules), **changes})


@pytest.mark.parametrize("dtype", ["float32", "auto", "bfloat16"])
def test_native_step_computes_what_the_model_does(dtype: str) -> None:
    model = whisper()
    reference = make_engine(copy.deepcopy(model), name="reference")
    engine: Any = make_engine(model, name="cpu", dtype=dtype)
    states, lengths = reference.encode(windows(model, 2))
    found, expected = engine.decoder(states, lengths), reference.decoder(states, lengths)
    assert isinstance(found, whisper_decoder.WhisperStep)
    tokens = torch.tensor([[101, 5, 6, 7], [101, 8, 9, 10]])
    steps = [(tokens, 4), (tokens[:, :1], 1)]
    logits = [(found.advance(*step), expected.advance(*step)) for step in steps]
    torch.testing.assert_close(found.hidden.shape, expected.hidden.shape)
    for step in (found, expected):
        step.reorder(torch.tensor([1, 1, 0]))
    more = torch.tensor([[3], [4], [5]])
    logits.append((found.advance(more), expected.advance(more)))
    assert (found.n_rows, found.length) == (expected.n_rows, expected.length) == (3, 6)
    for one, other in logits:
        error = (one - other).abs().max()
        assert error < (FLOAT32 if engine.arithmetic == "float32" else ROUNDED[engine.arithmetic] * other.std() * 4)


def test_logits_of_a_row_depend_on_no_other_row() -> None:
    engine: Any = make_engine(whisper(), name="cpu", dtype="auto")
    states, lengths = engine.encode(windows(engine.model, 3))
    tokens = torch.tensor([[101, 5, 6], [101, 8, 9], [101, 3, 4]])
    together = engine.decoder(states, lengths).advance(tokens, 3)
    alone = [engine.decoder(states[r : r + 1], lengths[r : r + 1]).advance(tokens[r : r + 1], 3) for r in range(3)]
    exact = engine.arithmetic == "int16"
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=0 if exact else 1e-2)


@pytest.mark.parametrize("dtype", ["float32", "auto", "bfloat16"])
@pytest.mark.parametrize("rules", [grammar(), grammar(max_initial=20), grammar(timestamps=False)])
@pytest.mark.parametrize("seed", [0, 1])
def test_drafted_text_is_the_plain_text(dtype: str, rules: Grammar, seed: int) -> None:
    engine: Any = make_engine(whisper(seed), name="cpu", dtype=dtype)
    states, lengths = engine.encode(windows(engine.model, 3))
    prompt = torch.tensor([[101, 5, 6], [101, 8, 9], [101, 3, 4]])
    options = GenerateOptions(EOS, max_new_tokens=60)
    drafted = generate(engine.decoder(states, lengths), prompt, options, rules, limits=[60, 11, 1])
    plain = generate(engine.decoder(states, lengths), prompt, options, rules.filters(), limits=[60, 11, 1])
    for one, other in zip(drafted, plain, strict=True):
        assert same(one, other, 1e-4 if engine.arithmetic != "bfloat16" else 5e-2)
    assert len({token for one in plain for token in one.tokens}) > 20


def same(one: Generated, other: Generated, tolerance: float) -> bool:
    """Whether two texts and their probabilities agree."""
    near = all(abs(a - b) < tolerance for a, b in zip(one.logprobs, other.logprobs, strict=True))
    return one.tokens == other.tokens and one.ended == other.ended and near


def test_a_wrong_draft_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    engine: Any = make_engine(whisper(), name="cpu", dtype="auto")
    states, lengths = engine.encode(windows(engine.model, 2))
    prompt, options = torch.tensor([[101, 5, 6], [101, 8, 9]]), GenerateOptions(EOS, max_new_tokens=50)
    expected = generate(engine.decoder(states, lengths), prompt, options, grammar())
    drawn = random.Random(0)
    draft = whisper_decoder.WhisperStep.draft

    def spoiled(self: Any, *arguments: Any) -> list[list[int]]:
        return [[t if drawn.random() < 0.7 else 3 for t in row] for row in draft(self, *arguments)]

    monkeypatch.setattr(whisper_decoder.WhisperStep, "draft", spoiled)
    found = generate(engine.decoder(states, lengths), prompt, options, grammar())
    assert [one.tokens for one in found] == [one.tokens for one in expected]
    assert all(
        same(one, other, 1e-4 if engine.arithmetic != "bfloat16" else 5e-2)
        for one, other in zip(found, expected, strict=True)
    )


def test_most_drafted_tokens_are_right() -> None:
    """8 bits are near enough: else drafts only cost time."""
    engine: Any = make_engine(whisper(), name="cpu", dtype="auto")
    states, lengths = engine.encode(windows(engine.model, 1))
    plain = generate(
        engine.decoder(states, lengths), torch.tensor([[101, 5, 6]]), GenerateOptions(EOS, max_new_tokens=60), grammar()
    )
    tokens, right = list(plain[0].tokens), 0
    for at in range(len(tokens) - 1):
        step = engine.decoder(states, lengths)
        step.advance(torch.tensor([[101, 5, 6, *tokens[:at]]]))
        written = grammar().written([101, 5, 6])
        for token in tokens[: at + 1]:
            written = grammar().after(written, token)
        right += step.draft([0], [tokens[at]], [written], [1], grammar()) == [[tokens[at + 1]]]
    assert len(tokens) > 30
    assert right / (len(tokens) - 1) > 0.9


@pytest.mark.parametrize("seed", range(40))
def test_native_choice_is_that_of_the_filters(seed: int) -> None:
    draw = random.Random(seed)
    timestamps = seed % 4 > 0
    written = [draw.choice([1, 2, 50, TIMESTAMPS + draw.randrange(60), EOS + 20]) for _ in range(draw.randrange(8))]
    rules = grammar(timestamps, n_prompt=3, max_initial=draw.choice([None, 0, 30]) if timestamps else None)
    # A prefix counts as written, and an opening timestamp belongs to it.
    n_prefix = draw.choice([0, 2]) if timestamps and len(written) > 2 else 0
    rules = Grammar(**{**vars(rules), "n_prompt": 3 + n_prefix})
    prompt, new = [101, 5, 6, *written[:n_prefix]], written[n_prefix:]
    logits = torch.randn(1, VOCABULARY, generator=torch.Generator().manual_seed(seed)) * 3
    if seed % 3 == 0:
        logits[:, TIMESTAMPS:] += 4
    expected = logits
    for rule in rules.filters():
        expected = rule(torch.tensor([[*prompt, *new]]), expected)
    state = rules.written(prompt)
    for token in new:
        state = rules.after(state, token)
    step = make_engine(whisper(), name="cpu").decoder(torch.randn(1, 1500, 128), torch.tensor([1500]))
    [(token, logprob)] = step.choose(logits, [state], rules)  # type: ignore[attr-defined]
    assert token == int(expected.argmax())
    assert logprob == pytest.approx(float(expected.log_softmax(-1)[0, token]), abs=1e-5)


@pytest.mark.parametrize("seed", range(24))
def test_native_choice_of_tokens_behind_the_timestamps_is_that_of_the_filters(seed: int) -> None:
    draw = random.Random(seed)
    added = range(TIMESTAMPS + 1501, TIMESTAMPS + 1501 + 11)
    new = [draw.choice([1, TIMESTAMPS + draw.randrange(60), draw.choice(added)]) for _ in range(draw.randrange(6))]
    rules = grammar(max_initial=draw.choice([None, 30]))
    logits = torch.randn(1, added.stop, generator=torch.Generator().manual_seed(seed))
    # Text or added tokens above the sum of the timestamps, in turn; sometimes equally high.
    logits[:, :EOS] += 9 * (seed % 3 != 0)
    logits[:, added.start :] += 9 * (seed % 3 != 1)
    if seed % 6 == 5:
        logits[:, 5], logits[:, added.start + 3] = 20.0, 20.0
    expected = logits
    for rule in rules.filters():
        expected = rule(torch.tensor([[101, 5, 6, *new]]), expected)
    state = rules.written([101, 5, 6])
    for token in new:
        state = rules.after(state, token)
    engine = make_engine(whisper(vocab_size=added.stop), name="cpu")
    step: Any = engine.decoder(torch.randn(1, 1500, 128), torch.tensor([1500]))
    [(token, logprob)] = step.choose(logits, [state], rules)
    assert token == int(expected.argmax())
    assert logprob == pytest.approx(float(expected.log_softmax(-1)[0, token]), abs=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "auto"])
def test_drafted_text_with_tokens_behind_the_timestamps_is_the_plain_text(dtype: str) -> None:
    n_added = 60
    engine: Any = make_engine(whisper(vocab_size=TIMESTAMPS + 1501 + n_added), name="cpu", dtype=dtype)
    with torch.no_grad():  # added tokens are as likely as text, and timestamps not above both
        engine.model.proj_out.weight[TIMESTAMPS:-n_added] *= 0.5
    states, lengths = engine.encode(windows(engine.model, 3))
    prompt, options = torch.tensor([[101, 5, 6], [101, 8, 9], [101, 3, 4]]), GenerateOptions(EOS, max_new_tokens=60)
    drafted = generate(engine.decoder(states, lengths), prompt, options, grammar())
    plain = generate(engine.decoder(states, lengths), prompt, options, grammar().filters())
    for one, other in zip(drafted, plain, strict=True):
        assert same(one, other, 1e-4)
    assert any(token >= TIMESTAMPS + 1501 for one in plain for token in one.tokens)


def test_numbers_of_no_token_are_banned_in_no_kernel() -> None:
    step: Any = make_engine(whisper(), name="cpu").decoder(torch.randn(1, 1500, 128), torch.tensor([1500]))
    logits = torch.zeros(1, VOCABULARY)
    logits[0, VOCABULARY - 1] = 1.0
    rules = grammar(timestamps=False, banned=(-1, VOCABULARY, 10**9), blank=(-1,))
    assert step.choose(logits, [Written()], rules)[0][0] == VOCABULARY - 1


def test_a_grammar_that_leaves_nothing_is_an_error() -> None:
    step: Any = make_engine(whisper(), name="cpu").decoder(torch.randn(1, 1500, 128), torch.tensor([1500]))
    rules = grammar(timestamps=False, banned=tuple(range(VOCABULARY)))
    with pytest.raises(OptionError, match="allow more tokens"):
        step.choose(torch.randn(1, VOCABULARY), [Written()], rules)


def test_the_cache_gains_room_and_forgets() -> None:
    engine: Any = make_engine(whisper(), name="cpu")
    states, lengths = engine.encode(windows(engine.model, 1))
    tokens = torch.randint(0, 90, (1, 150), generator=torch.Generator().manual_seed(0))
    step, expected = engine.decoder(states, lengths), engine.decoder(states, lengths)
    logits = expected.advance(tokens, 150)
    for at in range(0, 150, 50):
        part = step.advance(tokens[:, at : at + 50], 50)
        torch.testing.assert_close(part, logits[:, at : at + 50], rtol=0, atol=FLOAT32)
    step.forget(0, 20)
    again = step.advance(tokens[:, 20:60], 40)
    torch.testing.assert_close(again, logits[:, 20:60], rtol=0, atol=FLOAT32)


def test_memory_of_a_recording_serves_the_next_and_no_smaller_one_lies_beside_it() -> None:
    engine: Any = make_engine(whisper(), name="cpu")
    decoder = engine._decoder
    small = decoder.lend(1 << 20)
    decoder.give_back(small)
    assert decoder.lend(1 << 19) is small
    decoder.give_back(small)
    large = decoder.lend(1 << 22)
    assert large is not small
    assert decoder._idle == []
    decoder.give_back(large)
    assert decoder.lend(1 << 20) is large


def test_too_many_tokens_are_refused() -> None:
    engine: Any = make_engine(whisper(max_target_positions=12), name="cpu")
    step = engine.decoder(*engine.encode(windows(engine.model, 1)))
    with pytest.raises(OptionError, match="13 tokens were given to a decoder with 12 positions"):
        step.advance(torch.ones(1, 13, dtype=torch.long))


@pytest.mark.parametrize("changes", [{"activation_function": "relu"}, {"decoder_attention_heads": 8}])
def test_models_that_kernels_do_not_fit_run_their_own_decoder(changes: dict[str, Any]) -> None:
    engine: Any = make_engine(whisper(**changes), name="cpu")
    assert isinstance(engine.decoder(*engine.encode(windows(engine.model, 1))), ModelStep)


def test_weights_of_8_bits_are_near_what_they_stand_for() -> None:
    weight = torch.randn(5, 70, generator=torch.Generator().manual_seed(0))
    keep: list[torch.Tensor] = []
    packed = draft_library.int8_of(weight, None, keep)
    values, scales = keep
    assert (packed.n, packed.k, packed.padded) == (5, 70, 96)
    torch.testing.assert_close(values[:, :70] * scales[:, None], weight, rtol=0, atol=float(scales.max()) / 2 + 1e-6)
    assert not values[:, 70:].any()
