"""The image-classification task: images in, labels with scores out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from auricle.errors import AuricleError, OptionError, TaskError
from auricle.loading import load
from auricle.pipelines.base import ModelSettings, Pipeline, unknown_parameter
from auricle.pipelines.images import engine_of, failed_item, picture_of, read_limits, with_timeout
from auricle.pipelines.scores import TOP_K, best_labels, read_function, read_top_k
from auricle.vision.sources import ImageLimits

BATCH_SIZE = 8  # images depend on no neighbours


@dataclass(frozen=True)
class ImageRequest:
    """One call's parameters, understood."""

    top_k: int | None
    function: str
    limits: ImageLimits


class ImageClassificationPipeline(Pipeline):
    """Say what an image shows.

    An input is a path, an http(s) URL, a PIL image, bytes, an open file, an array or tensor of pixels, base64 text, a
    data: URL, a dict with "path" or "bytes", or a dataset's row with "image". A result is a list of labels with
    scores, the best first.

    Example:
        >>> classify = pipeline("image-classification", "facebook/dinov2-small-imagenet1k-1-layer")
        >>> classify("parrots.png", top_k=1)
        [{'label': 'macaw', 'score': 0.9978}]
    """

    task: ClassVar[str] = "image-classification"
    parameters: ClassVar[tuple[str, ...]] = ("top_k", "function_to_apply", "timeout")

    def __init__(
        self,
        engine: Any,
        preprocessor: Any,
        *,
        name: str = "",
        limits: ImageLimits | None = None,
        batch_size: int | None = BATCH_SIZE,
        on_error: str = "raise",
        **parameters: Any,
    ) -> None:
        self.engine = engine
        self.preprocessor = preprocessor
        self.labels = engine.model.config.labels
        self.name = name
        self.limits = read_limits(limits)
        super().__init__(batch_size=batch_size, on_error=on_error, **parameters)

    @classmethod
    def load(cls, model: str | Path | None, settings: ModelSettings, **parameters: Any) -> Self:
        """Load a model that classifies images."""
        if model is None:
            raise TaskError(f"the task {cls.task!r} needs a model; name one")
        for name in ("engine", "preprocessor", "name"):
            if name in parameters:
                raise OptionError(f"{name}={parameters[name]!r} is refused: the model decides it; leave it out")
        loaded = load(model, dtype=None, revision=settings.revision, token=settings.token)
        if loaded.kind != "image":
            raise TaskError(
                f"{loaded.name!r} is a {loaded.kind!r} model ({loaded.model_type}), which classifies no images; choose "
                "a model such as google/vit-base-patch16-224"
            )
        return cls(engine_of(loaded, settings), loaded.features, name=loaded.name, **parameters)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} on {self.engine.device}>"

    def __call__(self, inputs: Any = None, *, images: Any = None, **parameters: Any) -> Any:
        """Classify one image, a list of them, or anything that gives them one by one.

        `images` is an older name of `inputs`. Parameters: `top_k` (5, at most as many as there are labels; None: all),
        `function_to_apply` ("sigmoid", "softmax", "none"; None: as the checkpoint was trained), `timeout` (seconds for
        a URL).

        Raises:
            OptionError: a parameter has an unknown name or a wrong value.
            ImageError: an input is no image, and `on_error` is "raise".
        """
        if (inputs is None) == (images is None):
            raise OptionError("give one input: an image, or a list of them")
        return super().__call__(images if inputs is None else inputs, **parameters)

    def read_parameters(self, parameters: Mapping[str, Any], batch_size: int | None) -> ImageRequest:
        """Check the call parameters."""
        for name in parameters:
            if name not in self.parameters:
                raise unknown_parameter(name, self.parameters, f"the task {self.task!r}")
        return ImageRequest(
            read_top_k(parameters.get("top_k", TOP_K)),
            self._function(parameters.get("function_to_apply")),
            with_timeout(self.limits, parameters.get("timeout")),
        )

    def failed(self, item: Any, error: AuricleError) -> dict[str, Any]:
        """Return what stands in the place of the result of an input that failed."""
        return failed_item(item, error)

    def preprocess(self, item: Any, request: ImageRequest) -> Tensor:
        """Return the pixel values of an image."""
        return self.preprocessor(picture_of(item, request.limits))

    def forward(self, batch: list[Tensor], request: ImageRequest) -> list[Tensor]:
        """Return each image's logits; those of one size are computed together."""
        places: dict[torch.Size, list[int]] = defaultdict(list)
        for place, pixels in enumerate(batch):
            places[pixels.shape].append(place)
        found: dict[int, Tensor] = {}
        for alike in places.values():
            logits = self.engine.classify(torch.stack([batch[place] for place in alike]))
            found.update(zip(alike, logits, strict=True))
        return [found[place] for place in range(len(batch))]

    def postprocess(self, item: Any, output: Tensor, request: ImageRequest) -> list[dict[str, Any]]:
        """Return the best labels with their scores."""
        return best_labels(output, self.labels, request.function, request.top_k)

    def _function(self, name: Any) -> str:
        """The function that makes scores of logits; without a name, as transformers chooses it."""
        problem = self.engine.model.config.problem_type
        is_softmax = problem != "multi_label_classification" and len(self.labels) > 1
        return read_function(name, "none" if problem == "regression" else "softmax" if is_softmax else "sigmoid")
