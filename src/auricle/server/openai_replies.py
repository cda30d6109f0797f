"""Transcripts as OpenAI's audio API writes them.

Its clients want every number of a segment. Where a model has no such number, this stands for it: `avg_logprob` is the
logarithm of the segment's confidence, `compression_ratio` is computed from its text, `temperature` and
`no_speech_prob` are 0, and `seek` is the segment's begin in hundredths of a second. A language that nobody knows is
"unknown". What has a key of its own here and none there (warnings, confidence, channel) does no harm.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from auricle.server.openai_fields import Asked
from auricle.server.parameters import Note
from auricle.server.speakers import letters

if TYPE_CHECKING:
    from auricle.results import Segment, Transcript, Word

UNKNOWN = "unknown"
SEEK_PER_SECOND = 100  # frames of Whisper's spectrogram
LEAST_PROBABILITY = 1e-9  # logarithms of less are no JSON
_DECIMALS = 3  # of seconds


@dataclass(frozen=True)
class Reply:
    """A transcript that is to be written."""

    transcript: Transcript
    asked: Asked
    languages: Sequence[str] = ()  # codes that the model's card names
    is_translation: bool = False
    notes: tuple[Note, ...] = ()  # on parameters that were not used
    model: str = ""

    @property
    def text(self) -> str:
        """The whole text."""
        return self.transcript.text.strip()

    def body(self) -> dict[str, Any]:
        """Return the reply as JSON: plain, verbose, or with its speakers."""
        if self.asked.form == "diarized_json":
            return self.diarized()
        return self.verbose() if self.asked.form == "verbose_json" else self.plain()

    def plain(self) -> dict[str, Any]:
        """Return the reply to response_format json."""
        found: dict[str, Any] = {"text": self.text, "usage": self.usage()}
        if self.asked.logprobs:
            found["logprobs"] = logprobs_of(self.text, self.transcript.words)
        return found

    def diarized(self) -> dict[str, Any]:
        """Return the reply to response_format diarized_json."""
        return {
            "task": "transcribe",
            "duration": round(self.transcript.duration or 0.0, _DECIMALS),
            "text": self.text,
            "segments": self.told_segments(),
            "usage": self.usage(),
            "warnings": self.warnings(),
        }

    def told_segments(self) -> list[dict[str, Any]]:
        """Return the segments as OpenAI has those with speakers: A, B, …, or the names that were given."""
        segments = self.transcript.segments
        of_channels = [f"channel {one.channel}" if one.channel is not None else None for one in segments]
        speakers = [one.speaker or channel for one, channel in zip(segments, of_channels, strict=True)]
        labels = letters(speakers, tuple(self.asked.known))
        return [
            {
                "type": "transcript.text.segment",
                "id": f"seg_{place}",
                "start": round(segment.start, _DECIMALS),
                "end": round(segment.start if segment.end is None else segment.end, _DECIMALS),
                "text": segment.text.strip(),
                "speaker": labels[speaker],
            }
            for place, (segment, speaker) in enumerate(zip(segments, speakers, strict=True))
        ]

    def verbose(self) -> dict[str, Any]:
        """Return the reply to response_format verbose_json."""
        transcript = self.transcript
        found: dict[str, Any] = {
            "task": "translate" if self.is_translation else "transcribe",
            "language": self.language(),
            "duration": round(transcript.duration or 0.0, _DECIMALS),
            "text": self.text,
        }
        if self.asked.has_segments:
            found["segments"] = [segment_object(place, one) for place, one in enumerate(transcript.segments)]
        if self.asked.has_words:
            found["words"] = [word_object(word) for word in transcript.words]
        found["usage"] = self.usage()
        found["warnings"] = self.warnings()
        if transcript.provenance is not None:
            found["provenance"] = plain(asdict(transcript.provenance))
        return found

    def usage(self) -> dict[str, Any]:
        """Return what OpenAI would charge for: seconds of sound."""
        return {"type": "duration", "seconds": round(self.transcript.duration or 0.0, _DECIMALS)}

    def language(self) -> str:
        """Return the English name of the text's language."""
        if self.is_translation:
            return "english"
        return language_name(self.transcript.language, self.languages)

    def warnings(self) -> list[dict[str, Any]]:
        """Return what the reader should know: of the recording, of its text, and of parameters that were not used."""
        of_parameters = [
            {"kind": "parameter", "message": note.message, "start": None, "end": None} for note in self.notes
        ]
        return of_parameters + [asdict(warning) for warning in self.transcript.warnings]

    def file(self) -> tuple[str, str]:
        """Return the reply to response_format text, srt or vtt, and its media type."""
        from auricle.speech.formats import MEDIA_TYPES, WriteOptions, write

        if self.asked.form == "text" and not self.transcript.turns:
            return self.text + "\n", "text/plain; charset=utf-8"
        form = "txt" if self.asked.form == "text" else self.asked.form
        written = write(self.transcript, form, WriteOptions(model=self.model))
        return written, f"{MEDIA_TYPES[form]}; charset=utf-8"


def language_name(code: str | None, languages: Sequence[str] = ()) -> str:
    """Return the English name of a language; of a model that hears only one, that one's."""
    from auricle.speech.languages import LANGUAGES

    if code is None:
        code = languages[0] if len(languages) == 1 else None
    return UNKNOWN if code is None else LANGUAGES.get(code, code)


def segment_object(place: int, segment: Segment) -> dict[str, Any]:
    """Return a segment as OpenAI's API has it, and what else is known of it."""
    from auricle.speech.whisper_windows import compression_ratio

    confidence = segment.confidence
    logprob = segment.avg_logprob
    if logprob is None:
        logprob = 0.0 if confidence is None else math.log(max(confidence, LEAST_PROBABILITY))
    ratio = segment.compression_ratio
    found: dict[str, Any] = {
        "id": place,
        "seek": round(segment.start * SEEK_PER_SECOND),
        "start": round(segment.start, _DECIMALS),
        "end": round(segment.start if segment.end is None else segment.end, _DECIMALS),
        "text": segment.text,
        "tokens": list(segment.tokens),
        "temperature": segment.temperature or 0.0,
        "avg_logprob": finite(logprob),
        "compression_ratio": compression_ratio(segment.text) if ratio is None else finite(ratio),
        "no_speech_prob": finite(segment.no_speech_prob or 0.0),
    }
    for name in ("confidence", "language", "channel", "speaker"):
        if getattr(segment, name) is not None:
            found[name] = getattr(segment, name)
    return found


def word_object(word: Word) -> dict[str, Any]:
    """Return a word as OpenAI's API has it, without spaces around it, and its confidence."""
    found: dict[str, Any] = {
        "word": word.text.strip(),
        "start": round(word.start, _DECIMALS),
        "end": round(word.end, _DECIMALS),
        "confidence": finite(round(word.confidence, 4)),
    }
    if word.speaker is not None:
        found["speaker"] = word.speaker
    return found


def logprobs_of(text: str, words: Iterable[Word]) -> list[dict[str, Any]]:
    """Return the text in pieces of a word each, with the logarithm of the word's confidence.

    The pieces, joined, are the text; the first logarithms that a decoder has are of its own tokens, which a word is
    made of.
    """
    found: list[dict[str, Any]] = []
    begin = 0
    for word in words:
        bare = word.text.strip()
        at = text.find(bare, begin) if bare else -1
        if at < 0:
            continue
        end = at + len(bare)
        logprob = math.log(min(max(word.confidence, LEAST_PROBABILITY), 1.0))
        found.append(_piece(text[begin:end], logprob))
        begin = end
    if begin < len(text):
        found.append(_piece(text[begin:], 0.0))
    return found


def finite(number: float) -> float:
    """Return a number that JSON has: 0 for what is none."""
    return number if math.isfinite(number) else 0.0


def plain(value: Any) -> Any:
    """Return what JSON makes of options: mappings and lists of them, texts for what it has no kind for."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return value.encode(errors="replace").decode()  # half of a character is none that a reply may have
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if hasattr(value, "items"):
        return {plain(str(name)): plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(inner) for inner in value]
    return str(value)


def _piece(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "bytes": list(text.encode()), "logprob": round(logprob, 6)}
