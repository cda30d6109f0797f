"""What may be written next, said once: as filters on logits, and as a table that an engine's own code reads.

Dimension key: `S` tokens so far (prompt and generated), `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from auricle.decoding.filters import Filter, suppress, timestamp_rules
from auricle.text.tokenizer import N_TIMESTAMPS


class Written(NamedTuple):
    """What a row has written, as far as a grammar depends on it."""

    n_counted: int = 0  # tokens from the grammar's `begin` on
    n_new: int = 0  # tokens behind the prompt
    last_is_timestamp: bool = False
    one_before_is_timestamp: bool = False
    newest: int = -1  # the newest timestamp in steps; -1: none


@dataclass(frozen=True)
class Grammar:
    """Tokens that are never chosen, tokens that are not chosen first, and Whisper's order of timestamps."""

    eos: int
    banned: tuple[int, ...]
    n_prompt: int  # tokens of the prompt
    blank: tuple[int, ...] = ()  # not chosen as the first token behind the prompt
    timestamp_begin: int | None = None  # the first timestamp token; None: no rules about timestamps
    no_timestamps: int = -1  # the token that announces a text without
    begin: int = 0  # the place of the first token that counts as written: within the prompt where it has a prefix
    max_initial: int | None = None  # the largest first timestamp in steps

    def filters(self) -> list[Filter]:
        """The grammar as rules on logits, one after the other."""
        found = [suppress(self.banned)]
        if self.blank:
            found.insert(0, suppress(self.blank, only_at=self.n_prompt))
        if self.timestamp_begin is not None:
            found.append(
                timestamp_rules(self.timestamp_begin, self.no_timestamps, self.eos, self.begin, self.max_initial)
            )
        return found

    def written(self, prompt: Sequence[int]) -> Written:
        """What a prompt counts as having written."""
        row = Written()
        for token in prompt[self.begin :] if self.timestamp_begin is not None else ():
            row = self.after(row, token)
        return row._replace(n_new=0)

    def after(self, row: Written, token: int) -> Written:
        """What a row has written with one token more."""
        step = -1 if self.timestamp_begin is None else token - self.timestamp_begin
        is_timestamp = 0 <= step < N_TIMESTAMPS
        newest = step if is_timestamp else row.newest
        return Written(row.n_counted + 1, row.n_new + 1, is_timestamp, row.last_is_timestamp, newest)
