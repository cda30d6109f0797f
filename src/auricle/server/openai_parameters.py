"""From what OpenAI's API asks for to what a model's pipeline takes, whatever the kind of the model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from auricle.errors import OptionError
from auricle.server.errors import Refused, without_paths
from auricle.server.openai_fields import Asked, refuse
from auricle.server.parameters import Note, adapted

if TYPE_CHECKING:
    from auricle.pipelines.speech_parameters import Dialect

LONGEST_PHRASE = 4  # words; what has more is a sentence, and no name to listen for
_TIMED_FORMS = frozenset({"srt", "vtt"})
_FIRST_NAME = re.compile(r"(?:(?:unknown|the) parameter ')?([a-z_]+)")
# Names of the pipeline's parameters -> the fields of OpenAI's that they come from.
_THEIRS = {
    "initial_prompt": "prompt",
    "vad": "chunking_strategy",
    "vad_threshold": "chunking_strategy",
    "min_silence_s": "chunking_strategy",
    "speech_pad_s": "chunking_strategy",
    "known_speakers": "known_speaker_references",
}


@dataclass(frozen=True)
class Speaker:
    """What must be known of a model to ask it for something."""

    name: str  # as it is served
    dialect: Dialect
    languages: tuple[str, ...]  # codes that its card names; empty: not said
    is_multilingual: bool  # whether it can be told which language it hears
    judges_whole: bool = False  # whether words of a short recording are dropped when all of it was heard

    @property
    def has_words(self) -> bool:
        """Whether it times words."""
        return "word" in self.dialect.times.values()


def speaker_of(name: str, pipeline: Any, languages: Sequence[str]) -> Speaker:
    """Return what is to be known of a loaded model."""
    tokens = getattr(pipeline.recognizer, "tokens", None)
    is_multilingual = "language" in pipeline.dialect.fields and bool(getattr(tokens, "multilingual", True))
    # A checkpoint of Whisper without tokens for languages writes English, whatever its card says.
    own = ("en",) if "language" in pipeline.dialect.fields and not is_multilingual else tuple(languages)
    # A CTC model's search is known by its beams.
    return Speaker(name, pipeline.dialect, own, is_multilingual, "beam_width" in pipeline.dialect.fields)


def parameters_for(
    asked: Asked, speaker: Speaker, is_translation: bool = False
) -> tuple[dict[str, Any], tuple[Note, ...]]:
    """Return the parameters of a call of the pipeline, and what is to be told of those that are not used.

    Raises:
        Refused: 400, the model cannot do what is asked.
    """
    found = adapted(asked.further, speaker.dialect)
    parameters = dict(found.parameters)
    parameters |= {name: value for name, value in asked.voice.items() if name not in parameters}
    if is_translation:
        parameters["task"] = _translation(speaker)
    parameters |= spoken(speaker, asked.languages, asked.prompt, asked.hotwords)
    if asked.temperature is not None:
        parameters["temperature"] = _temperature(asked.temperature, speaker)
    speakers = _speakers(asked, parameters.pop("speakers", None))
    if speakers:
        parameters["speakers"] = speakers
    times = _times(asked, speaker)
    if times is not None:
        parameters["return_timestamps"] = times
    return parameters, found.notes


def _speakers(asked: Asked, given: Any) -> Any:
    """Return what is asked of speakers: by the format, by known ones, or by the pipeline's own parameter.

    Raises:
        Refused: 400, two of these do not go together.
    """
    if given is False and (asked.form == "diarized_json" or asked.known):
        raise refuse("speakers", "speakers=false and diarized_json or known speakers ask for the opposite")
    if not asked.known:
        return given or asked.form == "diarized_json" or None
    own = dict(given) if isinstance(given, Mapping) else {"num_speakers": given} if type(given) is int else {}
    if own.get("known"):
        raise refuse("speakers", "speakers.known says again what known_speaker_names does; give one of them")
    return {**own, "known": dict(asked.known)}


def spoken(
    speaker: Speaker, languages: Sequence[str] = (), prompt: str | None = None, hotwords: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the parameters for the language, the prompt and the words to expect.

    Raises:
        Refused: 400, the model has no use for one of them.
    """
    parameters: dict[str, Any] = {}
    language = _language(languages, speaker)
    if language is not None:
        parameters["language"] = language
    words = list(hotwords)
    if prompt:
        if "initial_prompt" in speaker.dialect.fields:
            parameters["initial_prompt"] = prompt
        else:
            words += _phrases(prompt, speaker)
    if words:
        if "hotwords" not in speaker.dialect.fields:
            raise refuse("hotwords", f"hotwords are refused by {speaker.name}: {speaker.dialect.refused['hotwords']}")
        parameters["hotwords"] = list(dict.fromkeys(words))
    return parameters


def naming(error: OptionError, given: Mapping[str, Any]) -> Refused:
    """Return the refusal of a parameter with the field that it came from."""
    message = without_paths(str(error))
    found = _FIRST_NAME.match(message)
    name = found[1] if found is not None and found[1] in given else None
    return Refused(400, message, code="invalid_parameter", param=_THEIRS.get(name or "", name))


def _translation(speaker: Speaker) -> str:
    dialect = speaker.dialect
    if "task" in dialect.fields and speaker.is_multilingual:
        return "translate"
    reason = dialect.refused.get("task", "it knows English only, and has nothing to translate from")
    raise refuse("model", f"{speaker.name} cannot translate: {reason}", "cannot_translate")


def _language(languages: Sequence[str], speaker: Speaker) -> str | None:
    """Return the language to tell the model; None where it knows without."""
    from auricle.speech.languages import text_language

    codes = []
    for one in languages:
        try:
            codes.append(text_language(one).partition("-")[0].partition("_")[0])
        except OptionError as error:
            raise refuse("language", str(error)) from None
    if not codes:
        return None
    if speaker.is_multilingual:
        if len(codes) > 1:
            raise refuse(
                "languages",
                f"languages has {', '.join(codes)}: {speaker.name} is told one language, or finds it by itself among "
                "all that it knows; give one, or none",
            )
        return codes[0]
    if any(code in speaker.languages for code in codes):
        return None
    known = ", ".join(speaker.languages)
    wanted = f"it writes {known}" if known else "it does not say which language it writes"
    raise refuse("language", f"language={languages[0][:80]!r} is refused by {speaker.name}: {wanted}; leave it out")


def _phrases(prompt: str, speaker: Speaker) -> list[str]:
    """Return the words of a prompt for a model that has none: a list of names is one of words to listen for.

    Sentences are refused: as words to listen for, "the" and "is" of them would be heard everywhere.
    """
    phrases = [one.strip(" .\t") for one in re.split(r"[,;\n]", prompt)]
    phrases = [one for one in phrases if one]
    if "hotwords" not in speaker.dialect.fields or any(len(one.split()) > LONGEST_PHRASE for one in phrases):
        reason = speaker.dialect.refused.get("initial_prompt", "it has no prompt")
        hint = " as a list with commas between" if "hotwords" in speaker.dialect.fields else ""
        raise refuse("prompt", f"prompt={prompt[:80]!r} is refused by {speaker.name}: {reason}{hint}, or leave it out")
    return phrases


def _temperature(temperature: float, speaker: Speaker) -> float:
    if "temperature" not in speaker.dialect.fields:
        reason = speaker.dialect.fixed.get("temperature", ((), "it draws no samples"))[1]
        message = f"temperature={temperature:g} is refused by {speaker.name}: {reason}; give 0, or leave it out"
        raise refuse("temperature", message)
    return temperature


def _times(asked: Asked, speaker: Speaker) -> str | None:
    """Return the times to ask for: words for subtitles where there are any, since cues are cut between them."""
    needs_words = asked.has_words or asked.logprobs
    if needs_words and not speaker.has_words:
        name = "timestamp_granularities" if asked.has_words else "include"
        message = f"{name} asks for words, and {speaker.name} writes text without their times; use Whisper or CTC"
        raise refuse(name, message)
    if speaker.has_words and (needs_words or asked.form in _TIMED_FORMS):
        return "word"
    return None
