"""Parameters of the Hugging Face routes, as clients write them, to those that a model's pipeline takes.

They arrive as JSON, as fields of a form or in the query, nested under several names, numbers and truth values often as
text. What a kind of model cannot use is left out and told, as long as the text is still what was asked for; what is
wrong, or has a name that no model knows, is refused.
"""

from __future__ import annotations

import json
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from auricle.errors import nearest
from auricle.server.errors import Refused
from auricle.server.speakers import read_speakers

if TYPE_CHECKING:
    from auricle.pipelines.speech_parameters import Dialect

# Names under which clients nest the parameters of generation.
NESTS = ("generation_parameters", "generate_kwargs", "generate", "decoder_kwargs", "parameters")
# Parameters of a call in Python that are the server's own affair, or name files.
NOT_FOR_CLIENTS = frozenset({"lm", "on_error", "progress", "resume", "told"})
_MOST_NESTED = 3  # nests within nests
_OF_THE_SERVER = {
    "batch_size": "the server puts windows of all its requests together",
    "num_workers": "the server reads recordings itself",
}
# Taken beside the parameters of a model: how they are told in every dialect.
_EVERYWHERE = {
    "return_timestamps": frozenset({"bool", "str"}),
    "return_language": frozenset({"bool"}),
    "channels": frozenset({"int", "str"}),
    "speakers": frozenset({"bool", "int"}),
}
_STEEPEST = 100  # a length to this power is still a number
_ENORMOUS = 1e9  # more than the seconds of a lifetime, or the beams of any search
_MOST_TEMPERATURES = 20  # Whisper's own are 6
_CANDIDATES = 4  # of contrastive search, as its authors have it (Su et al. 2022)


@dataclass(frozen=True)
class _Range:
    """What a parameter of generation may be, whatever the model."""

    kinds: frozenset[str]
    holds: Callable[[Any], bool]
    expected: str


def _number(holds: Callable[[Any], bool], expected: str) -> _Range:
    return _Range(frozenset({"float"}), holds, expected)


def _whole(least: int) -> _Range:
    return _Range(frozenset({"int"}), lambda value: value >= least, f"a whole number of {least} or more")


_TRUTH = _Range(frozenset({"bool"}), lambda value: True, "true or false")
GENERATION: Mapping[str, _Range] = {
    # Or several, for Whisper: they are tried in turn, and checked there.
    "temperature": _Range(
        frozenset({"float", "numbers"}), lambda value: 0 <= value < math.inf, "a number of 0 or more"
    ),
    "top_k": _whole(0),
    "top_p": _number(lambda value: 0 <= value <= 1, "a number from 0 to 1"),
    "typical_p": _number(lambda value: 0 < value <= 1, "a number above 0, at most 1"),
    "epsilon_cutoff": _number(lambda value: 0 <= value < 1, "a number of 0 or more, below 1"),
    "eta_cutoff": _number(lambda value: 0 <= value < 1, "a number of 0 or more, below 1"),
    "max_length": _whole(1),
    "max_new_tokens": _whole(1),
    "min_length": _whole(0),
    "min_new_tokens": _whole(0),
    "do_sample": _TRUTH,
    "early_stopping": _Range(
        frozenset({"bool", "str"}),
        lambda value: isinstance(value, bool) or value == "never",
        'true, false or "never"',
    ),
    "num_beams": _whole(1),
    "num_beam_groups": _whole(1),
    "penalty_alpha": _number(lambda value: 0 <= value <= 1, "a number from 0 to 1"),
    "use_cache": _TRUTH,
    # Beyond the sixteen of the Inference API: what transformers' generate() takes as well.
    "repetition_penalty": _number(lambda value: 0 < value < math.inf, "a number above 0"),
    "length_penalty": _number(lambda value: abs(value) <= _STEEPEST, f"a number from -{_STEEPEST} to {_STEEPEST}"),
    "diversity_penalty": _number(lambda value: 0 <= value < math.inf, "a number of 0 or more"),
    "no_repeat_ngram_size": _whole(0),
    "seed": _Range(frozenset({"int"}), lambda value: True, "a whole number"),
}
# What belongs to a search that draws no samples, the same.
_SEARCHING = {"num_beam_groups": 1, "diversity_penalty": 0, "penalty_alpha": 0}
_LENGTHS = ("max_length", "max_new_tokens", "min_length", "min_new_tokens")
# How samples are drawn, with the value at which each is off.
_DRAWING = {"top_k": 0, "top_p": 1, "typical_p": 1, "epsilon_cutoff": 0, "eta_cutoff": 0}


@dataclass(frozen=True)
class Note:
    """Something that the client should know of how a parameter was read."""

    name: str
    message: str


@dataclass(frozen=True)
class Adapted:
    """Parameters for a pipeline, and what is to be told of them."""

    parameters: dict[str, Any]
    notes: tuple[Note, ...] = ()


def adapted(given: Mapping[str, Any], dialect: Dialect, room: int | None = None) -> Adapted:
    """Return the parameters that a model of `dialect` takes; `room` is how many tokens its decoder writes, if few.

    Raises:
        Refused: 400, an unknown name, a wrong type or value, or two values for one name.
    """
    flat = flattened(given)
    _refuse_unknown(flat, dialect)
    notes: list[Note] = []
    read: dict[str, Any] = {}
    for name, value in flat.items():
        if name in _OF_THE_SERVER:
            notes.append(Note(name, f"{name} is not used: {_OF_THE_SERVER[name]}"))
        elif value is not None or name in dialect.off:
            checked = _checked(name, value, dialect)
            if checked is not None or name in dialect.off:  # a query has null as text
                read[name] = checked
    for settle in (_leave_out, _settle_search):
        settle(read, dialect, notes)
    if room is not None:
        _clamp(read, room, notes)
    return Adapted(read, tuple(notes))


def flattened(given: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """Return parameters with those nested in them as if each had been given by itself.

    Raises:
        Refused: 400, one is given twice, with different values, or a nest holds no parameters.
    """
    flat: dict[str, Any] = {}
    for name, value in given.items():
        inner = {name: value}
        if name in NESTS:
            if depth == _MOST_NESTED:
                raise _refuse(name, "parameters are nested too deeply; give each by itself")
            inner = flattened(_object(name, value), depth + 1)
        for one, said in inner.items():
            if flat.get(one) is not None and said is not None and flat[one] != said:
                raise _refuse(one, f"{one} is {_told(flat[one])} and {_told(said)}; give it once")
            if said is not None or one not in flat:
                flat[one] = said
    return flat


def from_query(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return the parameters of a query or a form; a name that comes twice has a list."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        name = name.removesuffix("[]")
        if name in found:
            held = found[name]
            found[name] = [*held, value] if isinstance(held, list) else [held, value]
        else:
            found[name] = value
    return found


def warned(notes: Iterable[Note]) -> dict[str, str]:
    """Return a header with what was not used: printable ASCII in one line."""
    told = "; ".join(note.message for note in notes)
    return {"x-hf-warning": " ".join(told.encode("ascii", "replace").decode().split())[:500]} if told else {}


def truth(name: str, value: Any, default: bool) -> bool:
    """Read a header or an option: "true", "1", "0", …; None or nothing is the default.

    Raises:
        Refused: 400, it is neither true nor false.
    """
    if isinstance(value, bool):
        return value
    text = str(value if value is not None else "").strip().lower()
    if text in ("", "none", "null"):
        return default
    if text in ("true", "1", "yes", "on"):
        return True
    if text in ("false", "0", "no", "off"):
        return False
    raise _refuse(name, f"{name} is {_told(value)}; expected true or false")


def _object(name: str, value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if isinstance(value, str):
        with suppress(ValueError, RecursionError):
            value = json.loads(value)
    if not isinstance(value, Mapping):
        raise _refuse(name, f'{name} is {_told(value)}; expected an object of parameters, such as {{"num_beams": 5}}')
    return value


def _refuse_unknown(flat: Mapping[str, Any], dialect: Dialect) -> None:
    # In the words that transformers has for it: huggingface_hub reads the names there and tries again without them.
    known = {*dialect.fields, *dialect.refused, *dialect.fixed, *dialect.meant, *GENERATION, *_EVERYWHERE}
    unknown = [name for name in flat if name not in known and name not in _OF_THE_SERVER]
    if not unknown:
        return
    names = ", ".join(f"'{_short(name)}'" for name in unknown)
    offered = known - NOT_FOR_CLIENTS
    hints = "".join(f"; {_short(name)!r}: {hint[2:]}" for name in unknown[:3] if (hint := nearest(name, offered)))
    fields = sorted({*dialect.fields, *_EVERYWHERE} - NOT_FOR_CLIENTS)
    taken = f"; {dialect.model} takes {', '.join(fields)}" if not hints else ""
    raise _refuse(
        unknown[0],
        f"The following `model_kwargs` are not used by the model: [{names}]{hints}{taken}",
        "unknown_parameter",
    )


def _checked(name: str, value: Any, dialect: Dialect) -> Any:
    """Return a value with its own type, within the range that it has for every model."""
    if name == "speakers":
        return read_speakers(value)
    kinds = _kinds_of(name, dialect)
    is_listed = isinstance(value, str) and value.lstrip().startswith("[")
    if name not in dialect.written or name in GENERATION or is_listed:
        value = _typed(value, kinds)
    if name != "seed" and name not in _LENGTHS:
        _refuse_enormous(name, value)
    allowed = GENERATION.get(name)
    if allowed is None or value is None or ("numbers" in kinds and isinstance(value, list)):
        return value  # the pipeline checks the rest
    fits = type(value).__name__ in allowed.kinds or (type(value) is int and "float" in allowed.kinds)
    if not fits or not allowed.holds(value):
        raise _refuse(name, f"{name} is {_told(value)}; expected {allowed.expected}")
    return value


def _refuse_enormous(name: str, value: Any) -> None:
    """Refuse numbers that no recording and no search has a use for, and more temperatures than are ever tried."""
    if name == "temperature" and isinstance(value, list) and len(value) > _MOST_TEMPERATURES:
        # Each decodes the window again, and all others wait: it is ended between windows.
        raise _refuse(name, f"temperature has {len(value)} values; expected at most {_MOST_TEMPERATURES}")
    for one in value if isinstance(value, list) else (value,):
        if isinstance(one, int | float) and _ENORMOUS < abs(one) < math.inf:
            raise _refuse(name, f"{name} is {_told(value)}; expected at most {_ENORMOUS:.0f}")


def _typed(value: Any, kinds: frozenset[str]) -> Any:
    """Return what text stands for, if a value of one of `kinds` is expected; whole floats pass for integers."""
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value) and "numbers" in kinds:
        return [_typed(one, frozenset({"float"})) for one in value]
    if isinstance(value, float) and value.is_integer() and "int" in kinds and "float" not in kinds:
        return int(value)
    if not isinstance(value, str):
        return value
    text = value.strip()
    if "bool" in kinds and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text.lower() in ("null", "none") and "str" not in kinds:
        return None
    if kinds & {"int", "float"}:
        number = _json_of(text)
        if type(number) in (int, float):
            return _typed(number, kinds)
    if kinds & {"numbers", "texts"} and text.startswith("["):
        listed = _json_of(text)
        return listed if isinstance(listed, list) else value
    if "numbers" in kinds and "," in text and "str" not in kinds:
        return [_typed(one, frozenset({"float"})) for one in text.split(",")]
    return [value] if "texts" in kinds else value


def _json_of(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _kinds_of(name: str, dialect: Dialect) -> frozenset[str]:
    field = dialect.fields.get(name)
    found = _hinted(dialect.options).get(field, frozenset()) if field is not None else frozenset()
    if not found and (name in dialect.meant or name in dialect.fixed):
        found = frozenset({"bool", "int", "float"})
    allowed = GENERATION.get(name)
    return _EVERYWHERE.get(name) or (found | allowed.kinds if allowed is not None else found)


@cache
def _hinted(options: Callable[..., Any]) -> dict[str, frozenset[str]]:
    return {name: frozenset(_kinds(hint)) for name, hint in typing.get_type_hints(options).items()}


def _kinds(hint: Any) -> set[str]:
    """Return the types that an annotation names; "numbers" and "texts" are lists of these."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return set().union(*map(_kinds, arguments))
    if origin is tuple:
        return {"texts"} if arguments[0] is str else {"numbers"}
    if origin is typing.Literal:
        return {type(one).__name__ for one in arguments}
    return {hint.__name__} if isinstance(hint, type) else set()


def _leave_out(read: dict[str, Any], dialect: Dialect, notes: list[Note]) -> None:
    """Drop the parameters of generation that this kind of model has no use for, if the text is what it would be."""
    for name in [name for name in read if name in GENERATION and name not in dialect.fields]:
        values, reason = dialect.fixed.get(name, ((), dialect.refused.get(name, "")))
        if read[name] not in values:
            notes.append(Note(name, f"{name}={_told(read[name])} is not used by {dialect.model}: {reason}"))
        del read[name]
    if "task" in dialect.refused and read.get("task") == "transcribe":
        del read["task"]


def _settle_search(read: dict[str, Any], dialect: Dialect, notes: list[Note]) -> None:
    """Of searches that exclude each other choose the one that transformers does, and tell what is not used then."""
    if "do_sample" not in dialect.fields:
        return
    draws, falls_back = _draws(read, dialect), _falls_back(dialect)
    has_beams = read.get("num_beams", 1) > 1
    off: dict[str, tuple[Any, str]] = {}  # parameter -> the value at which it is off, why it has no effect
    if draws is False:
        off |= {name: (value, "no samples are drawn") for name, value in _DRAWING.items()}
    if read.get("do_sample") is False:
        off["temperature"] = 0, "no samples are drawn (do_sample=false)"
    if draws:
        off |= {name: (value, "samples are drawn") for name, value in _SEARCHING.items()}
        if falls_back:
            off["num_beams"] = 1, "samples are drawn"
    elif has_beams:
        off["penalty_alpha"] = 0, "beams are searched"
    elif read.get("penalty_alpha", 0) > 0:
        off.pop("top_k", None)
        read.setdefault("top_k", _CANDIDATES)
    for name, (value, reason) in off.items():
        if name in read and (given := read.pop(name)) != value:
            notes.append(Note(name, f"{name}={_told(given)} is not used: {reason}"))


def _draws(read: Mapping[str, Any], dialect: Dialect) -> bool | None:
    """Say whether text is drawn (True) or searched for (False); None: searched, and drawn where that looks wrong."""
    asked, temperature = read.get("do_sample"), read.get("temperature")
    if asked is not None:
        return bool(asked)
    if temperature is None:
        return None if _falls_back(dialect) else False
    return None if isinstance(temperature, list | tuple) else temperature > 0


def _falls_back(dialect: Dialect) -> bool:
    """Say whether the model tries several temperatures in turn."""
    return isinstance(getattr(dialect.options, "temperature", None), tuple)


def _clamp(read: dict[str, Any], room: int, notes: list[Note]) -> None:
    for name in _LENGTHS:
        if read.get(name, 0) > room:
            said = f"{name}={_told(read[name])} is more than a window of the model has room for; {room} is used"
            notes.append(Note(name, said))
            read[name] = room


def _refuse(name: str, message: str, code: str = "invalid_parameter") -> Refused:
    return Refused(400, message, code=code, param=_short(name))


def _told(value: Any) -> str:
    """Write a value as JSON does, shortened."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = repr(value)
    return _short(text)


def _short(text: str, most: int = 80) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


__all__ = ["GENERATION", "NESTS", "NOT_FOR_CLIENTS", "Adapted", "Note", "adapted", "flattened", "from_query", "truth"]
