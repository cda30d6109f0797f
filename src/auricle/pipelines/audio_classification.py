"""The audio-classification task: recordings in, labels with scores out. Keyword spotting is this, too."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from torch import Tensor

from auricle.audio.decode import load_audio
from auricle.audio.limits import AudioLimits
from auricle.engines import make_engine
from auricle.errors import AudioInputError, OptionError, TaskError
from auricle.loading import load
from auricle.pipelines.base import ModelSettings, Pipeline, unknown_parameter
from auricle.pipelines.inputs import recording_of
from auricle.pipelines.scores import TOP_K, best_labels, read_function, read_top_k

logger = logging.getLogger("auricle")
# Every frame is compared with every other: 10 minutes of wav2vec2-base are 30 000 frames.
DEFAULT_LIMITS = AudioLimits(max_read_duration=600.0)


@dataclass(frozen=True)
class AudioRequest:
    """One call's parameters, understood."""

    top_k: int | None
    function: str


class AudioClassificationPipeline(Pipeline):
    """Say what a recording is: a keyword, a language, a speaker, an emotion, whatever the model has learned.

    An input is what the task automatic-speech-recognition takes: a path, a URL, bytes, a file object, an array at the
    model's sample rate, a dictionary. A recording is heard whole, up to `limits.max_read_duration` (10 minutes); a
    Whisper hears its first 30 s, and the log says so. A result is a list of labels with scores, the best first.

    Example:
        >>> spot = pipeline("audio-classification", "superb/wav2vec2-base-superb-ks")
        >>> spot("one_second.wav", top_k=1)
        [{'label': 'left', 'score': 0.997}]
    """

    task: ClassVar[str] = "audio-classification"
    parameters: ClassVar[tuple[str, ...]] = ("top_k", "function_to_apply")

    def __init__(
        self,
        engine: Any,
        features: Any,
        *,
        name: str = "",
        limits: AudioLimits | None = None,
        batch_size: int | None = None,
        on_error: str = "raise",
        **parameters: Any,
    ) -> None:
        if not isinstance(limits, AudioLimits | None):
            raise OptionError(f"limits is {limits!r}; it must be an AudioLimits, or None for the default ones")
        self.engine = engine
        self.features = features
        self.sample_rate = int(features.sample_rate)
        self.labels = engine.model.config.labels
        self.name = name
        self.device = str(engine.device)
        self.limits = limits or DEFAULT_LIMITS
        super().__init__(batch_size=batch_size, on_error=on_error, **parameters)

    @classmethod
    def load(cls, model: str | Path | None, settings: ModelSettings, **parameters: Any) -> Self:
        """Load a model that classifies recordings."""
        if model is None:
            raise TaskError(f"the task {cls.task!r} needs a model; name one")
        for name in ("engine", "features", "name"):
            if name in parameters:
                raise OptionError(f"{name}={parameters[name]!r} is refused: the model decides it; leave it out")
        loaded = load(model, revision=settings.revision, token=settings.token)
        if loaded.kind != "audio":
            raise TaskError(
                f"{loaded.name!r} is a {loaded.kind!r} model ({loaded.model_type}), which classifies no recordings; "
                "choose a model such as superb/wav2vec2-base-superb-ks"
            )
        engine = make_engine(loaded.model, device=settings.device, dtype=settings.dtype, name=settings.engine)
        return cls(engine, loaded.features, name=loaded.name, **parameters)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} on {self.engine.device}>"

    def read_parameters(self, parameters: Mapping[str, Any], batch_size: int | None) -> AudioRequest:
        """Check the call parameters.

        `top_k` (5, at most as many as there are labels; None: all), `function_to_apply` ("softmax", "sigmoid", "none";
        None: as the checkpoint's problem_type says, else softmax).
        """
        for name in parameters:
            if name not in self.parameters:
                raise unknown_parameter(name, self.parameters, f"the task {self.task!r}")
        problem = self.engine.model.config.problem_type
        default = {"regression": "none", "multi_label_classification": "sigmoid"}.get(problem, "softmax")
        return AudioRequest(
            read_top_k(parameters.get("top_k", TOP_K)), read_function(parameters.get("function_to_apply"), default)
        )

    def preprocess(self, item: Any, request: AudioRequest) -> np.ndarray:
        """Return the samples of a recording.

        Raises:
            AudioInputError: it is too short for one frame. AudioError: it cannot be used.
        """
        source = recording_of(item) if isinstance(item, Mapping) else item
        samples = load_audio(source, self.sample_rate, limits=self.limits)
        least = self.engine.model.min_samples
        if len(samples) < least:
            raise AudioInputError(
                f"a recording of {len(samples)} samples arrived, and the model's first frame alone hears {least} at "
                f"{self.sample_rate} Hz; give a longer one"
            )
        most = getattr(self.features, "window_samples", len(samples))
        if len(samples) > most:
            logger.warning(
                "a recording of %.1f s is classified by its first %g s, which is what the model hears; cut it into "
                "several to classify the rest",
                len(samples) / self.sample_rate,
                most / self.sample_rate,
            )
        return samples[:most]

    def length(self, prepared: np.ndarray) -> float:
        """Return the seconds of a recording."""
        return len(prepared) / self.sample_rate

    def forward(self, batch: list[np.ndarray], request: AudioRequest) -> list[Tensor]:
        """Return each recording's logits."""
        features = self.features(batch)
        return list(self.engine.classify(features.values, features.lengths))

    def postprocess(self, item: Any, output: Tensor, request: AudioRequest) -> list[dict[str, Any]]:
        """Return the best labels with their scores."""
        return best_labels(output, self.labels, request.function, request.top_k)
