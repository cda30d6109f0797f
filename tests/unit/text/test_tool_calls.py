"""Calls of tools in texts of each family, whole and letter by letter."""

from __future__ import annotations

import json

import pytest

from auricle.text.tool_calls import ToolCall, ToolCallReader

WEATHER = '{"name": "weather", "arguments": {"city": "Köln", "days": 2}}'
TIME = '{"name": "time", "arguments": {}}'
CALLS = [("weather", {"city": "Köln", "days": 2}), ("time", {})]
TEXTS = {
    "hermes": (f"I look.\n<tool_call>\n{WEATHER}\n</tool_call>\n<tool_call>\n{TIME}\n</tool_call>", "I look.", CALLS),
    "hermes alone": (f"<tool_call>{WEATHER}</tool_call>", "", CALLS[:1]),
    "hermes cut off at its end": (f"<tool_call>\n{WEATHER}\n", "", CALLS[:1]),
    "mistral": (f"[TOOL_CALLS] [{WEATHER}, {TIME}]", "", CALLS),
    "mistral with names": ('[TOOL_CALLS]weather{"city": "Köln", "days": 2}[TOOL_CALLS]time[ARGS]{}', "", CALLS),
    "llama": ('{"name": "weather", "parameters": {"city": "Köln", "days": 2}}', "", CALLS[:1]),
    "llama with a tag": (f"<|python_tag|>{WEATHER}; {TIME}", "", CALLS),
    "arguments as text": ('{"name": "time", "arguments": "{}"}', "", CALLS[1:]),
    "an answer": ("It is <b>five</b> [o'clock].", "It is <b>five</b> [o'clock].", []),
    "an object that is no call": ('{"answer": 5}', '{"answer": 5}', []),
    "a broken call": ("<tool_call>{</tool_call> ok", "<tool_call>{</tool_call> ok", []),
    "a list of anything": ("[TOOL_CALLS] [1]", "[TOOL_CALLS] [1]", []),
    "a call cut off": ('<tool_call>{"name": "ti', '<tool_call>{"name": "ti', []),
}


def read(pieces: list[str]) -> tuple[str, list[ToolCall]]:
    reader = ToolCallReader()
    told = [reader.add(piece) for piece in pieces] + [reader.end()]
    found = [call for _, calls in told for call in calls]
    assert found == reader.calls
    return "".join(text for text, _ in told), found


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
@pytest.mark.parametrize("name", TEXTS)
def test_text_and_calls_are_told_apart(name: str, size: int) -> None:
    text, said, calls = TEXTS[name]
    told, found = read([text[at : at + size] for at in range(0, len(text), size)])
    assert told == said
    assert [(call.name, json.loads(call.arguments)) for call in found] == calls


def test_what_cannot_be_a_mark_is_told_at_once() -> None:
    reader = ToolCallReader()
    assert reader.add("Let me see") == ("Let me see", [])
    assert reader.add(" <tool") == ("", [])
    assert reader.add("box> of") == (" <toolbox> of", [])


def test_a_call_is_told_when_it_is_whole() -> None:
    reader = ToolCallReader()
    assert reader.add(f"<tool_call>{TIME}</tool_cal") == ("", [])
    assert reader.add("l>") == ("", [ToolCall("time", "{}")])
