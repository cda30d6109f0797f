"""Call parameters of recognizers: each reaches its option, or is refused by its name."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

from auricle.errors import ConfigError, OptionError
from auricle.pipelines.dialects import CTC, SEQ2SEQ, WHISPER
from auricle.pipelines.speech_parameters import Dialect, Request, read_speech_parameters, with_own_search

DIALECTS = [pytest.param(one, id=one.model) for one in (CTC, WHISPER, SEQ2SEQ)]
# Options that no call parameter reaches: the loader's batch, and the language model that came with a checkpoint.
NOT_GIVEN: dict[str, set[str]] = {
    CTC.model: {"batch_size", "own_lm", "own_weights"},
    WHISPER.model: {"batch_size"},
    SEQ2SEQ.model: set(),
}


def read(dialect: Dialect, **given: Any) -> Request:
    return read_speech_parameters(given, dialect)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_name_in_a_table_is_an_option_and_none_is_in_two_tables(dialect: Dialect) -> None:
    options = {one.name for one in fields(dialect.options)}  # type: ignore[arg-type]
    assert set(dialect.fields.values()) <= options
    assert options - set(dialect.fields.values()) == NOT_GIVEN[dialect.model]
    assert dialect.off <= set(dialect.fields)
    for one, other in combinations((dialect.fields, dialect.refused, dialect.fixed, dialect.meant), 2):
        assert not set(one) & set(other)
    assert set(dialect.written) <= set(dialect.fields)


@pytest.mark.parametrize("name", ["own_lm", "own_weights"])
def test_the_language_model_of_a_checkpoint_is_no_callers_to_give(name: str) -> None:
    with pytest.raises(OptionError, match=name):
        read(CTC, **{name: "words.arpa"})


@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_parameters_are_the_defaults(dialect: Dialect) -> None:
    assert read(dialect) == Request(dialect.options())


@pytest.mark.parametrize("dialect", [WHISPER, SEQ2SEQ])
def test_what_a_checkpoint_says_of_the_search_holds_until_a_call_says_otherwise(dialect: Dialect) -> None:
    own = replace(dialect, preset={"n_beams": 3, "repetition_penalty": 1.3})
    assert (read(own).options.n_beams, read(own).options.repetition_penalty) == (3, 1.3)
    assert read(own, num_beams=1).options.n_beams == 1
    assert read(own, generate_kwargs={"repetition_penalty": 1.0}) == Request(dialect.options(n_beams=3))


@pytest.mark.parametrize(
    "call",
    [
        {"temperature": 0.5},
        {"temperature": 0.5, "top_k": 5, "do_sample": True},
        {"do_sample": True},
        {"penalty_alpha": 0.6, "top_k": 4},
    ],
    ids=str,
)
@pytest.mark.parametrize("dialect", [WHISPER, SEQ2SEQ])
def test_a_checkpoint_s_beams_give_way_to_a_call_that_searches_otherwise(
    dialect: Dialect, call: dict[str, Any]
) -> None:
    own = replace(dialect, preset={"n_beams": 5, "length_penalty": 0.8})
    assert read(own, **call) == Request(replace(read(dialect, **call).options, length_penalty=0.8))


def test_a_checkpoint_s_beams_stay_where_temperature_0_comes_first() -> None:
    own = replace(WHISPER, preset={"n_beams": 5})
    assert read(own, temperature=(0.0, 0.4)).options.n_beams == 5
    assert read(own, temperature=[0.0]).options.n_beams == 5
    with pytest.raises(OptionError, match="num_beams=2 is for temperature 0"):
        read(own, num_beams=2, temperature=0.5)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"num_beams": "5"}, "num_beams='5' is refused by .*: it is str; expected int"),
        ({"num_beams": 0}, "n_beams is 0"),
        ({"repetition_penalty": 0.0}, "repetition_penalty is 0"),
        ({"length_penalty": [1]}, "length_penalty=.1. is refused"),
    ],
    ids=str,
)
@pytest.mark.parametrize("dialect", [WHISPER, SEQ2SEQ])
def test_a_search_that_a_checkpoint_misstates_is_named_with_its_file(
    dialect: Dialect, entry: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=rf"^generation_config\.json: {message}"):
        with_own_search(dialect, entry)


def test_a_checkpoint_s_search_is_read_from_its_file() -> None:
    own = with_own_search(WHISPER, {"num_beams": 3, "length_penalty": None, "max_length": 448})
    assert own.preset == {"n_beams": 3}


def test_a_batch_size_is_that_of_windows_only_where_it_is_given() -> None:
    assert read_speech_parameters({"schedule": "batched"}, WHISPER).options.batch_size is None  # it takes eight
    assert read_speech_parameters({"schedule": "batched"}, WHISPER, 1).options.batch_size == 1
    assert read_speech_parameters({}, CTC, 3).options.batch_size == 3


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_refused_name_is_in_its_message(dialect: Dialect) -> None:
    for name in dialect.refused:
        with pytest.raises(OptionError, match=rf"^{name}=1 is refused by {dialect.model}: \w"):
            read(dialect, **{name: 1})


@pytest.mark.parametrize("value", [np.array([1, 2]), torch.tensor([1, 2]), np.array(["a", "b"])], ids=str)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_array_is_refused_by_name_wherever_a_few_values_are_known(dialect: Dialect, value: Any) -> None:
    for name in (*dialect.fixed, *dialect.meant, "return_language", "return_timestamps", "channels"):
        with pytest.raises(OptionError, match=f"^{name}="):
            read(dialect, **{name: value})


@pytest.mark.parametrize("dialect", DIALECTS)
def test_unknown_name_gets_the_nearest(dialect: Dialect) -> None:
    with pytest.raises(OptionError, match=r"unknown parameter 'return_timestamp' .*'return_timestamps'"):
        read(dialect, return_timestamp=True)


@pytest.mark.parametrize(
    ("value", "times"),
    [(None, None), (False, None), (True, "word"), ("word", "word"), ("char", "char"), ("segment", "segment")],
)
def test_ctc_takes_booleans_and_every_unit(value: object, times: str | None) -> None:
    assert read(CTC, return_timestamps=value).times == times


@pytest.mark.parametrize(
    ("value", "times"),
    [(None, None), (False, None), (True, "segment"), ("segment", "segment"), ("word", "word")],
)
def test_whisper_takes_booleans_segments_and_words(value: object, times: str | None) -> None:
    request = read(WHISPER, return_timestamps=value)
    assert request.times == times
    assert request.options.return_timestamps == (times or False)


@pytest.mark.parametrize("value", ["char", "words", 1, 0, [], 1.0])
def test_whisper_refuses_other_times_by_name(value: object) -> None:
    with pytest.raises(OptionError, match="return_timestamps="):
        read(WHISPER, return_timestamps=value)


@pytest.mark.parametrize("name", ["language", "task"])
def test_ctc_refuses_language_and_task_wherever_they_stand(name: str) -> None:
    with pytest.raises(OptionError, match=f"{name}='french' is refused by a CTC model"):
        read(CTC, **{name: "french"})
    with pytest.raises(OptionError, match=name):
        read(CTC, generate_kwargs={name: "french"})


def test_transformers_names_reach_whispers_options() -> None:
    options = read(
        WHISPER,
        generate_kwargs={"num_beams": 3, "max_new_tokens": 50, "task": "translate"},
        condition_on_prev_tokens=False,
        temperature=(0.0, 0.4),
        logprob_threshold=-2.0,
        language="french",
    ).options
    assert (options.n_beams, options.max_new_tokens, options.task, options.language) == (
        3,
        50,
        "translate",
        "french",
    )
    assert options.condition_on_previous_text is False
    assert options.temperature == (0.0, 0.4)
    assert options.logprob_threshold == -2.0


def test_none_switches_a_threshold_off_and_leaves_other_defaults() -> None:
    options = read(WHISPER, compression_ratio_threshold=None, language=None).options
    assert options.compression_ratio_threshold is None
    assert options.logprob_threshold == -1.0


def test_same_parameter_twice_must_agree() -> None:
    assert read(WHISPER, language="fr", generate_kwargs={"language": "fr"}).options.language == "fr"
    with pytest.raises(OptionError, match="language is 'fr', and 'de' in generate_kwargs"):
        read(WHISPER, language="fr", generate_kwargs={"language": "de"})
    with pytest.raises(OptionError, match="give one of them"):
        read(WHISPER, num_beams=2, n_beams=2)


def test_decoder_kwargs_reach_the_beam_search() -> None:
    options = read(CTC, decoder_kwargs={"beam_width": 7, "hotwords": ["a", "b"], "hotword_weight": 3.0}).options
    assert (options.beam_width, options.hotwords, options.hotword_weight) == (7, ("a", "b"), 3.0)
    with pytest.raises(OptionError, match="decoder_kwargs is 3"):
        read(CTC, decoder_kwargs=3)


def test_num_beams_is_the_beam_width_of_ctc() -> None:
    assert read(CTC, num_beams=4).options.beam_width == 4


def test_windows_of_ctc_are_chosen_and_those_of_whisper_are_30_s_at_most() -> None:
    assert read(CTC, chunk_length_s=10, stride_length_s=[4, 2]).options.stride_length_s == (4, 2)
    for value in ("30", [30]):
        with pytest.raises(OptionError, match=r"chunk_length_s=.* is refused by Whisper"):
            read(WHISPER, chunk_length_s=value)
    for seconds in (0.5, 31, -1):
        with pytest.raises(OptionError, match=rf"chunk_length_s={seconds}; expected 1 to 30 seconds"):
            read(WHISPER, chunk_length_s=seconds)


def test_what_model_cards_of_whisper_write_is_taken() -> None:
    recipe = {
        "max_new_tokens": 448,
        "num_beams": 1,
        "condition_on_prev_tokens": False,
        "compression_ratio_threshold": 1.35,
        "temperature": (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
        "logprob_threshold": -1.0,
        "no_speech_threshold": 0.6,
        "return_timestamps": True,
    }
    assert read(WHISPER, generate_kwargs=recipe).options.compression_ratio_threshold == 1.35
    options = read_speech_parameters({"chunk_length_s": 25, "max_new_tokens": 128}, WHISPER, batch_size=16).options
    assert (options.schedule, options.longest_s, options.batch_size) == ("batched", 25, 16)
    with pytest.raises(OptionError, match=r"compression_ratio_threshold=0\.9; expected 1\.5 or more"):
        read(WHISPER, compression_ratio_threshold=0.9)


@pytest.mark.parametrize("ids", [[5, 6], (5, 6), np.array([5, 6]), torch.tensor([5, 6])])
def test_prompt_ids_are_taken_as_processors_give_them(ids: Any) -> None:
    given = {"prompt_ids": ids, "prompt_condition_type": "all-segments", "condition_on_prev_tokens": True}
    options = read(WHISPER, generate_kwargs=given).options
    assert (options.prompt_ids, options.carry_initial_prompt) == ((5, 6), True)
    assert not read(WHISPER, prompt_ids=ids, prompt_condition_type="first-segment").options.carry_initial_prompt
    with pytest.raises(OptionError, match="two prompts"):
        read(WHISPER, prompt_ids=ids, initial_prompt="so")
    with pytest.raises(OptionError, match=r"prompt_ids=.* is refused by Whisper"):
        read(WHISPER, prompt_ids=[[5, 6]])


def test_windows_of_30_s_are_decoded_together_as_in_transformers() -> None:
    request = read_speech_parameters({"chunk_length_s": 30, "return_timestamps": True}, WHISPER, batch_size=8)
    assert (request.options.schedule, request.options.batch_size, request.times) == ("batched", 8, "segment")
    assert read(WHISPER, chunk_length_s=0) == read(WHISPER)
    assert read(WHISPER, chunk_length_s=30, schedule="batched").options.is_batched
    with pytest.raises(OptionError, match="chunk_length_s=30 means schedule='batched', not 'sequential'"):
        read(WHISPER, chunk_length_s=30, schedule="sequential")


# faster-whisper's and openai/whisper's names, for what transformers or this library calls otherwise.
OTHER_NAMES: list[tuple[Dialect, dict[str, Any], dict[str, Any]]] = [
    (WHISPER, {"beam_size": 5, "best_of": 5, "patience": 1, "length_penalty": 1}, {"num_beams": 5}),
    (WHISPER, {"beam_size": None, "verbose": None, "chunk_length": None, "hotwords": None, "prefix": None}, {}),
    (WHISPER, {"log_prob_threshold": -0.5}, {"logprob_threshold": -0.5}),
    (WHISPER, {"log_prob_threshold": None}, {"logprob_threshold": None}),
    (WHISPER, {"vad_filter": True}, {"vad": True}),
    (WHISPER, {"vad_filter": False, "word_timestamps": False, "verbose": False, "log_progress": False}, {"vad": False}),
    (WHISPER, {"word_timestamps": True}, {"return_timestamps": "word"}),
    (WHISPER, {"hotwords": "ComfyUI, auricle"}, {"hotwords": ["ComfyUI, auricle"]}),
    (WHISPER, {"suppress_tokens": "-1"}, {"suppress_tokens": [-1]}),
    (WHISPER, {"suppress_tokens": "11, 13"}, {"suppress_tokens": [11, 13]}),
    (WHISPER, {"suppress_tokens": ""}, {"suppress_tokens": []}),
    (WHISPER, {"sample_len": 40, "chunk_length": 30}, {"max_new_tokens": 40}),
    (CTC, {"beam_size": 5, "vad_filter": True, "word_timestamps": True},
     {"num_beams": 5, "vad": True, "return_timestamps": "word"}),
    (SEQ2SEQ, {"beam_size": 5, "vad_filter": True, "word_timestamps": False}, {"num_beams": 5, "vad": True}),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "theirs", "ours"), OTHER_NAMES)
def test_names_of_other_libraries_that_mean_the_same_are_taken(
    dialect: Dialect, theirs: dict[str, Any], ours: dict[str, Any]
) -> None:
    assert read(dialect, **theirs) == read(dialect, **ours)


@pytest.mark.parametrize(
    ("name", "value", "instead"),
    [
        ("fp16", False, "dtype"),
        ("vad_parameters", {"min_silence_duration_ms": 500}, "min_silence_s"),
        ("verbose", True, "progress"),
        ("temperature_increment_on_fallback", 0.2, "temperature="),
        ("prompt", "Newgate", "initial_prompt"),
        ("chunk_length", 10, "30 s"),
        ("suppress_tokens", "eleven", "expected tuple"),
    ],
)
def test_names_of_other_libraries_that_mean_something_else_say_what_to_use(name: str, value: Any, instead: str) -> None:
    with pytest.raises(OptionError, match=rf"^{name}=.* is refused by Whisper: .*{instead}"):
        read(WHISPER, **{name: value})


def test_a_token_below_those_of_non_speech_symbols_is_refused() -> None:
    with pytest.raises(OptionError, match=r"suppress_tokens=\(5, -7\)"):
        read(WHISPER, suppress_tokens=[5, -7])


@pytest.mark.parametrize("name", ["logprob_threshold", "no_speech_threshold", "compression_ratio_threshold"])
def test_a_threshold_that_is_no_number_is_refused(name: str) -> None:
    with pytest.raises(OptionError, match=f"^{name}=nan; expected"):
        read(WHISPER, **{name: float("nan")})


def test_word_timestamps_and_other_times_contradict_each_other() -> None:
    assert read(WHISPER, word_timestamps=True, return_timestamps="word").times == "word"
    with pytest.raises(OptionError, match="word_timestamps=True means return_timestamps='word', not True"):
        read(WHISPER, word_timestamps=True, return_timestamps=True)


@pytest.mark.parametrize("dialect", [pytest.param(one, id=one.model) for one in (WHISPER, SEQ2SEQ)])
@pytest.mark.parametrize(("text", "value"), [("true", True), ("False", False), ("never", "never")])
def test_early_stopping_may_be_written_as_text(dialect: Dialect, text: str, value: bool | str) -> None:
    given = {"early_stopping": text, "num_beams": 2}
    assert read(dialect, generation_parameters=given).options.early_stopping == value
    with pytest.raises(OptionError, match="early_stopping"):
        read(dialect, early_stopping="soon")


def test_a_ctc_model_takes_generation_parameters_that_are_off() -> None:
    off = {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "typical_p": 1.0, "epsilon_cutoff": 0, "eta_cutoff": 0,
           "penalty_alpha": 0.0, "min_length": 0, "min_new_tokens": 0, "num_beam_groups": 1, "diversity_penalty": 0.0,
           "repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "length_penalty": 1.0, "do_sample": False}  # fmt: skip
    assert read(CTC, generate_kwargs=off) == read(CTC)


@pytest.mark.parametrize("given", [{"language_detection_threshold": 0.7}, {"language_detection_segments": 5},
                                   {"language_detection_threshold": None}])  # fmt: skip
def test_how_to_detect_a_language_that_is_given_is_refused(given: dict[str, Any]) -> None:
    read(WHISPER, **given)
    with pytest.raises(OptionError, match=rf"^{next(iter(given))}=.*language='en'"):
        read(WHISPER, language="en", **given)


def test_language_of_chunks_is_whispers_alone() -> None:
    assert read(WHISPER, return_language=True).language
    assert read(CTC, return_language=False) == read(CTC)
    for dialect in (CTC, SEQ2SEQ):
        with pytest.raises(OptionError, match="return_language=True"):
            read(dialect, return_language=True)


@pytest.mark.parametrize("value", ["word", "char"])
def test_a_model_without_times_refuses_words_and_characters(value: str) -> None:
    assert read(SEQ2SEQ, return_timestamps=True).times == "segment"
    with pytest.raises(OptionError, match=f"return_timestamps='{value}' is refused"):
        read(SEQ2SEQ, return_timestamps=value)


@pytest.mark.parametrize(
    ("dialect", "name", "value"),
    [
        (WHISPER, "language", ["en", "de"]),
        (WHISPER, "initial_prompt", 5),
        (WHISPER, "max_new_tokens", "5"),
        (WHISPER, "num_beams", 2.5),
        (WHISPER, "temperature", "0"),
        (WHISPER, "temperature", (0.0, None)),
        (WHISPER, "suppress_tokens", -1),
        (WHISPER, "suppress_tokens", ["-1"]),
        (WHISPER, "condition_on_prev_tokens", "no"),
        (WHISPER, "no_speech_threshold", True),
        (SEQ2SEQ, "temperature", (0.0, 0.2)),
        (SEQ2SEQ, "chunk_length_s", "10"),
        (CTC, "stride_length_s", "1"),
        (CTC, "hotwords", "auricle"),
    ],
)
def test_value_of_another_type_is_refused_by_name(dialect: Dialect, name: str, value: Any) -> None:
    with pytest.raises(OptionError, match=rf"^{name}=.* is refused by {dialect.model}: .*; expected \w"):
        read(dialect, **{name: value})


def test_lists_and_whole_numbers_pass_for_tuples_and_decimals() -> None:
    options = read(WHISPER, temperature=[0, 0.4], suppress_tokens=[1, 2], compression_ratio_threshold=2).options
    assert options.temperatures == (0.0, 0.4)
    assert options.suppress_tokens == (1, 2)
    assert read(CTC, stride_length_s=[1, 2], hotwords=["one"]).options.stride_length_s == (1, 2)


def test_numbers_of_numpy_become_pythons() -> None:
    options = read(
        WHISPER, num_beams=np.int64(2), logprob_threshold=np.float32(-2), suppress_tokens=[np.int32(5)]
    ).options
    found = (options.n_beams, options.logprob_threshold, *options.suppress_tokens)
    assert [type(one) for one in found] == [int, float, int]
    assert type(read(CTC, num_beams=np.int64(3), chunk_length_s=np.float64(10)).options.beam_width) is int


@pytest.mark.parametrize(("name", "usual", "other"), [("do_sample", False, True), ("use_cache", True, False)])
def test_what_is_so_anyway_may_be_said_and_its_contrary_is_refused(name: str, usual: bool, other: bool) -> None:
    assert read_speech_parameters({"generate_kwargs": {name: usual}}, CTC).options == CTC.options()
    with pytest.raises(OptionError, match=name):
        read_speech_parameters({"generate_kwargs": {name: other}}, CTC)


# The generation parameters of the Hub's inference API, each with a value that is not its default, and which may need
# another one with it.
GENERATION: dict[str, dict[str, Any]] = {
    "temperature": {"temperature": 0.7},
    "top_k": {"top_k": 5, "do_sample": True},
    "top_p": {"top_p": 0.9, "do_sample": True},
    "typical_p": {"typical_p": 0.9, "do_sample": True},
    "epsilon_cutoff": {"epsilon_cutoff": 3e-4, "do_sample": True},
    "eta_cutoff": {"eta_cutoff": 3e-4, "do_sample": True},
    "max_length": {"max_length": 40},
    "max_new_tokens": {"max_new_tokens": 40},
    "min_length": {"min_length": 4},
    "min_new_tokens": {"min_new_tokens": 4},
    "do_sample": {"do_sample": True},
    "early_stopping": {"early_stopping": "never"},
    "num_beams": {"num_beams": 4},
    "num_beam_groups": {"num_beam_groups": 2, "num_beams": 4, "diversity_penalty": 0.3},
    "penalty_alpha": {"penalty_alpha": 0.6, "top_k": 4},
    "use_cache": {"use_cache": False},
}


@pytest.mark.parametrize("dialect", [pytest.param(one, id=one.model) for one in (WHISPER, SEQ2SEQ)])
@pytest.mark.parametrize("name", GENERATION)
def test_every_generation_parameter_of_the_hub_reaches_the_search(dialect: Dialect, name: str) -> None:
    given = GENERATION[name]
    options = read(dialect, generate_kwargs=given).options
    own = {"num_beams": "n_beams", "num_beam_groups": "n_beam_groups"}
    searches = [options.search(0)] if dialect is SEQ2SEQ else [options.search(0, one) for one in options.temperatures]
    for key, value in given.items():
        if key == "use_cache":  # of the engine's decoder, not of a search
            assert options.use_cache is value
        elif key == "do_sample":
            assert all(one.sampling_temperature > 0 for one in searches)
        else:
            assert value in [getattr(one, own.get(key, key)) for one in searches]


@pytest.mark.parametrize("name", sorted(GENERATION.keys() - {"num_beams"}))
def test_a_ctc_model_refuses_every_generation_parameter_but_beams_with_a_reason(name: str) -> None:
    with pytest.raises(OptionError, match=rf"^{name}=.* is refused by a CTC model: \w"):
        read(CTC, **{name: GENERATION[name][name]})


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", ["prefix", "no_speech_threshold", "clip_timestamps", "multilingual"])
def test_no_option_of_whisper_is_unknown_anywhere(dialect: Dialect, name: str) -> None:
    if dialect is not WHISPER:
        with pytest.raises(OptionError, match=f"{name}=.*is refused by .*Whisper"):
            read(dialect, **{name: 0.5})
