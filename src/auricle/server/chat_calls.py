"""One call of OpenAI's text API, from the request to the reply, whatever the route it came by."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from auricle.errors import AuricleError, OptionError
from auricle.server.chat_fields import MOST_CHOICES, Asked, messages_of, read_shared, tools_of
from auricle.server.chat_replies import ChatReply, CompletionReply
from auricle.server.errors import Refused, as_refused, openai_error
from auricle.server.json_bodies import flag, kind_of, read_object, refuse, whole
from auricle.server.openai_calls import resolved
from auricle.server.parameters import warned
from auricle.server.presence import while_present
from auricle.server.text_events import DONE, TextEvents
from auricle.server.writings import Answers, Order

if TYPE_CHECKING:
    from auricle.server.services import Services

USUAL_COMPLETION = 16  # tokens of a completion, as theirs

Reply = ChatReply | CompletionReply


async def chat(request: Request, services: Services, path_model: str | None = None) -> Response:
    """Answer a chat.

    Raises:
        Refused: the request is wrong, its model is not there or still loading, or too much waits already.
    """
    given = await read_object(request)
    asked = read_shared(given, is_chat=True)
    messages = messages_of(given)
    tools, forced, _ = tools_of(given)
    parameters = {**asked.parameters, **forced, **({"tools": tools} if tools else {})}
    order = Order([messages], parameters, asked.n, asked.most_new, param="messages", limit_param="max_tokens")
    return await _answer(request, services, path_model, asked, order, lambda one: ChatReply(one, asked, bool(tools)))


async def complete(request: Request, services: Services, path_model: str | None = None) -> Response:
    """Write prompts on.

    Raises:
        Refused: the request is wrong, its model is not there or still loading, or too much waits already.
    """
    given = await read_object(request)
    echoes = flag(given, "echo") or flag(given, "return_full_text")
    asked = read_shared(given, is_chat=False, echoes=echoes)
    items = _prompts(given.get("prompt"))
    best_of = whole(given, "best_of", 1, MOST_CHOICES, asked.n) or asked.n
    if best_of < asked.n or (best_of > asked.n and asked.streams):
        raise refuse("best_of", f"best_of is {best_of}: it must be n or more, and with stream no more than n")
    scored = echoes and (asked.n_logprobs is not None or asked.most_new == 0)
    parameters = {**asked.parameters, **({"logprobs": True} if best_of > asked.n else {})}
    parameters |= {"prompt_logprobs": True} if scored else {}
    order = Order(items, parameters, best_of, asked.most_new, USUAL_COMPLETION, "prompt", "max_tokens")

    def reply(answers: Answers) -> Reply:
        texts = [_text(answers, item) for item in items] if echoes else None
        return CompletionReply(answers, asked, asked.n, texts)

    return await _answer(request, services, path_model, asked, order, reply)


async def _answer(
    request: Request,
    services: Services,
    path_model: str | None,
    asked: Asked,
    order: Order,
    reply_of: Callable[[Answers], Reply],
) -> Response:
    name = resolved(services, path_model or asked.model)
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        beginning = services.writings.begin(stack, name, _with_ids(order), services.settings.hold)
        try:
            answers = await while_present(request, beginning)
        except OptionError as error:
            raise _naming(error, order) from None
        reply = reply_of(answers)
        if asked.streams:
            return TextEvents(reply.events(), _failed, stack.pop_all(), DONE, warned(asked.notes))
        body = await while_present(request, reply.body())
        headers = {
            "x-compute-time": f"{time.monotonic() - began:.3f}",
            "x-prompt-tokens": str(answers.n_prompt),
            "x-generated-tokens": str(answers.n_new),
            **warned(asked.notes),
        }
        return JSONResponse(body, headers=headers)
    raise AssertionError("a call is answered or raises")


def _failed(refused: Refused) -> dict[str, Any]:
    return {"error": openai_error(refused)}


def _naming(error: AuricleError, order: Order) -> Refused:
    """Return a refusal that names the field which an error is about, as far as it is known."""
    refused = as_refused(error)
    message = refused.message
    told = next((name for name in sorted(order.parameters, key=len, reverse=True) if name in message), None)
    is_prompt = "chat" in message or "template" in message or "prompt" in message
    refused.param = told or (order.param if is_prompt else None)
    return refused


def _prompts(prompt: Any) -> list[Any]:
    """Return the prompts, each a text or a list of ids."""
    ids = "a list of ids has whole numbers of 0 or more"
    if isinstance(prompt, str):
        return [prompt]
    if not isinstance(prompt, list) or not prompt:
        found = "not there" if prompt is None else "empty" if prompt == [] else kind_of(prompt)
        raise refuse("prompt", f"prompt is {found}; expected a text, a list of texts, or ids of tokens")
    if all(isinstance(one, str) for one in prompt):
        return prompt
    lists = [prompt] if not any(isinstance(one, list) for one in prompt) else prompt
    for one in lists:
        if not isinstance(one, list) or not one or not all(type(id) is int and 0 <= id < 2**31 for id in one):
            raise refuse("prompt", f"prompt has {one!r:.100}; expected texts only, or ids only: {ids}")
    return lists


def _with_ids(order: Order) -> Order:
    from auricle.pipelines.text_generation import Prompt

    items = [Prompt(tuple(one), goes_on=True) if _is_ids(one) else one for one in order.items]
    return replace(order, items=items)


def _is_ids(item: Any) -> bool:
    return isinstance(item, list) and bool(item) and isinstance(item[0], int)


def _text(answers: Answers, item: Any) -> str:
    return item if isinstance(item, str) else str(answers.tokenizer.decode(item))
