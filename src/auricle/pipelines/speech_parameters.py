"""How call parameters become a recognizer's options, or are refused by name with a reason.

The names are those of transformers' pipeline and of its generate(); the values are fields of our options.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from numbers import Integral, Real
from typing import Any

from auricle.errors import ConfigError, OptionError
from auricle.pipelines.base import unknown_parameter
from auricle.pipelines.journal import JournalPlaces
from auricle.pipelines.speakers import SpeakersAsked, read_speakers
from auricle.results import Segment

# Dictionaries of parameters that are taken as if each were given by itself.
NESTED = ("generate_kwargs", "generation_parameters", "decoder_kwargs")
# What a checkpoint's generation_config.json says of the search, by fields of the options. Its lengths are not among
# them: they are OpenAI's, and cut dense speech.
_OWN_SEARCH = {
    "num_beams": "n_beams",
    **{name: name for name in ("length_penalty", "repetition_penalty", "no_repeat_ngram_size")},
}
# The value of a parameter -> the parameters that it stands for, and why it has no other values.
Meanings = tuple[Mapping[Any, Mapping[str, Any]], str]


@dataclass(frozen=True)
class Dialect:
    """The call parameters of one kind of recognizer."""

    model: str  # in messages: "a CTC model"
    options: Callable[..., Any]  # the recognizer's own options class
    fields: Mapping[str, str]  # parameter -> field of the options
    refused: Mapping[str, str]  # parameter that means nothing here -> why, and what to do
    times: Mapping[Any, str | None]  # value of return_timestamps -> the times it asks for
    fixed: Mapping[str, tuple[tuple[Any, ...], str]] = field(default_factory=dict)  # -> all values it can have, why
    has_windows: bool = False  # whether the options have a batch_size, of windows computed together
    off: frozenset[str] = frozenset()  # parameters for which None is no default but means: switched off
    languages: Mapping[str, str] = field(default_factory=dict)  # code -> name, where the model knows languages
    meant: Mapping[str, Meanings] = field(default_factory=dict)  # parameter that stands for others -> which, why
    written: Mapping[str, Callable[[str], Any]] = field(default_factory=dict)  # parameter -> how it is read from text
    preset: Mapping[str, Any] = field(default_factory=dict)  # the checkpoint's options, unless a call says otherwise


@dataclass(frozen=True)
class Request:
    """One call's parameters, understood."""

    options: Any
    times: str | None = None  # "word", "char" or "segment": the chunks to return
    language: bool = False  # whether chunks carry their language
    channels: str | int = "mix"  # "mix", "split", or the one to hear, from 0
    progress: Callable[[float], None] | None = None  # called with the seconds of audio that are done
    places: JournalPlaces | None = None  # of the recordings' journals
    has_provenance: bool = False  # whether transcripts are to say what made them
    told: Callable[[tuple[Segment, ...]], None] | None = None  # called with segments as they become final
    speakers: SpeakersAsked | None = None  # None: they are not told apart


def read_speech_parameters(given: Mapping[str, Any], dialect: Dialect, batch_size: int | None = None) -> Request:
    """Turn call parameters into a request, or refuse the one that does not fit by its name."""
    loose = {name: value for name, value in given.items() if value is not None or name in dialect.off}
    flat = _in_own_terms(_flat(loose, dialect.off), dialect) if loose else {}
    times = flat.pop("return_timestamps", None)
    # By type, too: 1 equals True, and an unhashable value is no key at all.
    if not any(type(times) is type(one) and times == one for one in dialect.times):
        known = ", ".join(repr(value) for value in dialect.times)
        raise OptionError(f"return_timestamps={times!r} is refused by {dialect.model}; it takes {known}")
    language = flat.pop("return_language", None)
    if not _is_one_of(language, (None, False, True)) or (language and not dialect.languages):
        reason = "it must be True or False" if dialect.languages else "it does not know which language it hears"
        raise OptionError(f"return_language={language!r} is refused by {dialect.model}: {reason}")
    channels = _channels(flat.pop("channels")) if "channels" in flat else "mix"
    speakers = read_speakers(flat.pop("speakers")) if "speakers" in flat else None
    chosen: dict[str, Any] = {"batch_size": batch_size} if dialect.has_windows and batch_size else {}
    for name, value in flat.items():
        field_name = _field_of(name, value, dialect)
        if field_name in chosen:
            raise OptionError(f"{name}={value!r} says again what another parameter said; give one of them")
        if field_name is not None:
            if getattr(value, "ndim", 0) == 1 and hasattr(value, "tolist"):
                value = value.tolist()  # a processor's prompt_ids, as an array or a tensor
            _refuse_other_type(name, value, field_name, dialect)
            chosen[field_name] = _plain(value)
    wanted = dialect.times[times]
    if wanted is not None and "return_timestamps" in dialect.fields:
        chosen["return_timestamps"] = wanted
    if (channels == "split" or speakers) and "return_timestamps" in dialect.fields and "word" in dialect.times.values():
        # Turns and speakers are divided between words; asking for their times never changes the text.
        chosen["return_timestamps"] = "word"
    preset = _preset(dialect, chosen) if dialect.preset else {}
    try:
        options = dialect.options(**{**preset, **chosen})
    except OptionError as error:
        message = str(error)
        for name in flat:  # as the caller calls them
            message = re.sub(rf"\b{dialect.fields.get(name, name)}\b", name, message)
        raise OptionError(message) from error
    return Request(options, wanted, bool(language), channels, speakers=speakers)


def with_own_search(dialect: Dialect, generation: Mapping[str, Any]) -> Dialect:
    """Return the dialect with how the checkpoint's generation_config.json searches, where a call says nothing else.

    Raises:
        ConfigError: for an entry that no search can have.
    """
    said = {name: generation[name] for name in _OWN_SEARCH if generation.get(name) is not None}
    preset = {_OWN_SEARCH[name]: value for name, value in said.items()}
    try:
        for name, value in said.items():
            _refuse_other_type(name, value, _OWN_SEARCH[name], dialect)
        dialect.options(**preset)
    except OptionError as error:
        raise ConfigError(f"generation_config.json: {error}; correct the entry, or remove it") from error
    return replace(dialect, preset=preset)


def with_defaults(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a call, and a pipeline's own where the call says nothing, each nested or not."""
    nests = {name: value for name, value in given.items() if name in NESTED and isinstance(value, Mapping)}
    said = {*given, *(name for nest in nests.values() for name in nest)} - {*NESTED}
    found = {name: value for name, value in defaults.items() if name not in said}
    found |= {name: value for name, value in given.items() if name not in NESTED or value is not None}
    for name, value in defaults.items():
        if name in NESTED and isinstance(value, Mapping) and isinstance(given.get(name) or {}, Mapping):
            left = {inner: one for inner, one in value.items() if inner not in said}
            found[name] = {**left, **nests.get(name, {})}
    return found


def _preset(dialect: Dialect, chosen: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the checkpoint's options for a call: its beams are not for one that draws, or searches contrastively."""
    given = chosen.get("temperature", 0.0)
    temperatures = given if isinstance(given, list | tuple) else [given]
    draws = bool(chosen.get("do_sample")) or all(one > 0 for one in temperatures)
    if not draws and not chosen.get("penalty_alpha"):
        return dialect.preset
    return {name: value for name, value in dialect.preset.items() if name != "n_beams"}


def _in_own_terms(flat: Mapping[str, Any], dialect: Dialect) -> dict[str, Any]:
    """Return the parameters with those that stand for others replaced by them, and with texts read as values."""
    found = {
        name: dialect.written[name](value) if name in dialect.written and isinstance(value, str) else value
        for name, value in flat.items()
        if name not in dialect.meant
    }
    for name in flat.keys() & dialect.meant.keys():
        value, (meanings, reason) = flat[name], dialect.meant[name]
        if not isinstance(value, bool | int | float | str) or value not in meanings:
            raise OptionError(f"{name}={value!r} is refused by {dialect.model}: {reason}")
        for other, meaning in meanings[value].items():
            if found.setdefault(other, meaning) != meaning:
                raise OptionError(f"{name}={value!r} means {other}={meaning!r}, not {found[other]!r}; give one of them")
    return found


def _channels(value: Any) -> str | int:
    if isinstance(value, str) and value in ("mix", "split"):
        return value
    if isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 0:
        return int(value)
    raise OptionError(f"channels={value!r}; expected 'mix', 'split', or the number of a channel, counted from 0")


def _field_of(name: str, value: Any, dialect: Dialect) -> str | None:
    """Return the field of the options that a parameter sets; None if its value is the only one there is."""
    if name in dialect.fixed:
        values, reason = dialect.fixed[name]
        if not _is_one_of(value, values):
            raise OptionError(f"{name}={value!r} is refused by {dialect.model}: {reason}")
        return None
    if name in dialect.refused:
        raise OptionError(f"{name}={value!r} is refused by {dialect.model}: {dialect.refused[name]}")
    if name not in dialect.fields:
        known = {
            *dialect.fields,
            *dialect.fixed,
            *dialect.meant,
            *NESTED,
            "return_timestamps",
            "return_language",
            "channels",
            "speakers",
        }
        raise unknown_parameter(name, known, dialect.model)
    return dialect.fields[name]


def _is_one_of(value: Any, values: tuple[Any, ...]) -> bool:
    """Say whether a value equals one of some; arrays, which have no one truth of equality, equal none."""
    return (isinstance(value, str) or not hasattr(value, "__len__")) and value in values


def _refuse_other_type(name: str, value: Any, field_name: str, dialect: Dialect) -> None:
    # The options compare and compute with what they are given: "5" would fail somewhere inside.
    hint = _hints(dialect.options)[field_name]
    if not _fits(value, hint):
        expected = hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
        raise OptionError(
            f"{name}={value!r} is refused by {dialect.model}: it is {type(value).__name__}; expected {expected}"
        )


def _plain(value: Any) -> Any:
    """Return NumPy's numbers as Python's: torch takes no others, and neither does JSON."""
    if isinstance(value, list | tuple):
        return type(value)(_plain(one) for one in value)
    if type(value) not in (bool, int, float) and isinstance(value, Real):
        return int(value) if isinstance(value, Integral) else float(value)
    return value


@cache
def _hints(options: Callable[..., Any]) -> dict[str, Any]:
    return typing.get_type_hints(options)


def _fits(value: Any, hint: Any) -> bool:
    """Say whether a value has an annotated type; lists pass for tuples, whole numbers for others."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in arguments)
    if origin is tuple:
        return isinstance(value, list | tuple) and all(_fits(one, arguments[0]) for one in value)
    if origin is typing.Literal:
        return isinstance(value, str | bool)  # which one it may be, the options say themselves
    if hint in (int, float):
        return isinstance(value, Integral if hint is int else Real) and not isinstance(value, bool)
    return isinstance(value, hint)


def _flat(loose: Mapping[str, Any], off: frozenset[str]) -> dict[str, Any]:
    """Return the parameters with the nested ones among them, as if each had been given by itself."""
    flat = {name: value for name, value in loose.items() if name not in NESTED}
    for nest in NESTED:
        inner = loose.get(nest, {})
        if not isinstance(inner, Mapping):
            raise OptionError(f"{nest} is {inner!r}; it must be a dictionary of parameters")
        for name, value in inner.items():
            if name in flat and flat[name] != value:
                raise OptionError(f"{name} is {flat[name]!r}, and {value!r} in {nest}; give it once")
            if value is not None or name in off:
                flat[name] = value
    return flat
