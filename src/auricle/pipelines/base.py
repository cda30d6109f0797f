"""What every task's pipeline shares: one input or many, batches, and errors as items.

A task is a subclass with three verbs: `preprocess` an item, `forward` a batch, `postprocess` an output.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from auricle.errors import AuricleError, OptionError, TaskError, nearest
from auricle.pipelines.inputs import Many, arrangement, extra_keys, rows

ON_ERROR = ("raise", "return")


@dataclass(frozen=True)
class ModelSettings:
    """How a model is found and where it runs, whatever the task."""

    device: str = "cpu"  # as torch writes it: "cpu", "cuda", "cuda:1", "mps"
    dtype: Any = "auto"  # a torch dtype, or "auto": as the checkpoint and the device suit best
    revision: str | None = None  # branch, tag or commit on the Hub
    token: str | bool | None = None  # a Hub token; True: the one stored by `hf auth login`


class Pipeline:
    """From inputs to plain results, in order, for one task.

    A list or tuple gives a list; a generator, a dataset or a view of one gives a lazy iterator that reads
    `batch_size` items ahead and no more; anything else is one input and gives one result.

    `on_error="return"` turns an input that fails into the item
    ``{"error": message, "error_type": class name}`` and goes on with the rest; the default raises.
    """

    task: ClassVar[str] = ""
    # The call parameters that `read_parameters` accepts, where a subclass does not read them itself.
    parameters: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *, batch_size: int = 1, on_error: str = "raise", **defaults: Any) -> None:
        self.batch_size = checked_batch_size(batch_size)
        self.on_error = checked_on_error(on_error)
        self.defaults = defaults
        # A wrong default is refused here, before the first recording.
        self.read_parameters(defaults)

    @classmethod
    def load(cls, model: str | Path | None, settings: ModelSettings, **parameters: Any) -> Self:
        """Make the pipeline for `model`. A task that needs no model leaves this as it is."""
        if model is not None or settings != ModelSettings(device=settings.device):
            raise TaskError(
                f"the task {cls.task or cls.__name__!r} takes no model, dtype, revision or token; "
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
        request = self.read_parameters({**self.defaults, **parameters})
        batch_size = self.batch_size if batch_size is None else checked_batch_size(batch_size)
        on_error = self.on_error if on_error is None else checked_on_error(on_error)
        many = arrangement(inputs)
        items = [inputs] if many is Many.ONE else rows(inputs)
        results = (
            self._result(item, output, request) for item, output in self.outputs(items, request, batch_size, on_error)
        )
        if many is Many.LAZY:
            return results
        return next(results) if many is Many.ONE else list(results)

    def outputs(self, items: Iterable[Any], request: Any, batch_size: int, on_error: str) -> Iterator[tuple[Any, Any]]:
        """Yield each item with its output of `forward`, or with the AuricleError it met."""
        source = iter(items)
        while batch := list(itertools.islice(source, batch_size)):
            with ExitStack() as opened:
                prepared = [self._prepare(item, request, on_error, opened) for item in batch]
                good = [one for one in prepared if not isinstance(one, AuricleError)]
                outputs = iter(self.forward(good, request) if good else ())
                found = [one if isinstance(one, AuricleError) else next(outputs) for one in prepared]
            for item, output in zip(batch, found, strict=True):
                if isinstance(output, AuricleError) and on_error == "raise":
                    raise output
                yield item, output

    def _prepare(self, item: Any, request: Any, on_error: str, opened: ExitStack) -> Any:
        try:
            prepared = self.preprocess(item, request)
        except AuricleError as error:
            if on_error == "raise":
                raise
            return error
        if isinstance(prepared, AbstractContextManager):
            opened.enter_context(prepared)
        return prepared

    def _result(self, item: Any, output: Any, request: Any) -> Any:
        if isinstance(output, AuricleError):
            return {"error": str(output), "error_type": type(output).__name__, **extra_keys(item)}
        return self.postprocess(item, output, request)

    def read_parameters(self, parameters: Mapping[str, Any]) -> Any:
        """Check the call parameters and return the request that the three verbs take."""
        for name in parameters:
            if name not in self.parameters:
                raise unknown_parameter(name, self.parameters, f"the task {self.task!r}")
        return dict(parameters)

    def preprocess(self, item: Any, request: Any) -> Any:
        """Turn one input into what `forward` takes; a context manager is entered until `forward` is done."""
        raise NotImplementedError(f"{type(self).__name__} needs a preprocess(item, request)")

    def forward(self, batch: list[Any], request: Any) -> list[Any]:
        """Compute a batch; one output for each, or an AuricleError in the place of one that failed."""
        raise NotImplementedError(f"{type(self).__name__} needs a forward(batch, request)")

    def postprocess(self, item: Any, output: Any, request: Any) -> Any:
        """Turn one output into the plain result that the caller gets."""
        return output


def checked_batch_size(value: Any) -> int:
    """Return `value`, a whole number of 1 or more."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise OptionError(f"batch_size is {value!r}; it must be a whole number of 1 or more")
    return value


def checked_on_error(value: Any) -> str:
    """Return `value`, "raise" or "return"."""
    if value not in ON_ERROR:
        raise OptionError(f"on_error is {value!r}; it must be 'raise' or 'return'")
    return value


def unknown_parameter(name: str, known: Iterable[str], where: str) -> OptionError:
    """Return the error for a parameter that `where` does not have."""
    names = sorted(known)
    hint = nearest(name, names) or f"; it takes {', '.join(names) or 'no parameters'}"
    return OptionError(f"unknown parameter {name!r} for {where}{hint}")
