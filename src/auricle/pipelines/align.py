"""A recording and its text in, the same text with times out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from auricle.audio.decode import open_audio
from auricle.audio.limits import AudioLimits
from auricle.engines import make_engine, resolve_device
from auricle.errors import AuricleError, OptionError, TaskError
from auricle.loading import load
from auricle.pipelines.inputs import recording_of
from auricle.pipelines.provenance import identify, provenance
from auricle.pipelines.recordings import GuardedAudio, Opened
from auricle.pipelines.speech_parameters import Request
from auricle.results import Transcript
from auricle.speech.align import AlignOptions, CTCAligner

DEFAULT_MODEL = "bundled"


def align(
    recording: Any,
    text: str,
    *,
    model: str | Path | None = None,
    language: str = "en",
    device: Any = None,
    dtype: str = "auto",
    by: str = "sentence",
) -> Transcript:
    """Return `text` with the times at which it is spoken in `recording`.

    `recording` is whatever a speech pipeline takes. `model` is a CTC model, "bundled" if none is named; `language` is
    that of the text and says how its numbers and signs are spoken. `by` is what a segment is: a "sentence", a "line"
    of the text or a "paragraph". Words that the sound does not hold have times between those of their neighbours and
    are listed in the warnings; sound that the text does not hold is passed over.

    Example:
        >>> auricle.align("talk.mp3", "It cost $5.20 in 1984.").words[2]
        Word(text='$5.20', start=0.52, end=1.61, confidence=0.83)

    Raises:
        OptionError: the text has no words, or none that the model can write; or a parameter is wrong.
        TaskError: the model is no CTC model.
        AudioError: the recording cannot be read.
        CheckpointError: the model is not there or cannot be read.
    """
    return Aligner(model, device=device, dtype=dtype)(recording, text, language=language, by=by)


class Aligner:
    """Aligns many recordings with one model.

    Example:
        >>> find = Aligner()
        >>> find("talk.mp3", "good morning").words[0].start
        0.32
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        device: Any = None,
        dtype: str = "auto",
        revision: str | None = None,
        token: str | bool | None = None,
        target_lang: str | None = None,
        limits: AudioLimits | None = None,
    ) -> None:
        """Load a CTC model; the parameters are those of `pipeline`."""
        self.name = str(model or DEFAULT_MODEL)
        self.device = str(resolve_device("auto" if device is None else device))
        loaded = load(
            model or DEFAULT_MODEL,
            revision=revision,
            token=token,
            target_lang=target_lang,
        )
        if loaded.kind != "ctc":
            raise TaskError(
                f"{self.name!r} is a {loaded.kind!r} model ({loaded.model_type}), and only CTC models align a given "
                "text; choose a wav2vec2, HuBERT, WavLM or Parakeet CTC checkpoint, or leave the model out"
            )
        self.limits = limits or AudioLimits()
        self.sample_rate = loaded.features.sample_rate
        parts: Any = loaded.model
        engine = make_engine(loaded.model, device=self.device, dtype=dtype)
        self.identity = identify(loaded, engine, target_lang)
        self.aligner = CTCAligner(engine, loaded.features, loaded.tokenizer, parts.samples_per_frame)

    def __call__(
        self,
        recording: Any,
        text: str,
        *,
        language: str = "en",
        by: str = "sentence",
        progress: Callable[[float], None] | None = None,
    ) -> Transcript:
        """Align one recording; `progress` is called with the seconds that are done.

        The transcript carries its provenance, and warnings about the recording itself.
        """
        if not isinstance(text, str):
            raise OptionError(f"text is a {type(text).__name__}; expected the words of the recording as a string")
        source = recording_of(recording) if isinstance(recording, Mapping) else recording
        options = AlignOptions(language, by)
        audio = GuardedAudio(open_audio(source, self.sample_rate, limits=self.limits))
        with closing(Opened([audio])) as opened:
            digest = audio.audio.sha256()
            result = opened.result([self.aligner.align(audio, text, options, progress)])
        if isinstance(result, AuricleError):
            raise result
        return replace(result, provenance=provenance(self.identity, Request(options), digest))
