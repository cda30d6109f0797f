"""Parameters of the Inference API for the three kinds of models: read, left out with a word, or refused."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from auricle.pipelines.dialects import CTC, SEQ2SEQ, WHISPER
from auricle.pipelines.speech_parameters import Dialect, read_speech_parameters
from auricle.server.errors import Refused
from auricle.server.parameters import GENERATION, adapted, flattened, from_query, truth

DIALECTS = {"ctc": CTC, "whisper": WHISPER, "seq2seq": SEQ2SEQ}
# The sixteen fields of the API's document, each with a value that does something.
SIXTEEN: dict[str, Any] = {
    "temperature": 0.7,
    "top_k": 50,
    "top_p": 0.9,
    "typical_p": 0.95,
    "epsilon_cutoff": 3e-4,
    "eta_cutoff": 2e-3,
    "max_length": 40,
    "max_new_tokens": 30,
    "min_length": 2,
    "min_new_tokens": 1,
    "do_sample": True,
    "early_stopping": "never",
    "num_beams": 2,
    "num_beam_groups": 2,
    "penalty_alpha": 0.6,
    "use_cache": False,
}
# What transformers has when nobody asks for anything.
DEFAULTS: dict[str, Any] = {
    "temperature": 1.0,
    "top_k": 50,
    "top_p": 1.0,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "max_length": 448,
    "max_new_tokens": 128,
    "min_length": 0,
    "min_new_tokens": 0,
    "do_sample": False,
    "early_stopping": False,
    "num_beams": 1,
    "num_beam_groups": 1,
    "penalty_alpha": 0.0,
    "use_cache": True,
}


def options(given: dict[str, Any], dialect: Dialect, room: int | None = None) -> tuple[Any, set[str]]:
    """The pipeline's own options for what a client gave, and the parameters that it is told about."""
    found = adapted(given, dialect, room)
    return read_speech_parameters(found.parameters, dialect).options, {note.name for note in found.notes}


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    return DIALECTS[request.param]


@pytest.mark.parametrize("name", SIXTEEN)
def test_every_field_is_taken_by_every_kind_of_model(dialect: Dialect, name: str) -> None:
    given = {name: SIXTEEN[name]} | ({"num_beams": 2} if name == "num_beam_groups" else {})
    read, told = options({"generation_parameters": given}, dialect)
    if dialect is CTC:
        assert told == ({name} if name != "num_beams" else set())
        assert read.beam_width == (2 if "num_beams" in given else None)
        return
    field = {"num_beams": "n_beams", "num_beam_groups": "n_beam_groups"}.get(name, name)
    if dialect is SEQ2SEQ and name in ("top_k", "top_p", "typical_p", "epsilon_cutoff", "eta_cutoff"):
        assert told == {name}, "nothing is drawn without do_sample or a temperature"
    else:
        assert told == set()
        expected = (SIXTEEN[name],) if name == "temperature" and dialect is WHISPER else SIXTEEN[name]
        assert getattr(read, field) == expected


@pytest.mark.parametrize("name", SIXTEEN)
def test_every_field_means_the_same_as_json_and_as_text(dialect: Dialect, name: str) -> None:
    given = {**SIXTEEN, "num_beams": 2} if name == "num_beam_groups" else {name: SIXTEEN[name]}
    text = {one: value if isinstance(value, str) else json.dumps(value) for one, value in given.items()}
    assert adapted(text, dialect) == adapted(given, dialect)


def test_all_fields_at_once_are_taken(dialect: Dialect) -> None:
    for given in (DEFAULTS, SIXTEEN):
        read_speech_parameters(adapted({"generation_parameters": given}, dialect).parameters, dialect)


def test_the_defaults_of_transformers_change_nothing_but_lengths() -> None:
    found = adapted({"generation_parameters": DEFAULTS}, CTC)
    assert found.parameters == {"num_beams": 1}
    read, told = options({"generation_parameters": DEFAULTS}, WHISPER)
    assert read.temperatures == (0.0,)
    assert (read.top_k, read.max_new_tokens, read.n_beams) == (0, 128, 1)
    assert told == {"temperature", "top_k"}


@pytest.mark.parametrize("nest", ["generation_parameters", "generate_kwargs", "generate"])
def test_generation_has_three_names(nest: str) -> None:
    assert options({nest: {"num_beams": 3}}, WHISPER)[0].n_beams == 3
    assert options({nest: '{"num_beams": 3}'}, WHISPER)[0].n_beams == 3
    assert options({"parameters": json.dumps({nest: {"num_beams": 3}})}, WHISPER)[0].n_beams == 3
    assert options({nest: None}, WHISPER)[0].n_beams == 1


@pytest.mark.parametrize("name", sorted({*GENERATION} - {"early_stopping"}))  # of which text is a value
def test_null_in_a_query_is_what_it_is_in_json(dialect: Dialect, name: str) -> None:
    assert adapted({name: "null"}, dialect, 64) == adapted({name: None}, dialect, 64)


@pytest.mark.parametrize(
    ("name", "value", "dialect_name"),
    [
        ("chunk_length_s", 1e308, "ctc"),
        ("stride_length_s", [1e308, 1], "ctc"),
        ("alpha", "-1e30", "ctc"),
        ("min_silence_s", 1e308, "whisper"),
        ("repetition_penalty", 10**30, "whisper"),
    ],
)
def test_numbers_whose_products_are_none_are_refused(name: str, value: Any, dialect_name: str) -> None:
    with pytest.raises(Refused, match=f"^{name} is .*; expected at most 1000000000$") as caught:
        adapted({name: value}, DIALECTS[dialect_name])
    assert caught.value.status == 400


def test_a_window_is_not_decoded_at_thousands_of_temperatures() -> None:
    few = [0.0, *[0.5] * 19]
    assert adapted({"temperature": few}, WHISPER).parameters == {"temperature": few}
    for many in ([0.5] * 21, ",".join(["0.5"] * 21), ["0.5"] * 21):
        with pytest.raises(Refused, match="temperature has 21 values; expected at most 20"):
            adapted({"temperature": many}, WHISPER)


def test_a_value_given_twice_must_be_the_same() -> None:
    assert flattened({"num_beams": 2, "generate": {"num_beams": 2}}) == {"num_beams": 2}
    assert flattened({"num_beams": None, "generate": {"num_beams": 2}}) == {"num_beams": 2}
    with pytest.raises(Refused, match="num_beams is 2 and 3; give it once"):
        flattened({"num_beams": 2, "generate": {"num_beams": 3}})


@pytest.mark.parametrize("nested", [5, "text", [1], True])
def test_what_holds_parameters_is_an_object(nested: Any) -> None:
    with pytest.raises(Refused, match="expected an object of parameters"):
        flattened({"generate_kwargs": nested})


def test_nests_end() -> None:
    given: dict[str, Any] = {"num_beams": 2}
    for _ in range(50):
        given = {"parameters": given}
    with pytest.raises(Refused, match="nested too deeply"):
        flattened(given)


WRONG: dict[str, list[Any]] = {
    "temperature": [-0.1, math.inf, math.nan, True, "warm", {}],
    "top_k": [-1, 1.5, "many", False],
    "top_p": [-0.1, 1.1, "1,1", []],
    "typical_p": [0, 1.5, math.nan],
    "epsilon_cutoff": [-1, 1, "x"],
    "eta_cutoff": [-1, 1, "x"],
    "max_length": [0, -5, 3.7, "long", True],
    "max_new_tokens": [0, 2.5, [3]],
    "min_length": [-1, {}],
    "min_new_tokens": [-1, "1.5"],
    "do_sample": [1, 0, "yes", 0.0],
    "early_stopping": ["always", 1, []],
    "num_beams": [0, -1, 2.5, "2x", [2]],
    "num_beam_groups": [0, "x"],
    "penalty_alpha": [-0.1, 1.5, {}],
    "use_cache": ["maybe", 1],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in WRONG for value in WRONG[name]])
def test_wrong_values_are_refused_by_every_kind_of_model(dialect: Dialect, name: str, value: Any) -> None:
    with pytest.raises(Refused, match=f"^{name} is .+; expected ") as caught:
        adapted({"generation_parameters": {name: value}}, dialect)
    assert (caught.value.status, caught.value.param) == (400, name)


def test_whole_numbers_may_be_written_as_floats() -> None:
    read, _ = options({"max_new_tokens": 30.0, "num_beams": "2.0", "temperature": 0}, WHISPER)
    assert (read.max_new_tokens, read.n_beams, read.temperatures) == (30, 2, (0.0,))
    assert type(read.max_new_tokens) is int


@pytest.mark.parametrize("value", [[0, 0.2], "[0,0.2]", "[0.0, 0.2]", "0,0.2", ["0", "0.2"]])
def test_whisper_takes_several_temperatures_however_they_are_written(value: Any) -> None:
    assert options({"temperature": value}, WHISPER)[0].temperatures == (0.0, 0.2)


@pytest.mark.parametrize("given", [True, "true", "True", " true"])
def test_true_means_the_times_that_a_model_has(given: Any) -> None:
    for dialect, times in ((CTC, "word"), (WHISPER, "segment"), (SEQ2SEQ, "segment")):
        found = adapted({"return_timestamps": given}, dialect)
        assert read_speech_parameters(found.parameters, dialect).times == times


@pytest.mark.parametrize("given", [False, "false", None, "FALSE"])
def test_false_and_null_mean_no_times(dialect: Dialect, given: Any) -> None:
    found = adapted({"return_timestamps": given}, dialect)
    assert read_speech_parameters(found.parameters, dialect).times is None


def test_lengths_beyond_a_window_are_lowered_and_told() -> None:
    read, told = options({"max_new_tokens": 1000, "max_length": 449, "min_length": 5000}, WHISPER, 448)
    assert (read.max_new_tokens, read.max_length, read.min_length) == (448, 448, 448)
    assert told == {"max_new_tokens", "max_length", "min_length"}
    assert options({"max_new_tokens": 448}, WHISPER, 448)[1] == set()


@pytest.mark.parametrize("kind", ["whisper", "seq2seq"])
def test_of_searches_that_exclude_each_other_one_is_chosen(kind: str) -> None:
    dialect = DIALECTS[kind]
    assert options({"do_sample": True, "penalty_alpha": 0.6, "top_k": 4}, dialect)[1] == {"penalty_alpha"}
    assert options({"num_beams": 3, "penalty_alpha": 0.6}, dialect)[1] == {"penalty_alpha"}
    assert options({"do_sample": False, "temperature": 0.9, "top_p": 0.5}, dialect)[1] == {"temperature", "top_p"}
    assert options({"temperature": 0, "top_k": 5}, dialect)[1] == {"top_k"}
    read, told = options({"penalty_alpha": 0.6}, dialect)
    assert (read.penalty_alpha, read.top_k, told) == (0.6, 4, set())
    read, told = options({"do_sample": True, "temperature": 0.5, "num_beams": 4, "num_beam_groups": 2}, dialect)
    assert read.n_beam_groups == 1
    assert "num_beam_groups" in told


def test_what_the_server_decides_is_told(dialect: Dialect) -> None:
    found = adapted({"batch_size": 16, "num_workers": 4}, dialect)
    assert found.parameters == {}
    assert [note.name for note in found.notes] == ["batch_size", "num_workers"]


def test_unknown_names_are_refused_in_words_that_clients_know(dialect: Dialect) -> None:
    # huggingface_hub finds the names by this pattern, and tries again without them.
    from huggingface_hub.inference._client import MODEL_KWARGS_NOT_USED_REGEX

    with pytest.raises(Refused, match="did you mean 'num_beams'") as caught:
        adapted({"generation_parameters": {"num_beam": 2, "wombat": 1}}, dialect)
    found = MODEL_KWARGS_NOT_USED_REGEX.search(caught.value.message)
    assert found is not None
    assert [name.strip("' ") for name in found[1].split(",")] == ["num_beam", "wombat"]
    assert (caught.value.status, caught.value.code) == (400, "unknown_parameter")


def test_no_parameter_is_offered_that_is_then_refused() -> None:
    for name in ("qqqq", "lmm"):
        with pytest.raises(Refused) as caught:
            adapted({name: 1}, CTC)
        assert "'lm'" not in caught.value.message
        assert " lm," not in caught.value.message


def test_an_unknown_name_without_likeness_lists_what_there_is() -> None:
    with pytest.raises(Refused, match=r"a CTC model takes .*beam_width.*return_timestamps"):
        adapted({"xyzzy": 1}, CTC)


@pytest.mark.parametrize("dialect_name", ["ctc", "seq2seq"])
def test_another_language_is_refused_and_writing_down_is_no_news(dialect_name: str) -> None:
    dialect = DIALECTS[dialect_name]
    assert adapted({"generate_kwargs": {"task": "transcribe"}}, dialect).parameters == {}
    for given in ({"task": "translate"}, {"language": "de"}):
        with pytest.raises(ValueError, match="is refused by"):
            read_speech_parameters(adapted(given, dialect).parameters, dialect)


def test_texts_and_lists_of_a_query_become_what_the_model_takes() -> None:
    query = from_query(
        [("hotwords[]", "one"), ("hotwords[]", "two words"), ("vad", "false"), ("chunk_length_s", "12.5")]
    )
    read, _ = options(query, CTC)
    assert (read.hotwords, read.vad, read.chunk_length_s) == (("one", "two words"), False, 12.5)
    assert options({"hotwords": "one", "hotword_weight": "3"}, CTC)[0].hotwords == ("one",)
    assert options({"hotwords": '["one", "two"]'}, CTC)[0].hotwords == ("one", "two")
    assert options({"stride_length_s": "[4, 2]", "chunk_length_s": "20"}, CTC)[0].stride_length_s == (4, 2)
    read, _ = options({"language": "de", "initial_prompt": "true", "suppress_tokens": "1,2", "seed": "7"}, WHISPER)
    assert (read.language, read.initial_prompt, read.suppress_tokens, read.seed) == ("de", "true", (1, 2), 7)
    assert options({"hotwords": '["one", "two"]'}, WHISPER)[0].hotwords == ("one", "two")
    assert options({"compression_ratio_threshold": "null"}, WHISPER)[0].compression_ratio_threshold is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, True),
        ("", True),
        ("true", True),
        ("1", True),
        (True, True),
        ("False", False),
        ("0", False),
        (False, False),
    ],
)
def test_headers_are_true_or_false(value: Any, expected: bool) -> None:
    assert truth("x-use-cache", value, True) is expected


@pytest.mark.parametrize("value", ["perhaps", 2, "tru"])
def test_other_headers_are_refused(value: Any) -> None:
    with pytest.raises(Refused, match=r"x-use-cache is .+; expected true or false"):
        truth("x-use-cache", value, True)


def test_the_sixteen_fields_are_those_of_the_document() -> None:
    assert list(GENERATION)[:16] == list(SIXTEEN)
