"""Sound that is still coming in, through a pipeline: updates with words that are final and words that are not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from typing import Any, Protocol

import numpy as np

from auricle.audio.limits import AudioLimits
from auricle.audio.live import LiveAudio, open_live
from auricle.errors import OptionError
from auricle.pipelines.speech_parameters import Dialect
from auricle.speech.streaming import PIECE_S, StreamingTranscriber, StreamOptions, StreamUpdate, Utterance

# Parameters of a call that mean nothing here, and why.
_REFUSED = {
    "return_timestamps": "every update has its words with their times",
    "return_language": "updates are words; transcribe the recording to get languages",
    "batch_size": "one stream is decoded at a time",
    "progress": "every update says how far the stream is",
    "on_error": "a stream that fails raises, after its updates so far",
    "speakers": "who speaks is known when all was heard; transcribe the recording",
    "channels": "channels are averaged; give blocks of the one to be heard",
}
# Options of a recognizer, however they were given.
_REFUSED_OPTIONS = {
    "prompt_ids": "its prompt goes on with what is heard; give the text as initial_prompt",
    "prefix": "it begins the text of a recording, and a stream is decoded again and again; give initial_prompt",
    "clip_timestamps": "what is heard is chosen by the source",
    "schedule": "a stream is decoded as it comes",
    "punctuate": "a mark depends on the words after it, and final words never change; transcribe the recording",
    "chunk_length_s": "how much is decoded at once follows from pauses and final words",
    "stride_length_s": "how much is decoded at once follows from pauses and final words",
}
# Options about voice: the stream has a detector of its own, and what it hands on is voice.
_VOICE = ("vad", "vad_threshold", "min_silence_s", "speech_pad_s")


class SpeechPipeline(Protocol):
    """What a stream needs of a pipeline that recognizes speech."""

    recognizer: Any
    dialect: Dialect
    sample_rate: int
    limits: AudioLimits
    defaults: dict[str, Any]

    def read_call(
        self, parameters: Mapping[str, Any], batch_size: int | None, on_error: str | None
    ) -> tuple[Any, int, str]:
        """Check everything a call was given and return its request first."""
        ...


def stream(
    pipeline: SpeechPipeline,
    source: Any,
    *,
    latency: float = 1.0,
    raw: bool = False,
    sampling_rate: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
    on_utterance: Callable[[Utterance], None] | None = None,
    **parameters: Any,
) -> Iterator[StreamUpdate]:
    """Give updates while a source is heard, from "mic", a pipe, blocks of samples or any recording.

    A hypothesis is made after every `latency` seconds of new sound; words that two in a row agree on are final
    and never change, and a pause makes all before it final. `raw` and `sampling_rate` are of the source, see
    `auricle.audio.live.open_live`; `clock` gives the seconds by which computing is measured; `on_utterance` is told
    when voice begins and when a pause has ended an utterance; the other parameters are those of a call of the
    pipeline. Interrupted by Ctrl-C, it makes what it has heard final in a last update
    before it raises KeyboardInterrupt.

    Example:
        >>> for update in listen.stream("mic", latency=0.5):
        ...     print(update.text)

    Raises:
        OptionError: at once, when a parameter has an unknown name, a wrong value or a conflict, or the model gives
            no words with times. AudioError, MissingExtraError: as opening the source raises them.
    """
    for name, reason in _REFUSED.items():
        if parameters.get(name) is not None:
            raise OptionError(f"{name}={parameters[name]!r} is refused in a stream: {reason}; leave it out")
    dialect = pipeline.dialect
    if "word" not in dialect.times.values():
        raise OptionError(f"a stream needs words with times, which {dialect.model} does not give; use another model")
    given = {**pipeline.defaults, **parameters}.get("without_timestamps")
    if "without_timestamps" in dialect.fields and given is None:
        # Sound that ends within a sentence makes Whisper close a segment and leave out the rest of it.
        parameters["without_timestamps"] = True
    # What a pipeline's defaults may ask for, and a stream has not.
    without = dict.fromkeys(("return_language", "channels", "speakers"))
    request, _, _ = pipeline.read_call({**parameters, "return_timestamps": "word", **without}, 1, None)
    how, vad, options = _heard(request.options, latency, {**pipeline.defaults, **parameters})
    live = open_live(source, pipeline.sample_rate, raw=raw, sampling_rate=sampling_rate, limits=pipeline.limits)
    try:
        detector = None
        if vad:
            from auricle.engines.cpu.voice import FastVoiceProbabilities as VoiceProbabilities

            detector = VoiceProbabilities(pipeline.sample_rate)
        transcriber = StreamingTranscriber(
            pipeline.recognizer,
            options,
            pipeline.sample_rate,
            how,
            detector=detector,
            clock=clock,
            on_utterance=on_utterance,
        )
    except BaseException:
        live.close()
        raise
    return _updates(live, transcriber, round(min(PIECE_S, latency) * pipeline.sample_rate))


def _heard(options: Any, latency: float, asked: Mapping[str, Any]) -> tuple[StreamOptions, bool, Any]:
    """Take what is about voice out of a recognizer's options: it is decided before the recognizer hears anything.

    What was `asked` for counts even where it is the recognizer's default, for a stream has others.
    """
    for name, reason in _REFUSED_OPTIONS.items():
        if getattr(options, name, None):
            raise OptionError(f"{name}={getattr(options, name)!r} is refused in a stream: {reason}; leave it out")
    given = {one.name: one for one in fields(options) if one.name in _VOICE}
    values = {name: getattr(options, name) for name in given}
    how = {"latency": latency}
    for name, own in (("vad_threshold", "threshold"), ("min_silence_s", "pause_s"), ("speech_pad_s", "pad_s")):
        if name in values and (asked.get(name) is not None or values[name] != given[name].default):
            how[own] = values[name]
    if "vad" in given:
        rest = {name: one.default for name, one in given.items()}
        options = replace(options, **{**rest, "vad": False})
    return StreamOptions(**how), values.get("vad") is not False, options


def _updates(live: LiveAudio, transcriber: StreamingTranscriber, piece: int) -> Iterator[StreamUpdate]:
    try:
        for block in live.blocks():
            # What comes in real time and had to wait is decoded once; a recording as if it came in real time.
            size = len(block) if live.in_real_time else piece
            for part in _parts(block, size):
                yield from transcriber.feed(part)
        yield from transcriber.end()
    except KeyboardInterrupt:
        yield from transcriber.end()
        raise
    finally:
        live.close()


def _parts(block: np.ndarray, size: int) -> Iterator[np.ndarray]:
    return (block[at : at + size] for at in range(0, len(block), size))
