"""Every other task on the Hugging Face routes: recordings that are classified, and all that transformers runs.

A body becomes one input of the task's pipeline; nothing that a client says is ever a path on this machine.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from auricle.errors import AudioError, AuricleError, ImageError, OptionError
from auricle.pipelines.bridge_tasks import ALIASES
from auricle.server.bodies import HEAD_BYTES, Body, is_media, source_of_inputs
from auricle.server.hf_calls import choice, form_parameters, options_of, parameters_of, typed, unused
from auricle.server.hf_replies import warn
from auricle.server.hf_values import content_of
from auricle.server.json_bodies import flag, kind_of, refuse
from auricle.server.parameters import from_query
from auricle.server.url_inputs import MAX_URL_BYTES, Fetcher, is_url

if TYPE_CHECKING:
    from auricle.server.registry import ServedModel
    from auricle.server.services import Services

AUDIO = "audio-classification"
MOST_BEAMS = 16
MOST_BYTES = 16 << 20  # of a text
# Parameters that reach further into transformers than a stranger should.
_NOT_FOR_CLIENTS = frozenset(
    """
    forward_params generation_config image_processor_kwargs preprocess_params processor_kwargs tesseract_config
    tokenize_kwargs tokenizer_encode_kwargs tokenizer_kwargs
    """.split()
)
_NESTS = ("generate_parameters", "generation_parameters", "generate_kwargs")
_FILES = ("audio", "image", "images", "video")
_PICTURES = ("image", "images")


def fits(does: str | None, asked: str) -> bool:
    """Say whether a model's task is the one that was asked for, by one of its names or as a kind of it."""
    if ALIASES.get(asked, asked) == does:
        return True
    kinds = {
        "text2text-generation": ("summarization", "translation"),
        "text-classification": ("zero-shot-classification",),
        "feature-extraction": ("sentence-similarity",),
    }
    return asked in kinds.get(str(does), ())


async def answer_other(
    request: Request, body: Body, services: Services, fetcher: Fetcher, name: str, stack: AsyncExitStack
) -> Response:
    """Do a model's task with what a request holds.

    Raises:
        Refused, AuricleError: as the statuses of the API tell.
    """
    data = body.data if body.kind == "json" and isinstance(body.data, Mapping) else {}
    if flag(data, "stream"):
        raise refuse("stream", f"Model {name} tells its result whole; leave stream out")
    options = options_of(data)
    waits = choice(request, options, "wait_for_model", False)
    async with services.registry.use(name, None if waits else services.settings.hold) as model:
        takes = getattr(model.pipeline, "takes", "audio")
        query = typed(from_query(request.query_params.multi_items()))
        given = parameters_of(data) if body.kind == "json" else form_parameters(body)
        for beside in ("model", "task"):
            query.pop(beside, None)
        parameters = _parameters({**query, **given}, model)
        item = await _input(body, takes, services, fetcher, stack)
        texts = item if takes in ("text", "chat") and _are_texts(item) else None
        if texts is not None and model.task == "text-to-audio":
            raise refuse("inputs", "a list arrived, and a reply is one recording; give one text")
        pipeline = model.pipeline
        if isinstance(item, dict):
            # Some clients give a part of the input, such as a document's words, among the parameters.
            fields = [name for name in getattr(pipeline, "fields", ()) if name not in _FILES]
            item |= {name: parameters.pop(name) for name in fields if name in parameters}
        if "candidate_labels" in parameters and pipeline.task == "text-classification":
            pipeline = await asyncio.to_thread(pipeline.sibling, "zero-shot-classification")
        checked, _, _ = pipeline.read_call(parameters, None, "raise")
        ticket = model.batcher.ticket()
        began = time.monotonic()
        # Requests with the same parameters are computed together.
        key = (pipeline.task, json.dumps(parameters, sort_keys=True, default=str))
        items = [item] if texts is None else texts
        results = await services.runner.run(
            lambda: [_work(pipeline, one, checked, ticket, key) for one in items], ticket
        )
        found = await asyncio.to_thread(lambda: [content_of(pipeline.task, result) for result in results])
        content, kind = found[0] if texts is None else (_together(pipeline.task, found), None)
        device = str(pipeline.device)
    headers = {
        "x-cache": "bypass",
        "x-compute-type": "cpu" if device.startswith("cpu") else "gpu",
        "x-compute-time": f"{time.monotonic() - began:.3f}",
    }
    response = JSONResponse(content) if kind is None else Response(content, media_type=kind)
    response.headers.update(headers)
    warn(response, unused(data, options))
    return response


def _are_texts(item: Any) -> bool:
    return isinstance(item, list) and bool(item) and all(isinstance(one, str) for one in item)


def _together(task: str, found: list[tuple[Any, str | None]]) -> list[Any]:
    """Return the replies of several texts as one, in the shapes of the Inference API."""
    contents = [content for content, _ in found]
    is_in_lists = task in ("text-classification", "text2text-generation", "summarization", "translation")
    return [one for content in contents for one in content] if is_in_lists else contents


def _work(pipeline: Any, item: Any, request: Any, ticket: Any, key: Any) -> Any:
    """Compute one input, in a thread of the runner."""
    ticket.check()
    if isinstance(item, Mapping) and "source_sentence" in item:
        from auricle.server.hf_values import similarities

        vectors = [pipeline.forward([text], request)[0] for text in (item["source_sentence"], *item["sentences"])]
        return similarities(vectors)
    try:
        prepared = pipeline.preprocess(item, request)
    except (AudioError, ImageError) as error:
        # Where it lies here is nobody's business.
        told = str(error).replace(item, "the input") if isinstance(item, str) else str(error)
        raise type(error)(told) from error
    (output,) = ticket(key, [prepared], lambda rows: pipeline.forward(list(rows), request))
    if isinstance(output, AuricleError):
        raise output
    return pipeline.postprocess(item, output, request)


async def _input(body: Body, takes: str, services: Services, fetcher: Fetcher, stack: AsyncExitStack) -> Any:
    """Return one input of a task that takes "audio", "text", …: a path of ours, bytes, a text, or an object."""
    is_file = takes in ("audio", "image", "video")
    if body.kind != "json":
        if body.source is None:
            raise refuse("inputs", "the form has no file; send it as 'file'", "no_inputs")
        if is_file:
            return str(body.source.path)
        if takes == "chat" and await asyncio.to_thread(_is_picture, body.source.path):
            return {"images": str(body.source.path), "text": ""}  # what is in it?
        if body.source.size > MOST_BYTES:
            raise refuse("inputs", f"the text has more than {MOST_BYTES} bytes; shorten it")
        return _text(await asyncio.to_thread(body.source.path.read_bytes))
    if not isinstance(body.data, Mapping):
        raise refuse("inputs", f"the JSON is {kind_of(body.data)}; expected an object with 'inputs'")
    if body.inputs is None:
        inputs = body.data.get("inputs")
        if inputs is None:
            raise refuse("inputs", "the JSON has no 'inputs'; give what the task is to be done with there", "no_inputs")
        if is_file:
            inputs = inputs.get(takes) if isinstance(inputs, Mapping) else inputs
            return await _file(inputs, fetcher, stack)
        return inputs if takes in ("text", "chat") and _are_texts(inputs) else await _object(inputs, fetcher, stack)
    body.inputs.seek(0)
    if not is_file:
        return body.text()
    if is_url(body.inputs.read(64)):
        if body.inputs.seek(0, 2) > 6 * MAX_URL_BYTES:
            raise refuse("inputs", f"'inputs' begins like an address and has over {MAX_URL_BYTES} characters")
        return str((await fetcher.source(body.text().strip(), stack)).path)
    return str((await source_of_inputs(body, services.settings, stack)).path)


async def _object(inputs: Any, fetcher: Fetcher, stack: AsyncExitStack) -> Any:
    """Return an object or messages whose pictures are bytes."""
    if isinstance(inputs, Mapping):
        made: dict[str, Any] = {}
        for name, value in inputs.items():
            if name not in _FILES:
                made[name] = value
            elif isinstance(value, list):
                made[name] = [await _file(one, fetcher, stack) for one in value]
            else:
                made[name] = await _file(value, fetcher, stack)
        return made
    if isinstance(inputs, list) and inputs and all(isinstance(one, Mapping) for one in inputs):
        return [await _message(one, fetcher, stack) for one in inputs]
    if isinstance(inputs, list) and len(inputs) > 1 and all(isinstance(one, str) for one in inputs):
        return [await _file(one, fetcher, stack) for one in inputs]
    raise refuse("inputs", f"'inputs' is {kind_of(inputs)}; expected a text, or an object as the task has it")


async def _message(message: Mapping[str, Any], fetcher: Fetcher, stack: AsyncExitStack) -> dict[str, Any]:
    content = message.get("content")
    if not isinstance(content, list):
        return dict(message)
    parts = []
    for part in content:
        if not isinstance(part, Mapping):
            raise refuse("inputs", f"a part of a message is {kind_of(part)}; expected an object with a 'type'")
        source = part.get("image", part.get("url"))
        if part.get("type") == "image_url":
            source = (part.get("image_url") or {}).get("url")
        if source is None:
            parts.append({name: value for name, value in part.items() if name in ("type", "text")})
        else:
            parts.append({"type": "image", "image": await _file(source, fetcher, stack)})
    return {**message, "content": parts}


async def _file(value: Any, fetcher: Fetcher, stack: AsyncExitStack) -> Any:
    """Return the bytes of base64, or the path of what was fetched; a client's text is never a path."""
    if not isinstance(value, str) or not value:
        raise refuse("inputs", f"{kind_of(value)} arrived; expected bytes in base64, or an address", "invalid_inputs")
    if is_url(value[:64].encode("utf-8", "replace")):
        return str((await fetcher.source(value.strip()[:MAX_URL_BYTES], stack)).path)
    text = value.partition(",")[2] if value.startswith("data:") else value
    plain = "".join(text.split()).translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise refuse(
            "inputs", f"an input is no base64 (it begins {value[:24]!r}); send bytes in base64", "invalid_base64"
        ) from None


def _is_picture(path: Path) -> bool:
    with path.open("rb") as file:
        return is_media(file.read(HEAD_BYTES))


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise refuse("inputs", "the body is no UTF-8 text; this task takes a text", "invalid_inputs") from None


def _parameters(given: Mapping[str, Any], model: ServedModel) -> dict[str, Any]:
    """Return the parameters of the pipeline; those of generation, wherever they stand, are nested as it takes them.

    Raises:
        OptionError: one is not for clients, or asks for too much.
    """
    runner = getattr(model.pipeline, "runner", None)
    names = frozenset() if runner is None else runner.names
    generation = frozenset() if runner is None else runner.generation
    flat: dict[str, Any] = {}
    for name, value in given.items():
        flat.update(value if name in _NESTS and isinstance(value, Mapping) else {name: value})
    for name, value in flat.items():
        if name in _NOT_FOR_CLIENTS:
            raise OptionError(f"the parameter {name!r} is not taken over HTTP; leave it out")
        if name in ("num_beams", "num_return_sequences") and isinstance(value, int) and value > MOST_BEAMS:
            raise OptionError(f"{name} is {value}; at most {MOST_BEAMS} are taken over HTTP")
    nested = {name: value for name, value in flat.items() if name in generation and name not in names}
    rest = {name: value for name, value in flat.items() if name not in nested and value is not None}
    return {**rest, "generate_kwargs": nested} if nested and "generate_kwargs" in names else {**rest, **nested}
