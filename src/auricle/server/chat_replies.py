"""Written texts as OpenAI's API has them: whole chats and completions, and the chunks of both."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from auricle import __version__
from auricle.server.chat_fields import Asked
from auricle.server.writings import Answer, Answers
from auricle.text.tool_calls import LLAMA, MISTRAL, ToolCall, ToolCallReader

if TYPE_CHECKING:
    from auricle.pipelines.writer import Piece

# Why a text ended, in their words.
REASONS = {"stop": "stop", "length": "length", "time": "length", "cancelled": "stop"}
LOWEST = -9999.0  # what they write for a probability of nothing
_SHOWN = (MISTRAL, LLAMA)  # special tokens that the text itself leaves out, and that mark calls

Event = dict[str, Any]


@dataclass
class _Told:
    """What was told of one text."""

    text: list[str] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    reader: ToolCallReader | None = None
    logprobs: list[dict[str, Any]] = field(default_factory=list)


class ChatReply:
    """The reply to a chat: whole, or piece by piece."""

    def __init__(self, answers: Answers, asked: Asked, has_tools: bool) -> None:
        self._answers, self._asked = answers, asked
        self._head = _head("chatcmpl", answers)
        self._told = [_Told(reader=ToolCallReader() if has_tools else None) for _ in answers.answers]
        tokenizer = answers.tokenizer
        marks = ((tokenizer.id_of(mark), mark) for mark in _SHOWN) if has_tools else ()
        self._marks = {id: mark for id, mark in marks if id in tokenizer.special}

    async def body(self) -> dict[str, Any]:
        """Return the whole reply once all is written."""
        async for answer, piece in self._answers.pieces():
            self._add(answer, piece)
        choices = []
        for answer, told in zip(self._answers.answers, self._told, strict=True):
            self._end(answer)
            text = "".join(told.text)
            message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
            if told.calls:
                message |= {"content": text or None, "tool_calls": [_without_index(call) for call in told.calls]}
            choices.append(
                {
                    "index": answer.number,
                    "message": message,
                    "logprobs": self._logprobs(told.logprobs),
                    "finish_reason": self._reason(answer),
                }
            )
        told_of = {"warnings": [note.message for note in self._asked.notes]} if self._asked.notes else {}
        return {
            **self._head,
            "object": "chat.completion",
            "choices": choices,
            "usage": usage(self._answers),
            **told_of,
        }

    async def events(self) -> AsyncIterator[Event]:
        """Give the chunks as they come."""
        begun: set[int] = set()
        async for answer, piece in self._answers.pieces():
            if answer.number not in begun:
                begun.add(answer.number)
                yield self._chunk(answer, {"role": "assistant", "content": ""})
            told = self._told[answer.number]
            n_before = len(told.logprobs)
            text, calls = self._add(answer, piece)
            if piece.finish_reason is not None:
                rest, more = self._end(answer)
                text, calls = text + rest, [*calls, *more]
            logprobs = told.logprobs[n_before:]
            if text or logprobs:
                yield self._chunk(answer, {"content": text}, logprobs)
            if calls:
                yield self._chunk(answer, {"tool_calls": calls})
            if piece.finish_reason is not None:
                yield self._chunk(answer, {}, reason=self._reason(answer))
        if self._asked.tells_usage:
            yield {**self._head, "object": "chat.completion.chunk", "choices": [], "usage": usage(self._answers)}

    def _add(self, answer: Answer, piece: Piece) -> tuple[str, list[dict[str, Any]]]:
        told = self._told[answer.number]
        if self._asked.n_logprobs is not None:
            told.logprobs += [chat_logprob(self._answers.tokenizer, choice) for choice in piece.choices]
        if told.reader is None:
            told.text.append(piece.text)
            return piece.text, []
        marks = "".join(self._marks.get(choice.token, "") for choice in piece.choices)
        text, calls = told.reader.add(marks + piece.text)
        return self._take(told, text, calls)

    def _end(self, answer: Answer) -> tuple[str, list[dict[str, Any]]]:
        told = self._told[answer.number]
        if told.reader is None:
            return "", []
        return self._take(told, *told.reader.end())

    def _take(self, told: _Told, text: str, calls: Sequence[ToolCall]) -> tuple[str, list[dict[str, Any]]]:
        told.text.append(text)
        new = [
            {
                "index": len(told.calls) + place,
                "id": f"call_{uuid.uuid4().hex[:24]}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for place, call in enumerate(calls)
        ]
        told.calls += new
        return text, new

    def _reason(self, answer: Answer) -> str:
        return "tool_calls" if self._told[answer.number].calls else REASONS[answer.writing.finish_reason or "stop"]

    def _logprobs(self, found: list[dict[str, Any]]) -> dict[str, Any] | None:
        return None if self._asked.n_logprobs is None else {"content": found, "refusal": None}

    def _chunk(
        self, answer: Answer, delta: dict[str, Any], logprobs: Sequence[dict[str, Any]] = (), reason: str | None = None
    ) -> Event:
        choice = {
            "index": answer.number,
            "delta": delta,
            "logprobs": self._logprobs(list(logprobs)) if logprobs else None,
            "finish_reason": reason,
        }
        more = {"usage": None} if self._asked.tells_usage else {}
        return {**self._head, "object": "chat.completion.chunk", "choices": [choice], **more}


class CompletionReply:
    """The reply to a completion: whole, or piece by piece."""

    def __init__(self, answers: Answers, asked: Asked, n_kept: int, echoes: Sequence[str] | None) -> None:
        """Take how many texts of each prompt are kept, the most probable ones, and what stands before them, if so."""
        self._answers, self._asked, self._n_kept, self._echoes = answers, asked, n_kept, echoes
        self._head = {**_head("cmpl", answers), "object": "text_completion"}
        self._offsets = [0] * len(answers.answers)

    async def body(self) -> dict[str, Any]:
        """Return the whole reply once all is written."""
        await self._answers.wait()
        kept: list[Answer] = []
        for item in sorted({answer.item for answer in self._answers.answers}):
            of_prompt = [answer for answer in self._answers.answers if answer.item == item]
            if self._n_kept < len(of_prompt):
                of_prompt = sorted(of_prompt, key=mean_logprob, reverse=True)[: self._n_kept]
            kept += of_prompt
        choices = [
            self._choice(
                index,
                one,
                self._before(one) + one.writing.text,
                [*one.writing.prompt_choices, *one.writing.choices],
                one.writing.finish_reason,
            )
            for index, one in enumerate(kept)
        ]
        return {**self._head, "choices": choices, "usage": usage(self._answers)}

    async def events(self) -> AsyncIterator[Event]:
        """Give the chunks as they come."""
        begun: set[int] = set()
        more = {"usage": None} if self._asked.tells_usage else {}
        async for answer, piece in self._answers.pieces():
            text, choices = piece.text, piece.choices
            if answer.number not in begun:
                begun.add(answer.number)
                text, choices = self._before(answer) + text, (*answer.writing.prompt_choices, *choices)
            if text or piece.finish_reason is not None or self._asked.n_logprobs is not None:
                choice = self._choice(answer.number, answer, text, choices, piece.finish_reason)
                yield {**self._head, "choices": [choice], **more}
        if self._asked.tells_usage:
            yield {**self._head, "choices": [], "usage": usage(self._answers)}

    def _before(self, answer: Answer) -> str:
        return "" if self._echoes is None else self._echoes[answer.item]

    def _choice(
        self, index: int, answer: Answer, text: str, choices: Sequence[Any], reason: str | None
    ) -> dict[str, Any]:
        return {
            "index": index,
            "text": text,
            "logprobs": None if self._asked.n_logprobs is None else self._logprobs(answer, choices),
            "finish_reason": None if reason is None else REASONS[reason],
        }

    def _logprobs(self, answer: Answer, choices: Sequence[Any]) -> dict[str, Any]:
        tokenizer = self._answers.tokenizer
        tokens = [_named(tokenizer, choice.token) for choice in choices]
        offsets = []
        for choice, token in zip(choices, tokens, strict=True):
            offsets.append(self._offsets[answer.number])
            # Signs, such as the one that texts begin with, are no part of the text.
            self._offsets[answer.number] += 0 if choice.token in tokenizer.special else len(token)
        # The first token of a prompt follows nothing.
        first = bool(choices) and choices[0] in answer.writing.prompt_choices[:1]
        return {
            "tokens": tokens,
            "token_logprobs": [None] * first + [finite(choice.logprob) for choice in choices[first:]],
            "top_logprobs": [None] * first
            + [
                # Parts of characters have one name; the most probable one keeps it.
                {_named(tokenizer, id): finite(logprob) for id, logprob in reversed(choice.best)}
                for choice in choices[first:]
            ],
            "text_offset": offsets,
        }


def usage(answers: Answers) -> dict[str, Any]:
    """Return how many tokens were read and written."""
    return {
        "prompt_tokens": answers.n_prompt,
        "completion_tokens": answers.n_new,
        "total_tokens": answers.n_prompt + answers.n_new,
        "prompt_tokens_details": {"cached_tokens": answers.n_cached},
    }


def chat_logprob(tokenizer: Any, choice: Any) -> dict[str, Any]:
    """Return a token with its probability, and the most probable ones beside it."""
    best = [_with_bytes(tokenizer, id, logprob) for id, logprob in choice.best]
    return {**_with_bytes(tokenizer, choice.token, choice.logprob), "top_logprobs": best}


def finite(logprob: float | None) -> float:
    """Return a logarithm that JSON has."""
    return LOWEST if logprob is None or not math.isfinite(logprob) else round(logprob, 6)


def _with_bytes(tokenizer: Any, id: int, logprob: float | None) -> dict[str, Any]:
    token = _named(tokenizer, id)
    # Of a part of a character the letters are not known.
    return {"token": token, "logprob": finite(logprob), "bytes": None if "\ufffd" in token else list(token.encode())}


def _named(tokenizer: Any, id: int) -> str:
    return str(tokenizer.decode([id], skip_special_tokens=False))


def mean_logprob(answer: Answer) -> float:
    """Return how probable a text is, by its tokens; the best of several has the most."""
    return math.fsum(finite(choice.logprob) for choice in answer.writing.choices) / max(answer.writing.n_new, 1)


def _head(kind: str, answers: Answers) -> dict[str, Any]:
    return {
        "id": f"{kind}-{uuid.uuid4().hex}",
        "created": int(time.time()),
        "model": answers.model.name,
        "system_fingerprint": f"auricle-{__version__}",  # a text: one of the Hub's clients takes nothing else
    }


def _without_index(call: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in call.items() if name != "index"}
