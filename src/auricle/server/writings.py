"""Texts that models write for requests: the one way to them, whatever the route. Free of HTTP.

    async with AsyncExitStack() as stack:
        answers = await writings.begin(stack, "org/model", Order(["Once upon a time"]))
        async for answer, piece in answers.pieces(): ...

What is written ends with the stack.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from auricle import __version__
from auricle.errors import OptionError
from auricle.server.cache import ResultCache, cache_key
from auricle.server.desk import Desk
from auricle.server.errors import Refused
from auricle.server.registry import Registry, ServedModel, refuse_bridged
from auricle.server.revisions import Revisions
from auricle.server.runner import Runner
from auricle.server.settings import Settings

if TYPE_CHECKING:
    from auricle.pipelines.writer import Piece, Writing

logger = logging.getLogger("auricle.server")

TASK = "text-generation"
MOST_TEXTS = 64  # of one request: prompts times texts of each
# What a call in Python may have and a request may not: programs, objects of this process, and searches that cannot
# share their steps with others.
_NOT_FOR_CLIENTS = {
    "chat_template": "the model's own template writes its chats",
    "streamer": "ask for a stream",
    "generation_config": "give its parameters each by itself",
    "num_beams": "a search would hold up the texts of all other requests; sample, or leave it out",
    "num_beam_groups": "a search would hold up the texts of all other requests; sample, or leave it out",
    "penalty_alpha": "a search would hold up the texts of all other requests; sample, or leave it out",
    "return_tensors": "ask for details or logprobs",
}
_HARMLESS: Mapping[str, Any] = {"num_beams": 1, "num_beam_groups": 1, "penalty_alpha": 0, "return_tensors": False}
_HEAVIEST = 100.0  # what a logit or a penalty may be multiplied by or raised


@dataclass(frozen=True)
class Order:
    """What is to be written."""

    items: Sequence[Any]  # prompts: texts, chats, or lists of token ids
    parameters: Mapping[str, Any] = field(default_factory=dict)  # those of a call of the pipeline
    n: int = 1  # texts for each prompt
    most_new: int | None = None  # tokens, 0 where only the prompt is scored, where the request says so
    usual: int | None = None  # tokens, where it does not; None: as many as the server lets it have
    param: str = "inputs"  # how the route calls the prompt, and the limit
    limit_param: str = "max_new_tokens"


@dataclass(eq=False)
class Answer:
    """One text: `number` of all, of the prompt `item`."""

    number: int
    item: int
    writing: Writing


class Answers:
    """The texts of one request while they are written."""

    def __init__(self, model: ServedModel, answers: Sequence[Answer], seed: int, on_end: Callable[..., None]) -> None:
        self.model, self.answers, self.seed = model, answers, seed
        self._on_end = on_end
        self._began = time.monotonic()
        self._first_s: float | None = None
        self._queue: asyncio.Queue[tuple[Answer, list[Piece], bool, BaseException | None]] = asyncio.Queue()

    @property
    def tokenizer(self) -> Any:
        """The model's own."""
        return self.model.pipeline.tokenizer

    @property
    def n_prompt(self) -> int:
        """Tokens of all prompts, each counted once."""
        return sum({answer.item: len(answer.writing.prompt) for answer in self.answers}.values())

    @property
    def n_cached(self) -> int:
        """Of these, tokens that an earlier text had read."""
        return sum({answer.item: answer.writing.n_cached for answer in self.answers}.values())

    @property
    def n_new(self) -> int:
        """Tokens that were written, in all."""
        return sum(answer.writing.n_new for answer in self.answers)

    def start(self, desk: Desk) -> None:
        """Have the desk write them."""
        loop = asyncio.get_running_loop()

        def put(answer: Answer, pieces: list[Piece], is_over: bool, error: BaseException | None) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody listens any more
                loop.call_soon_threadsafe(self._queue.put_nowait, (answer, pieces, is_over, error))

        for answer in self.answers:
            desk.add(
                answer.writing,
                partial(lambda answer, pieces: put(answer, pieces, False, None), answer),
                partial(lambda answer, error: put(answer, [], True, error), answer),
            )

    async def pieces(self) -> AsyncIterator[tuple[Answer, Piece]]:
        """Give the pieces of all texts as they come.

        Raises:
            Whatever writing met.
        """
        left = len(self.answers)
        while left:
            answer, pieces, is_over, error = await self._queue.get()
            if error is not None:
                raise error
            left -= is_over
            if pieces and self._first_s is None:
                self._first_s = time.monotonic() - self._began
            for piece in pieces:
                yield answer, piece

    async def wait(self) -> None:
        """Wait until all are written."""
        async for _ in self.pieces():
            pass

    def close(self) -> None:
        """Write no more."""
        for answer in self.answers:
            answer.writing.close()
        seconds = time.monotonic() - self._began
        self._on_end(self.model.name, self.n_prompt, self.n_cached, self.n_new, self._first_s, seconds)


class Writings:
    """Begins texts for all routes."""

    def __init__(self, settings: Settings, registry: Registry, runner: Runner, cache: ResultCache | None) -> None:
        self.settings, self.registry, self.runner, self.cache = settings, registry, runner, cache
        self._revisions = Revisions(registry)
        # Told the model, tokens of prompts, of these cached, new tokens, seconds to the first, and in all.
        self.on_done: Callable[[str, int, int, int, float | None, float], None] | None = None

    async def begin(self, stack: AsyncExitStack, name: str, order: Order, wait: float | None) -> Answers:
        """Begin to write with the model of a served name; model, place and texts are let go of with the stack.

        `wait` is how many seconds the model may take to load.

        Raises:
            Refused: the model is of another task (422), still loading (503), too much waits already (429), the prompt
                leaves no room (400). AuricleError: a parameter or the model cannot be used.
        """
        refuse_ours(order.parameters)
        model = await stack.enter_async_context(self.registry.use(name, wait))
        if model.task != TASK:
            raise Refused(422, f"Model {model.name} does {model.task}, not {TASK}", code="wrong_task", param="model")
        refuse_bridged(model)
        if not isinstance(model.batcher, Desk):
            raise Refused(501, f"Model {model.name} runs elsewhere, and writes no texts from there", code="no_desk")
        await stack.enter_async_context(self.runner.place())
        answers = await self._begun(model, order)
        stack.callback(answers.close)
        answers.start(model.batcher)
        return answers

    async def key(self, name: str, order: Order, wait: float | None) -> str | None:
        """Return what the texts of an order are kept under; None for samples, which are drawn anew each time.

        Raises:
            As `begin`.
        """
        refuse_ours(order.parameters)
        async with self.registry.use(name, wait) as model:
            if self.cache is None or model.task != TASK:
                return None
            refuse_bridged(model)
            request, _, _ = model.pipeline.read_call(self._limited(order), None, "raise")
            if request.manner.options.sampling_temperature > 0 or request.manner.max_time is not None:
                return None
            asked = [order.items, dict(order.parameters), order.n, order.most_new, order.usual]
            settings = self.settings
            return cache_key(
                sha256=hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest(),
                task=TASK,
                model=name,
                revision=await self._revisions.of(model),
                engine=f"{settings.engine} on {model.pipeline.device}",
                dtype=settings.dtype,
                options={"max_new_tokens": settings.max_new_tokens},
                version=__version__,
            )

    async def kept(self, key: str) -> dict[str, Any] | None:
        """Return what was kept."""
        assert self.cache is not None, "there is a key"
        return await asyncio.to_thread(self.cache.get, key)

    async def keep(self, key: str, value: Mapping[str, Any]) -> None:
        """Keep a reply."""
        assert self.cache is not None, "there is a key"
        await asyncio.to_thread(self.cache.put, key, value)

    def _limited(self, order: Order) -> dict[str, Any]:
        """Return the parameters of a call with its limit, unless that counts the prompt, too."""
        limit = order.usual if order.most_new is None else order.most_new
        most = {} if "max_length" in order.parameters else {"max_new_tokens": limit}
        if most == {"max_new_tokens": None}:
            most = {"max_new_tokens": self.settings.max_new_tokens}
        return {**order.parameters, **most}

    async def _begun(self, model: ServedModel, order: Order) -> Answers:
        """Read the prompts in a thread; if the request goes away meanwhile, nothing of it is written."""

        def work() -> Answers:
            made, seed = self._answers(model, order)
            return Answers(model, made, seed, self._done)

        def leave(done: asyncio.Task[Answers]) -> None:
            if not done.cancelled() and done.exception() is None:
                done.result().close()

        task = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(leave)
            raise

    def _answers(self, model: ServedModel, order: Order) -> tuple[list[Answer], int]:
        from auricle.pipelines.text_generation import new_seed

        if len(order.items) * order.n > MOST_TEXTS:
            raise OptionError(
                f"{len(order.items)} prompts of {order.n} texts each were asked for; at most {MOST_TEXTS} texts are "
                "written for one request"
            )
        pipeline = model.pipeline
        request, _, _ = pipeline.read_call(self._limited(order), None, "raise")
        for name in ("eos_token_id", "suppress_tokens", "bad_words_ids"):
            pipeline.tokenizer.refuse_strange(_ids(order.parameters.get(name)))
        prompts = [pipeline.preprocess(item, request) for item in order.items]
        seed = new_seed(request)
        options = request.manner.options
        requests = []
        for prompt in prompts:
            room = self._room(len(prompt.ids), pipeline.writer.max_length, order)
            wanted = options.most_new_tokens(len(prompt.ids), room) if request.manner.writes else 0
            allowed = min(wanted, self.settings.max_new_tokens)
            requests.append(pipeline.with_limit(request, allowed))
        begun: list[Answer] = []
        try:
            for item, (prompt, asked) in enumerate(zip(prompts, requests, strict=True)):
                for number in range(order.n):
                    begun.append(Answer(len(begun), item, pipeline.begin(prompt, asked, number, seed)))
        except BaseException:
            for answer in begun:
                answer.writing.close()
            raise
        return begun, seed

    def _room(self, n_prompt: int, most: int, order: Order) -> int:
        """Return how many tokens a model of `most` has room for behind a prompt.

        Raises:
            Refused: 400, as OpenAI's clients know it.
        """
        room = most - n_prompt
        if (room < 1 and order.most_new != 0) or (order.most_new is not None and order.most_new > room):
            asked = "" if order.most_new is None else f" and {order.most_new} in the completion"
            raise Refused(
                400,
                f"This model's maximum context length is {most} tokens. However, you requested "
                f"{n_prompt + (order.most_new or 0)} tokens ({n_prompt} in the {order.param}{asked}). Please reduce "
                f"the length of the {order.param}, or {order.limit_param}.",
                code="context_length_exceeded",
                param=order.param,
                extra={"error_type": "validation"},
            )
        most_here = self.settings.max_new_tokens
        if order.most_new is not None and order.most_new > most_here:
            raise Refused(
                400,
                f"{order.limit_param} is {order.most_new}, and this server writes at most {most_here} tokens; lower it",
                code="invalid_parameter",
                param=order.limit_param,
            )
        return room

    def _done(self, *told: Any) -> None:
        if self.on_done is not None:
            self.on_done(*told)


def refuse_ours(parameters: Mapping[str, Any]) -> None:
    """Refuse what is a program or the server's own affair, and numbers that are none any more once computed with.

    Raises:
        OptionError: one of the parameters is.
    """
    for name, value in parameters.items():
        if name in _NOT_FOR_CLIENTS and value is not None and _HARMLESS.get(name, value is None) != value:
            raise OptionError(f"{name}={value!r:.100} is not taken over HTTP: {_NOT_FOR_CLIENTS[name]}")
        if name in ("generate_kwargs", "tokenizer_encode_kwargs") and isinstance(value, Mapping):
            refuse_ours(value)
        if name in ("repetition_penalty", "presence_penalty", "frequency_penalty", "temperature"):
            refuse_heavy(name, value)
        if name == "logit_bias" and isinstance(value, Mapping | list):
            for one in value.values() if isinstance(value, Mapping) else value:
                refuse_heavy(name, one[-1] if isinstance(one, list) and one else one)


def _ids(value: Any) -> list[int]:
    """Return the numbers that a parameter has, in lists or alone."""
    if isinstance(value, list):
        return [id for one in value for id in _ids(one)]
    return [value] if isinstance(value, int) else []


def refuse_heavy(name: str, value: Any) -> None:
    """Refuse a number beyond what a logit can be multiplied or raised by.

    Raises:
        OptionError: it is.
    """
    if isinstance(value, int | float) and not abs(value) <= _HEAVIEST:
        raise OptionError(f"{name} is {value!r}; expected a number from -{_HEAVIEST:g} to {_HEAVIEST:g}")


__all__ = ["TASK", "Answer", "Answers", "Order", "Writings", "refuse_ours"]
