"""One call of OpenAI's audio API: from the request to the reply, whatever the route it came by."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from auricle.errors import ModelNotFoundError, OptionError
from auricle.server.bodies import Body, read_body
from auricle.server.errors import Refused
from auricle.server.openai_fields import Asked, read_fields, refuse
from auricle.server.openai_parameters import Speaker, naming, parameters_for, speaker_of
from auricle.server.openai_replies import Reply
from auricle.server.openai_stream import Joining, Telling, failure
from auricle.server.parameters import Note, truth
from auricle.server.presence import while_present
from auricle.server.recognition import TASK, Recognized, Source, refuse_ours
from auricle.server.text_events import DONE, TextEvents

if TYPE_CHECKING:
    from auricle.server.services import Services


@dataclass(frozen=True)
class _Call:
    """What is to be done, and how the reply is to look."""

    source: Source
    asked: Asked
    speaker: Speaker
    parameters: dict[str, Any]
    notes: tuple[Note, ...]
    is_translation: bool
    use_cache: bool
    joint: str | None  # what stands between the texts of segments that are told

    def reply(self, found: Recognized) -> Reply:
        """Return the reply with a transcript."""
        speaker = self.speaker
        return Reply(
            found.transcript, self.asked, speaker.languages, self.is_translation, self.notes, model=speaker.name
        )


async def answer(
    request: Request, services: Services, path_model: str | None = None, is_translation: bool = False
) -> Response:
    """Answer a request for a transcription or a translation.

    Raises:
        Refused: the request is wrong, its model is not there or still loading, or too much waits already.
    """
    async with AsyncExitStack() as stack:
        body = await stack.enter_async_context(read_body(request, services.settings))
        source, asked = _read(request, body, is_translation)
        name = resolved(services, path_model or asked.model)
        call = await _call(request, services, name, source, asked, is_translation)
        work = partial(
            services.recognition.recognize,
            name,
            source,
            call.parameters,
            use_cache=call.use_cache,
            wait=services.settings.hold,
        )
        if not asked.streams:
            return _written(call, await while_present(request, _named(work(), call)))
        how = Joining(call.joint, call.speaker.judges_whole, "speakers" in call.parameters)
        telling = Telling(lambda on_event: _named(work(on_event=on_event), call), asked, call.reply, how)
        stack.push_async_callback(telling.end)
        await telling.begin()
        # The recording is needed as long as the events last.
        return TextEvents(telling.events(), failure, stack.pop_all(), DONE)
    raise AssertionError("a call is answered or raises")


def resolved(services: Services, name: str | None) -> str:
    """Return the served name that a client's name means; a lone model answers to any.

    Raises:
        Refused: 404, nothing of that name is served.
    """
    try:
        return services.registry.resolve(name, lenient=True)
    except ModelNotFoundError as error:
        raise Refused(404, str(error), code="model_not_found", param="model") from None


async def card_languages(services: Services, name: str) -> tuple[str, ...]:
    """Return the codes of the languages that a model's card names."""
    return (await asyncio.to_thread(services.registry.card, name)).languages


def _read(request: Request, body: Body, is_translation: bool) -> tuple[Source, Asked]:
    """Return the recording and what is asked for; a form's fields are believed before the query's."""
    if body.kind == "json":
        raise refuse("file", "the body is JSON; send a form (multipart/form-data) with the recording as 'file'")
    if body.source is None:
        raise refuse("file", "the form has no 'file'; add the recording as a part of that name")
    pairs = [(name, value) for name, values in body.fields.items() for value in values]
    named = {name.partition("[")[0] for name, _ in pairs}
    pairs += [pair for pair in request.query_params.multi_items() if pair[0].partition("[")[0] not in named]
    return body.source, read_fields(pairs, is_translation)


async def _call(
    request: Request, services: Services, name: str, source: Source, asked: Asked, is_translation: bool
) -> _Call:
    """Ask the model what it understands; that loads it."""
    languages = await card_languages(services, name)
    async with services.registry.use(name, services.settings.hold) as model:
        if model.task != TASK:
            raise Refused(422, f"Model {name} does {model.task}, not {TASK}", code="wrong_task", param="model")
        speaker = speaker_of(name, model.pipeline, languages)
        parameters, notes = parameters_for(asked, speaker, is_translation)
        try:
            refuse_ours(parameters)
            asked_of_model, _, _ = model.pipeline.read_call(parameters, None, "raise")  # known voices are checked
        except OptionError as error:
            raise naming(error, parameters) from None
        joint = model.pipeline.joint(asked_of_model)
    use_cache = truth("x-use-cache", request.headers.get("x-use-cache"), True)
    return _Call(source, asked, speaker, parameters, notes, is_translation, use_cache, joint)


async def _named(work: Any, call: _Call) -> Recognized:
    """Wait for a transcript; errors about parameters name the field that was sent."""
    try:
        found: Recognized = await work
    except OptionError as error:
        raise naming(error, call.parameters) from None
    return found


def _written(call: _Call, found: Recognized) -> Response:
    reply = call.reply(found)
    headers = {"x-cache": "hit" if found.is_cached else "miss", "x-compute-type": _kind(found.device)}
    if not found.is_cached:
        headers["x-compute-time"] = f"{found.compute_s:.3f}"
    if call.notes:
        headers["x-hf-warning"] = _latin("; ".join(note.message for note in call.notes))
    if call.asked.form in ("json", "verbose_json", "diarized_json"):
        return JSONResponse(reply.body(), headers=headers)
    content, media_type = reply.file()
    return Response(content, media_type=media_type, headers=headers)


def _kind(device: str) -> str:
    return "cpu" if device.startswith("cpu") else "gpu"


def _latin(text: str) -> str:
    """Return a text as the value of a header: one line of ASCII."""
    return " ".join(text.encode("ascii", "replace").decode().split())[:500]
