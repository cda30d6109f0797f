"""How a dataset is transcribed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from auricle.errors import OptionError, nearest

FORMS = ("jsonl", "parquet")
UNITS = ("word", "segment", "char")


@dataclass(frozen=True)
class BulkOptions:
    """What a run is told; `parameters` are those of the pipeline's call."""

    shard_size: int = 1000  # rows in a file
    form: str = "jsonl"  # of FORMS
    timestamps: str | None = None  # of UNITS: the times that rows carry
    parameters: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 8  # rows that are computed together, at most
    batch_seconds: float = 120.0  # of sound in a batch, the padding included
    window_rows: int = 256  # rows among which those of like length are looked for
    window_seconds: float = 600.0  # of sound that is in memory for that; about three times as much is at most
    long_seconds: float = 60.0  # recordings beyond are computed alone, and read while that is done

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise OptionError(f"form {self.form!r} is none of {', '.join(FORMS)}{nearest(self.form, FORMS)}")
        if self.timestamps is not None and self.timestamps not in UNITS:
            raise OptionError(f"timestamps {self.timestamps!r} is none of {', '.join(UNITS)}, or None")
        for name in ("shard_size", "batch_size", "window_rows"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise OptionError(f"{name} is {value!r}; it must be a whole number of 1 or more")
        for name in ("batch_seconds", "window_seconds", "long_seconds"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise OptionError(f"{name} is {value!r}; it must be a number above 0")
        if self.parameters.get("speakers") and self.timestamps is None:
            raise OptionError("speakers are told in chunks, which rows have with timestamps; ask for segment or word")
        own = {"batch_size", "on_error", "progress", "resume", "return_timestamps", "told"} & set(self.parameters)
        if own:
            raise OptionError(f"{min(own)} is set by the run itself, or by a field of BulkOptions; leave it out")
