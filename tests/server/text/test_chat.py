"""Chats by OpenAI's client against a live server: texts, streams, tools, forms, probabilities and refusals."""

from __future__ import annotations

import json
import math
from typing import Any

import openai
import pytest
from pydantic import BaseModel

NAME = "org/writer"
CHAT: list[Any] = [{"role": "user", "content": "there is more"}]
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Bonn", "Rome"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


def ask(client: openai.OpenAI, **more: Any) -> Any:
    return client.chat.completions.create(**{"model": NAME, "messages": CHAT, "max_tokens": 20, "seed": 1, **more})


def test_an_answer_is_what_the_pipeline_writes(client: openai.OpenAI, write: Any) -> None:
    answer = ask(client)
    (choice,) = answer.choices
    (expected,) = write(CHAT, seed=1, max_new_tokens=20)
    assert choice.message.content == expected["generated_text"][-1]["content"]
    assert (choice.message.role, choice.finish_reason, choice.logprobs) == ("assistant", "length", None)
    n_prompt = len(write.preprocess(CHAT, write.read_call({}, None, None)[0]).ids)
    usage = answer.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (n_prompt, 20, n_prompt + 20)
    assert (answer.object, answer.model) == ("chat.completion", NAME)


def test_a_stream_joins_to_the_answer_and_ends_with_what_it_used(client: openai.OpenAI) -> None:
    whole = ask(client)
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    *written, last = chunks
    assert "".join(one.choices[0].delta.content or "" for one in written) == whole.choices[0].message.content
    assert written[0].choices[0].delta.role == "assistant"
    assert [one.choices[0].finish_reason for one in written][-2:] == [None, "length"]
    assert last.choices == []
    assert last.usage.completion_tokens == 20
    assert {one.object for one in chunks} == {"chat.completion.chunk"}
    assert len({one.id for one in chunks}) == 1
    assert all(one.usage is None for one in written)


def test_without_being_asked_a_stream_tells_no_usage(client: openai.OpenAI) -> None:
    assert all(one.usage is None and one.choices for one in ask(client, stream=True))


def test_several_answers_have_seeds_in_a_row(client: openai.OpenAI) -> None:
    alone = [ask(client, seed=seed).choices[0].message.content for seed in (1, 2, 3)]
    together = ask(client, n=3)
    assert [one.message.content for one in together.choices] == alone
    assert together.usage.completion_tokens == 60
    told: dict[int, str] = {0: "", 1: "", 2: ""}
    for chunk in ask(client, n=3, stream=True):
        told[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert list(told.values()) == alone


def test_the_next_turn_reads_only_what_is_new(client: openai.OpenAI, text_server: Any) -> None:
    first = ask(client, temperature=0)
    said = first.choices[0].message.content
    turns = [*CHAT, {"role": "assistant", "content": said}, {"role": "user", "content": "and then"}]
    second = ask(client, messages=turns, temperature=0)
    assert second.usage.prompt_tokens_details.cached_tokens >= first.usage.prompt_tokens - 1


def test_a_stop_string_ends_the_answer_and_is_not_part_of_it(client: openai.OpenAI) -> None:
    text = ask(client).choices[0].message.content
    stop = text[8:11]
    choice = ask(client, stop=[stop, "never there"]).choices[0]
    assert (choice.message.content, choice.finish_reason) == (text[: text.index(stop)], "stop")


def test_temperature_0_is_the_most_probable_text_and_a_bias_forbids_a_token(client: openai.OpenAI, write: Any) -> None:
    first = ask(client, temperature=0, logprobs=True)
    assert first.choices[0].message.content == ask(client, temperature=0, seed=9).choices[0].message.content
    token = write.write(CHAT, do_sample=False, max_new_tokens=1).wait().tokens[0]
    other = ask(client, temperature=0, logit_bias={str(token): -100})
    assert other.choices[0].message.content != first.choices[0].message.content


def test_probabilities_are_those_of_the_tokens_and_of_the_best(client: openai.OpenAI) -> None:
    answer = ask(client, temperature=0, logprobs=True, top_logprobs=3, max_tokens=5)
    content = answer.choices[0].logprobs.content
    assert len(content) == 5
    for one in content:
        assert len(one.top_logprobs) == 3
        assert one.top_logprobs[0].logprob == pytest.approx(one.logprob)
        assert sum(math.exp(other.logprob) for other in one.top_logprobs) <= 1 + 1e-6
    streamed = ask(client, temperature=0, logprobs=True, top_logprobs=3, max_tokens=5, stream=True)
    told = [one for chunk in streamed for one in (chunk.choices[0].logprobs or Empty).content]
    assert [one.logprob for one in told] == [one.logprob for one in content]


class Empty:
    content: tuple[Any, ...] = ()


def test_roles_and_parts_of_text(client: openai.OpenAI) -> None:
    plain = ask(client, messages=[{"role": "system", "content": "be brief"}, *CHAT])
    parts = [{"type": "text", "text": "there is "}, {"type": "text", "text": "more"}]
    other = ask(client, messages=[{"role": "developer", "content": "be brief"}, {"role": "user", "content": parts}])
    assert other.choices[0].message.content == plain.choices[0].message.content


def test_a_named_tool_is_called_whatever_the_weights(client: openai.OpenAI) -> None:
    choice = {"type": "function", "function": {"name": "weather"}}
    for wanted in (choice, "required"):
        (found,) = ask(client, tools=[TOOL], tool_choice=wanted, max_tokens=80).choices
        assert found.finish_reason == "tool_calls"
        (call,) = found.message.tool_calls
        assert call.function.name == "weather"
        assert json.loads(call.function.arguments)["city"] in ("Bonn", "Rome")
        assert found.message.content is None


def test_calls_come_in_a_stream_too(client: openai.OpenAI) -> None:
    chunks = list(ask(client, tools=[TOOL], tool_choice="required", max_tokens=80, stream=True))
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    assert [(call.index, call.function.name) for call in calls] == [(0, "weather")]
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    assert not any(chunk.choices[0].delta.content for chunk in chunks)


def test_tools_reach_the_template_and_calls_may_be_sent_back(client: openai.OpenAI) -> None:
    called = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bonn"}'}}
    turns: list[Any] = [
        *CHAT,
        {"role": "assistant", "content": None, "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
    ]
    assert ask(client, messages=turns, tools=[TOOL]).choices[0].message.content


def test_clients_of_other_servers_say_how_an_answer_begins(client: openai.OpenAI) -> None:
    begun: list[Any] = [*CHAT, {"role": "assistant", "content": "the quick"}]
    plain = ask(client, messages=begun)
    both = {"add_generation_prompt": False, "continue_final_message": True}
    assert ask(client, messages=begun, extra_body=both).choices[0].message.content == plain.choices[0].message.content
    anew = ask(client, messages=begun, extra_body={"add_generation_prompt": True})
    assert anew.usage.prompt_tokens > plain.usage.prompt_tokens
    bare = ask(client, extra_body={"add_generation_prompt": False})
    assert bare.usage.prompt_tokens < ask(client).usage.prompt_tokens


class Person(BaseModel):
    name: str
    age: int


def test_parse_gives_an_object_of_the_class(client: openai.OpenAI) -> None:
    for seed in range(3):
        found = client.chat.completions.parse(
            model=NAME, messages=CHAT, seed=seed, response_format=Person, max_tokens=60, temperature=1.5
        )
        assert isinstance(found.choices[0].message.parsed, Person)


def test_json_objects_parse(client: openai.OpenAI) -> None:
    found = ask(client, response_format={"type": "json_object"}, max_tokens=40)
    assert isinstance(json.loads(found.choices[0].message.content), dict)


@pytest.mark.parametrize(
    ("more", "param", "why"),
    [
        ({"messages": []}, "messages", "messages is empty"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
         "messages", "part of type 'image_url'; this model reads text"),
        ({"messages": [{"role": "user", "content": None}]}, "messages", "has the role 'user' and no content"),
        ({"temperature": -1}, "temperature", "temperature is -1; expected a number from 0"),
        ({"top_p": 1.5}, "top_p", "expected a number"),
        ({"n": 0}, "n", "whole number from 1"),
        ({"max_tokens": 0}, "max_tokens", "whole number from 1"),
        ({"max_tokens": 301}, "max_tokens", "at most 300"),
        ({"max_completion_tokens": 9}, "max_tokens", "max_tokens is 20 and max_completion_tokens, its newer name, 9"),
        ({"logit_bias": {"a": 1}}, "logit_bias", "token ids"),
        ({"top_logprobs": 3}, "top_logprobs", "set it to true"),
        ({"stop": ["a"] * 17}, "stop", "up to 16"),
        ({"response_format": {"type": "xml"}}, "response_format", "response_format is"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "odd"}}}},
         None, "cannot be enforced"),
        ({"tools": [{"type": "function"}]}, "tools", "tools\\[0\\]"),
        ({"tool_choice": "required"}, "tool_choice", "there are no tools"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice", "names 'x'"),
        ({"functions": [{"name": "f"}]}, "functions", "give 'tools'"),
        ({"modalities": ["audio"]}, "modalities", "not spoken"),
        ({"extra_body": {"temprature": 1}}, "temprature", "did you mean 'temperature'"),
        ({"extra_body": {"chat_template": "{{ 1 }}"}}, "chat_template", "unknown field"),
        ({"extra_body": {"min_p": 3}}, "min_p", "min_p is 3"),
        ({"extra_body": {"chat_template_kwargs": [1]}}, "chat_template_kwargs", "expected a dictionary"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_by_its_name(client: openai.OpenAI, more: Any, param: str | None, why: str) -> None:
    with pytest.raises(openai.BadRequestError, match=why) as refused:
        ask(client, **more)
    assert refused.value.param == param
    assert refused.value.type == "invalid_request_error"


def test_a_prompt_without_room_has_the_code_that_clients_know(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="maximum context length is 512 tokens") as refused:
        ask(client, messages=[{"role": "user", "content": "quick " * 600}])
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "messages")
    with pytest.raises(openai.BadRequestError, match="290 in the completion") as refused:
        ask(client, messages=[{"role": "user", "content": "the quick " * 150}], max_tokens=290)
    assert refused.value.code == "context_length_exceeded"


def test_models_of_other_tasks_and_unknown_ones(client: openai.OpenAI) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match="does automatic-speech-recognition"):
        ask(client, model="bundled")
    with pytest.raises(openai.NotFoundError, match="not served here") as refused:
        ask(client, model="no/one")
    assert refused.value.code == "model_not_found"


def test_the_list_of_models_tells_their_tasks(client: openai.OpenAI) -> None:
    tasks = {one.id: one.task for one in client.models.list()}  # type: ignore[attr-defined]
    assert tasks == {NAME: "text-generation", "bundled": "automatic-speech-recognition"}


def test_what_is_not_used_is_told(client: openai.OpenAI) -> None:
    answer = client.chat.completions.with_raw_response.create(
        model=NAME, messages=CHAT, max_tokens=3, reasoning_effort="low", user="me"
    )
    assert "reasoning_effort is not used" in answer.headers["x-hf-warning"]
    assert int(answer.headers["x-generated-tokens"]) == 3


def test_what_the_model_alone_decides_is_told(client: openai.OpenAI) -> None:
    for given in (True, False):
        answer = client.chat.completions.with_raw_response.create(
            model=NAME, messages=CHAT, max_tokens=3, parallel_tool_calls=given
        )
        assert ("parallel_tool_calls=false is not used" in answer.headers.get("x-hf-warning", "")) is not given
