"""What every task's pipeline shares: one input or many, batches, and errors as items.

A task is a subclass with three verbs: `preprocess` an item, `forward` a batch, `postprocess` an output.
"""

from __future__ import annotations

import enum
import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from auricle.errors import AuricleError, OptionError, TaskError, nearest
from auricle.pipelines.inputs import extra_keys

ON_ERROR = ("raise", "return")
AHEAD = 4  # batches of a list whose items are put together by length


class Many(enum.Enum):
    """How many inputs there are, and whether they are all here already."""

    ONE = "one"
    LIST = "list"
    LAZY = "lazy"


@dataclass(frozen=True)
class ModelSettings:
    """How a model is found and where it runs, whatever the task."""

    device: str = "cpu"  # as torch writes it: "cpu", "cuda", "cuda:1", "mps"
    dtype: Any = "auto"  # a torch dtype, or "auto": as the checkpoint and the device suit best
    revision: str | None = None  # branch, tag or commit on the Hub
    token: str | bool | None = None  # a Hub token; True: the one stored by `hf auth login`
    engine: str = "auto"  # what runs the model: a key of auricle.engines.ENGINES, or "auto": the fastest


class Pipeline(ABC):
    """From inputs to plain results, in order, for one task.

    A list or tuple gives a list; a generator, a dataset or a view of one gives a lazy iterator that reads
    `batch_size` items ahead and no more; anything else is one input and gives one result.

    `on_error="return"` turns an input that fails into the item
    ``{"error": message, "error_type": class name}`` and goes on with the rest; the default raises.
    """

    task: ClassVar[str] = ""
    # The call parameters that `read_parameters` accepts, where a subclass does not read them itself.
    parameters: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *, batch_size: int | None = None, on_error: str = "raise", **defaults: Any) -> None:
        self.batch_size, self.on_error = batch_size, on_error
        self.defaults = defaults
        # A wrong default is refused here, before the first recording.
        self.read_call({}, None, None)

    @classmethod
    def load(cls, model: str | Path | None, settings: ModelSettings, **parameters: Any) -> Self:
        """Make the pipeline for `model`. A task that needs no model leaves this as it is."""
        if model is not None or settings != ModelSettings(device=settings.device):
            raise TaskError(
                f"the task {cls.task or cls.__name__!r} takes no model, dtype, revision, token or engine; "
                "leave them out, or give its class a load() that uses them"
            )
        return cls(**parameters)

    def __call__(
        self, inputs: Any, *, batch_size: int | None = None, on_error: str | None = None, **parameters: Any
    ) -> Any:
        """Run the task on one input, a list or tuple of them, or anything that gives them one by one.

        Raises:
            OptionError: a parameter has an unknown name, a wrong value or a conflict.
            AuricleError: an input fails and `on_error` is "raise".
        """
        request, batch_size, on_error = self.read_call(parameters, batch_size, on_error)
        many = arrangement(inputs)
        items = [inputs] if many is Many.ONE else rows(inputs)
        # Nobody waits for the first result of a list, so that its items can be put together by length.
        n_ahead = AHEAD if many is Many.LIST and batch_size > 1 else 1
        results = (
            self.failed(item, output) if isinstance(output, AuricleError) else self.postprocess(item, output, request)
            for item, output in self.outputs(items, request, batch_size, on_error, n_ahead)
        )
        if many is Many.LAZY:
            return results
        return next(results) if many is Many.ONE else list(results)

    def outputs(
        self, items: Iterable[Any], request: Any, batch_size: int, on_error: str, n_ahead: int = 1
    ) -> Iterator[tuple[Any, Any]]:
        """Yield each item, in order, with its output of `forward`, or with the AuricleError it met.

        Of the items of `n_ahead` batches those of like length are computed together.
        """
        source = iter(items)
        while batch := list(itertools.islice(source, n_ahead * batch_size)):
            prepared: list[Any] = []
            with ExitStack() as opened:
                for item in batch:
                    try:
                        prepared.append(self.preprocess(item, request))
                    except AuricleError as error:
                        if on_error == "raise":
                            raise
                        prepared.append(error)
                    if hasattr(prepared[-1], "close"):
                        opened.callback(prepared[-1].close)
                found = list(prepared)
                good = [place for place, one in enumerate(prepared) if not isinstance(one, AuricleError)]
                if n_ahead > 1:
                    good.sort(key=lambda place: self.length(prepared[place]))
                for start in range(0, len(good), batch_size):
                    places = good[start : start + batch_size]
                    outputs = self.forward([prepared[place] for place in places], request)
                    for place, output in zip(places, outputs, strict=True):
                        found[place] = output
            for item, output in zip(batch, found, strict=True):
                if isinstance(output, AuricleError) and on_error == "raise":
                    raise output
                yield item, output

    def read_call(
        self, parameters: Mapping[str, Any], batch_size: int | None, on_error: str | None
    ) -> tuple[Any, int, str]:
        """Check everything a call was given and return its request, batch size and `on_error`."""
        batch_size = self.batch_size if batch_size is None else batch_size
        if batch_size is not None and (type(batch_size) is not int or batch_size < 1):
            raise OptionError(f"batch_size is {batch_size!r}; it must be a whole number of 1 or more")
        on_error = self.on_error if on_error is None else on_error
        if on_error not in ON_ERROR:
            raise OptionError(f"on_error is {on_error!r}; it must be 'raise' or 'return'")
        merged = self.merged(parameters) if self.defaults else dict(parameters)
        return self.read_parameters(merged, batch_size), batch_size or 1, on_error

    def merged(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return a call's parameters, and the constructor's where the call says nothing."""
        return {**self.defaults, **parameters}

    def read_parameters(self, parameters: Mapping[str, Any], batch_size: int | None) -> Any:
        """Check the call parameters and return the request that the three verbs take.

        `batch_size` is None where nobody gave one: items go one by one, and a model may still batch parts of one.
        """
        for name in parameters:
            if name not in self.parameters:
                raise unknown_parameter(name, self.parameters, f"the task {self.task!r}")
        return dict(parameters)

    @abstractmethod
    def preprocess(self, item: Any, request: Any) -> Any:
        """Turn one input into what `forward` takes; what has a close() is closed when `forward` is done."""

    def length(self, prepared: Any) -> float:
        """Return how much work a prepared item is; items of like length are computed together."""
        return 0.0

    @abstractmethod
    def forward(self, batch: list[Any], request: Any) -> list[Any]:
        """Compute a batch; one output for each, or an AuricleError in the place of one that failed."""

    def postprocess(self, item: Any, output: Any, request: Any) -> Any:
        """Turn one output into the plain result that the caller gets."""
        return output

    def failed(self, item: Any, error: AuricleError) -> dict[str, Any]:
        """Return what stands in the place of the result of an input that failed."""
        return error_item(item, error)


def arrangement(inputs: Any) -> Many:
    """Say whether `inputs` is one input, a list of them, or gives them one by one.

    A file object, an array, a tensor and an audio decoder can be iterated over, too, and are each one
    recording: they are told by the methods that only they have.
    """
    if isinstance(inputs, (list, tuple)):
        return Many.LIST
    if isinstance(inputs, (str, bytes, bytearray, memoryview, Mapping)):
        return Many.ONE
    if any(hasattr(inputs, sign) for sign in ("read", "__array__", "__fspath__", "get_all_samples")):
        return Many.ONE
    gives_rows = hasattr(inputs, "__len__") and hasattr(inputs, "__getitem__")
    return Many.LAZY if gives_rows or hasattr(inputs, "__iter__") else Many.ONE


def rows(inputs: Any) -> Iterator[Any]:
    """Give the inputs one by one; a dataset may have only a length and rows by number."""
    if hasattr(inputs, "__iter__"):
        return iter(inputs)
    return (inputs[index] for index in range(len(inputs)))


def error_item(item: Any, error: AuricleError) -> dict[str, Any]:
    """Return what stands in the place of the result of an input that failed."""
    return {"error": str(error), "error_type": type(error).__name__, **extra_keys(item)}


def unknown_parameter(name: str, known: Iterable[str], where: str) -> OptionError:
    """Return the error for a parameter that `where` does not have."""
    names = sorted(known)
    hint = nearest(name, names) or f"; it takes {', '.join(names) or 'no parameters'}"
    return OptionError(f"unknown parameter {name!r} for {where}{hint}")
