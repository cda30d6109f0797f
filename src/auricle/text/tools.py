"""Functions as tools: the JSON schema of a Python function, from its type hints and its docstring."""

from __future__ import annotations

import inspect
import json
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from auricle.errors import OptionError

KINDS = {int: "integer", float: "number", str: "string", bool: "boolean", list: "array", dict: "object"}
SECTIONS = re.compile(r"^\s*(Args|Arguments|Returns|Raises|Yields|Examples?):\s*$", re.MULTILINE)
ARGUMENT = re.compile(r"^\s*(?:\*{0,2})(\w+)(?:\s*\([^)]*\))?:\s*(.*)$")
CHOICES = re.compile(r"\(choices:\s*(.*?)\)\s*$", re.IGNORECASE)


def schemas(tools: Sequence[Any]) -> list[dict[str, Any]]:
    """Return tools as chat templates read them: schemas as they are, functions by their hints and docstrings.

    Raises: OptionError for what is neither, and for a function that does not say what it takes.
    """
    if isinstance(tools, str | Mapping) or not isinstance(tools, Sequence):
        raise OptionError(f"tools is a {type(tools).__name__}; expected a list of schemas or functions")
    return [dict(one) if isinstance(one, Mapping) else schema(one) for one in tools]


def schema(function: Any) -> dict[str, Any]:
    """Return the JSON schema of a function with type hints and a docstring in Google's style.

    >>> def weather(city: str, days: int = 1):
    ...     '''Tell the weather.
    ...
    ...     Args:
    ...         city: Where.
    ...         days: How many days ahead. (choices: [1, 2])
    ...     '''
    >>> schema(weather)["function"]["parameters"]["required"]
    ['city']

    Raises: OptionError if a parameter has no hint or no description.
    """
    if not (inspect.isfunction(function) or inspect.ismethod(function)):
        raise OptionError(f"the tool {function!r} is neither a JSON schema nor a function")
    name, text = function.__name__, inspect.getdoc(function)
    if not text:
        raise OptionError(f"the tool {name!r} has no docstring, which tells the model what it does; write one")
    summary, arguments, returned = _parts(text)
    hints = typing.get_type_hints(function)
    properties: dict[str, Any] = {}
    required: list[str] = []
    for argument, parameter in inspect.signature(function).parameters.items():
        if argument not in hints or argument not in arguments:
            raise OptionError(
                f"the tool {name!r} does not say what {argument!r} is: give a type hint and a line in Args"
            )
        properties[argument] = _described(_kind(hints[argument], name), arguments[argument])
        if parameter.default is inspect.Parameter.empty:
            required.append(argument)
    parameters: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        parameters["required"] = required
    found: dict[str, Any] = {"name": name, "description": summary, "parameters": parameters}
    if "return" in hints and hints["return"] is not type(None):
        found["return"] = _kind(hints["return"], name) | ({"description": returned} if returned else {})
    return {"type": "function", "function": found}


def _described(kind: dict[str, Any], description: str) -> dict[str, Any]:
    choices = CHOICES.search(description)
    if choices:
        kind = {**kind, "enum": [one.strip() if isinstance(one, str) else one for one in json.loads(choices[1])]}
        description = description[: choices.start()].strip()
    return {**kind, "description": description}


def _parts(text: str) -> tuple[str, dict[str, str], str]:
    """Divide a docstring into what the function does, its arguments, and what it returns."""
    marks = list(SECTIONS.finditer(text))
    summary = text[: marks[0].start()] if marks else text
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    sections = {mark[1]: text[mark.end() : end] for mark, end in zip(marks, ends, strict=True)}
    arguments: dict[str, str] = {}
    last = ""
    for line in (sections.get("Args") or sections.get("Arguments") or "").splitlines():
        found = ARGUMENT.match(line)
        if found:
            last = found[1]
            arguments[last] = found[2].strip()
        elif last and line.strip():
            arguments[last] = f"{arguments[last]} {line.strip()}".strip()
    returned = " ".join(sections.get("Returns", "").split())
    return summary.strip(), arguments, returned


def _kind(hint: Any, name: str) -> dict[str, Any]:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return {}
    if hint in KINDS:
        return {"type": KINDS[hint]}
    if origin in (typing.Union, types.UnionType):
        kinds = [_kind(one, name) for one in inner if one is not type(None)]
        simple = all(list(one) == ["type"] and isinstance(one["type"], str) for one in kinds)
        merged: dict[str, Any] = kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
        if len(kinds) > 1 and simple:
            merged = {"type": sorted(str(one["type"]) for one in kinds)}
        return {**merged, "nullable": True} if type(None) in inner else merged
    if origin is typing.Literal:
        return {**_kind(type(inner[0]), name), "enum": list(inner)}
    if origin in (list, tuple) and inner:
        return {"type": "array", "items": _kind(inner[0], name)}
    if origin is dict:
        values = {"additionalProperties": _kind(inner[1], name)} if len(inner) == 2 else {}
        return {"type": "object", **values}
    raise OptionError(f"the tool {name!r} has the type hint {hint!r}, which has no JSON schema; use plain types")
