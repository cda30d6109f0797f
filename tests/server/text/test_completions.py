"""Completions by OpenAI's client against a live server."""

from __future__ import annotations

from typing import Any

import openai
import pytest

NAME = "org/writer"


def ask(client: openai.OpenAI, **more: Any) -> Any:
    given = {"model": NAME, "prompt": "the quick", "max_tokens": 10, "seed": 1, **more}
    return client.completions.create(**given)


def written(write: Any, prompt: str, **way: Any) -> str:
    given = {"max_new_tokens": 10, "seed": 1, "return_full_text": False, **way}
    return str(write(prompt, **given)[0]["generated_text"])


def test_prompts_as_text_as_ids_and_several_of_either(client: openai.OpenAI, write: Any) -> None:
    prompts = ["the quick", "a"]
    ids = [write.tokenizer.encode(prompt) for prompt in prompts]
    texts = [written(write, prompt) for prompt in prompts]
    assert [one.text for one in ask(client).choices] == texts[:1]
    assert [one.text for one in ask(client, prompt=prompts).choices] == texts
    assert [one.text for one in ask(client, prompt=ids[0]).choices] == texts[:1]
    answer = ask(client, prompt=ids)
    assert [(one.index, one.text, one.finish_reason) for one in answer.choices] == [
        (0, texts[0], "length"),
        (1, texts[1], "length"),
    ]
    assert answer.usage.prompt_tokens == sum(map(len, ids))
    assert (answer.object, answer.usage.completion_tokens) == ("text_completion", 20)


def test_sixteen_tokens_unless_told_otherwise(client: openai.OpenAI) -> None:
    assert client.completions.create(model=NAME, prompt="the", seed=1).usage.completion_tokens == 16  # type: ignore[union-attr]


def test_a_stream_joins_to_the_text(client: openai.OpenAI, write: Any) -> None:
    chunks = list(ask(client, stream=True, echo=True, stream_options={"include_usage": True}))
    assert "".join(one.choices[0].text for one in chunks[:-1]) == "the quick" + written(write, "the quick")
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].usage.completion_tokens == 10


def test_an_echo_stands_before_the_text(client: openai.OpenAI, write: Any) -> None:
    assert ask(client, echo=True).choices[0].text == "the quick" + written(write, "the quick")
    ids = write.tokenizer.encode("the quick")
    assert ask(client, echo=True, prompt=ids).choices[0].text == "the quick" + written(write, "the quick")


def test_probabilities_of_each_token(client: openai.OpenAI) -> None:
    found = ask(client, logprobs=2, temperature=0).choices[0].logprobs
    assert len(found.tokens) == len(found.token_logprobs) == len(found.top_logprobs) == len(found.text_offset) == 10
    assert max(found.top_logprobs[0].values()) == pytest.approx(found.token_logprobs[0])
    assert found.text_offset[:2] == [0, len(found.tokens[0])]


def test_an_echo_has_its_own_probabilities(client: openai.OpenAI, write: Any) -> None:
    ids = write.tokenizer.encode("the quick brown")
    whole = ask(client, prompt="the quick brown", echo=True, logprobs=2, max_tokens=3, temperature=0).choices[0]
    found, n = whole.logprobs, len(ids)
    assert len(found.tokens) == len(found.token_logprobs) == len(found.top_logprobs) == len(found.text_offset) == n + 3
    assert (found.token_logprobs[0], found.top_logprobs[0]) == (None, None)
    assert all(value < 0 for value in found.token_logprobs[1:])
    assert "".join(found.tokens) == whole.text
    assert found.text_offset == [len("".join(found.tokens[:place])) for place in range(n + 3)]
    # What follows is what is written without an echo, and each token has the probability that it has after the others.
    plain = ask(client, prompt="the quick brown", logprobs=2, max_tokens=3, temperature=0).choices[0].logprobs
    assert (found.tokens[n:], found.token_logprobs[n:]) == (plain.tokens, pytest.approx(plain.token_logprobs, abs=1e-5))
    ones = [ask(client, prompt=ids[:place], logprobs=20, max_tokens=1, temperature=0) for place in range(1, n)]
    best = [max(one.choices[0].logprobs.top_logprobs[0].values()) for one in ones]
    assert [max(one.values()) for one in found.top_logprobs[1:n]] == pytest.approx(best, abs=1e-4)


def test_a_prompt_is_scored_and_nothing_written(client: openai.OpenAI, write: Any) -> None:
    ids = write.tokenizer.encode("the quick brown")
    answer = ask(client, prompt=[ids, ids[:2]], echo=True, logprobs=1, max_tokens=0)
    assert [len(one.logprobs.tokens) for one in answer.choices] == [len(ids), 2]
    assert (answer.usage.completion_tokens, answer.choices[0].finish_reason) == (0, "length")
    assert answer.choices[0].text == "the quick brown"
    chunks = list(ask(client, prompt=ids, echo=True, logprobs=1, max_tokens=0, stream=True))
    assert [one.choices[0].logprobs.token_logprobs for one in chunks] == [answer.choices[0].logprobs.token_logprobs]
    assert ask(client, echo=True, max_tokens=0).choices[0].text == "the quick"


def test_the_best_of_several(client: openai.OpenAI) -> None:
    def mean(choice: Any) -> float:
        return sum(choice.logprobs.token_logprobs) / len(choice.logprobs.token_logprobs)

    every = ask(client, n=4, logprobs=0).choices
    best = ask(client, n=2, best_of=4, logprobs=0)
    assert [mean(one) for one in best.choices] == pytest.approx(sorted(map(mean, every), reverse=True)[:2])
    assert best.usage.completion_tokens == 40


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"suffix": "end"}, "suffix"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [1, "a"]}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": [99999]}, None),
        ({"prompt": ["a"] * 65}, "prompt"),
        ({"best_of": 2, "stream": True}, "best_of"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"extra_body": {"messages": []}}, "messages"),
    ],
)
def test_what_is_wrong_is_refused(client: openai.OpenAI, more: Any, param: str | None) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, **more)
    assert refused.value.param == param


def test_the_routes_below_a_models_own_path(text_server: Any) -> None:
    with openai.OpenAI(base_url=f"{text_server.url}/models/{NAME}/v1", api_key="none", max_retries=0) as client:
        assert ask(client, model="whatever").model == NAME
        chat = client.chat.completions.create(
            model="dummy", messages=[{"role": "user", "content": "the"}], max_tokens=3
        )
        assert chat.model == NAME
