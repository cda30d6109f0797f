"""Who writes texts: one model for any number of callers, each of whom gets an answer piece by piece.

Answers that are asked for meanwhile join those that are being written (continuous batching), and prompts that begin as
an earlier text did are read from there on. No thread of its own: whoever waits for a piece moves all texts on.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from auricle.decoding.filters import Filter
from auricle.decoding.generate import GenerateOptions, generate
from auricle.decoding.running import Choice, Row, Running, TextStep, choices_of, n_shared, read_prompts
from auricle.decoding.sampling import seeded
from auricle.errors import OptionError
from auricle.text.pieces import Pieces, Stops
from auricle.text.writing import WritingTokenizer

MOST_ROWS = 64  # written side by side
MOST_PROMPTS = 16  # read at once
MOST_TOKENS = 8192  # of prompts that are read at once, with what pads the shorter ones
MOST_REMEMBERED = 4  # earlier texts whose keys and values are kept for prompts that begin as they do
CONTEXT = 4  # tokens of a prompt that the text after it is decoded with
SCORED = 128  # tokens of a prompt whose probabilities are computed at once
LEAST_SHARED = 8  # tokens that a prompt has in common with an earlier text before that is looked at


@dataclass(frozen=True)
class Manner:
    """How one text is to be written."""

    options: GenerateOptions
    stops: tuple[str, ...] = ()  # strings that end the text
    keeps_stop: bool = False  # whether the text still has the one that ended it
    skip_special_tokens: bool = True
    clean_up: bool | None = None  # spaces before punctuation; None: as the checkpoint says
    seed: int = 0  # of what is drawn
    rank: int = 0  # of the texts that beams finish, which one this is, the best first
    n_best: int | None = None  # log-probabilities, and so many other tokens besides; None: neither
    scores_prompt: bool = False  # whether the prompt's own tokens have their probabilities, too
    writes: bool = True  # False: nothing is written, the prompt's probabilities are all that is asked for
    max_time: float | None = None  # seconds, after which the text ends where it is
    goes_on: bool = False  # whether the text goes on from the prompt's last word, rather than begins
    filters: tuple[Filter, ...] = ()  # further rules about what may follow
    # A rule that follows one text: made for the tokens of its prompt, and how many new ones there may be.
    form: Callable[[int, int], Filter] | None = None

    @property
    def is_search(self) -> bool:
        """Whether several texts are followed for one, which is known only at the end."""
        return self.options.n_beams > 1 or self.options.penalty_alpha > 0 or self.options.best_of > 1


@dataclass(frozen=True)
class Piece:
    """What one token adds to an answer; its text may be empty while a character or a stop string is open."""

    text: str
    choices: tuple[Choice, ...] = ()
    finish_reason: str | None = None  # with the last piece: "stop", "length" or "time"


@dataclass
class Writing:
    """One answer while it is written: iterate over it for its `Piece`s, or `wait` for all of them."""

    writer: Writer
    prompt: tuple[int, ...]
    manner: Manner
    n_cached: int = 0  # tokens of the prompt that an earlier text had read already
    text: str = ""
    choices: list[Choice] = field(default_factory=list)
    prompt_choices: tuple[Choice, ...] = ()  # the prompt's tokens, where they are scored; the first follows nothing
    finish_reason: str | None = None  # "stop", "length", "time", or "cancelled" where it was closed before its end
    _ready: deque[Piece] = field(default_factory=deque)
    _error: BaseException | None = None

    def __post_init__(self) -> None:
        decode, manner = self.writer.tokenizer.decode, self.manner
        skips, clean = manner.skip_special_tokens, manner.clean_up
        before = self.prompt[-CONTEXT:] if manner.goes_on else ()
        self._pieces = Pieces(lambda ids: decode(ids, skips, clean), self.writer.tokenizer.byte_ids, before)
        self._stops = Stops(manner.stops, manner.keeps_stop)
        self._began = time.monotonic()
        self._row: Row | None = None

    @property
    def tokens(self) -> list[int]:
        """The new tokens, with the one that ended the text."""
        return [choice.token for choice in self.choices]

    @property
    def n_new(self) -> int:
        """How many tokens were written."""
        return len(self.choices)

    @property
    def is_over(self) -> bool:
        """Whether nothing more is written."""
        return self.finish_reason is not None

    def __iter__(self) -> Iterator[Piece]:
        return self

    def __next__(self) -> Piece:
        while not self._ready:
            if self._error is not None:
                raise self._error
            if self.is_over:
                raise StopIteration
            self.writer.advance(self)
        return self._ready.popleft()

    def taken(self) -> list[Piece]:
        """Return the pieces that are there and nobody has asked for, without writing more."""
        found = []
        while self._ready:
            found.append(self._ready.popleft())
        return found

    @property
    def error(self) -> BaseException | None:
        """What whoever waits for this answer is to be told, if writing has failed."""
        return self._error

    def wait(self) -> Writing:
        """Write to the end."""
        for _ in self:
            pass
        return self

    def close(self) -> None:
        """Write no more; what is written stays. At any time and from any thread."""
        if not self.is_over:
            self.finish_reason = "cancelled"

    def take(self, choices: Sequence[Choice], reason: str | None) -> None:
        """Note tokens that were chosen, and why the text ends with them if it does."""
        if self.is_over:
            return
        text, n = "", 0
        while n < len(choices) and self._stops.found is None:
            text, n = text + self._read(choices[n].token), n + 1
        choices = choices[:n]  # a search gives all at once, and those behind a stop string are none of the text
        if self._stops.found is not None:
            reason = "stop"
        elif reason is None and self.manner.max_time is not None:
            reason = "time" if time.monotonic() - self._began >= self.manner.max_time else None
        if reason is not None and self._stops.found is None:
            text += self._stops.add(self._pieces.end()) + self._stops.end()
        self.choices += choices
        self.text += text
        self._ready.append(Piece(text, tuple(choices), reason))
        self.finish_reason = reason

    def fail(self, error: BaseException) -> None:
        """Note what whoever waits for this answer is to be told."""
        self._error, self.finish_reason = error, "cancelled"

    def _read(self, token: int) -> str:
        # Checkpoints have end tokens that they forgot to mark as special.
        options, named = self.manner.options, self.writer.tokenizer.named
        is_sign = token in named and token in (options.eos, *options.more_ends)
        return "" if is_sign and self.manner.skip_special_tokens else self._stops.add(self._pieces.add(token))


@dataclass
class _Memory:
    """An earlier text that the model has read, and what it remembers of it."""

    tokens: list[int]
    step: TextStep


class Writer:
    """A model that writes for whoever asks; safe to be used from several threads."""

    def __init__(
        self,
        begin: Callable[[torch.Tensor], TextStep],
        tokenizer: WritingTokenizer,
        max_length: int,
        *,
        most_rows: int = MOST_ROWS,
        most_remembered: int = MOST_REMEMBERED,
    ) -> None:
        """Take an engine's `text`, the tokenizer, and how many tokens a text can have."""
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.n_read = 0  # tokens of prompts that the model was given to read, in all
        self._begin = begin
        self._most_rows, self._most_remembered = most_rows, most_remembered
        self._turn = threading.Lock()
        self._waiting: deque[Writing] = deque()
        self._entering: list[Writing] = []  # whose prompts are being read
        self._running = Running()
        self._writings: dict[int, Writing] = {}  # by the identity of their rows
        self._memories: list[_Memory] = []  # the one used last comes last

    def write(self, prompt: Sequence[int], manner: Manner) -> Writing:
        """Begin an answer to a prompt of token ids.

        Raises:
            OptionError: if the prompt is empty, leaves no room, or has ids that do not exist.
        """
        if not prompt:
            raise OptionError("the prompt has no tokens and the model begins with none; give it some text")
        self.tokenizer.refuse_strange(prompt)
        room = self.max_length - len(prompt)
        if room < manner.writes:
            raise OptionError(
                f"the prompt has {len(prompt)} tokens and the model takes {self.max_length} with those it generates; "
                "shorten the prompt, or give handle_long_generation='hole'"
            )
        most = manner.options.most_new_tokens(len(prompt), room) if manner.writes else 0
        if manner.writes:
            manner = replace(manner, options=replace(manner.options, max_new_tokens=most, max_length=None))
        if manner.form is not None:
            manner = replace(manner, filters=(*manner.filters, manner.form(len(prompt), most)), form=None)
        writing = Writing(self, tuple(prompt), manner)
        self._waiting.append(writing)
        return writing

    def advance(self, asking: Writing) -> None:
        """Move all texts on by a token, unless another thread has just done so for who is `asking`."""
        with self._turn:
            if asking._ready or asking.is_over:
                return
            try:
                self._drop_closed()
                self._admit()
                self._write()
            except BaseException as error:
                # Nobody knows what the memories of the rows hold now.
                for writing in [*self._writings.values(), *self._entering]:
                    if not writing.is_over:  # a search is, once it has been entered
                        writing.fail(error)
                while self._waiting:  # others may come meanwhile
                    self._waiting.popleft().fail(error)
                self._writings.clear()
                self._running.clear()
                raise
            finally:
                self._entering.clear()

    def sweep(self) -> None:
        """Let go of texts that were closed; the next token does that, too, where one is written."""
        with self._turn:
            self._drop_closed()
            for _ in range(len(self._waiting)):
                if (writing := self._waiting.popleft()).is_over is False:
                    self._waiting.append(writing)

    def forget(self) -> None:
        """Free what is remembered of earlier texts."""
        with self._turn:
            self._memories.clear()

    def _write(self) -> None:
        over: list[tuple[Writing, Row]] = []
        for row, choice in self._running.advance() if self._writings else ():
            writing = self._writings[id(row)]
            if row.error is not None:
                writing.fail(row.error)
                over.append((writing, row))
                continue
            is_full = len(row.tokens) - row.n_prompt >= (writing.manner.options.max_new_tokens or 0)
            reason = "stop" if row.ends_with(choice.token) else "length" if is_full else None
            writing.take([choice], reason)
            if writing.is_over:
                over.append((writing, row))
        if over:
            self._let_go([row for _, row in over])

    def _drop_closed(self) -> None:
        closed = [writing._row for writing in self._writings.values() if writing.is_over and writing._row is not None]
        if closed:
            self._let_go(closed)

    def _let_go(self, rows: Sequence[Row]) -> None:
        """Take rows out of the running ones, and remember the last of them."""
        kept = list(rows[max(0, len(rows) - self._most_remembered) :]) if self._most_remembered else []
        for row, step in zip(kept, self._running.remove(rows, kept), strict=True):
            self._memories.append(_Memory(row.tokens[:-1], step))
        del self._memories[: max(0, len(self._memories) - self._most_remembered)]
        for row in rows:
            del self._writings[id(row)]

    def _admit(self) -> None:
        """Read the prompts that wait, as far as there is room."""
        together: list[Writing] = []
        searched: dict[Any, Any] = {}  # what beams finished, by prompt and manner
        longest = 0
        while self._waiting and len(self._writings) + len(together) < self._most_rows:
            writing = self._waiting[0]
            if writing.is_over:
                self._waiting.popleft()
                continue
            if writing.manner.is_search:
                self._search(self._next(), searched)
                continue
            if writing.manner.scores_prompt:
                self._score(self._next())
                continue
            memory, n_shared = self._best_memory(writing.prompt)
            if memory is not None:
                self._go_on(self._next(), memory, n_shared)
                continue
            longest = max(longest, len(writing.prompt))
            n_tokens = longest * (len(together) + 1)
            if together and (len(together) == MOST_PROMPTS or n_tokens > MOST_TOKENS):
                break
            together.append(self._next())
        if together:
            step, logits = read_prompts(self._begin, [one.prompt for one in together])
            self.n_read += sum(map(len, {one.prompt for one in together}))
            self._running.add([self._row(one) for one in together], step, logits)

    def _next(self) -> Writing:
        """Take the text that has waited longest; it is told if reading its prompt fails."""
        self._entering.append(self._waiting.popleft())
        return self._entering[-1]

    def _row(self, writing: Writing) -> Row:
        manner = writing.manner
        writing._row = Row(
            writing.prompt,
            manner.options,
            generator=seeded(manner.seed) if manner.options.sampling_temperature > 0 else None,
            filters=manner.filters,
            n_best=manner.n_best,
        )
        self._writings[id(writing._row)] = writing
        return writing._row

    def _best_memory(self, prompt: Sequence[int]) -> tuple[_Memory | None, int]:
        """The earlier text that a prompt has most in common with, and how many tokens that are."""
        found = [(n_shared(one.tokens, prompt), number) for number, one in enumerate(self._memories)]
        n, number = max(found, default=(0, 0))
        n = min(n, len(prompt) - 1)  # the last token is read for its logits
        return (self._memories[number], n) if n >= LEAST_SHARED else (None, 0)

    def _go_on(self, writing: Writing, memory: _Memory, n_shared: int) -> None:
        """Read what of a prompt is new behind an earlier text."""
        self._memories.remove(memory)
        step = memory.step
        if n_shared < len(memory.tokens) // 2:  # others may go on from there, too
            step = memory.step.fork(torch.tensor([0]))
            self._memories.append(memory)
        step.keep(n_shared)
        rest = list(writing.prompt[n_shared:])
        logits = step.advance(torch.tensor([rest]))[:, -1]
        writing.n_cached = n_shared
        self.n_read += len(rest)
        self._running.add([self._row(writing)], step, logits)

    def _score(self, writing: Writing) -> None:
        """Read a prompt by itself, with the probability of each of its tokens."""
        prompt, n_best = writing.prompt, writing.manner.n_best or 0
        step = self._begin(torch.zeros(1, dtype=torch.long))
        found = [Choice(prompt[0])]
        for begin in range(0, len(prompt), SCORED):
            part = prompt[begin : begin + SCORED]
            logits = step.advance(torch.tensor([part]), n_last=len(part))[0]  # (S, V)
            following = prompt[begin + 1 : begin + len(part) + 1]
            found += choices_of(following, logits[: len(following)], n_best)
        self.n_read += len(prompt)
        writing.prompt_choices = tuple(found)
        if writing.manner.writes:
            self._running.add([self._row(writing)], step, logits[-1:])
        else:
            writing.take([], "length")

    def _search(self, writing: Writing, searched: dict[Any, Any]) -> None:
        """Write a whole answer with a search that follows several texts, or take one that it has `searched` for."""
        options = writing.manner.options
        key = (writing.prompt, replace(writing.manner, rank=0))
        if key not in searched:
            self.n_read += len(writing.prompt)
            step, prompt = self._begin(torch.zeros(1, dtype=torch.long)), torch.tensor([writing.prompt])
            generators = [seeded(writing.manner.seed)]
            try:
                searched[key] = generate(step, prompt, options, writing.manner.filters, generators=generators)[0]
            except OptionError as error:  # of this text alone: others are being written
                writing.fail(error)
                return
        found = (searched[key], *searched[key].others)[writing.manner.rank]
        logprobs = found.logprobs if writing.manner.n_best is not None else [None] * len(found.logprobs)
        tokens = [*found.tokens, options.eos][: len(found.logprobs)]
        choices = [Choice(token, logprob) for token, logprob in zip(tokens, logprobs, strict=True)]
        writing.take(choices, "stop" if found.ended else "length")
