"""The settings of a realtime session, as OpenAI's API writes them: nested since its release, flat in its beta."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from auricle.errors import nearest
from auricle.server.errors import Refused

LOGPROBS = "item.input_audio_transcription.logprobs"
PCM, ULAW, ALAW = "pcm16", "g711_ulaw", "g711_alaw"
_TYPES = {PCM: "audio/pcm", ULAW: "audio/pcmu", ALAW: "audio/pcma"}
RATE, TELEPHONE_RATE = 24000, 8000
LEAST_RATE, MOST_RATE = 8000, 192000
# How long new sound is waited for before words are looked for again, in seconds.
DELAYS = {"minimal": 0.3, "low": 0.6, "medium": 1.0, "high": 2.0, "xhigh": 3.0}
# Least and most of what the detection of turns takes.
_TURN_LIMITS = {"threshold": (0.01, 0.99), "prefix_padding_ms": (0, 2000), "silence_duration_ms": (200, 5000)}
# What is for sessions that answer; they say nothing here.
_OF_ANSWERS = frozenset({"create_response", "interrupt_response"})
_INPUT_KEYS = ("format", "transcription", "noise_reduction", "turn_detection")
_TRANSCRIPTION_KEYS = ("model", "language", "languages", "prompt", "keywords", "delay")
# Keys of the beta -> those of the release.
_FLAT = {
    "input_audio_format": "format",
    "input_audio_transcription": "transcription",
    "input_audio_noise_reduction": "noise_reduction",
    "turn_detection": "turn_detection",
}
_FLAT_UNUSED = frozenset({"modalities", "client_secret", "object", "id"})


@dataclass(frozen=True)
class Turn:
    """How the ends of turns are found."""

    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 500

    def parameters(self) -> dict[str, float]:
        """Return the same for a pipeline."""
        return {
            "vad_threshold": self.threshold,
            "min_silence_s": self.silence_duration_ms / 1000,
            "speech_pad_s": self.prefix_padding_ms / 1000,
        }

    def as_dict(self) -> dict[str, Any]:
        """Return the same as a session has it."""
        return {"type": "server_vad", **vars(self)}


@dataclass(frozen=True)
class SessionSettings:
    """What a client has chosen."""

    model: str  # as the client calls it
    language: str | None = None
    languages: tuple[str, ...] = ()
    prompt: str | None = None
    keywords: tuple[str, ...] = ()
    delay: str | None = None  # of DELAYS
    encoding: str = PCM
    rate: int = RATE
    turn: Turn | None = Turn()  # None: the client says where turns end
    logprobs: bool = False

    @property
    def latency(self) -> float:
        """Seconds of new sound between two hypotheses."""
        return DELAYS[self.delay or "medium"]

    def updated(self, session: Mapping[str, Any]) -> SessionSettings:
        """Return the settings after a `session.update`; what it does not name stays.

        Raises:
            Refused: 400, a key is unknown or its value wrong.
        """
        kind = session.get("type", "transcription")
        if kind != "transcription":
            message = f"session.type is {str(kind)[:80]!r}; this server writes down and does not answer: transcription"
            raise _refuse("session.type", message)
        _known("session", session, ("type", "audio", "include", "id", "object", "expires_at"))
        audio = _object("session.audio", session.get("audio") or {})
        _known("session.audio", audio, ("input",))
        given = _object("session.audio.input", audio.get("input") or {})
        _known("session.audio.input", given, _INPUT_KEYS)
        return self._with(given, session, "session.audio.input")

    def updated_flat(self, session: Mapping[str, Any]) -> SessionSettings:
        """Return the settings after a `transcription_session.update` of the beta.

        Raises:
            Refused: 400, a key is unknown or its value wrong.
        """
        _known("session", session, (*_FLAT, *_FLAT_UNUSED, "include"))
        given = {_FLAT[name]: value for name, value in session.items() if name in _FLAT}
        return self._with(given, session, "session")

    def nested(self, session_id: str) -> dict[str, Any]:
        """Return the session as it is written since the release."""
        form: dict[str, Any] = {"type": _TYPES[self.encoding]}
        if self.encoding == PCM:
            form["rate"] = self.rate
        return {
            "type": "transcription",
            "object": "realtime.transcription_session",
            "id": session_id,
            "audio": {
                "input": {
                    "format": form,
                    "transcription": self._transcription(),
                    "noise_reduction": None,
                    "turn_detection": self.turn.as_dict() if self.turn is not None else None,
                }
            },
            "include": [LOGPROBS] if self.logprobs else None,
        }

    def flat(self, session_id: str) -> dict[str, Any]:
        """Return the session as the beta writes it."""
        return {
            "id": session_id,
            "object": "realtime.transcription_session",
            "input_audio_format": self.encoding,
            "input_audio_transcription": self._transcription(),
            "input_audio_noise_reduction": None,
            "turn_detection": self.turn.as_dict() if self.turn is not None else None,
            "modalities": ["text"],
            "include": [LOGPROBS] if self.logprobs else None,
        }

    def _transcription(self) -> dict[str, Any]:
        found: dict[str, Any] = {"model": self.model, "language": self.language, "prompt": self.prompt or ""}
        for name in ("languages", "keywords", "delay"):
            if getattr(self, name):
                found[name] = getattr(self, name)
        return found

    def _with(self, given: Mapping[str, Any], session: Mapping[str, Any], place: str) -> SessionSettings:
        changed = self
        if given.get("format") is not None:
            changed = replace(changed, **_format(f"{place}.format", given["format"]))
        if "transcription" in given:
            changed = changed._transcribed(f"{place}.transcription", given["transcription"])
        if "turn_detection" in given:
            changed = replace(changed, turn=_turn(f"{place}.turn_detection", given["turn_detection"]))
        if "include" in session:
            changed = replace(changed, logprobs=_includes(session["include"]))
        return changed

    def _transcribed(self, place: str, given: Any) -> SessionSettings:
        if given is None:
            return replace(self, language=None, languages=(), prompt=None, keywords=(), delay=None)
        _known(place, _object(place, given), _TRANSCRIPTION_KEYS)
        delay = given.get("delay", self.delay)
        if delay is not None and delay not in DELAYS:
            raise _refuse(f"{place}.delay", f"{place}.delay is {str(delay)[:80]!r}; expected {', '.join(DELAYS)}")
        return replace(
            self,
            model=_text(f"{place}.model", given.get("model")) or self.model,
            language=_text(f"{place}.language", given.get("language", self.language)),
            languages=_texts(f"{place}.languages", given.get("languages", self.languages)),
            prompt=_text(f"{place}.prompt", given.get("prompt", self.prompt)),
            keywords=_texts(f"{place}.keywords", given.get("keywords", self.keywords)),
            delay=delay,
        )


def _format(place: str, given: Any) -> dict[str, Any]:
    """Read the format of sound: a name, as in the beta, or an object."""
    if isinstance(given, str):
        kind, rate = given, None
        known = {name: name for name in _TYPES}
    else:
        _known(place, _object(place, given), ("type", "rate"))
        kind, rate = given.get("type", _TYPES[PCM]), given.get("rate")
        known = {theirs: ours for ours, theirs in _TYPES.items()}
    if kind not in known:
        raise _refuse(place, f"{place} is {str(kind)[:80]!r}; expected {', '.join(known)}")
    encoding = known[kind]
    if encoding != PCM:
        if rate not in (None, TELEPHONE_RATE):
            raise _refuse(f"{place}.rate", f"{place}.rate is {rate!r}; {kind} has {TELEPHONE_RATE} samples a second")
        return {"encoding": encoding, "rate": TELEPHONE_RATE}
    if rate is not None and (type(rate) is not int or not LEAST_RATE <= rate <= MOST_RATE):
        message = f"{place}.rate is {str(rate)[:80]!r}; expected a whole number from {LEAST_RATE} to {MOST_RATE}"
        raise _refuse(f"{place}.rate", message)
    return {"encoding": PCM, "rate": rate or RATE}


def _turn(place: str, given: Any) -> Turn | None:
    if given is None:
        return None
    kind = _object(place, given).get("type", "server_vad")
    if kind != "server_vad":
        raise _refuse(f"{place}.type", f"{place}.type is {str(kind)[:80]!r}; expected server_vad, or null for {place}")
    _known(place, given, ("type", *_TURN_LIMITS, *_OF_ANSWERS))
    chosen: dict[str, Any] = {}
    for name, (least, most) in _TURN_LIMITS.items():
        value = given.get(name)
        if value is None:
            continue
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not is_number or not least <= value <= most:
            message = f"{place}.{name} is {str(value)[:80]!r}; expected a number from {least:g} to {most:g}"
            raise _refuse(f"{place}.{name}", message)
        chosen[name] = value
    return Turn(**chosen)


def _includes(given: Any) -> bool:
    found = _texts("session.include", given)
    for one in found:
        if one != LOGPROBS:
            raise _refuse("session.include", f"session.include has {one[:80]!r}; expected {LOGPROBS}")
    return bool(found)


def _known(place: str, given: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for name in given:
        if name not in names:
            hint = nearest(name, names) or f"; it takes {', '.join(names)}"
            raise _refuse(f"{place}.{name[:80]}", f"{place} has no {name[:80]!r}{hint}", "unknown_parameter")


def _object(place: str, given: Any) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise _refuse(place, f"{place} is {str(given)[:80]!r}; expected an object")
    return given


def _text(place: str, given: Any) -> str | None:
    if given is not None and not isinstance(given, str):
        raise _refuse(place, f"{place} is {str(given)[:80]!r}; expected text")
    return given or None


def _texts(place: str, given: Any) -> tuple[str, ...]:
    if given is None:
        return ()
    if not isinstance(given, list | tuple) or not all(isinstance(one, str) for one in given):
        raise _refuse(place, f"{place} is {str(given)[:80]!r}; expected a list of texts")
    return tuple(given)


def _refuse(place: str, message: str, code: str = "invalid_value") -> Refused:
    return Refused(400, message, code=code, param=place)
