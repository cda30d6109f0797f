"""The visual-question-answering task: images and questions in, answers with scores out."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from auricle.decoding.generate import GenerateOptions, generate
from auricle.engines.model_step import ModelStep
from auricle.errors import AuricleError, OptionError, TaskError
from auricle.loading import load
from auricle.pipelines.base import Many, ModelSettings, Pipeline, arrangement, rows, unknown_parameter
from auricle.pipelines.images import engine_of, failed_item, picture_of, read_limits, with_timeout
from auricle.pipelines.scores import read_top_k
from auricle.vision.sources import ImageLimits

BATCH_SIZE = 8  # answers depend on no neighbours
TOP_K = 5
MOST_NEW = 20  # tokens of an answer, where neither caller nor checkpoint says how long it may be
# Of a model that writes its answer: the names of generate() to those of its options.
WRITING = {
    **{name: name for name in ("max_new_tokens", "min_new_tokens", "max_length", "min_length", "length_penalty")},
    **{name: name for name in ("early_stopping", "repetition_penalty", "no_repeat_ngram_size")},
    "num_beams": "n_beams",
}
NUMBERS = ("length_penalty", "repetition_penalty")  # of them; but for early_stopping, the others are whole numbers
OWN = ("top_k", "timeout", "padding", "truncation", "generate_kwargs")


@dataclass(frozen=True)
class VqaRequest:
    """One call's parameters, understood."""

    top_k: int | None
    limits: ImageLimits
    truncates: bool
    options: GenerateOptions | None  # None: the model chooses among answers


@dataclass(frozen=True)
class Asked:
    """A question and the pixels that it is about; several may share theirs."""

    words: list[int]
    pixels: Tensor


class Shared:
    """An image that several questions are about: opened once."""

    def __init__(self, image: Any) -> None:
        self.image = image
        self.pixels: Tensor | None = None


class VisualQuestionAnsweringPipeline(Pipeline):
    """Answer a question about an image.

    A model that chooses among answers (ViLT) gives the `top_k` best with their probabilities; one that writes (BLIP)
    gives one, and its score is the probability of its words.

    Example:
        >>> ask = pipeline("visual-question-answering", "Salesforce/blip-vqa-base")
        >>> ask(image="liberty.jpg", question="What is in the image?")
        [{'answer': 'statue of liberty', 'score': 0.41}]
    """

    task: ClassVar[str] = "visual-question-answering"

    def __init__(
        self,
        engine: Any,
        preprocessor: Any,
        tokenizer: Any,
        *,
        name: str = "",
        limits: ImageLimits | None = None,
        batch_size: int | None = BATCH_SIZE,
        on_error: str = "raise",
        **parameters: Any,
    ) -> None:
        self.engine, self.preprocessor, self.tokenizer = engine, preprocessor, tokenizer
        self.name = name
        self.limits = read_limits(limits)
        super().__init__(batch_size=batch_size, on_error=on_error, **parameters)

    @classmethod
    def load(cls, model: str | Path | None, settings: ModelSettings, **parameters: Any) -> Self:
        """Load a model that answers questions about images."""
        if model is None:
            raise TaskError(f"the task {cls.task!r} needs a model; name one")
        for name in ("engine", "preprocessor", "tokenizer", "name"):
            if name in parameters:
                raise OptionError(f"{name}={parameters[name]!r} is refused: the model decides it; leave it out")
        loaded = load(model, dtype=None, revision=settings.revision, token=settings.token)
        if loaded.kind != "vqa":
            raise TaskError(
                f"{loaded.name!r} is a {loaded.kind!r} model ({loaded.model_type}), which answers no questions about "
                "images; choose a model such as Salesforce/blip-vqa-base"
            )
        return cls(engine_of(loaded, settings), loaded.features, loaded.tokenizer, name=loaded.name, **parameters)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} on {self.engine.device}>"

    def __call__(self, inputs: Any = None, question: Any = None, *, image: Any = None, **parameters: Any) -> Any:
        """Answer one question about one image, or several.

        `image` (another name of `inputs`) and `question` may each be a list (or a view of a dataset): every question is
        asked about every image, image by image. Without `question`, the input is a dict with "image" and "question", a
        list of them, or anything that gives them one by one.

        Parameters: `top_k` (5), `truncation` (True cuts a question that is too long), `timeout` (seconds for a URL);
        of a model that writes, also `max_new_tokens`, `num_beams` and others of generate(), or all in
        `generate_kwargs`. `padding` is accepted: answers depend on no pads.

        Raises:
            OptionError: a parameter has an unknown name or a wrong value, or a question is none.
            ImageError: an image is none, and `on_error` is "raise".
        """
        if (inputs is None) == (image is None):
            raise OptionError("give image and question, or a dict with both, or a list of such dicts")
        image = inputs if image is None else image
        if question is None:
            return super().__call__(image, **parameters)
        several = arrangement(image) is not Many.ONE
        asks_many = arrangement(question) is not Many.ONE
        if not several and not asks_many:
            return super().__call__({"image": image, "question": question}, **parameters)
        images = [Shared(one) for one in (rows(image) if several else [image])]
        questions = list(rows(question)) if asks_many else [question]
        pairs = [{"image": one, "question": other} for one in images for other in questions]
        return super().__call__(pairs, **parameters)

    def read_parameters(self, parameters: Mapping[str, Any], batch_size: int | None) -> VqaRequest:
        """Check the call parameters."""
        writes = self.engine.model.writes
        nested = parameters.get("generate_kwargs") or {}
        if not isinstance(nested, Mapping):
            raise OptionError(f"generate_kwargs is {nested!r}; it must be a dict of parameters")
        known = (*OWN, *WRITING) if writes else OWN
        for name in (*parameters, *nested):
            if name not in known:
                raise unknown_parameter(name, known, f"the task {self.task!r} with this model")
        truncation = parameters.get("truncation")
        return VqaRequest(
            read_top_k(parameters.get("top_k", TOP_K)),
            with_timeout(self.limits, parameters.get("timeout")),
            truncation not in (None, False, "do_not_truncate"),
            self._options({**parameters, **nested}) if writes else None,
        )

    def failed(self, item: Any, error: AuricleError) -> dict[str, Any]:
        """Return what stands in the place of the result of an input that failed."""
        return failed_item(item, error)

    def preprocess(self, item: Any, request: VqaRequest) -> Asked:
        """Return the ids of a question and the pixels of its image."""
        if not isinstance(item, Mapping) or not {"image", "question"} <= set(item):
            keys = (
                f"a dict with the keys {', '.join(map(repr, item))}"
                if isinstance(item, Mapping)
                else type(item).__name__
            )
            raise OptionError(f"{keys} arrived; expected a dict with 'image' and 'question', or both as parameters")
        question, image = item["question"], item["image"]
        if not isinstance(question, str) or not question.strip():
            raise OptionError(f"the question is {question!r}; expected a text such as 'What is in the image?'")
        words = self.tokenizer.question(question, self.engine.model.max_question, request.truncates)
        if not isinstance(image, Shared):
            return Asked(words, self.preprocessor(picture_of(image, request.limits)))
        if image.pixels is None:
            image.pixels = self.preprocessor(picture_of(image.image, request.limits))
        return Asked(words, image.pixels)

    def forward(self, batch: list[Asked], request: VqaRequest) -> list[list[dict[str, Any]]]:
        """Return each question's answers; images of one size are computed together."""
        places: dict[torch.Size, list[int]] = defaultdict(list)
        for place, asked in enumerate(batch):
            places[asked.pixels.shape].append(place)
        found: dict[int, list[dict[str, Any]]] = {}
        for alike in places.values():
            answers = self._answers([batch[place] for place in alike], request)
            found.update(zip(alike, answers, strict=True))
        return [found[place] for place in range(len(batch))]

    @torch.inference_mode()
    def _answers(self, batch: list[Asked], request: VqaRequest) -> list[list[dict[str, Any]]]:
        model, device = self.engine.model, self.engine.device
        lengths = torch.tensor([len(asked.words) for asked in batch], device=device)
        words = torch.zeros(len(batch), int(lengths.max()), dtype=torch.long, device=device)
        for row, asked in zip(words, batch, strict=True):
            row[: len(asked.words)] = torch.tensor(asked.words, device=device)
        distinct = {id(asked.pixels): asked.pixels for asked in batch}
        pixels = torch.stack(list(distinct.values())).to(device, self.engine.dtype)
        order = {key: place for place, key in enumerate(distinct)}
        which = torch.tensor([order[id(asked.pixels)] for asked in batch], device=device)
        if request.options is None:
            return self._chosen(model(words, lengths, pixels[which]), request.top_k)
        states = model.read(words, lengths, model.see(pixels)[which])
        begin = torch.full((len(batch), 1), model.config.text_config.bos_token_id, device=device)
        written = generate(ModelStep(model, states, lengths), begin, request.options)
        return [
            [{"answer": self.tokenizer.decode(one.tokens).strip(), "score": math.exp(one.sum_logprob)}]
            for one in written
        ]

    def _chosen(self, logits: Tensor, top_k: int | None) -> list[list[dict[str, Any]]]:
        labels = self.engine.model.config.labels
        best = logits.sigmoid().cpu().sort(descending=True, stable=True)
        return [
            [
                {"score": score, "answer": labels[label]}
                for label, score in list(zip(places.tolist(), scores.tolist(), strict=True))[:top_k]
            ]
            for places, scores in zip(best.indices, best.values, strict=True)
        ]

    def _options(self, given: Mapping[str, Any]) -> GenerateOptions:
        """How an answer is written: as the checkpoint says where the caller does not."""
        text = self.engine.model.config.text_config
        for name in WRITING.keys() & given.keys() - {"early_stopping"}:
            value, is_number = given[name], name in NUMBERS
            kinds = (int, float, type(None)) if is_number else (int, type(None))
            if isinstance(value, bool) or not isinstance(value, kinds):
                raise OptionError(f"{name} is {value!r}; expected a {'number' if is_number else 'whole number'}")
        chosen: dict[str, Any] = {"n_beams": text.num_beams}
        chosen |= {field: given[name] for name, field in WRITING.items() if given.get(name) is not None}
        if not {"max_length", "max_new_tokens"} & set(chosen):
            stated = text.max_length
            chosen |= {"max_new_tokens": MOST_NEW} if stated is None else {"max_length": stated}
        return GenerateOptions(eos=text.sep_token_id, **chosen)
