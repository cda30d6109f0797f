"""Images on the Hugging Face routes: raw bytes, base64, addresses or forms, with a question or without."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from auricle.server.bodies import Body, source_of_inputs
from auricle.server.errors import Refused
from auricle.server.hf_calls import AT_TOP, choice, form_parameters, options_of, parameters_of, typed, unused
from auricle.server.hf_replies import warn
from auricle.server.json_bodies import kind_of, refuse
from auricle.server.parameters import Note, from_query
from auricle.server.presence import while_present
from auricle.server.seeing import Image
from auricle.server.url_inputs import MAX_URL_BYTES, is_url

if TYPE_CHECKING:
    from auricle.server.services import Services
    from auricle.server.settings import Settings

_TEXTS = ("question", "function_to_apply")  # parameters that stay text
_QUADS = 4  # characters of base64 that stand for three bytes


@dataclass(frozen=True)
class ImageCall:
    """A request, read."""

    image: Image
    question: str | None
    parameters: dict[str, Any]
    use_cache: bool
    waits: bool
    notes: tuple[Note, ...] = ()


async def read_image_call(
    request: Request, body: Body, settings: Settings, stack: AsyncExitStack, asks: bool
) -> ImageCall:
    """Understand a request whose body has been read; `asks` for models that answer a question.

    Raises:
        Refused: 400, there is no image in it, no question, or something else that is not understood.
    """
    query = typed(from_query(request.query_params.multi_items()), _TEXTS)
    if body.kind == "json":
        return await _of_json(request, body, query, settings, stack, asks)
    if body.source is None:
        raise refuse("inputs", "the form has no file; send the image as 'file'", "no_inputs")
    parameters = {**query, **form_parameters(body, _TEXTS)}
    for name in ("model", "task"):
        parameters.pop(name, None)
    question = parameters.pop("question", None) if asks else None
    return ImageCall(
        Image(body.source.path, body.source.sha256),
        _question(question) if asks else None,
        parameters,
        choice(request, {}, "use_cache", True),
        choice(request, {}, "wait_for_model", False),
    )


async def _of_json(
    request: Request, body: Body, query: dict[str, Any], settings: Settings, stack: AsyncExitStack, asks: bool
) -> ImageCall:
    data = body.data
    if not isinstance(data, Mapping):
        raise refuse("inputs", f"the JSON is {kind_of(data)}; expected an object with the image as 'inputs'")
    options = options_of(data)
    inputs = data.get("inputs")
    nested: Mapping[str, Any] = inputs if isinstance(inputs, Mapping) else {}
    parameters = {**query, **parameters_of(data)}
    given = nested.get("image", data.get("image"))
    image = await _image(body, given, inputs, settings, stack)
    in_parameters = parameters.pop("question", None) if asks else None
    question = nested.get("question", data.get("question", in_parameters))
    return ImageCall(
        image,
        _question(question) if asks else None,
        parameters,
        choice(request, options, "use_cache", True),
        choice(request, options, "wait_for_model", False),
        unused(data, options, (*AT_TOP, "image", "question") if asks else AT_TOP),
    )


async def _image(body: Body, given: Any, inputs: Any, settings: Settings, stack: AsyncExitStack) -> Image:
    """Return the image that stands apart, or as "inputs"."""
    if given is not None:
        if not isinstance(given, str):
            raise refuse("inputs", f"'image' is {kind_of(given)}; expected its bytes in base64, or its address")
        return await asyncio.to_thread(_decoded, given)
    if body.inputs is not None:
        body.inputs.seek(0)
        if is_url(body.inputs.read(64)):
            if body.inputs.seek(0, 2) > 6 * MAX_URL_BYTES:
                raise refuse("inputs", f"'inputs' begins like an address and has over {MAX_URL_BYTES} characters")
            return Image(body.text().strip())
        try:
            source = await source_of_inputs(body, settings, stack)
        except Refused as refused:
            refused.message = refused.message.replace("recording", "image")
            raise
        return Image(source.path, source.sha256)
    if inputs is None:
        raise refuse("inputs", "the JSON has no 'inputs'; give the image's bytes in base64 there", "no_inputs")
    raise refuse(
        "inputs",
        f"'inputs' is {kind_of(inputs)}; expected one image: bytes in base64, an address, or an object with 'image'",
        "invalid_inputs",
    )


def _decoded(text: str) -> Image:
    """Return the image that a text stands for: never a path."""
    if is_url(text[:64].encode("utf-8", "replace")):
        return Image(text.strip()[:MAX_URL_BYTES])
    if text.startswith("data:"):
        text = text.partition(",")[2]
    plain = "".join(text.split()).translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        content = base64.b64decode(plain + "=" * (-len(plain) % _QUADS), validate=True)
    except (binascii.Error, ValueError):
        raise refuse(
            "inputs", f"the image is no base64 (it begins {text[:24]!r}); send its bytes in base64", "invalid_base64"
        ) from None
    if not content:
        raise refuse("inputs", "the image is empty; send its bytes in base64", "no_inputs")
    return Image.of_bytes(content)


def _question(question: Any) -> str:
    if question is None:
        raise refuse("question", "no question arrived; give it beside the image as 'question'", "no_question")
    if not isinstance(question, str) or not question.strip():
        raise refuse("question", f"the question is {question!r:.100}; expected a text beside the image", "no_question")
    return question


async def answer_image(request: Request, services: Services, name: str, call: ImageCall) -> Response:
    """Look at an image as a call asks.

    Raises:
        Refused, AuricleError: as the statuses of the API tell.
    """
    wait = None if call.waits else services.settings.hold
    looking = services.seeing.see(name, call.image, call.question, call.parameters, use_cache=call.use_cache, wait=wait)
    seen = await while_present(request, looking)
    headers = {"x-cache": "hit" if seen.is_cached else "miss" if seen.is_kept else "bypass", "x-compute-images": "1"}
    if seen.is_cached:
        headers["x-compute-type"] = "cache"
    else:
        headers["x-compute-type"] = "cpu" if seen.device.startswith("cpu") else "gpu"
        headers["x-compute-time"] = f"{seen.compute_s:.3f}"
    response = JSONResponse(seen.result, headers=headers)
    warn(response, call.notes)
    return response
