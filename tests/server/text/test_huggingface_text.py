"""Texts on the routes of the Inference API and of text-generation-inference: bodies, streams, details, the cache."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

NAME = "org/writer"
WAY = {"max_new_tokens": 12, "seed": 3}


def post(server: Any, body: Any, path: str = f"/models/{NAME}", **more: Any) -> httpx.Response:
    return httpx.post(server.url + path, json=body, timeout=60, **more)


def events(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.headers["content-type"].startswith("text/event-stream")
    return [json.loads(line[5:]) for line in response.text.splitlines() if line.startswith("data:")]


def test_a_text_is_written_on_as_the_pipeline_does(text_server: Any, write: Any) -> None:
    response = post(text_server, {"inputs": "the quick", "parameters": WAY})
    assert response.json() == write("the quick", **WAY)
    assert response.headers["x-generated-tokens"] == "12"


def test_only_new_text_lists_and_chats(text_server: Any, write: Any) -> None:
    new = post(text_server, {"inputs": "the quick", "parameters": {**WAY, "return_full_text": False}}).json()
    assert new == write("the quick", return_full_text=False, **WAY)
    both = post(text_server, {"inputs": ["the quick", "a"], "parameters": WAY}).json()
    assert both == write(["the quick", "a"], **WAY)
    chat = [{"role": "user", "content": "there is more"}]
    assert post(text_server, {"inputs": chat, "parameters": WAY}).json() == write(chat, **WAY)
    several = post(text_server, {"inputs": "a", "parameters": {**WAY, "num_return_sequences": 3}}).json()
    assert several == write("a", num_return_sequences=3, **WAY)


def test_chats_are_those_of_the_pipeline_in_every_form(text_server: Any, write: Any) -> None:
    chat: list[dict[str, Any]] = [{"role": "user", "content": "there is more"}]
    begun = [*chat, {"role": "assistant", "content": "the quick"}]
    parts = [{"role": "user", "content": [{"type": "text", "text": "there is "}, {"type": "text", "text": "more"}]}]
    called = [*chat, {"role": "assistant", "content": None, "tool_calls": []}, {"role": "tool", "content": "rain"}]
    for inputs in (begun, parts, called, [chat, begun], [chat, "the quick"]):
        assert post(text_server, {"inputs": inputs, "parameters": WAY}).json() == write(inputs, **WAY)
    told = events(post(text_server, {"inputs": begun, "parameters": WAY, "stream": True}))
    assert told[-1]["generated_text"] == write(begun, **WAY)[0]["generated_text"]
    for wrong in ([{"role": "user", "content": 5}], [{"role": "user"}], [[]], [chat, 3]):
        refused = post(text_server, {"inputs": wrong})
        assert (refused.status_code, "messages with role and content" in refused.json()["error"]) == (400, True)


def test_a_text_may_be_the_body_and_parameters_the_query(text_server: Any, write: Any) -> None:
    response = httpx.post(f"{text_server.url}/models/{NAME}", content=b"the quick", params=WAY, timeout=60)
    assert response.json() == write("the quick", **WAY)


def test_a_form_is_a_prompt_and_its_parameters(text_server: Any, write: Any) -> None:
    fields = {"inputs": "the quick", "model": NAME, **{name: str(value) for name, value in WAY.items()}}
    parts = {name: (None, value) for name, value in fields.items()}
    response = httpx.post(f"{text_server.url}/models/{NAME}", files=parts, timeout=60)
    assert response.json() == write("the quick", **WAY)
    wrong = httpx.post(f"{text_server.url}/models/{NAME}", files={**parts, "top_q": (None, "1")}, timeout=60)
    assert (wrong.status_code, "top_q" in wrong.json()["error"]) == (400, True)


def test_a_stream_tells_each_token_and_then_everything(text_server: Any, write: Any) -> None:
    told = events(post(text_server, {"inputs": "the quick", "parameters": WAY, "stream": True}))
    (whole,) = write("the quick", return_full_text=False, **WAY)
    assert len(told) == 12
    assert "".join(one["token"]["text"] for one in told) == whole["generated_text"]
    assert set(told[0]["token"]) == {"id", "text", "logprob", "special"}
    assert all(one["generated_text"] is None and one["details"] is None for one in told[:-1])
    assert told[-1]["generated_text"] == "the quick" + whole["generated_text"]
    details = told[-1]["details"]
    assert (details["finish_reason"], details["generated_tokens"], details["seed"]) == ("length", 12, 3)


def test_the_routes_of_text_generation_inference(text_server: Any, write: Any) -> None:
    body = {"inputs": "the quick", "parameters": {"max_new_tokens": 12}}
    found = post(text_server, body, f"/models/{NAME}/generate").json()
    (greedy,) = write("the quick", do_sample=False, max_new_tokens=12, return_full_text=False)
    assert found == greedy
    assert post(text_server, body, "/generate").json() == greedy  # the server's default model
    told = events(post(text_server, body, f"/models/{NAME}/generate_stream"))
    assert told[-1]["generated_text"] == greedy["generated_text"]


def test_details_tell_of_the_prompt_and_of_the_tokens_beside(text_server: Any, write: Any) -> None:
    way = {**WAY, "details": True, "decoder_input_details": True, "top_n_tokens": 3}
    (found,) = post(text_server, {"inputs": "the quick", "parameters": way}).json()
    prefill = found["details"]["prefill"]
    assert [one["id"] for one in prefill] == write.tokenizer.encode("the quick")
    assert prefill[0]["logprob"] is None
    assert all(one["logprob"] < 0 for one in prefill[1:])
    top = found["details"]["top_tokens"]
    assert [len(one) for one in top] == [3] * len(found["details"]["tokens"])
    assert all(one[0]["logprob"] >= one[1]["logprob"] >= one[2]["logprob"] for one in top)
    reply = post(text_server, {"inputs": "the quick", "parameters": {**WAY, "top_n_tokens": 3}})
    assert "top_n_tokens is not used" in reply.headers["x-hf-warning"]
    refused = post(text_server, {"inputs": "the quick", "parameters": {**WAY, "prompt_logprobs": True}})
    assert (refused.status_code, "decoder_input_details" in refused.json()["error"]) == (400, True)
    streamed = {"inputs": "the quick", "parameters": way, "stream": True}
    assert "leave stream out" in post(text_server, streamed).json()["error"]


def test_details_name_every_token(text_server: Any) -> None:
    way = {**WAY, "details": True, "return_full_text": False}
    (found,) = post(text_server, {"inputs": "the", "parameters": way}).json()
    details = found["details"]
    assert details["generated_tokens"] == len(details["tokens"]) == 12
    assert "".join(token["text"] for token in details["tokens"] if not token["special"]) == found["generated_text"]
    assert all(token["logprob"] <= 0 for token in details["tokens"])


def test_stop_strings_and_end_tokens_are_told_apart(text_server: Any, byte_level: Any) -> None:
    ends = list(range(byte_level.get_vocab_size()))
    free = post(text_server, {"inputs": "the", "parameters": {**WAY, "return_full_text": False}}).json()
    stop = free[0]["generated_text"][4:7]
    for way, reason in (({"stop": [stop]}, "stop_sequence"), ({"eos_token_id": ends}, "eos_token")):
        (found,) = post(text_server, {"inputs": "the", "parameters": {**WAY, "details": True, **way}}).json()
        assert found["details"]["finish_reason"] == reason


def test_the_best_of_several_is_the_most_probable(text_server: Any) -> None:
    def mean(found: dict[str, Any]) -> float:
        tokens = found["details"]["tokens"]
        return sum(one["logprob"] for one in tokens) / len(tokens)

    way = {**WAY, "details": True}
    all_of_them = post(text_server, {"inputs": "the", "parameters": {**way, "num_return_sequences": 4}}).json()
    (best,) = post(text_server, {"inputs": "the", "parameters": {**way, "best_of": 4}}).json()
    assert mean(best) == pytest.approx(max(map(mean, all_of_them)))


def test_a_grammar_is_kept_to(text_server: Any) -> None:
    grammar = {"type": "json", "value": {"properties": {"n": {"type": "integer"}}, "required": ["n"], "type": "object"}}
    way = {"max_new_tokens": 40, "grammar": grammar, "return_full_text": False}
    (found,) = post(text_server, {"inputs": "the", "parameters": way}).json()
    assert isinstance(json.loads(found["generated_text"])["n"], int)


def test_the_most_probable_text_is_kept_and_samples_are_not(text_server: Any) -> None:
    body = {"inputs": "kept", "parameters": {"max_new_tokens": 5, "do_sample": False}}
    first, second = post(text_server, body), post(text_server, body)
    assert (first.headers["x-cache"], second.headers["x-cache"]) == ("miss", "hit")
    assert first.json() == second.json()
    assert "x-compute-time" not in second.headers
    assert post(text_server, body, headers={"x-use-cache": "false"}).headers["x-cache"] == "bypass"
    body["parameters"] = WAY
    assert [post(text_server, body).headers["x-cache"] for _ in range(2)] == ["bypass", "bypass"]


def test_samples_are_drawn_where_a_temperature_asks_for_them(text_server: Any, write: Any) -> None:
    way = {**WAY, "temperature": 1.5, "do_sample": False}
    response = post(text_server, {"inputs": "the", "parameters": way})
    assert response.json() == write("the", temperature=1.5, **WAY)
    assert "do_sample=false is not used" in response.headers["x-hf-warning"]


def test_a_long_prompt_is_cut_where_that_is_asked_for(text_server: Any, write: Any) -> None:
    way = {**WAY, "truncate": 4, "details": True}
    told = events(post(text_server, {"inputs": "the quick brown fox jumps", "parameters": way, "stream": True}))
    assert told[-1]["details"]["input_length"] == 4


@pytest.mark.parametrize(
    ("body", "status", "why"),
    [
        ({"parameters": {}}, 400, "no 'inputs'"),
        ({"inputs": 5}, 400, "a number"),
        ({"inputs": [1]}, 400, "list"),
        ({"inputs": "a", "parameters": {"max_new_tokens": 0}}, 400, "whole number from 1"),
        ({"inputs": "a", "parameters": {"max_new_tokens": 301}}, 400, "at most 300"),
        ({"inputs": "a " * 600}, 400, "maximum context length is 512"),
        ({"inputs": "a", "parameters": {"num_beams": 4}}, 400, "hold up"),
        ({"inputs": "a", "parameters": {"chat_template": "{{ 1 }}"}}, 400, "not taken over HTTP"),
        ({"inputs": "a", "parameters": {"watermark": True}}, 400, "not marked"),
        ({"inputs": "a", "parameters": {"tempratur": 1}}, 400, "did you mean 'temperature'"),
        ({"inputs": "a", "parameters": {"seed": -1}}, 400, "seed is -1"),
        ({"inputs": "a", "parameters": {"best_of": 2}, "stream": True}, 400, "one text"),
        ({"inputs": "\ud800"}, 400, "surrogate"),
        ({"inputs": "a", "stream": 1}, 400, "true or false"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_with_a_sentence(text_server: Any, body: Any, status: int, why: str) -> None:
    response = httpx.post(f"{text_server.url}/models/{NAME}", content=json.dumps(body), timeout=60)
    assert response.status_code == status, response.text
    assert why in response.json()["error"]


def test_a_context_error_has_the_type_that_clients_of_text_generation_inference_know(text_server: Any) -> None:
    assert post(text_server, {"inputs": "a " * 600}).json()["error_type"] == "validation"


def test_the_task_of_the_path_must_be_the_models(text_server: Any, recording: Any) -> None:
    body = {"inputs": "the", "parameters": WAY}
    assert post(text_server, body, f"/pipeline/text-generation/{NAME}").status_code == 200
    wrong = post(text_server, body, f"/pipeline/image-classification/{NAME}")
    assert wrong.status_code == 422
    assert "does text-generation, not image-classification" in wrong.json()["error"]
    heard = httpx.post(f"{text_server.url}/models/bundled", content=recording.read_bytes(), timeout=60)
    assert "text" in heard.json()
    sound = httpx.post(f"{text_server.url}/models/{NAME}", content=recording.read_bytes(), timeout=60)
    assert sound.status_code == 400
    assert "reads text" in sound.json()["error"]
