"""The text-generation pipeline on a tiny random checkpoint: forms, streams, memory, neighbours and refusals."""

from __future__ import annotations

import dataclasses
import itertools
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from auricle import pipeline
from auricle.errors import ConfigError, OptionError, TaskError
from auricle.pipelines.text_generation import Prompt

CHAT = [{"role": "user", "content": "there is more"}]


@pytest.fixture
def write(text_checkpoint: Path) -> Any:
    return pipeline("text-generation", text_checkpoint, engine="reference", device="cpu", max_new_tokens=12)


def test_a_text_is_written_on(write: Any) -> None:
    (result,) = write("the quick", do_sample=False)
    assert list(result) == ["generated_text"]
    assert result["generated_text"].startswith("the quick")
    assert len(result["generated_text"]) > len("the quick")


def test_the_task_follows_from_the_checkpoint(text_checkpoint: Path) -> None:
    assert pipeline(model=text_checkpoint).task == "text-generation"


def test_a_list_gives_a_list_of_lists_and_each_text_is_that_of_its_prompt_alone(write: Any) -> None:
    prompts = ["the quick", "a", "over the lazy dog, and more is told", "the quick"]
    for way in ({"do_sample": False}, {"seed": 3}, {"seed": 3, "top_p": 0.8, "repetition_penalty": 1.2}):
        assert write(prompts, **way) == [write(prompt, **way) for prompt in prompts]


def test_a_chat_comes_back_with_the_answer(write: Any) -> None:
    (result,) = write(CHAT, seed=1)
    *before, answer = result["generated_text"]
    assert before == CHAT
    assert list(answer) == ["role", "content"]
    assert answer["role"] == "assistant"
    assert write([CHAT, CHAT], seed=1) == [[result], [result]]
    assert write(text_inputs=CHAT, seed=1) == [result]


def test_an_answer_that_was_begun_is_gone_on_with(write: Any) -> None:
    (result,) = write([*CHAT, {"role": "assistant", "content": "the quick"}], seed=1)
    assert len(result["generated_text"]) == 2
    assert result["generated_text"][-1]["content"].startswith("the quick")
    (anew,) = write([*CHAT, {"role": "assistant", "content": "the"}], seed=1, continue_final_message=False)
    assert len(anew["generated_text"]) == 3


def test_only_new_text_and_ids(write: Any) -> None:
    ways: list[dict[str, bool]] = [{}, {"return_full_text": False}, {"return_tensors": True}]
    (full,), (new,), (ids,) = (write("the", do_sample=False, **way) for way in ways)
    assert "the" + new["generated_text"] == full["generated_text"]
    assert write.tokenizer.decode(ids["generated_token_ids"]) == full["generated_text"]


RETURNS = ("return_full_text", "return_text", "return_tensors")


@pytest.mark.parametrize("pair", list(itertools.combinations(RETURNS, 2)))
def test_two_ways_to_say_what_returns_are_refused(write: Any, pair: tuple[str, str]) -> None:
    with pytest.raises(OptionError, match=r"mutually exclusive"):
        write("the", **dict.fromkeys(pair, True))


def test_several_texts_of_one_prompt(write: Any) -> None:
    results = write("the", num_return_sequences=3, seed=1)
    assert len({one["generated_text"] for one in results}) == 3
    assert results[0] == write("the", seed=1)[0]
    assert results == write("the", num_return_sequences=3, seed=1)


def test_texts_differ_unless_a_seed_says_otherwise(write: Any) -> None:
    assert write("the") != write("the")
    torch.manual_seed(4)
    first = write("the")
    torch.manual_seed(4)
    assert write("the") == first


@pytest.mark.parametrize("prompt", ["the quick", CHAT])
def test_a_stream_joins_to_the_whole(write: Any, prompt: Any) -> None:
    pieces = list(write.stream(prompt, seed=2, max_new_tokens=40))
    assert len(pieces) > 5
    assert "".join(pieces) == write(prompt, seed=2, max_new_tokens=40, return_full_text=False)[0]["generated_text"]


def test_a_stop_string_ends_the_text_and_its_beginning_is_held_back(write: Any) -> None:
    free = write("the", seed=2, return_full_text=False, max_new_tokens=40)[0]["generated_text"]
    stop = free[10:13]
    kept = write("the", seed=2, return_full_text=False, max_new_tokens=40, stop_strings=stop)[0]["generated_text"]
    assert stop in kept
    assert free.startswith(kept)
    cut = {"stop": [stop], "include_stop_string": False}
    pieces = list(write.stream("the", seed=2, max_new_tokens=40, **cut))
    assert "".join(pieces) == free[: free.index(stop)]


def test_a_writing_tells_why_it_ended_and_what_it_used(write: Any) -> None:
    writing = write.write("the quick", seed=2).wait()
    assert (writing.finish_reason, writing.n_new, len(writing.prompt)) == (
        "length",
        12,
        len(write.tokenizer.encode("the quick")),
    )
    ended = write.write("the quick", do_sample=False, eos_token_id=list(range(300))).wait()
    assert (ended.finish_reason, ended.n_new) == ("stop", 1)
    assert write.write("the", seed=2, max_time=1e-9).wait().finish_reason == "time"


def test_a_chat_that_goes_on_reads_only_what_is_new(write: Any) -> None:
    first = write.write(CHAT, do_sample=False, max_new_tokens=30, skip_special_tokens=False).wait()
    assert write.writer.n_read == len(first.prompt)
    on = [*first.prompt, *first.tokens, *write.tokenizer.encode("<|im_end|>\nand more")]
    second = write.writer.write(on, first.manner).wait()
    # The last token of the answer was written and not read.
    assert second.n_cached == len(first.prompt) + first.n_new - 1
    assert write.writer.n_read == len(first.prompt) + len(on) - second.n_cached
    write.writer.forget()
    anew = write.writer.write(on, first.manner).wait()
    assert (anew.n_cached, anew.text) == (0, second.text)


def test_prompts_that_begin_alike_share_what_was_read_and_keep_their_texts(write: Any) -> None:
    system = "the quick brown fox jumps over the lazy dog, and more is told"
    prompts = [f"{system} {number}" for number in range(4)]
    fresh = []
    for prompt in prompts:
        write.writer.forget()
        fresh.append(write(prompt, do_sample=False))
    assert [write(prompt, do_sample=False) for prompt in prompts] == fresh
    assert write.write(prompts[0], do_sample=False).wait().n_cached > 10


def test_many_threads_write_side_by_side_and_get_their_own_texts(write: Any) -> None:
    prompts = [f"{'the quick ' * (number % 4)}{number}" for number in range(12)]
    alone = [write(prompt, seed=number)[0]["generated_text"] for number, prompt in enumerate(prompts)]
    found: list[str] = [""] * len(prompts)

    def ask(number: int) -> None:
        found[number] = prompts[number] + "".join(write.stream(prompts[number], seed=number))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(prompts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == alone


def test_an_answer_that_is_closed_ends_and_its_neighbours_go_on(write: Any) -> None:
    long, other = write.write("the", seed=1, max_new_tokens=200), write.write("the quick", seed=2)
    next(long)
    long.close()
    assert other.wait().text == write("the quick", seed=2, return_full_text=False)[0]["generated_text"]
    assert (long.finish_reason, long.n_new) == ("cancelled", 1)
    assert not write.writer._writings


def test_an_error_while_writing_reaches_everyone_and_is_over_then(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = write.write("the", seed=1), write.write("quick", seed=1)
    with monkeypatch.context() as patch:
        patch.setattr(write.writer._running, "advance", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            first.wait()
    with pytest.raises(ZeroDivisionError):
        second.wait()
    assert write("the", seed=1)


SEARCHES: list[dict[str, Any]] = [
    {"num_beams": 3, "do_sample": False},
    {"num_beams": 4, "num_beam_groups": 2},
    {"penalty_alpha": 0.6, "top_k": 4},
    {"best_of": 3, "seed": 1},
]


@pytest.mark.parametrize("way", SEARCHES)
def test_searches_write_what_they_find(write: Any, way: dict[str, Any]) -> None:
    prompts = ["the quick", "a"]
    results = write(prompts, **way)
    assert results == [write(prompt, **way) for prompt in prompts]
    assert "".join(write.stream("a", **way)) == results[1][0]["generated_text"][1:]


def test_probabilities_of_tokens(write: Any) -> None:
    (result,) = write("the", do_sample=False, logprobs=True, top_logprobs=2, max_new_tokens=3)
    assert len(result["logprobs"]) == 3
    first = result["logprobs"][0]
    assert first["top_logprobs"][0] == {key: first[key] for key in ("id", "token", "logprob")}
    assert len(first["top_logprobs"]) == 2
    assert "logprobs" not in write("the")[0]


def test_rules_about_tokens_hold(write: Any) -> None:
    free = write("the", do_sample=False, return_tensors=True)[0]["generated_token_ids"]
    n_prompt = len(write.tokenizer.encode("the"))
    first = free[n_prompt]
    for way in ({"bad_words_ids": [[first]]}, {"suppress_tokens": [first]}, {"logit_bias": {str(first): -100}}):
        assert write("the", do_sample=False, return_tensors=True, **way)[0]["generated_token_ids"][n_prompt] != first
    forced = write("the", do_sample=False, return_tensors=True, logit_bias={9: 1000.0}, max_new_tokens=3)
    assert forced[0]["generated_token_ids"][n_prompt:] == [9, 9, 9]
    biased = {"logit_bias": {9: 30.0}, "frequency_penalty": 60.0, "max_new_tokens": 3}
    varied = write("the", do_sample=False, return_tensors=True, **biased)
    assert varied[0]["generated_token_ids"][n_prompt:].count(9) <= 1


def test_a_streamer_of_transformers_gets_prompt_and_tokens(write: Any) -> None:
    class Streamer:
        def __init__(self) -> None:
            self.got: list[list[Any]] = []

        def put(self, value: torch.Tensor) -> None:
            self.got.append(value.tolist())

        def end(self) -> None:
            self.got.append(["end"])

    streamer = Streamer()
    (result,) = write("the", do_sample=False, return_tensors=True, streamer=streamer)
    prompt, *tokens, end = streamer.got
    assert [*prompt[0], *(token for one in tokens for token in one)] == result["generated_token_ids"]
    assert end == ["end"]


def test_a_long_prompt_leaves_a_hole_or_is_refused(write: Any) -> None:
    long = "the quick brown fox " * 200
    with pytest.raises(OptionError, match=r"the model takes 512.*handle_long_generation='hole'"):
        write(long)
    (result,) = write(long, handle_long_generation="hole", return_tensors=True, do_sample=False)
    assert len(result["generated_token_ids"]) == 512
    with pytest.raises(OptionError, match="no room: 600 new tokens"):
        write(long, handle_long_generation="hole", max_new_tokens=600)
    (cut,) = write(long, truncation=True, max_length=20, max_new_tokens=2, return_tensors=True)
    assert len(cut["generated_token_ids"]) == 22


def test_one_bad_prompt_does_not_lose_the_others(write: Any) -> None:
    found = write(["the", "the quick brown fox " * 200, 3], on_error="return", do_sample=False)
    assert found[0] == write("the", do_sample=False)
    assert [one["error_type"] for one in found[1:]] == ["OptionError", "OptionError"]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"max_new_token": 3}, "did you mean 'max_new_tokens'"),
        ({"assistant_model": "x"}, "no second model drafts"),
        ({"use_cache": False}, "always kept"),
        ({"temperature": "hot"}, "temperature is 'hot'; expected a number"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"stop": ["a"], "stop_strings": ["b"]}, "one parameter"),
        ({"num_return_sequences": 2, "do_sample": False}, "this search finds one"),
        ({"handle_long_generation": "cut"}, "expected None or 'hole'"),
        ({"generate_kwargs": {"max_new_tokens": 3}, "top_k": 2, "max_new_tokens": 4}, "given twice"),
        ({"chat_template_kwargs": {"messages": 1}}, "'messages' has a parameter of its own"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_words(write: Any, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        write.stream(CHAT, **parameters)


def test_parameters_of_the_checkpoint_hold_unless_the_caller_says_otherwise(text_checkpoint: Path, write: Any) -> None:
    read = write.read_parameters
    assert read({}, None).manner.options.sampling_temperature == 0.7
    assert read({}, None).manner.options.top_k == 50
    assert read({"do_sample": False}, None).manner.options.sampling_temperature == 0
    assert read({"temperature": 0}, None).manner.options.sampling_temperature == 0
    assert read({"max_length": 9, "max_new_tokens": None}, None).manner.options.max_new_tokens is None


def test_a_hearing_model_does_not_write() -> None:
    with pytest.raises(TaskError, match=r"of kind 'ctc'.*which does not write on; leave the task out"):
        pipeline("text-generation", "bundled")


def test_a_vocabulary_of_another_program_is_refused_in_words(text_checkpoint: Path, tmp_path: Path) -> None:
    for path in text_checkpoint.iterdir():
        if path.name != "tokenizer.json":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "tokenizer.model").write_bytes(b"sentencepiece")
    with pytest.raises(ConfigError, match=r"only tokenizer\.model, a vocabulary of SentencePiece.*save_pretrained"):
        pipeline("text-generation", tmp_path)


def test_a_rule_that_fails_ends_its_own_text_and_no_other(write: Any) -> None:
    alone = write("the quick", do_sample=False)[0]["generated_text"]

    def broken(tokens: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        if tokens.shape[1] > 6:
            raise RuntimeError("a rule of one")
        return logits

    request, _, _ = write.read_call({"do_sample": False}, None, None)
    other = write.write("the quick", do_sample=False)
    prompt = write.preprocess("a", request)
    manner = dataclasses.replace(request.manner, filters=(broken,))
    bad = write.writer.write(prompt.ids, manner)
    with pytest.raises(RuntimeError, match="a rule of one"):
        bad.wait()
    assert "the quick" + other.wait().text == alone
    assert write("the quick", do_sample=False)[0]["generated_text"] == alone


@pytest.mark.parametrize("stop", [1, "", [""], [None], {"a": 1}])
def test_stop_strings_that_are_none_are_refused(write: Any, stop: Any) -> None:
    with pytest.raises(OptionError, match="stop strings are"):
        write.write("the", stop=stop)


def test_the_prompts_own_tokens_have_the_probabilities_that_the_model_gives_them(
    write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = "over the lazy dog, and more is told"
    ids = write.tokenizer.encode(prompt)
    (whole,) = write(prompt, prompt_logprobs=True, max_new_tokens=0)
    assert whole["generated_text"] == prompt
    told = whole["prompt_logprobs"]
    assert [one["id"] for one in told] == ids
    step = write.writer._begin(torch.zeros(1, dtype=torch.long))
    expected = step.advance(torch.tensor([ids]), n_last=len(ids))[0].log_softmax(-1)
    values = [float(expected[place, id]) for place, id in enumerate(ids[1:])]
    assert told[0]["logprob"] is None
    assert [one["logprob"] for one in told[1:]] == pytest.approx(values, abs=1e-4)
    monkeypatch.setattr("auricle.pipelines.writer.SCORED", 3)  # in parts it is the same
    (parts,) = write(prompt, prompt_logprobs=True, top_logprobs=2, do_sample=False)
    assert [one["logprob"] for one in parts["prompt_logprobs"][1:]] == pytest.approx(values, abs=1e-4)
    assert [len(one["top_logprobs"]) for one in parts["prompt_logprobs"]] == [0] + [2] * (len(ids) - 1)
    assert parts["generated_text"] == write(prompt, do_sample=False)[0]["generated_text"]


def test_a_prompt_as_long_as_the_model_takes_can_be_scored_and_not_written_on(write: Any) -> None:
    ids = tuple(write.tokenizer.encode("the quick ") * write.writer.max_length)[: write.writer.max_length]
    prompt = Prompt(ids, goes_on=True)
    assert len(write.write(prompt, prompt_logprobs=True, max_new_tokens=0).wait().prompt_choices) == len(ids)
    with pytest.raises(OptionError, match="shorten the prompt"):
        write.write(prompt, prompt_logprobs=True)
    with pytest.raises(OptionError, match="a search follows several"):
        write("the", prompt_logprobs=True, num_beams=2)
    with pytest.raises(OptionError, match="max_new_tokens"):
        write("the", max_new_tokens=0)
