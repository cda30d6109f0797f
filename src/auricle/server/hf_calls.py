"""What a request to a Hugging Face route asks for: the recording, the parameters, and how to go about it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from auricle.errors import nearest
from auricle.server.bodies import Body, source_of_inputs
from auricle.server.errors import Refused
from auricle.server.json_bodies import kind_of
from auricle.server.parameters import Note, from_query, truth
from auricle.server.url_inputs import MAX_URL_BYTES, Fetcher, is_url

if TYPE_CHECKING:
    from auricle.server.recognition import Source
    from auricle.server.settings import Settings

# What a JSON body may hold at its first level.
AT_TOP = ("inputs", "parameters", "options", "model")
_OPTIONS = ("use_cache", "wait_for_model", "use_gpu", "dont_load_model")
_HEADERS = {"use_cache": "x-use-cache", "wait_for_model": "x-wait-for-model"}


@dataclass(frozen=True)
class Call:
    """A request, read."""

    source: Source
    parameters: dict[str, Any]  # as the client wrote them
    use_cache: bool
    waits: bool  # for its model, however long that takes to load
    model: str | None = None  # that the body names
    notes: tuple[Note, ...] = ()


def named_model(body: Body) -> str | None:
    """Return the model that a body names, if it does."""
    if body.kind == "json":
        model = body.data.get("model") if isinstance(body.data, Mapping) else None
    else:
        model = next(iter(body.fields.get("model", ())), None)
    return model if isinstance(model, str) else None


async def read_call(request: Request, body: Body, settings: Settings, fetcher: Fetcher, stack: AsyncExitStack) -> Call:
    """Understand a request whose body has been read; files are removed with the stack.

    Raises:
        Refused: 400, there is no recording in it, or something else that is not understood.
    """
    query = from_query(request.query_params.multi_items())
    if body.kind == "json":
        data = _object(body.data)
        options = options_of(data)
        source = await _source(body, data, settings, fetcher, stack)
        parameters = {**query, **parameters_of(data)}
        notes = unused(data, options)
        return Call(
            source,
            parameters,
            choice(request, options, "use_cache", True),
            choice(request, options, "wait_for_model", False),
            data["model"] if isinstance(data.get("model"), str) else None,
            notes,
        )
    fields = from_query((name, value) for name, values in body.fields.items() for value in values)
    if body.source is None:
        raise _refuse(
            f"the form has no file (its fields: {', '.join(fields)[:200] or 'none'}); send the recording as 'file'",
            "no_inputs",
        )
    model = fields.pop("model", None)
    return Call(
        body.source,
        {**query, **fields},
        choice(request, {}, "use_cache", True),
        choice(request, {}, "wait_for_model", False),
        model if isinstance(model, str) else None,
    )


def options_of(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the options of a JSON body, which mean what the headers do.

    Raises:
        Refused: 400, they are no object.
    """
    options = data.get("options") or {}
    if not isinstance(options, Mapping):
        raise _refuse(f"'options' is {kind_of(options)}; expected an object such as {{\"use_cache\": false}}")
    return options


def _object(data: Any) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise _refuse(f"the JSON is {kind_of(data)}; expected an object with the recording in base64 as 'inputs'")
    return data


async def _source(
    body: Body, data: Mapping[str, Any], settings: Settings, fetcher: Fetcher, stack: AsyncExitStack
) -> Source:
    if body.inputs is not None:
        body.inputs.seek(0)
        if is_url(body.inputs.read(64)):
            # An escape may be six letters for one.
            if body.inputs.seek(0, 2) > 6 * MAX_URL_BYTES:
                raise _refuse(f"'inputs' begins like an address and is longer than {MAX_URL_BYTES} characters")
            return await fetcher.source(body.text().strip(), stack)
        return await source_of_inputs(body, settings, stack)
    if "inputs" not in data:
        hint = next((f"; it has {name!r}" for name in data if nearest(name, ["inputs"])), "")
        raise _refuse(f"the JSON has no 'inputs'{hint}; give the recording's bytes in base64 there", "no_inputs")
    raise _refuse(
        f"'inputs' is {kind_of(data['inputs'])}; automatic-speech-recognition takes a recording, whose bytes stand "
        "there in base64 as text",
        "invalid_inputs",
    )


def parameters_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a JSON body.

    Raises:
        Refused: 400, they are no object.
    """
    given = data.get("parameters")
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise _refuse(f"'parameters' is {kind_of(given)}; expected an object such as {{\"return_timestamps\": true}}")
    return dict(given)


def typed(given: Mapping[str, Any], texts: Sequence[str] = ()) -> dict[str, Any]:
    """Return parameters that came as text with numbers, lists and truth values as JSON has them; `texts` stay text."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        found[name] = value
        if isinstance(value, str) and name not in texts:
            with suppress(ValueError, RecursionError):
                found[name] = json.loads(value)
    return found


def form_parameters(body: Body, texts: Sequence[str] = ()) -> dict[str, Any]:
    """Return the parameters of a form, `typed`: its fields, but for those that say who is to do what."""
    fields = from_query((name, value) for name, values in body.fields.items() for value in values)
    return typed({name: value for name, value in fields.items() if name not in ("model", "task")}, texts)


def unused(data: Mapping[str, Any], options: Mapping[str, Any], at_top: Sequence[str] = AT_TOP) -> tuple[Note, ...]:
    """Return what is to be told of names that nobody uses."""
    beside = [name for name in data if name not in at_top]
    unknown = [name for name in options if name not in _OPTIONS]
    found = [Note(name[:80], f"{name[:80]!r} beside 'inputs' is not used; give it in 'parameters'") for name in beside]
    return (*found, *(Note(name[:80], f"the option {name[:80]!r} is not used") for name in unknown))


def choice(request: Request, options: Mapping[str, Any], name: str, default: bool) -> bool:
    """Read an option, or the header that means the same; the header wins."""
    header = request.headers.get(_HEADERS[name])
    return truth(_HEADERS[name], header, truth(name, options.get(name), default))


def _refuse(message: str, code: str = "invalid_request") -> Refused:
    return Refused(400, message, code=code)
