"""Texts on the Hugging Face routes, in the shapes of the Inference API and of text-generation-inference."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from auricle.server.bodies import Body
from auricle.server.chat_replies import finite, mean_logprob
from auricle.server.errors import Refused
from auricle.server.hf_calls import AT_TOP, choice, form_parameters, options_of, parameters_of, typed, unused
from auricle.server.json_bodies import flag, kind_of, refuse, refuse_halves, whole
from auricle.server.parameters import Note, from_query, warned
from auricle.server.presence import while_present
from auricle.server.text_events import TextEvents
from auricle.server.writings import Answer, Answers, Order

if TYPE_CHECKING:
    from auricle.server.services import Services

MOST_BYTES = 16 << 20  # of a prompt
USUAL = 256  # new tokens where the request says nothing, as the pipeline's
MOST_TEXTS = 16  # of a prompt
MOST_TOP = 20  # tokens beside each
# What turns sampling on for clients of text-generation-inference, whatever they say of do_sample.
_SAMPLING = ("temperature", "top_k", "top_p", "typical_p", "min_p")
# What is told in the details; the tokens beside each one in streams, too.
_DETAILS = ("decoder_input_details", "top_n_tokens")
_TEXTS = ("prefix", "stop", "stop_sequences")  # parameters that stay text
_REFUSED = {
    "watermark": "texts are not marked",
    "adapter_id": "a model is served as it is, without adapters",
    "prompt_logprobs": "ask for details and decoder_input_details",
}


@dataclass(frozen=True)
class TextCall:
    """A request, read."""

    items: list[Any]  # prompts: texts or chats
    is_list: bool  # whether the reply is a list for each
    parameters: dict[str, Any]  # of the pipeline
    n: int = 1
    best_of: int = 1
    most_new: int | None = None
    full: bool = True  # whether texts begin with their prompts
    details: bool = False
    prefill: bool = False  # whether the details have the prompt's tokens
    n_top: int = 0  # most probable tokens, told beside each
    streams: bool = False
    use_cache: bool = True
    waits: bool = False
    notes: tuple[Note, ...] = field(default_factory=tuple)


def read_text_call(request: Request, body: Body, is_tgi: bool = False, streams: bool | None = None) -> TextCall:
    """Understand a request whose body has been read; `is_tgi` for the routes of text-generation-inference.

    Those write the most probable text unless asked for another, without its prompt. `streams`: the route decides.

    Raises:
        Refused: 400, there is no text in it, or something else that is not understood.
    """
    data: Mapping[str, Any] = {}
    if body.kind == "json":
        if not isinstance(body.data, Mapping):
            raise refuse("inputs", f"the JSON is {kind_of(body.data)}; expected an object with a text as 'inputs'")
        data = body.data
    options = options_of(data)
    given = parameters_of(data) if body.kind == "json" else form_parameters(body, _TEXTS)
    parameters = {**typed(from_query(request.query_params.multi_items()), _TEXTS), **given}
    items, is_list = _items(_inputs(body, data))
    best_of = whole(parameters, "best_of", 1, MOST_TEXTS, 1) or 1
    n = whole(parameters, "num_return_sequences", 1, MOST_TEXTS, 1) or 1
    streams = flag(data, "stream") if streams is None else streams
    notes = [*unused(data, options, (*AT_TOP, "stream")), *_told(parameters, streams)]
    call = TextCall(
        items=items,
        is_list=is_list,
        parameters=_of_pipeline(parameters, is_tgi, notes),
        n=n,
        best_of=best_of,
        most_new=whole(parameters, "max_new_tokens", 1, 2**31),
        full=flag(parameters, "return_full_text", not is_tgi) and flag(parameters, "return_text", True),
        details=flag(parameters, "details"),
        prefill=flag(parameters, "decoder_input_details"),
        n_top=whole(parameters, "top_n_tokens", 0, MOST_TOP, 0) or 0,
        streams=streams,
        use_cache=choice(request, options, "use_cache", True),
        waits=choice(request, options, "wait_for_model", False),
        notes=tuple(notes),
    )
    if call.streams and (is_list or n > 1 or best_of > 1):
        raise refuse("stream", "a stream tells one text; give one input, and neither best_of nor num_return_sequences")
    if call.streams and call.prefill:
        raise refuse("decoder_input_details", "decoder_input_details is told with the whole reply; leave stream out")
    if n > 1 and best_of > 1:
        raise refuse("best_of", "best_of gives the best of several texts, num_return_sequences all; give one of them")
    return call


async def answer_text(
    request: Request, services: Services, name: str, call: TextCall, is_single: bool = False
) -> Response:
    """Write what a call asks for; `is_single` answers with one object, not a list.

    Raises:
        Refused, AuricleError: as the statuses of the API tell.
    """
    wait = None if call.waits else services.settings.hold
    probabilities: dict[str, Any] = {"logprobs": True} if call.details or call.streams or call.best_of > 1 else {}
    if call.details and call.prefill:
        probabilities["prompt_logprobs"] = True
    if call.n_top and (call.details or call.streams):
        probabilities |= {"logprobs": True, "top_logprobs": call.n_top}
    order = Order(call.items, {**call.parameters, **probabilities}, max(call.n, call.best_of), call.most_new, USUAL)
    began = time.monotonic()
    wanted = call.use_cache and not call.streams
    key = await while_present(request, services.writings.key(name, order, wait)) if wanted else None
    shape = (
        f"{key}:{call.full}:{call.details}:{call.prefill}:{call.n_top}:{call.best_of}:{is_single}:{call.is_list}"
        if key
        else None
    )
    kept = None if shape is None else await services.writings.kept(shape)
    if kept is not None:
        return _reply(kept["reply"], call, {"x-cache": "hit", "x-compute-type": "cache"})
    async with AsyncExitStack() as stack:
        answers = await while_present(request, services.writings.begin(stack, name, order, wait))
        if call.streams:
            return TextEvents(_events(answers, call), _failed, stack.pop_all(), headers=warned(call.notes))
        await while_present(request, answers.wait())
        found = _body(answers, call)
        reply = found[0] if is_single and not call.is_list else found
        is_whole = all(answer.writing.finish_reason != "cancelled" for answer in answers.answers)
        if shape is not None and is_whole:
            await services.writings.keep(shape, {"reply": reply})
        headers = {"x-cache": "miss" if shape else "bypass", "x-compute-time": f"{time.monotonic() - began:.3f}"}
        device = str(answers.model.pipeline.device)
        headers |= {
            "x-compute-type": "cpu" if device.startswith("cpu") else "gpu",
            "x-prompt-tokens": str(answers.n_prompt),
            "x-generated-tokens": str(answers.n_new),
            "x-compute-characters": str(sum(len(item) for item in call.items if isinstance(item, str))),
        }
        return _reply(reply, call, headers)
    raise AssertionError("a call is answered or raises")


def _reply(reply: Any, call: TextCall, headers: dict[str, str]) -> Response:
    return JSONResponse(reply, headers={**headers, **warned(call.notes)})


def _failed(refused: Refused) -> dict[str, Any]:
    return {"error": refused.message, "error_type": "generation"}


def _body(answers: Answers, call: TextCall) -> list[Any]:
    of_items: list[list[dict[str, Any]]] = []
    for item, given in enumerate(call.items):
        found = [answer for answer in answers.answers if answer.item == item]
        if call.best_of > 1:
            found = sorted(found, key=mean_logprob, reverse=True)[:1]
        of_items.append([_text(answers, answer, given, call) for answer in found])
    return of_items if call.is_list else of_items[0]


def _text(answers: Answers, answer: Answer, given: Any, call: TextCall) -> dict[str, Any]:
    writing = answer.writing
    result: dict[str, Any] = {"generated_text": _whole_text(given, writing) if call.full else writing.text}
    if call.details:
        tokenizer = answers.tokenizer
        tokens = [_token(tokenizer, one.token, one.logprob) for one in writing.choices]
        prefill: list[dict[str, Any]] = []
        for one in writing.prompt_choices:
            told = _token(tokenizer, one.token, one.logprob)
            prefill.append({"id": told["id"], "text": told["text"], "logprob": told["logprob"] if prefill else None})
        result["details"] = {**_details(answers, answer), "prefill": prefill, "tokens": tokens}
        if call.n_top:
            result["details"]["top_tokens"] = [_top(tokenizer, one) for one in writing.choices]
    return result


def _whole_text(given: Any, writing: Any) -> Any:
    from auricle.pipelines.text_generation import longer

    if isinstance(given, str):
        return given + writing.text
    if writing.manner.goes_on:
        return [*given[:-1], longer(given[-1], writing.text)]
    return [*given, {"role": "assistant", "content": writing.text}]


async def _events(answers: Answers, call: TextCall) -> AsyncIterator[dict[str, Any]]:
    """Give an event for each token; the last one has the whole text, and the details if they were asked for."""
    place = 0
    async for answer, piece in answers.pieces():
        for number, one in enumerate(piece.choices):
            place += 1
            is_last = piece.finish_reason is not None and number == len(piece.choices) - 1
            text = piece.text if number == len(piece.choices) - 1 else ""
            whole_text = _whole_text(call.items[0], answer.writing) if call.full else answer.writing.text
            yield {
                "index": place,
                "token": token_object(answers.tokenizer, one.token, one.logprob, text),
                **({"top_tokens": _top(answers.tokenizer, one)} if call.n_top else {}),
                "generated_text": whole_text if is_last else None,
                "details": _details(answers, answer) if is_last else None,
            }


def _token(tokenizer: Any, id: int, logprob: float | None) -> dict[str, Any]:
    return token_object(tokenizer, id, logprob, str(tokenizer.decode([id], skip_special_tokens=False)))


def _top(tokenizer: Any, one: Any) -> list[dict[str, Any]]:
    return [_token(tokenizer, id, logprob) for id, logprob in one.best]


def token_object(tokenizer: Any, id: int, logprob: float | None, text: str) -> dict[str, Any]:
    """Return a token as text-generation-inference tells it; one with text is never called special, for clients
    leave those out."""
    is_sign = id in tokenizer.special and (not text or text == tokenizer.name_of(id))
    return {"id": id, "text": text, "logprob": finite(logprob), "special": is_sign}


def _details(answers: Answers, answer: Answer) -> dict[str, Any]:
    writing = answer.writing
    options = writing.manner.options
    reason = writing.finish_reason
    if reason == "stop":
        is_token = bool(writing.tokens) and writing.tokens[-1] in (options.eos, *options.more_ends)
        reason = "eos_token" if is_token else "stop_sequence"
    return {
        "finish_reason": "length" if reason == "time" else reason,
        "generated_tokens": writing.n_new,
        "seed": writing.manner.seed if options.sampling_temperature > 0 else None,
        "input_length": len(writing.prompt),
    }


def _inputs(body: Body, data: Mapping[str, Any]) -> Any:
    if body.inputs is not None:
        if body.inputs.seek(0, 2) > MOST_BYTES:
            raise Refused(413, f"'inputs' has more than {MOST_BYTES} bytes; shorten the prompt", code="body_too_large")
        return body.text()
    if body.kind == "json":
        if "inputs" not in data:
            raise refuse("inputs", "the JSON has no 'inputs'; give a text there", "no_inputs")
        return data["inputs"]
    if body.source is None:
        raise refuse("inputs", "the form has no 'inputs'; give a text there", "no_inputs")
    return _read(body.source.path, body.source.size)


def _read(path: Path, size: int) -> str:
    try:
        if size > MOST_BYTES:
            raise Refused(413, f"the text has {size} bytes; at most {MOST_BYTES} are taken", code="body_too_large")
        return path.read_bytes().decode()
    except UnicodeDecodeError:
        raise refuse(
            "inputs", "this model reads text, and the body is neither text nor JSON such as {'inputs': 'Hello'}"
        ) from None


def _items(inputs: Any) -> tuple[list[Any], bool]:
    """Return the prompts, and whether they came as a list."""
    refuse_halves(inputs)
    if isinstance(inputs, str):
        return [inputs], False
    if _is_chat(inputs):
        return [inputs], False
    if isinstance(inputs, list) and inputs and all(isinstance(one, str) or _is_chat(one) for one in inputs):
        return inputs, True
    raise refuse(
        "inputs",
        f"'inputs' is {kind_of(inputs)}; expected a text, messages with role and content, or a list of either",
        "invalid_inputs",
    )


def _is_chat(value: Any) -> bool:
    """Say whether a value is messages, whose contents are texts, or parts for the template to read."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(one, Mapping)
            and isinstance(one.get("role"), str)
            and isinstance(one.get("content", ""), str | list | None)
            and len(one) > 1
            for one in value
        )
    )


def _told(parameters: Mapping[str, Any], streams: bool) -> list[Note]:
    """Refuse what is not there, and tell of what changes nothing."""
    has_details = flag(parameters, "details") or streams
    for name, why in _REFUSED.items():
        if parameters.get(name) not in (None, False):
            raise refuse(name, f"{name} is not taken: {why}")
    why = "it is told in the details; ask for those"
    asked = [name for name in _DETAILS if parameters.get(name)]
    return [] if has_details else [Note(name, f"{name} is not used: {why}") for name in asked]


def _of_pipeline(given: Mapping[str, Any], is_tgi: bool, notes: list[Note]) -> dict[str, Any]:
    """Return the parameters that the pipeline takes; some have other names there."""
    own = {"best_of", "num_return_sequences", "max_new_tokens", "return_full_text", "return_text", "details"}
    own |= {"truncate", "grammar", "stop_sequences", *_DETAILS, *_REFUSED}
    found = {name: value for name, value in given.items() if name not in own and value is not None}
    truncate = whole(given, "truncate", 1, 2**31)
    if truncate is not None:
        found |= {"truncation": True, "tokenizer_encode_kwargs": {"truncation": True, "max_length": truncate}}
    if given.get("grammar") is not None:
        found["response_format"] = given["grammar"]
    if given.get("stop_sequences"):
        found["stop"] = given["stop_sequences"]
    if not found.get("stop", True):
        del found["stop"]
    draws = [name for name in _SAMPLING if found.get(name)]
    if draws and found.get("do_sample") is False and found.get("temperature") != 0:
        notes.append(Note("do_sample", f"do_sample=false is not used: {draws[0]} asks for samples"))
        del found["do_sample"]
    if is_tgi and "do_sample" not in found and not draws:
        found["do_sample"] = False
    return found
