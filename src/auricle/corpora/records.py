"""Rows in memory: utterances, or dictionaries such as those of a manifest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from auricle.corpora.corpus import Row, Told
from auricle.corpora.fields import ALL, Base, Fields, Unusable, utterance
from auricle.corpora.utterance import Utterance
from auricle.errors import OptionError


class Records:
    """What an iterable gives; a list is read as often as it is needed, anything else once."""

    kind = "manifest"
    splits = None
    default = None

    def __init__(self, source: Iterable[Any], fields: Fields) -> None:
        self.name = f"<{type(source).__name__}>"
        self._source, self._fields = source, fields
        self.is_streamed = not isinstance(source, Sequence)
        self.notes: list[str] = []
        first = source[0] if isinstance(source, Sequence) and len(source) else None
        self.columns: dict[str, str] = {}
        if isinstance(first, Mapping):
            fields.check(map(str, first), self.name)
            self.columns = fields.used(map(str, first))

    def rows(self, wanted: Sequence[str] | None, told: Told) -> Iterator[Row]:
        """Give the rows.

        Raises:
            OptionError: something is no row.
        """
        for number, item in enumerate(self._source):
            where = f"row {number}"
            if isinstance(item, Utterance):
                yield Row(str(item.extra.get("split") or ALL), item, where)
                continue
            if not isinstance(item, Mapping):
                raise OptionError(
                    f"row {number} of {self.name} is {type(item).__name__}; rows are dictionaries with a path or the "
                    "sound as 'audio', or utterances"
                )
            where = str(item.get("id") or where)
            try:
                one = utterance(item, self._fields, Base(Path.cwd(), is_closed=False), f"{number}:")
            except Unusable as reason:
                told(where, str(reason))
            else:
                yield Row(str(item.get("split") or ALL), one, where)
