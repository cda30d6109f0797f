"""What a request of OpenAI's audio API asks for, read from its form and its query."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from auricle.errors import nearest
from auricle.server.errors import Refused
from auricle.server.parameters import truth
from auricle.server.speakers import named

FORMATS = ("json", "text", "srt", "verbose_json", "vtt", "diarized_json")
GRANULARITIES = ("word", "segment")
_SPEAKERS = ("known_speaker_names", "known_speaker_references")
# Of `chunking_strategy`: their name -> ours, and what theirs is of ours.
_VOICE = {
    "threshold": ("vad_threshold", 1.0),
    "silence_duration_ms": ("min_silence_s", 0.001),
    "prefix_padding_ms": ("speech_pad_s", 0.001),
}


@dataclass(frozen=True)
class Asked:
    """One request, understood as far as it can be without its model."""

    model: str | None = None
    form: str = "json"  # of FORMATS
    granularities: frozenset[str] = frozenset()  # of GRANULARITIES, as they were given
    streams: bool = False
    logprobs: bool = False
    languages: tuple[str, ...] = ()  # as they were given; empty: not said
    prompt: str | None = None
    temperature: float | None = None  # None: not given, or 0, which both mean the model's own way
    hotwords: tuple[str, ...] = ()
    voice: Mapping[str, Any] = field(default_factory=dict)  # parameters of how voice is found
    known: Mapping[str, str] = field(default_factory=dict)  # speakers, each with a data: URL
    further: Mapping[str, Any] = field(default_factory=dict)  # by the names that a model's pipeline has

    @property
    def has_segments(self) -> bool:
        """Whether a verbose reply has segments."""
        return not self.granularities or "segment" in self.granularities

    @property
    def has_words(self) -> bool:
        """Whether words with times are asked for."""
        return "word" in self.granularities


def read_fields(pairs: Iterable[tuple[str, str]], is_translation: bool = False) -> Asked:
    """Read the fields of a form and of a query, in the order in which they are to be believed.

    Raises:
        Refused: 400, a field has a wrong value, or asks for what is not there.
    """
    given = _gathered(pairs)
    form = _form(given, is_translation)
    granularities = _granularities(given, form)
    includes = _listed("include", given.pop("include", []))
    for one in includes:
        if one != "logprobs":
            raise refuse("include", f"include has {one[:80]!r}; expected logprobs")
    if includes and form != "json":
        raise refuse("include", f"include=logprobs is for response_format json, not {form}; choose that")
    if includes and is_translation:
        raise refuse("include", "include is for transcriptions; leave it out")
    languages = _listed("languages", given.pop("languages", []))
    language = _one("language", given)
    return Asked(
        model=_one("model", given),
        form=form,
        granularities=granularities,
        streams=truth("stream", _one("stream", given), False),
        logprobs=bool(includes),
        languages=tuple(dict.fromkeys(([language] if language else []) + languages)),
        prompt=(_one("prompt", given) or "").strip() or None,
        temperature=_temperature(_one("temperature", given)),
        hotwords=tuple(
            word for name in ("hotwords", "keywords") for word in _listed(name, given.pop(name, []), is_text=True)
        ),
        voice=_voice(given),
        known=_known(given),
        further={name: values[0] if len(values) == 1 else values for name, values in given.items()},
    )


def refuse(name: str, message: str, code: str = "invalid_parameter") -> Refused:
    """Return the refusal of a field."""
    return Refused(400, message, code=code, param=name)


def _gathered(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the values of every name; "x[]" is "x", and "x[a]" a key of the object x."""
    found: dict[str, list[str]] = {}
    objects: dict[str, dict[str, str]] = {}
    for name, value in pairs:
        plain, bracket, key = name.partition("[")
        if bracket and key not in ("", "]"):
            objects.setdefault(plain, {})[key.removesuffix("]")] = value
        else:
            found.setdefault(plain, []).append(value)
    for name, inner in objects.items():
        found.setdefault(name, []).append(json.dumps(inner))
    return found


def _one(name: str, given: dict[str, list[str]]) -> str | None:
    """Take the value of a field that has one."""
    values = list(dict.fromkeys(given.pop(name, [])))
    if len(values) > 1:
        raise refuse(name, f"{name} is {values[0][:80]!r} and {values[1][:80]!r}; give it once")
    return values[0] if values and values[0] != "" else None


def _listed(name: str, values: list[str], is_text: bool = False) -> list[str]:
    """Return the entries of a list: fields of one name, a JSON list, or text with commas between."""
    found: list[str] = []
    for value in values:
        if value.lstrip().startswith("["):
            try:
                read = json.loads(value)
            except (ValueError, RecursionError):
                read = None
            if not isinstance(read, list) or not all(isinstance(one, str) for one in read):
                raise refuse(name, f"{name} is {value[:80]!r}, which is no list of texts")
            found += read
        else:
            found += value.replace("\n", ",").split(",")
    entries = [one.strip() for one in found if one.strip()]
    return list(dict.fromkeys(entries if is_text else [one.lower() for one in entries]))


def _form(given: dict[str, list[str]], is_translation: bool) -> str:
    form = _one("response_format", given) or "json"
    if form not in FORMATS:
        message = f"response_format={form[:80]!r} is none of {', '.join(FORMATS)}{nearest(form, FORMATS)}"
        raise refuse("response_format", message)
    if form == "diarized_json" and is_translation:
        raise refuse("response_format", "response_format=diarized_json is for transcriptions; choose verbose_json")
    streams = given.get("stream", [""])[0].lower() in ("true", "1")
    if streams and form in ("srt", "vtt"):
        raise refuse("stream", f"stream=true gives events, not a file; choose json, text or verbose_json, not {form}")
    if streams and is_translation:
        raise refuse("stream", "stream=true is for transcriptions; leave it out")
    return form


def _granularities(given: dict[str, list[str]], form: str) -> frozenset[str]:
    found = _listed("timestamp_granularities", given.pop("timestamp_granularities", []))
    for one in found:
        if one not in GRANULARITIES:
            known = " and ".join(GRANULARITIES)
            raise refuse("timestamp_granularities", f"timestamp_granularities has {one[:80]!r}; there are {known}")
    if found and form != "verbose_json":
        raise refuse(
            "timestamp_granularities",
            f"timestamp_granularities are for response_format verbose_json, not {form}; choose that, or leave them out",
        )
    return frozenset(found)


def _temperature(text: str | None) -> float | None:
    """Read a temperature; 0 is the model's own way, as in OpenAI's API: certain at first, then less so if it must."""
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise refuse("temperature", f"temperature={text[:80]!r}; expected a number from 0 to 1")
    return value or None


def _known(given: dict[str, list[str]]) -> dict[str, str]:
    """Read the speakers that are known: two lists, or each as JSON."""
    found = []
    for name in _SPEAKERS:
        values = given.pop(name, [])
        if len(values) == 1 and values[0].lstrip().startswith("["):
            values = _listed(name, values, is_text=True)
        found.append([value for value in values if value])
    return named(*found)


def _voice(given: dict[str, list[str]]) -> dict[str, Any]:
    """Read `chunking_strategy`: how a recording is divided by voice."""
    text = _one("chunking_strategy", given)
    if text is None or text == "null":
        return {}
    if text.strip('"') == "auto":
        return {"vad": True}
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict) or read.get("type") != "server_vad":
        raise refuse(
            "chunking_strategy",
            f'chunking_strategy is {text[:80]!r}; expected "auto", or {{"type": "server_vad"}} with threshold, '
            "silence_duration_ms and prefix_padding_ms",
        )
    return {"vad": True, **voice_parameters("chunking_strategy", read)}


def voice_parameters(name: str, given: Mapping[str, Any]) -> dict[str, float]:
    """Return OpenAI's settings of voice detection as ours, in seconds.

    Raises:
        Refused: 400, a key is unknown or its value no number.
    """
    found = {}
    for key, value in given.items():
        if key == "type" or value is None:
            continue
        if key not in _VOICE:
            raise refuse(name, f"{name} has {key[:80]!r}; it takes {', '.join(_VOICE)}{nearest(key, _VOICE)}")
        ours, factor = _VOICE[key]
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not 0 <= number < math.inf:
            raise refuse(name, f"{name}.{key} is {str(value)[:80]!r}; expected a number of 0 or more")
        found[ours] = number * factor if factor != 1.0 else number
    return found
