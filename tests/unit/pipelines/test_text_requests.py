"""How chats, template variables and forms of a text-generation call are understood, and what is refused in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from auricle import pipeline
from auricle.errors import ConfigError, OptionError

CHAT: list[dict[str, Any]] = [{"role": "user", "content": "there is more"}]
BEGUN = [*CHAT, {"role": "assistant", "content": "the quick"}]
TOOL = {"type": "function", "function": {"name": "weather"}}
THINKS = "{% for m in messages %}{{ m.content }}{% endfor %}{{ '<think>' if enable_thinking else '<still>' }}"


@pytest.fixture
def write(text_checkpoint: Path) -> Any:
    return pipeline("text-generation", text_checkpoint, engine="reference", device="cpu", max_new_tokens=4)


def prompt_of(write: Any, chat: Any, **parameters: Any) -> str:
    writing = write.write(chat, **parameters)
    return str(write.tokenizer.decode(writing.prompt, skip_special_tokens=False))


def test_the_template_begins_an_answer_unless_told_otherwise(write: Any) -> None:
    begins = "<|im_start|>assistant\n"
    assert prompt_of(write, CHAT).endswith(begins)
    assert prompt_of(write, CHAT, add_generation_prompt=True).endswith(begins)
    assert not prompt_of(write, CHAT, add_generation_prompt=False).endswith(begins)


def test_a_begun_answer_is_gone_on_with_unless_another_is_asked_for(write: Any) -> None:
    assert prompt_of(write, BEGUN).endswith("the quick")
    assert prompt_of(write, BEGUN, add_generation_prompt=False, continue_final_message=True).endswith("the quick")
    assert prompt_of(write, BEGUN, add_generation_prompt=True).endswith("<|im_start|>assistant\n")
    with pytest.raises(OptionError, match="exclude each other"):
        write(BEGUN, add_generation_prompt=True, continue_final_message=True)


def test_variables_of_the_template_may_stand_where_transformers_has_them(write: Any) -> None:
    given: list[dict[str, Any]] = [
        {"tokenizer_encode_kwargs": {"enable_thinking": True}},
        {"chat_template_kwargs": {"enable_thinking": True}},
    ]
    for way in given:
        assert prompt_of(write, CHAT, chat_template=THINKS, **way) == "there is more<think>"
    assert prompt_of(write, CHAT, chat_template=THINKS) == "there is more<still>"
    with pytest.raises(OptionError, match="did you mean 'truncation'"):
        write(CHAT, tokenizer_encode_kwargs={"truncatoin": True})


@pytest.mark.parametrize(
    "way",
    [
        {"tools": [TOOL]},
        {"documents": [{"title": "a"}]},
        {"chat_template": THINKS},
        {"chat_template_kwargs": {"enable_thinking": True}},
        {"tokenizer_encode_kwargs": {"enable_thinking": True}},
        {"continue_final_message": True},
        {"add_generation_prompt": True},
    ],
)
def test_what_says_how_a_chat_is_written_goes_with_no_text(write: Any, way: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=f"{next(iter(way))} says how a chat is written, and a text arrived"):
        write("the quick", **way)


def test_a_prefix_goes_with_no_chat(write: Any) -> None:
    with pytest.raises(OptionError, match="prefix='over' stands before a text, and a chat arrived"):
        write(CHAT, prefix="over")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"chat_template_kwargs": [1]}, r"chat_template_kwargs is \[1\]; expected a dictionary"),
        ({"tokenizer_encode_kwargs": 3}, "tokenizer_encode_kwargs is 3; expected a dictionary"),
        ({"tools": "weather"}, "tools is 'weather'; expected a list"),
        ({"documents": 5}, "documents is 5; expected a list"),
        ({"max_time": 0}, "max_time is 0; expected a number of seconds above 0"),
        ({"max_time": float("nan")}, "max_time is nan"),
        ({"seed": 2**63}, "below 2 to the 63"),
        ({"sequence_bias": {(5,): 1.0}}, "give logit_bias for single tokens"),
        ({"exponential_decay_length_penalty": (1, 1.1)}, "give max_new_tokens"),
        ({"forced_eos_token_id": 2}, "no token is forced"),
        ({"begin_suppress_tokens": [2]}, "give suppress_tokens"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_words(write: Any, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        write(CHAT, **parameters)


def test_a_search_refuses_what_is_of_one_text(write: Any) -> None:
    for way in ({"top_logprobs": 2}, {"max_time": 3.0}, {"prompt_logprobs": True}):
        for search in ({"num_beams": 2}, {"penalty_alpha": 0.5, "top_k": 4}, {"best_of": 2}):
            with pytest.raises(OptionError, match=f"{next(iter(way))} is told of one text and a search follows"):
                write("the", **way, **search)


@pytest.mark.parametrize("way", [{}, {"do_sample": False}, {"num_beams": 2}, {"penalty_alpha": 0.5, "top_k": 4}])
def test_rules_that_leave_no_token_are_told_and_not_broken(write: Any, way: dict[str, Any]) -> None:
    other = write.write("the quick", do_sample=False)
    everything = list(range(write.tokenizer.vocab_size))
    with pytest.raises(OptionError, match="leave no token that may follow"):
        write("the", suppress_tokens=everything, **way)
    assert "the quick" + other.wait().text == write("the quick", do_sample=False)[0]["generated_text"]


@pytest.mark.parametrize("bias", [float("inf"), float("nan"), "x"])
def test_a_bias_that_cannot_be_added_is_refused(write: Any, bias: Any) -> None:
    with pytest.raises(OptionError, match="logit_bias is"):
        write("the", logit_bias={5: bias})


@pytest.mark.parametrize("how", ["left", "closed", "never begun"])
def test_a_stream_that_nobody_reads_on_is_written_no_further(write: Any, how: str) -> None:
    stream = write.stream("the quick", max_new_tokens=400, do_sample=False, eos_token_id=-1)
    if how != "never begun":
        assert next(stream)
    if how == "closed":
        stream.close()
    else:
        del stream
    write("over", do_sample=False)
    assert not write.writer._running.rows


def stating(text_checkpoint: Path, folder: Path, **generation: Any) -> Path:
    for path in text_checkpoint.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 2, **generation}))
    return folder


def test_a_checkpoint_may_state_stop_strings_and_a_search(text_checkpoint: Path, tmp_path: Path) -> None:
    stated = {"stop_strings": ["qu"], "penalty_alpha": 0.6, "top_k": 4}
    write: Any = pipeline("text-generation", stating(text_checkpoint, tmp_path, **stated), engine="reference")
    read = write.read_parameters
    manner = read({}, None).manner
    assert (manner.stops, manner.options.penalty_alpha, manner.options.sampling_temperature) == (("qu",), 0.6, 0)
    assert read({"stop": "x"}, None).manner.stops == ("x",)
    for way in ({"do_sample": True}, {"temperature": 0.5}):
        drawn = read(way, None).manner.options
        assert drawn.penalty_alpha == 0
        assert drawn.sampling_temperature > 0
    assert write("the", max_new_tokens=3)


@pytest.mark.parametrize(
    ("name", "value"),
    [("sequence_bias", [[[3], 1.0]]), ("forced_eos_token_id", 2), ("exponential_decay_length_penalty", [3, 1.1])],
)
def test_what_a_checkpoint_states_and_is_not_here_is_refused(
    text_checkpoint: Path, tmp_path: Path, name: str, value: Any
) -> None:
    with pytest.raises(ConfigError, match=f"states for generation that {name} is .*, which changes what is written"):
        pipeline("text-generation", stating(text_checkpoint, tmp_path, **{name: value}))


@pytest.mark.parametrize(
    ("stated", "why"),
    [
        ({"temperature": "x"}, "temperature is 'x'; expected a number"),
        ({"max_new_tokens": 2.5}, "max_new_tokens is 2.5; expected a whole number"),
        ({"eos_token_id": "x"}, "eos_token_id is 'x'; expected a token's id"),
        ({"eos_token_id": [2, None]}, "eos_token_id is"),
    ],
)
def test_a_wrong_value_of_the_checkpoint_is_told_as_its_own(
    text_checkpoint: Path, tmp_path: Path, stated: dict[str, Any], why: str
) -> None:
    with pytest.raises(ConfigError, match=f"states for generation: {why}.*Correct generation_config.json"):
        pipeline("text-generation", stating(text_checkpoint, tmp_path, **stated))


def test_what_a_checkpoint_states_and_changes_nothing_is_taken(text_checkpoint: Path, tmp_path: Path) -> None:
    stated = {"use_cache": False, "guidance_scale": 1.0, "forced_eos_token_id": None, "output_scores": True}
    assert pipeline("text-generation", stating(text_checkpoint, tmp_path, **stated))


def test_beams_give_as_many_texts_as_they_finish_by_one_search(write: Any) -> None:
    way = {"num_beams": 4, "do_sample": False}
    begun = write.writer.n_read
    found = [one["generated_text"] for one in write("the quick", num_return_sequences=4, **way)]
    assert write.writer.n_read - begun == len(write.tokenizer.encode("the quick"))
    assert len(set(found)) == 4
    assert found[0] == write("the quick", **way)[0]["generated_text"]
    drawn = {"num_beams": 3, "do_sample": True, "seed": 4, "num_return_sequences": 2}
    assert write(["the", "a"], **drawn) == [write("the", **drawn), write("a", **drawn)]
    with pytest.raises(OptionError, match="num_return_sequences=5, and num_beams=4 finish 4; raise num_beams"):
        write("the", num_return_sequences=5, **way)


def test_a_search_keeps_no_token_behind_a_stop_string(write: Any) -> None:
    way = {"num_beams": 2, "do_sample": False, "max_new_tokens": 12}
    text = write("the", return_full_text=False, **way)[0]["generated_text"]
    stop = next(letter for letter in text if letter.isascii() and letter.isalpha())
    whole, cut = (write.write("the", **way, **more).wait() for more in ({}, {"stop": stop}))
    assert cut.text.endswith(stop)
    assert cut.finish_reason == "stop"
    assert cut.tokens == whole.tokens[: cut.n_new]
    assert stop in write.tokenizer.decode(cut.tokens[-1:])


def test_an_unknown_name_is_answered_by_those_that_are_taken(write: Any) -> None:
    with pytest.raises(OptionError, match=r"unknown parameter 'xyz'.*; it takes .*top_k") as refused:
        write("the", xyz=1)
    assert "assistant_model" not in str(refused.value)


@pytest.mark.parametrize("text", ["a \ud83d b", [{"role": "user", "content": "\udc00"}]])
def test_half_a_character_is_refused_in_words(write: Any, text: Any) -> None:
    with pytest.raises(OptionError, match=r"half of a character \(U\+D"):
        write(text)


@pytest.mark.parametrize("part", [{"type": "text"}, {"type": "text", "text": None}, {"type": "text", "text": 5}, 5])
def test_a_part_of_a_message_without_text_is_refused_in_words(write: Any, part: Any) -> None:
    with pytest.raises(OptionError, match=r"a message has the part .*; expected {'type': 'text', 'text'"):
        write([{"role": "user", "content": [{"type": "text", "text": "over "}, part]}])


def test_a_named_schema_may_stand_in_the_value(write: Any) -> None:
    schema = {"type": "object", "properties": {"n": {"const": 7}}, "required": ["n"], "additionalProperties": False}
    for value in (schema, {"name": "counted", "schema": schema}, {"name": "counted", "strict": True, "schema": schema}):
        form = {"type": "json_schema", "value": value}
        (found,) = write("the", response_format=form, max_new_tokens=40, return_full_text=False)
        assert found["generated_text"].replace(" ", "") == '{"n":7}'
