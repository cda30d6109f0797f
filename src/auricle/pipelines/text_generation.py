"""The text-generation task: prompts or chats in, texts out, all at once or piece by piece."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import torch

from auricle.decoding.structured import FormLibrary
from auricle.engines import make_engine
from auricle.errors import AuricleError, ConfigError, OptionError, TaskError
from auricle.loading import Loaded, load
from auricle.pipelines.base import ModelSettings, Pipeline
from auricle.pipelines.text_names import CHANGING, ONE_MEANING
from auricle.pipelines.text_parameters import FIELDS, TextDefaults, TextRequest, check_types, read_text_parameters
from auricle.pipelines.writer import Writer, Writing
from auricle.text.chat import is_chat, plain, render
from auricle.text.tools import schemas

BATCH_SIZE = 8  # texts depend on no neighbours, so that a list is written side by side unless told otherwise
MOST_SEED = 2**62


@dataclass(frozen=True)
class Prompt:
    """An input as the model reads it."""

    ids: tuple[int, ...]
    goes_on: bool  # with what was written, rather than with an answer


class TextGenerationPipeline(Pipeline):
    """Write on from a prompt, or answer in a chat.

    An input is a text, or a chat: a list of messages ``{"role": "user", "content": "…"}``. A result is a list with one
    dictionary for each text that was asked for.

    Example:
        >>> write = pipeline("text-generation", "Qwen/Qwen2.5-0.5B-Instruct")
        >>> write("Once upon a time", max_new_tokens=20)
        [{'generated_text': 'Once upon a time there was …'}]
        >>> write([{"role": "user", "content": "Hello"}])[0]["generated_text"][-1]["content"]
        'Hello! How can I help you?'
        >>> for piece in write.stream([{"role": "user", "content": "Hello"}]): print(piece, end="", flush=True)
    """

    task: ClassVar[str] = "text-generation"

    def __init__(
        self,
        writer: Writer,
        defaults: TextDefaults,
        *,
        name: str = "",
        device: str = "cpu",
        batch_size: int | None = BATCH_SIZE,
        on_error: str = "raise",
        **parameters: Any,
    ) -> None:
        self.writer = writer
        self.tokenizer = writer.tokenizer
        self.checkpoint = defaults
        self.name = name
        self.device = device
        self._libraries: dict[tuple[int, ...], FormLibrary] = {}  # the newest one, by the tokens that end a text
        super().__init__(batch_size=batch_size, on_error=on_error, **parameters)

    @classmethod
    def load(cls, model: str | Path | None, settings: ModelSettings, **parameters: Any) -> Self:
        """Load a model that writes text."""
        if model is None:
            raise TaskError(f"the task {cls.task!r} needs a model; name one")
        for name in ("writer", "defaults", "name"):
            if name in parameters:
                raise OptionError(f"{name}={parameters[name]!r} is refused: the model decides it; leave it out")
        loaded = load(model, dtype=None, revision=settings.revision, token=settings.token)
        if loaded.kind != "causal":
            raise TaskError(
                f"{loaded.name!r} is a model of kind {loaded.kind!r} ({loaded.model_type}), which does not write on; "
                "leave the task out for what it does, or choose a model such as Qwen/Qwen2.5-0.5B-Instruct"
            )
        engine = make_engine(loaded.model, device=settings.device, dtype=settings.dtype, name=settings.engine)
        engine_model: Any = engine.model  # nn.Module types its attributes otherwise
        writer = Writer(engine.text, loaded.tokenizer, engine_model.max_positions)
        return cls(writer, defaults_of(loaded), name=loaded.name, device=settings.device, **parameters)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} on {self.device}>"

    def __call__(self, inputs: Any = None, *, text_inputs: Any = None, **parameters: Any) -> Any:
        """Write for one prompt or chat, a list of them, or anything that gives them one by one.

        Raises:
            OptionError: a parameter has an unknown name, a wrong value or a conflict, or the prompt has no room.
        """
        if (inputs is None) == (text_inputs is None):
            raise OptionError("give one input: a text, a chat, or a list of them")
        given = text_inputs if inputs is None else inputs
        if is_chat(given):
            return super().__call__([given], **parameters)[0]
        return super().__call__(given, **parameters)

    def stream(self, prompt: Any, **parameters: Any) -> Iterator[str]:
        """Give the new text piece by piece while it is written; the pieces join to the whole.

        Whoever reads no further, as by leaving the loop, ends the text.

        Raises:
            OptionError: at once, when a parameter has an unknown name, a wrong value or a conflict.
        """
        writing = self.write(prompt, **parameters)
        pieces = _texts(writing)
        weakref.finalize(pieces, writing.close).atexit = False  # also where no piece was asked for
        return pieces

    def write(self, prompt: Any, **parameters: Any) -> Writing:
        """Begin to write, and give what tells about it: pieces, counts of tokens, and why the text ended.

        Several may be begun; whoever asks for a piece moves all of them on.

        Raises:
            OptionError: at once, when a parameter has an unknown name, a wrong value or a conflict.
        """
        request, _, _ = self.read_call(parameters, None, None)
        if request.n_sequences > 1 or request.streamer is not None:
            raise OptionError("num_return_sequences and streamer are of the call that returns all; leave them out")
        return self.begin(self.preprocess(prompt, request), request, 0, new_seed(request))

    def read_parameters(self, parameters: Mapping[str, Any], batch_size: int | None) -> TextRequest:
        """Check the call parameters."""
        return read_text_parameters(parameters, self.checkpoint)

    def preprocess(self, item: Any, request: TextRequest) -> Prompt:
        """Return the ids of a prompt, or of a chat as its template writes it."""
        if is_chat(item):
            return self._of_chat(item, request)
        if isinstance(item, Prompt):
            return Prompt(self._cut(list(item.ids), request), item.goes_on)
        if not isinstance(item, str):
            raise OptionError(
                f"a {type(item).__name__} arrived; expected a text, or a chat: a list of messages with role and content"
            )
        if request.of_chats or request.variables:
            name = request.of_chats[0] if request.of_chats else "tokenizer_encode_kwargs"
            raise OptionError(
                f"{name} says how a chat is written, and a text arrived; leave it out, or give a list of messages with "
                "role and content"
            )
        ids = self.tokenizer.encode(request.prefix + item, request.add_special_tokens)
        return Prompt(self._cut(ids, request), goes_on=True)

    def length(self, prepared: Prompt) -> float:
        """Return how many tokens a prompt has."""
        return len(prepared.ids)

    def forward(self, batch: list[Prompt], request: TextRequest) -> list[Any]:
        """Write for several prompts side by side; each gives its writings, or the error that it met."""
        seed = new_seed(request)
        begun: list[list[Writing] | AuricleError] = []
        for prompt in batch:
            try:
                begun.append([self.begin(prompt, request, number, seed) for number in range(request.n_sequences)])
            except AuricleError as error:
                begun.append(error)
        if request.streamer is not None:
            _tell(request.streamer, begun)
        for writings in begun:
            for writing in writings if isinstance(writings, list) else ():
                writing.wait()
        return begun

    def postprocess(self, item: Any, output: list[Writing], request: TextRequest) -> list[dict[str, Any]]:
        """Return one dictionary for each text."""
        return [self._result(item, writing, request) for writing in output]

    def _result(self, item: Any, writing: Writing, request: TextRequest) -> dict[str, Any]:
        result: dict[str, Any]
        if request.returns == "tensors":
            result = {"generated_token_ids": [*writing.prompt, *writing.tokens]}
        elif request.returns == "new":
            result = {"generated_text": writing.text}
        elif isinstance(item, str):
            result = {"generated_text": item + writing.text}
        elif _goes_on(item, request):
            *before, last = item
            result = {"generated_text": [*before, longer(last, writing.text)]}
        else:
            result = {"generated_text": [*item, {"role": "assistant", "content": writing.text}]}
        if request.logprobs:
            result["logprobs"] = [self._probability(choice) for choice in writing.choices]
        if request.prompt_logprobs:
            result["prompt_logprobs"] = [self._probability(choice) for choice in writing.prompt_choices]
        return result

    def _probability(self, choice: Any) -> dict[str, Any]:
        def named(id: int, logprob: float | None) -> dict[str, Any]:
            return {"id": id, "token": self.tokenizer.decode([id], skip_special_tokens=False), "logprob": logprob}

        return {
            **named(choice.token, choice.logprob),
            "top_logprobs": [named(id, logprob) for id, logprob in choice.best],
        }

    def with_limit(self, request: TextRequest, most: int) -> TextRequest:
        """Return a request whose texts have at most so many new tokens."""
        options = request.manner.options
        if not request.manner.writes:
            return request
        fewest = None if options.min_new_tokens is None else min(options.min_new_tokens, most)
        limited = replace(options, max_new_tokens=most, min_new_tokens=fewest)
        return replace(request, manner=replace(request.manner, options=limited))

    def begin(self, prompt: Prompt, request: TextRequest, number: int, seed: int) -> Writing:
        """Begin one of a prompt's texts; equal prompts under one seed give equal texts, alone or in a batch.

        Raises: OptionError if the prompt has no room, or its form cannot be enforced. MissingExtraError
        """
        form = None
        if request.form is not None:
            options = request.manner.options
            ends = tuple(end for end in (options.eos, *options.more_ends) if end >= 0)
            library = self._libraries.get(ends)
            if library is None:
                library = FormLibrary(self.tokenizer.as_json(), self.tokenizer.vocab_size, ends)
                self._libraries = {ends: library}
            form = partial(library.filter, library.grammar(request.form))
        beams = request.manner.options.n_beams > 1  # which finish several texts at once
        manner = replace(request.manner, goes_on=prompt.goes_on, form=form)
        manner = replace(manner, rank=number, seed=seed) if beams else replace(manner, seed=seed + number)
        return self.writer.write(prompt.ids, manner)

    def _of_chat(self, chat: Sequence[Mapping[str, Any]], request: TextRequest) -> Prompt:
        goes_on = _goes_on(chat, request)
        if goes_on and request.adds_prompt:
            raise OptionError("continue_final_message and add_generation_prompt exclude each other; give one of them")
        if request.prefix:
            raise OptionError(f"prefix={request.prefix!r} stands before a text, and a chat arrived; leave it out")
        tools = schemas(request.tools) if request.tools is not None else None
        templates = self.tokenizer.templates
        text = render(
            templates.choose(request.chat_template, bool(tools)),
            chat,
            tools=tools,
            documents=request.documents,
            add_generation_prompt=request.adds_prompt is not False,
            continue_final_message=goes_on,
            variables={**self.tokenizer.roles, **request.variables},
        )
        return Prompt(self._cut(self.tokenizer.encode(text), request), goes_on)

    def _cut(self, ids: list[int], request: TextRequest) -> tuple[int, ...]:
        """Cut a prompt where that was asked for; an empty one becomes the token that texts begin with."""
        if request.most_prompt is not None and len(ids) > request.most_prompt:
            ids = ids[-request.most_prompt :] if self.tokenizer.truncates_left else ids[: request.most_prompt]
        options, most = request.manner.options, self.writer.max_length
        if request.leaves_hole:
            n_new = options.max_new_tokens or max((options.max_length or 0) - len(ids), 0)
            if n_new >= most:
                raise OptionError(
                    f"handle_long_generation='hole' has no room: {n_new} new tokens were asked for and the model takes "
                    f"{most} in all; lower max_new_tokens"
                )
            ids = ids[-(most - n_new) :] if len(ids) + n_new > most else ids
        begin = self.checkpoint.generation.get("bos_token_id")
        if not ids:
            begin = self.tokenizer.role("bos_token") if begin is None else begin
            ids = [] if begin is None else [begin]
        return tuple(ids)


def defaults_of(loaded: Loaded) -> TextDefaults:
    """Return what a checkpoint decides where a caller does not.

    Raises: ConfigError where it asks for what is not here.
    """
    for name in CHANGING & loaded.generation.keys():
        value, (harmless, _) = loaded.generation[name], ONE_MEANING[name]
        if value is not None and value not in harmless:
            raise ConfigError(
                f"{loaded.folder} states for generation that {name} is {value!r:.100}, which changes what is written "
                "and is not native; remove it from generation_config.json, or try engine='transformers'"
            )
    stated = loaded.generation.get("eos_token_id")
    if stated is None:
        stated = loaded.tokenizer.role("eos_token")
    ends = stated if isinstance(stated, list) else [] if stated is None else [stated]
    try:
        check_types({name: value for name, value in loaded.generation.items() if name in FIELDS and value is not None})
        if not all(type(end) is int for end in ends):
            raise OptionError(f"eos_token_id is {stated!r:.100}; expected a token's id, or a list of them")
    except OptionError as error:
        raise ConfigError(f"{loaded.folder} states for generation: {error}. Correct generation_config.json") from error
    lengths = [loaded.tokenizer.max_length, getattr(loaded.model, "max_positions", None)]
    known = [one for one in lengths if one is not None]
    return TextDefaults(loaded.generation, tuple(ends), min(known, default=None))


def _texts(writing: Writing) -> Iterator[str]:
    try:
        yield from (piece.text for piece in writing if piece.text)
    finally:
        writing.close()


def _goes_on(chat: Sequence[Mapping[str, Any]], request: TextRequest) -> bool:
    """Say whether the last message is gone on with: where the caller says so, or it is the assistant's."""
    if request.goes_on is not None:
        return request.goes_on
    return chat[-1]["role"] == "assistant" and not request.adds_prompt


def longer(message: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Return a message with text behind its own; that has some, since it was gone on with."""
    content = message["content"]
    if isinstance(content, str):
        return {**message, "content": content + text}
    parts = plain(content)
    last = next(part for part in reversed(parts) if "text" in part)
    last["text"] += text
    return {**message, "content": parts}


def new_seed(request: TextRequest) -> int:
    """Return the call's seed, or one that torch draws, so that torch.manual_seed() holds here, too."""
    return int(torch.randint(MOST_SEED, ())) if request.seed is None else request.seed


def _tell(streamer: Any, begun: Sequence[list[Writing] | AuricleError]) -> None:
    """Hand tokens to a streamer of transformers as they are written."""
    if len(begun) != 1 or not isinstance(begun[0], list) or len(begun[0]) != 1:
        raise OptionError("a streamer takes one text; give one prompt and num_return_sequences=1")
    (writing,) = begun[0]
    streamer.put(torch.tensor([writing.prompt]))
    for piece in writing:
        for choice in piece.choices:
            streamer.put(torch.tensor([choice.token]))
    streamer.end()
