"""What a request of OpenAI's text API asks for, read from its JSON: fields, limits, and what is refused by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from auricle.errors import nearest
from auricle.server.json_bodies import flag, kind_of, refuse, whole
from auricle.server.parameters import Note

MOST_CHOICES = 16
MOST_TOKENS = 2**31
MOST_STOPS = 16
_BIASES = 100.0
# Numbers of OpenAI's with the range that they have there, or a wider one that other servers have.
_NUMBERS = {"temperature": (0.0, 100.0), "top_p": (0.0, 1.0), "presence_penalty": (-2.0, 2.0)}
_NUMBERS["frequency_penalty"] = _NUMBERS["presence_penalty"]
# Parameters of the pipeline that are taken by their own names, beside OpenAI's.
_OURS = frozenset(
    """
    top_k min_p typical_p repetition_penalty no_repeat_ngram_size min_new_tokens epsilon_cutoff eta_cutoff max_time
    continue_final_message add_generation_prompt chat_template_kwargs documents skip_special_tokens eos_token_id
    bad_words_ids suppress_tokens include_stop_string add_special_tokens do_sample
    """.split()
)
# What changes nothing here: bookkeeping, and services of theirs.
_SILENT = frozenset(
    """
    user store metadata service_tier safety_identifier prompt_cache_key prompt_cache_options prompt_cache_retention
    parallel_tool_calls moderation
    """.split()
)
_TOLD = {
    "reasoning_effort": "how much a model thinks is its template's affair: chat_template_kwargs",
    "verbosity": "ask for it in the prompt",
    "prediction": "nothing is predicted here",
    "details": "ask for logprobs",
}
_REFUSED = {
    "audio": "texts are not spoken here",
    "functions": "give 'tools', which took their place",
    "function_call": "give 'tool_choice', which took its place",
    "web_search_options": "nothing is searched for here",
    "suffix": "texts are written on, not filled in",
}
_ENDLESS = frozenset({"stop", "model", "stream", "stream_options", "n", "seed", "logit_bias", "response_format"})
_CHAT = frozenset(
    {
        "messages",
        "max_tokens",
        "max_completion_tokens",
        "logprobs",
        "top_logprobs",
        "tools",
        "tool_choice",
        "modalities",
    }
)
# The Hub's newest client for JavaScript sends parameters of its own API here, by their names there.
_COMPLETION = frozenset("prompt max_tokens best_of echo logprobs suffix return_full_text stop_sequences".split())


@dataclass(frozen=True)
class Asked:
    """What both kinds of requests have, understood."""

    model: str | None
    parameters: dict[str, Any]  # of the pipeline
    n: int = 1
    most_new: int | None = None
    streams: bool = False
    tells_usage: bool = False
    n_logprobs: int | None = None  # of how many other tokens, None: of none at all
    notes: tuple[Note, ...] = ()


def read_shared(given: Mapping[str, Any], is_chat: bool, echoes: bool = False) -> Asked:
    """Read all but the prompt; where that is echoed, nothing more need be written.

    Raises:
        Refused: 400, with the field's name as `param`.
    """
    notes = _known(given, is_chat)
    model = given.get("model")
    if model is not None and not isinstance(model, str):
        raise refuse("model", f"model is {kind_of(model)}; expected a name")
    options = given.get("stream_options") or {}
    if not isinstance(options, Mapping):
        raise refuse("stream_options", f"stream_options is {kind_of(options)}; expected {{'include_usage': true}}")
    parameters = {name: given[name] for name in _OURS if given.get(name) is not None}
    parameters |= {name: _number(given, name) for name in _NUMBERS if given.get(name) is not None}
    stops = _stops(given.get("stop") or given.get("stop_sequences"))
    parameters = {**stops, **parameters, **_bias(given.get("logit_bias"))}
    seed = whole(given, "seed", -(2**63), 2**64)
    if seed is not None:
        parameters["seed"] = seed % 2**63
    if given.get("response_format") is not None:
        parameters["response_format"] = given["response_format"]
    n_logprobs = _chat_logprobs(given) if is_chat else whole(given, "logprobs", 0, 20)
    if n_logprobs is not None:
        parameters |= {"logprobs": True, "top_logprobs": n_logprobs}
    limit = whole(given, "max_tokens", 0 if echoes else 1, MOST_TOKENS)
    newer = whole(given, "max_completion_tokens", 1, MOST_TOKENS) if is_chat else None
    if None not in (limit, newer) and limit != newer:
        raise refuse(
            "max_tokens", f"max_tokens is {limit} and max_completion_tokens, its newer name, {newer}; give one of them"
        )
    return Asked(
        model=model,
        parameters=parameters,
        n=whole(given, "n", 1, MOST_CHOICES, 1) or 1,
        most_new=limit if newer is None else newer,
        streams=flag(given, "stream"),
        tells_usage=flag(options, "include_usage"),
        n_logprobs=n_logprobs,
        notes=notes,
    )


def messages_of(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the chat as templates read it: the system's for the developer's, arguments of calls as objects.

    Raises:
        Refused: 400, it is none, or has parts that are no text.
    """
    messages = given.get("messages")
    if not isinstance(messages, list) or not messages:
        found = "not there" if messages is None else "empty" if messages == [] else kind_of(messages)
        raise refuse(
            "messages", f"messages is {found}; expected a list such as [{{'role': 'user', 'content': 'Hello'}}]"
        )
    return [_message(one, f"messages[{place}]") for place, one in enumerate(messages)]


def tools_of(given: Mapping[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any], bool]:
    """Return the tools that the model is told of, parameters that make it call one, and whether it must.

    Raises:
        Refused: 400, they are none, or contradict each other.
    """
    tools = given.get("tools") or []
    if not isinstance(tools, list):
        raise refuse("tools", f"tools is {kind_of(tools)}; expected a list")
    names = [_tool_name(one, place) for place, one in enumerate(tools)]
    choice = given.get("tool_choice", "auto" if tools else "none") or "auto"
    wanted = names
    if isinstance(choice, Mapping):
        function = choice.get("function")
        name = function.get("name") if isinstance(function, Mapping) else None
        if name not in names:
            raise refuse("tool_choice", f"tool_choice names {name!r:.100}, and the tools are {names}"[:500])
        wanted = [name]
    elif choice not in ("none", "auto", "required"):
        raise refuse("tool_choice", f"tool_choice is {choice!r:.100}; expected none, auto, required, or a function")
    if choice == "none":
        return [], {}, False
    if choice == "auto":
        return tools, {}, False
    if not tools:
        raise refuse("tool_choice", "tool_choice asks for a call, and there are no tools; give some")
    if given.get("response_format") is not None:
        raise refuse("response_format", "response_format and a tool_choice that asks for a call exclude each other")
    calls = [_call_schema(one["function"]) for one in tools if one["function"]["name"] in wanted]
    return tools, {"response_format": {"type": "json", "value": {"anyOf": calls}}}, True


def _call_schema(function: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a call; what a model writes by it is read as one, whatever its family."""
    arguments = function.get("parameters") or {"type": "object"}
    return {
        "type": "object",
        "properties": {"name": {"const": function["name"]}, "arguments": arguments},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _known(given: Mapping[str, Any], is_chat: bool) -> tuple[Note, ...]:
    """Refuse fields that nobody knows, or that ask for what is not there; tell of those that change nothing."""
    own = _CHAT if is_chat else _COMPLETION
    known = own | _ENDLESS | _OURS | _NUMBERS.keys()
    notes = []
    for name, value in given.items():
        if value is None or name in known - _REFUSED.keys() or name in _SILENT:
            continue
        if name in _TOLD:
            notes.append(Note(name, f"{name} is not used: {_TOLD[name]}"))
        elif name in _REFUSED:
            raise refuse(name, f"{name} is not taken: {_REFUSED[name]}")
        else:
            raise refuse(
                name[:100], f"unknown field {name[:100]!r}{nearest(name, known) or '; leave it out'}", "unknown_field"
            )
    if given.get("parallel_tool_calls") is False:
        why = "how many tools it calls at once is the model's affair; name one by tool_choice"
        notes.append(Note("parallel_tool_calls", f"parallel_tool_calls=false is not used: {why}"))
    if is_chat and given.get("modalities") not in (None, ["text"]):
        raise refuse("modalities", "modalities other than text are not taken: texts are not spoken here")
    return tuple(notes)


def _message(given: Any, place: str) -> dict[str, Any]:
    if not isinstance(given, Mapping) or not isinstance(given.get("role"), str):
        raise refuse("messages", f"{place} is {given!r:.100}; expected an object with a role and a content")
    if given.get("content") is None and given["role"] != "assistant":
        raise refuse("messages", f"{place} has the role {given['role']!r:.50} and no content; give it a text")
    message: dict[str, Any] = {**given, "content": _content(given.get("content"), place)}
    if message["role"] == "developer":
        message["role"] = "system"
    if message["role"] == "function":
        raise refuse("messages", f"{place} has the role function; give the role tool with its tool_call_id")
    calls = message.get("tool_calls")
    if calls is not None:
        if not isinstance(calls, list):
            raise refuse("messages", f"{place}.tool_calls is {kind_of(calls)}; expected a list")
        message["tool_calls"] = [_with_object(call) for call in calls]
    return message


def _content(content: Any, place: str) -> str:
    """Return a content as one text: its parts, where it has some, joined."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise refuse("messages", f"{place}.content is {kind_of(content)}; expected text, or a list of parts")
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else None
        text = part.get(kind) if isinstance(part, Mapping) and kind in ("text", "refusal") else None
        if not isinstance(text, str):
            raise refuse(
                "messages",
                f"{place} has a part of type {kind!r:.50}; this model reads text: {{'type': 'text', 'text': …}}",
            )
        texts.append(text)
    return "".join(texts)


def _with_object(call: Any) -> Any:
    """Return a call whose arguments are an object, as templates write them."""
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("arguments"), str):
        return call
    try:
        arguments = json.loads(function["arguments"])
    except (ValueError, RecursionError):
        return call
    return {**call, "function": {**function, "arguments": arguments}} if isinstance(arguments, dict) else call


def _tool_name(tool: Any, place: int) -> str:
    function = tool.get("function") if isinstance(tool, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    parameters = function.get("parameters") if isinstance(function, Mapping) else None
    if not isinstance(name, str) or not name or not isinstance(parameters, Mapping | None):
        raise refuse(
            "tools",
            f"tools[{place}] is {tool!r:.100}; expected {{'type': 'function', 'function': {{'name': …}}}}",
        )
    return name


def _chat_logprobs(given: Mapping[str, Any]) -> int | None:
    best = whole(given, "top_logprobs", 0, 20)
    if flag(given, "logprobs"):
        return best or 0
    if best is not None:
        raise refuse("top_logprobs", "top_logprobs tells more of logprobs, which is false; set it to true")
    return None


def _number(given: Mapping[str, Any], name: str) -> float:
    value, (least, most) = given[name], _NUMBERS[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise refuse(name, f"{name} is {value!r:.100}; expected a number from {least:g} to {most:g}")
    return value


def _stops(value: Any) -> dict[str, Any]:
    if value is None or value == []:
        return {}
    strings = [value] if isinstance(value, str) else value
    if (
        not isinstance(strings, list)
        or len(strings) > MOST_STOPS
        or not all(isinstance(one, str) and one for one in strings)
    ):
        raise refuse("stop", f"stop is {value!r:.100}; expected a text, or up to {MOST_STOPS} texts")
    return {"stop": strings, "include_stop_string": False}


def _bias(value: Any) -> dict[str, Any]:
    if not value:
        return {}
    try:
        found = {int(token): float(bias) for token, bias in value.items()}
    except (AttributeError, TypeError, ValueError, OverflowError):
        found = {}
    if not found or not all(abs(bias) <= _BIASES and 0 <= token < MOST_TOKENS for token, bias in found.items()):
        raise refuse("logit_bias", f"logit_bias is {value!r:.100}; expected token ids with numbers from -100 to 100")
    return {"logit_bias": found}
