"""Calls of tools in what a model writes: found by the marks of its family, also while the text is still coming.

Hermes, Qwen: ``<tool_call>{"name", "arguments"}</tool_call>``, several in a row. Mistral: ``[TOOL_CALLS]`` and a list
of them, or ``[TOOL_CALLS]name{…}``, with ``[ARGS]`` between in newer ones. Llama 3: the whole text is one object
``{"name", "parameters"}``, or several with semicolons between, behind ``<|python_tag|>`` or not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

HERMES, HERMES_END = "<tool_call>", "</tool_call>"
MISTRAL = "[TOOL_CALLS]"
LLAMA = "<|python_tag|>"
MARKS = (HERMES, MISTRAL, LLAMA)
_NAMED = re.compile(r"\s*([\w.-]+)\s*(?:\[CALL_ID\]\w*)?(?:\[ARGS\])?\s*(?=\{)")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class ToolCall:
    """One call: the tool's name, and its arguments as the JSON text of an object."""

    name: str
    arguments: str


class ToolCallReader:
    """Divides a text that comes in pieces into what is said and what is called.

    What may still become a mark waits; what stands behind a mark is told as calls once it is whole. A text that begins
    like an object waits to its end, as only then it is known whether it is a call or an answer.
    """

    def __init__(self) -> None:
        self._text = ""  # not told yet
        self._begun = False  # whether anything but space was told
        self._mark = ""  # behind which the text stands, "{" for an object without one
        self.calls: list[ToolCall] = []

    def add(self, piece: str) -> tuple[str, list[ToolCall]]:
        """Return what a piece makes certain: text, and calls."""
        self._text += piece
        told, found = "", list[ToolCall]()
        while True:
            if not self._mark:
                said = self._until_a_mark()
                told += said
                if not self._mark:
                    break
            if self._mark != HERMES or HERMES_END not in self._text:
                break
            inner, _, self._text = self._text.partition(HERMES_END)
            self._mark = ""
            calls = _calls_in(inner)
            found += calls
            told += "" if calls else f"{HERMES}{inner}{HERMES_END}"
        self.calls += found
        return told, found

    def end(self) -> tuple[str, list[ToolCall]]:
        """Return what is left when no piece follows."""
        rest, mark, self._text, self._mark = self._text, self._mark, "", ""
        if not mark:
            return rest, []
        calls = _calls_in(rest)
        self.calls += calls
        if calls:
            return "", calls
        return (rest if mark == "{" else mark + rest), []

    def _until_a_mark(self) -> str:
        """Take what stands before the first mark, or all that cannot be the beginning of one."""
        if not self._begun and self._text.lstrip().startswith("{"):
            self._mark = "{"
            return ""
        if self.calls and not self._text.strip():
            return ""  # between two calls
        places = [(self._text.index(mark), mark) for mark in MARKS if mark in self._text]
        if places:
            place, self._mark = min(places)
            said, self._text = self._text[:place], self._text[place + len(self._mark) :]
            said = said.rstrip()
        else:
            n = max(_overlap(self._text, mark) for mark in MARKS)
            kept = len(self._text) - n
            # Space before a mark belongs to nobody.
            kept = len(self._text[:kept].rstrip())
            said, self._text = self._text[:kept], self._text[kept:]
        self._begun |= bool(said.strip())
        return said


def _calls_in(text: str) -> list[ToolCall]:
    """Return the calls that a text consists of, none where there is anything else in it."""
    try:
        return list(_read(text.strip()))
    except (ValueError, RecursionError):
        return []


def _read(text: str) -> Iterator[ToolCall]:
    while text:
        named = _NAMED.match(text)
        if named:
            arguments, end = _DECODER.raw_decode(text, named.end())
            yield _call({"name": named[1], "arguments": arguments})
        else:
            value, end = _DECODER.raw_decode(text)
            for one in value if isinstance(value, list) else [value]:
                yield _call(one)
        text = text[end:].lstrip().removeprefix(";").removeprefix(MISTRAL).removeprefix(LLAMA).lstrip()


def _call(value: Any) -> ToolCall:
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        value = value["function"]
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise ValueError("no call")
    arguments = value.get("arguments", value.get("parameters"))
    if isinstance(arguments, str):
        arguments = json.loads(arguments)
    if not isinstance(arguments, dict):
        raise ValueError("no arguments")
    return ToolCall(value["name"], json.dumps(arguments, ensure_ascii=False))


def _overlap(text: str, mark: str) -> int:
    longest = min(len(text), len(mark) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(mark[:n])), 0)
