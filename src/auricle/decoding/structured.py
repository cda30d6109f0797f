"""Texts of a given form: JSON that fits a schema, or what a regular expression matches, whatever the weights say.

The `llguidance` library knows which tokens may follow (Geng et al. 2025, "JSONSchemaBench", arXiv 2501.10868). What it
does not know is how many tokens there are left: near the limit, only those are let through after which the form can
still be closed in time.

Dimension key: `B` rows, `S` tokens so far (prompt and generated), `V` vocabulary.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from auricle.decoding.filters import Filter
from auricle.errors import MissingExtraError, OptionError

MOST_SCHEMA_LETTERS = 200_000  # of a schema or an expression; what others send is bounded here
MOST_NEEDED = 1024  # tokens in which a form is closed; what takes more is left to the model
LOOKED_AT = 8  # of the most probable tokens, near the limit
CHECKED_EVERY = 8  # tokens, far from it
LEEWAY = 16  # tokens by which one token may lengthen what is still to come, beyond the whole form
# What closes a form soonest, best first; where none of them may follow, the vocabulary's first does.
CLOSING = '}]",:0ntf[{-'
IN_A_STRING = "#"  # a sign that JSON has nowhere else: there only a quotation mark closes anything


@dataclass(frozen=True)
class Form:
    """What a text has to be: JSON by a schema (an empty one: any object), or what an expression matches."""

    kind: Literal["json", "regex"]
    value: str  # the schema as JSON, or the expression

    @classmethod
    def of_schema(cls, schema: Any) -> Form:
        """Take a JSON schema; True is any value.

        Raises:
            OptionError: it is none, or too long.
        """
        if schema is True:
            schema = {}
        if not isinstance(schema, dict):
            raise OptionError(
                f"the schema is {type(schema).__name__}; expected an object, such as {{'type': 'object'}}"
            )
        return cls("json", _bounded(json.dumps(schema)))

    @classmethod
    def of_regex(cls, expression: Any) -> Form:
        """Take a regular expression of Rust's syntax, without looking around.

        Raises:
            OptionError: it is no text, or too long.
        """
        if not isinstance(expression, str) or not expression:
            raise OptionError(f"the regular expression is {expression!r}; expected a text such as '[0-9]{{4}}'")
        return cls("regex", _bounded(expression))


class FormLibrary:
    """Knows a vocabulary, and makes the rules for texts of it; made once for a model."""

    def __init__(self, tokenizer: str, n_tokens: int, ends: Sequence[int]) -> None:
        """Take tokenizer.json as text, the size of the vocabulary, and the tokens that end a text.

        Raises:
            MissingExtraError: the library is not installed. OptionError: it does not know such vocabularies.
        """
        library = _library()
        if not any(0 <= end < n_tokens for end in ends):
            raise OptionError("this model has no token that ends a text, so that no form can be closed; ask for text")
        try:
            self.vocabulary = library.LLTokenizer(tokenizer, n_vocab=n_tokens, eos_token=list(ends) or None)
        except ValueError as error:
            raise OptionError(f"this model's vocabulary is not known to llguidance ({error}); ask for text") from error
        self.n_tokens = n_tokens
        self.ends = tuple(ends)
        single = {sign: self.vocabulary.tokenize_str(sign) for sign in CLOSING + IN_A_STRING}
        self._closing = [single[sign][0] for sign in CLOSING if len(single[sign]) == 1]
        self._quote, self._inner = single['"'][0], single[IN_A_STRING][0]

    def grammar(self, form: Form) -> str:
        """Return a form as the library reads it.

        Raises:
            OptionError: it is malformed, or asks for what cannot be enforced.
        """
        matcher = _library().LLMatcher
        try:
            if form.kind == "regex":
                grammar = matcher.grammar_from_regex(form.value)
            else:
                # Spaces between signs could be written for ever.
                grammar = matcher.grammar_from_json_schema(form.value, overrides={"whitespace_flexible": False})
            is_wrong, told = matcher.validate_grammar_with_warnings(grammar, self.vocabulary)
        except ValueError as error:  # nested too deeply
            is_wrong, told = True, [str(error)]
        if is_wrong:
            name = "regular expression" if form.kind == "regex" else "schema"
            why = " ".join(" ".join(told).split())[:300]
            raise OptionError(f"the {name} cannot be enforced: {why}; change it, or leave it out")
        return str(grammar)

    def closing(self, matcher: Any) -> int | None:
        """Return the token that closes soonest what is open, None where none of the usual ones may follow."""
        if matcher.validate_tokens([self._inner]) and matcher.validate_tokens([self._quote]):
            return self._quote
        return next((token for token in self._closing if matcher.validate_tokens([token])), None)

    def filter(self, grammar: str, n_prompt: int, most: int) -> Filter:
        """Return the rule for one text behind a prompt of `n_prompt` tokens, which has at most `most` new ones."""
        return _Following(self, _library().LLMatcher(self.vocabulary, grammar, log_level=0), n_prompt, most)


class _Following:
    """Follows one text token by token; the row is the only one of its tokens."""

    def __init__(self, library: FormLibrary, matcher: Any, n_prompt: int, most: int) -> None:
        self._library, self._matcher = library, matcher
        self._n_seen, self._limit = n_prompt, n_prompt + most
        self._whole = self._last = self._needed(matcher)
        self._checked = n_prompt

    def __call__(self, tokens: Tensor, logits: Tensor) -> Tensor:
        """Let through what may follow; of one row, (1, S) tokens and (1, V) logits."""
        assert len(tokens) == 1, "a form is followed in one text"
        for token in tokens[0, self._n_seen :].tolist():
            if token not in self._library.ends:
                self._matcher.consume_token(token)
        self._n_seen = tokens.shape[1]
        if self._matcher.is_error():
            raise OptionError(f"the form cannot be followed any further: {self._matcher.get_error()[:200]}")
        allowed = self._allowed(self._matcher)
        left = self._limit - self._n_seen
        if self._is_tight(left):
            allowed = self._in_time(allowed, logits[0], left)
        mask = torch.zeros(logits.shape[1], dtype=torch.bool)
        mask[: len(allowed)] = allowed[: logits.shape[1]]
        mask = mask.to(logits.device)
        kept = logits.masked_fill(~mask, -math.inf)
        # Where other rules forbid all that may follow, the form decides.
        return kept if bool((kept > -math.inf).any()) else torch.zeros_like(logits).masked_fill(~mask, -math.inf)

    def _allowed(self, matcher: Any) -> Tensor:
        """Return what may follow, (V,) of the vocabulary; a text ends where its form is whole, and nowhere else."""
        bits = torch.frombuffer(bytearray(matcher.compute_bitmask()), dtype=torch.uint8)
        allowed = ((bits[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1).flatten()[: self._library.n_tokens].bool()
        ends = [end for end in self._library.ends if 0 <= end < len(allowed)]
        allowed[ends] = matcher.is_accepting()
        return allowed

    def _is_tight(self, left: int) -> bool:
        """Say whether the limit is near; what there still is to write is measured now and then, or at every token."""
        if self._whole is None:
            return False
        near = self._whole + LEEWAY
        is_due = self._n_seen - self._checked >= CHECKED_EVERY or (self._last or 0) + 2 * near >= left
        if is_due and left <= MOST_NEEDED + near:
            self._last, self._checked = self._needed(self._matcher), self._n_seen
        return self._last is not None and left <= self._last + near

    def _in_time(self, allowed: Tensor, logits: Tensor, left: int) -> Tensor:
        """Return those of the most probable tokens after which there is time to close, and the one that closes."""
        chosen = torch.zeros_like(allowed)
        if not self._matcher.is_accepting():
            chosen[self._next(self._matcher)[:1]] = True
        ends = [end for end in self._library.ends if 0 <= end < len(allowed)]
        chosen[ends] = allowed[ends]
        open_logits = logits[: len(allowed)].cpu().float().masked_fill(~allowed[: len(logits)], -math.inf)
        for token in open_logits.topk(min(LOOKED_AT, len(open_logits))).indices.tolist():
            if not allowed[token] or chosen[token]:
                continue
            after = self._matcher.deep_copy()
            if after.consume_token(token) and self._needed(after, left - 1) is not None:
                chosen[token] = True
        return chosen

    def _needed(self, matcher: Any, most: int = MOST_NEEDED) -> int | None:
        """Count the tokens in which the form can be closed from here, the end included; None: not in so many."""
        matcher = matcher.deep_copy()
        n = 1
        while not matcher.is_accepting():
            tokens = self._next(matcher)
            n += len(tokens)
            if not tokens or n > most or not matcher.consume_tokens(tokens):
                return None
        return n if n <= most else None

    def _next(self, matcher: Any) -> list[int]:
        """Return tokens on the short way to the end of the form: those that must follow, or one that closes."""
        forced: list[int] = matcher.compute_ff_tokens()
        if forced:
            return forced
        token = self._library.closing(matcher)
        return [token] if token is not None else self._allowed(matcher).nonzero()[:1, 0].tolist()


def _bounded(text: str) -> str:
    if len(text) > MOST_SCHEMA_LETTERS:
        raise OptionError(f"the form has {len(text)} letters; at most {MOST_SCHEMA_LETTERS} are taken")
    return text


def _library() -> Any:
    try:
        import llguidance
    except ImportError as error:
        raise MissingExtraError(
            "texts of a given form need llguidance, which is not installed; run: pip install 'auricle[structured]'"
        ) from error
    return llguidance
