"""Every search over tiny random models: transformers' own ids, with whatever generation parameters it still has.

Draws are compared with transformers' drawing replaced by ours, so that both take the same numbers: everything around
the draw is transformers' own. Diverse beam search and contrastive search have left transformers; tests/unit/decoding
holds them against the papers.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from auricle.audio.features import Features
from auricle.decoding import sampling
from auricle.decoding.generate import Generated, GenerateOptions, generate, own_filters
from auricle.engines import make_engine
from auricle.models.moonshine import Moonshine, MoonshineConfig
from auricle.models.whisper import Whisper, WhisperConfig

transformers = pytest.importorskip("transformers")
from transformers.generation.logits_process import (  # noqa: E402
    EpsilonLogitsWarper,
    EtaLogitsWarper,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

pytestmark = pytest.mark.usefixtures("every_engine")

EOS, V = 2, 60
PROMPT = (1, 7, 30)
ROOM = 32

# The names of GenerateOptions that are not transformers'.
NAMES = {"num_beams": "n_beams", "renormalize_logits": "renormalize"}

# Sums of up to 30 float32 log-probabilities, in another order of operations.
SCORE_TOLERANCE = 1e-4

MOONSHINE = {
    "vocab_size": V,
    "hidden_size": 32,
    "intermediate_size": 48,
    "encoder_num_hidden_layers": 1,
    "encoder_num_attention_heads": 4,
    "decoder_num_hidden_layers": 2,
    "decoder_num_attention_heads": 4,
    "max_position_embeddings": ROOM,
    "tie_word_embeddings": False,
    "eos_token_id": EOS,
}
WHISPER = {
    "vocab_size": V,
    "d_model": 32,
    "encoder_layers": 1,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_layers": 2,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 48,
    "max_source_positions": 50,
    "max_target_positions": ROOM,
    "tie_word_embeddings": False,
    "bos_token_id": 0,
    "eos_token_id": EOS,
    "pad_token_id": EOS,
    "decoder_start_token_id": 1,
}


@pytest.fixture(scope="module", params=["moonshine", "whisper"])
def models(request: pytest.FixtureRequest) -> tuple[Any, Moonshine | Whisper, Tensor]:
    """The same random weights in both libraries, and sound for eight rows, of which some end early."""
    torch.manual_seed(0)
    ours: Moonshine | Whisper
    if request.param == "moonshine":
        config = transformers.MoonshineConfig(**MOONSHINE)
        theirs, ours = transformers.MoonshineForConditionalGeneration(config), Moonshine(MoonshineConfig(**MOONSHINE))
        values = torch.randn(8, 9000)
    else:
        config = transformers.WhisperConfig(**WHISPER, suppress_tokens=None, begin_suppress_tokens=None)
        theirs, ours = transformers.WhisperForConditionalGeneration(config), Whisper(WhisperConfig(**WHISPER))
        values = torch.randn(8, 80, 100)
    with torch.no_grad():
        for name, weight in theirs.named_parameters():
            if "norm" not in name and "encoder.embed_positions" not in name:
                weight.copy_(torch.randn(weight.shape) * 0.4)
        theirs.proj_out.weight *= 0.5  # so that searches differ from each other
        theirs.proj_out.weight[EOS] *= 3.0
    ours.load_state_dict(theirs.state_dict(), strict=False)
    theirs.generation_config = transformers.GenerationConfig(eos_token_id=EOS, pad_token_id=EOS, max_length=ROOM)
    return theirs.eval(), ours, values


def expected(theirs: Any, values: Tensor, **options: Any) -> Any:
    """transformers' own search: ids without prompt and padding, and its output."""
    # The plain loop: Whisper's own adds languages and times, which are no part of a search.
    with warnings.catch_warnings():
        # It advises against max_length with max_new_tokens and against lengths that cannot be reached.
        warnings.simplefilter("ignore")
        result = transformers.GenerationMixin.generate(
            theirs,
            values,
            decoder_input_ids=torch.tensor([PROMPT] * len(values)),
            generation_config=transformers.GenerationConfig(
                eos_token_id=EOS,
                pad_token_id=EOS,
                decoder_start_token_id=PROMPT[0],
                return_dict_in_generate=True,
                output_scores=True,
                **options,
            ),
        )
    rows = [row[len(PROMPT) :] for row in result.sequences.tolist()]
    return [tuple(row[: row.index(EOS)] if EOS in row else row) for row in rows], result


def found(
    ours: Any, values: Tensor, seeds: Sequence[int] = (), use_cache: bool = True, **options: Any
) -> list[Generated]:
    engine = make_engine(copy.deepcopy(ours))
    states, lengths = engine.encode(Features(values, torch.full((len(values),), values.shape[-1])))
    return generate(
        engine.decoder(states, lengths, use_cache),
        torch.tensor([PROMPT] * len(values)),
        GenerateOptions(eos=EOS, **{NAMES.get(name, name): value for name, value in options.items()}),
        generators=[torch.Generator().manual_seed(seed) for seed in seeds] or None,
    )


def ids(options: dict[str, Any]) -> str:
    return "-".join(f"{name}={value}" for name, value in options.items())


@pytest.mark.parametrize(
    "options",
    [
        {"max_length": 12},
        {"max_length": 12, "max_new_tokens": 20},
        {"max_length": ROOM, "min_length": 20},
        {"max_length": ROOM, "min_new_tokens": 15},
        {"max_length": ROOM, "min_length": 25, "min_new_tokens": 3},
        {"max_length": ROOM, "min_length": 8, "repetition_penalty": 1.5, "no_repeat_ngram_size": 2},
        *[
            {"num_beams": 4, "early_stopping": early, **lengths}
            for early in (True, False, "never")
            for lengths in (
                {"max_new_tokens": 25},
                {"max_length": 14, "length_penalty": 0.4},
                {"max_length": ROOM, "min_length": 12, "length_penalty": 2.0},
                {"max_new_tokens": 20, "min_new_tokens": 6, "length_penalty": -0.5},
            )
        ],
        {"num_beams": 3, "max_length": 20, "min_length": 10, "no_repeat_ngram_size": 3, "repetition_penalty": 1.3},
        {"num_beams": 3, "max_length": ROOM, "min_new_tokens": 9, "renormalize_logits": True},
    ],
    ids=ids,
)
def test_search_finds_what_transformers_finds(models: tuple[Any, Any, Tensor], options: dict[str, Any]) -> None:
    theirs, ours, values = models
    rows, result = expected(theirs, values, **options)
    assert len({len(row) for row in rows}) > 1 or "min_new_tokens" in options or "min_length" in options
    mine = found(ours, values, **options)
    assert [one.tokens for one in mine] == rows
    if "num_beams" in options:
        assert [one.score for one in mine] == pytest.approx(result.sequences_scores.tolist(), abs=SCORE_TOLERANCE)


WARPED = [
    {"temperature": 0.6},
    {"top_k": 5},
    {"top_p": 0.8},
    {"typical_p": 0.7},
    {"epsilon_cutoff": 0.02},
    {"eta_cutoff": 0.05},
    {"temperature": 1.7, "top_k": 30, "top_p": 0.9, "typical_p": 0.9, "epsilon_cutoff": 0.001, "eta_cutoff": 0.002},
    {"temperature": 0.8, "top_k": 20, "min_length": 9, "repetition_penalty": 1.2, "no_repeat_ngram_size": 2},
]


@pytest.mark.parametrize("options", WARPED, ids=ids)
def test_samples_are_those_of_transformers_for_the_same_numbers(
    models: tuple[Any, Any, Tensor], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, ours, values = models
    seeds = range(len(values))
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    monkeypatch.setattr(
        torch, "multinomial", lambda p, num_samples: sampling.draw(p.log(), [], num_samples, generators)[:, None]
    )
    # transformers takes the 50 most probable of 60 tokens unless told otherwise.
    rows, _ = expected(theirs, values, do_sample=True, max_length=ROOM, **{"top_k": 0, **options})
    mine = found(ours, values, seeds, do_sample=True, max_length=ROOM, **options)
    assert [one.tokens for one in mine] == rows
    assert len(set(rows)) > len(rows) / 2


@pytest.mark.parametrize("options", [{"early_stopping": True}, *WARPED], ids=ids)
def test_sampled_beams_are_those_of_transformers_for_the_same_numbers(
    models: tuple[Any, Any, Tensor], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, ours, values = models
    # Of a few tokens fewer candidates are possible than beams need, and what transformers draws then is noise.
    options = {"top_k": 0, **options, "num_beams": 3, "max_length": 20}
    if options.keys() & {"typical_p", "epsilon_cutoff", "eta_cutoff", "top_p"}:
        options["temperature"] = options.get("temperature", 1.0) * 3
    seeds = range(len(values))
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def draw(probabilities: Tensor, num_samples: int) -> Tensor:
        noise = sampling.gumbel_noise(probabilities.shape[1], generators, probabilities.device)
        return (probabilities.log() + noise).topk(num_samples).indices

    monkeypatch.setattr(torch, "multinomial", draw)
    rows, result = expected(theirs, values, do_sample=True, **options)
    mine = found(ours, values, seeds, do_sample=True, **options)
    assert [one.tokens for one in mine] == rows
    assert [one.score for one in mine] == pytest.approx(result.sequences_scores.tolist(), abs=SCORE_TOLERANCE)


@pytest.mark.parametrize("keep", [1, 2])
def test_every_warper_equals_transformers_processor(keep: int) -> None:
    pairs = [
        *[(sampling.top_k(k, keep), TopKLogitsWarper(k, min_tokens_to_keep=keep)) for k in (1, 3, 50, 999)],
        *[(sampling.top_p(p, keep), TopPLogitsWarper(p, min_tokens_to_keep=keep)) for p in (0.0, 0.1, 0.5, 0.95)],
        *[(sampling.typical(p, keep), TypicalLogitsWarper(p, min_tokens_to_keep=keep)) for p in (0.1, 0.5, 0.95)],
        *[(sampling.epsilon(e, keep), EpsilonLogitsWarper(e, min_tokens_to_keep=keep)) for e in (3e-4, 0.01, 0.5)],
        *[(sampling.eta(e, keep), EtaLogitsWarper(e, min_tokens_to_keep=keep)) for e in (3e-4, 0.01, 0.5)],
    ]
    for ours, reference in pairs:
        for seed, spread in ((0, 0.5), (1, 2.0), (2, 6.0)):
            logits = torch.randn(30, 200, generator=torch.Generator().manual_seed(seed)) * spread
            logits[:, ::7] = -torch.inf  # what filters before it have left out
            torch.testing.assert_close(ours(logits), reference(None, logits), rtol=0, atol=0)


@pytest.mark.parametrize(
    "options",
    [
        {"do_sample": True, **WARPED[-2]},
        {"do_sample": True, **WARPED[-1]},
        {"do_sample": True, "num_beams": 2, "top_k": 1, "top_p": 0.1, "typical_p": 0.1, "epsilon_cutoff": 0.9},
        {"min_length": 12, "min_new_tokens": 4, "repetition_penalty": 0.7, "no_repeat_ngram_size": 1},
    ],
    ids=ids,
)
def test_filters_and_warpers_together_equal_transformers_list(
    models: tuple[Any, Any, Tensor], options: dict[str, Any]
) -> None:
    """The order of all of them is transformers'."""
    theirs, _, _ = models
    own = GenerateOptions(eos=EOS, **{NAMES.get(name, name): value for name, value in options.items()})
    config = transformers.GenerationConfig(eos_token_id=EOS, **{"top_k": 0, **options})
    config._eos_token_tensor = torch.tensor([EOS])
    if config.min_new_tokens is not None:
        config.min_length = config.min_new_tokens + len(PROMPT)  # as its generate() does before
    reference = theirs._get_logits_processor(config, input_ids_seq_length=len(PROMPT), device="cpu")
    if not options.get("do_sample"):
        assert len(reference) >= 4
    for length in (3, 6, 8, 20):
        generator = torch.Generator().manual_seed(length)
        tokens = torch.randint(0, V, (20, length), generator=generator)
        logits = torch.randn(20, V, generator=generator) * 2
        changed = logits
        for keep in own_filters(own, len(PROMPT)):
            changed = keep(tokens, changed)
        for warp in sampling.warpers(own, own.n_beams) if own.do_sample else []:
            changed = warp(changed)
        torch.testing.assert_close(changed, reference(tokens, logits), rtol=0, atol=0)


def test_warpers_come_in_the_order_of_transformers(models: tuple[Any, Any, Tensor]) -> None:
    theirs, _, _ = models
    config = transformers.GenerationConfig(eos_token_id=EOS, do_sample=True, **WARPED[-2])
    config._eos_token_tensor = torch.tensor([EOS])
    reference: LogitsProcessorList = theirs._get_logits_processor(config, input_ids_seq_length=3, device="cpu")
    assert [type(one) for one in reference] == [
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
        TypicalLogitsWarper,
        EpsilonLogitsWarper,
        EtaLogitsWarper,
    ]
    assert len(sampling.warpers(GenerateOptions(eos=EOS, **WARPED[-2]))) == 6


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_beams": 3},
        {"num_beams": 4, "n_beam_groups": 2},
        {"temperature": 1.0, "best_of": 2},
        {"penalty_alpha": 0.6, "top_k": 3},
    ],
    ids=ids,
)
def test_without_a_cache_the_text_is_the_same(models: tuple[Any, Any, Tensor], options: dict[str, Any]) -> None:
    _, ours, values = models
    cached, anew = (found(ours, values, range(8), use_cache, max_length=20, **options) for use_cache in (True, False))
    assert [one.tokens for one in cached] == [one.tokens for one in anew]
    assert [one.score for one in cached] == pytest.approx([one.score for one in anew], abs=SCORE_TOLERANCE)


def test_a_length_beyond_the_decoder_is_cut_to_it(models: tuple[Any, Any, Tensor]) -> None:
    _, ours, values = models
    for options in ({"max_length": 10_000}, {"max_new_tokens": 10_000}):
        cut = found(ours, values, **options, min_new_tokens=500)
        assert [len(one.tokens) for one in cut] == [ROOM - len(PROMPT)] * len(values)
