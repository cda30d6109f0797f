"""What computes a bridged task: the surface, and the tasks for which transformers 5 has models and no pipeline.

Dimension key: B batch, S tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from auricle.errors import OptionError

_DETECTION_THRESHOLD = 0.0
_LONGEST_ANSWER = 15  # tokens


class Runner(ABC):
    """A model with what stands before and behind it."""

    model: Any
    names: frozenset[str]  # of call parameters
    generation: frozenset[str] = frozenset()  # names of generate(), where the model writes
    sample_rate: int = 16000

    @abstractmethod
    def run(self, item: Any, parameters: Mapping[str, Any]) -> Any:
        """Compute one prepared input."""

    def run_batch(self, items: list[Any], parameters: Mapping[str, Any]) -> list[Any]:
        """Compute prepared inputs together; here, one by one."""
        return [self.run(item, parameters) for item in items]


class Rewriter(Runner):
    """Models that read a text and write another one, as the checkpoint's generation_config.json says."""

    autos: ClassVar[tuple[str, ...]] = ("AutoModelForSeq2SeqLM",)
    key: ClassVar[str] = "generated_text"
    _load_tokenizer = True

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.source = getattr(tokenizer, "src_lang", None)  # the language that it reads unless a call names one
        self.generation = frozenset(name for name in model.generation_config.to_dict() if not name.startswith("_"))
        self.names = frozenset({*self.generation, "generate_kwargs", "src_lang", "tgt_lang", "prefix"})

    @torch.inference_mode()
    def run(self, item: Any, parameters: Mapping[str, Any]) -> list[dict[str, str]]:
        """Return [{key: text}]."""
        wanted = {**parameters.get("generate_kwargs", {}), **parameters}
        wanted.pop("generate_kwargs", None)
        source, target = wanted.pop("src_lang", self.source), wanted.pop("tgt_lang", None)
        if source is not None:
            self.tokenizer.src_lang = source
        if target is not None:
            wanted["forced_bos_token_id"] = self._language(target)
        text = wanted.pop("prefix", self._prefix()) + str(item)
        read = self.tokenizer(text, return_tensors="pt", truncation=True).to(self.model.device)
        written = self.model.generate(**read, **wanted)
        texts = self.tokenizer.batch_decode(written, skip_special_tokens=True)
        return [{self.key: text} for text in texts]

    def _prefix(self) -> str:
        """What a T5 reads before the text, to know what is wanted."""
        told = getattr(self.model.config, "task_specific_params", None) or {}
        return str(told.get(self.key.removesuffix("_text"), {}).get("prefix", ""))

    def _language(self, name: str) -> int:
        number = self.tokenizer.convert_tokens_to_ids(name)
        if number is None or number == self.tokenizer.unk_token_id:
            raise OptionError(f"tgt_lang {name!r} is no language of this model's tokenizer")
        return int(number)


class Summarizer(Rewriter):
    """Writes summaries."""

    key = "summary_text"

    def _prefix(self) -> str:
        told = getattr(self.model.config, "task_specific_params", None) or {}
        return str(told.get("summarization", {}).get("prefix", ""))


class Translator(Rewriter):
    """Writes translations; a T5 is told the languages by a `prefix`, others by `src_lang` and `tgt_lang`."""

    key = "translation_text"


class Reader(Runner):
    """Models that mark the answer to a question in a text."""

    autos: ClassVar[tuple[str, ...]] = ("AutoModelForQuestionAnswering",)
    names = frozenset({"top_k", "max_answer_len"})
    _load_tokenizer = True

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer

    @torch.inference_mode()
    def run(self, item: Any, parameters: Mapping[str, Any]) -> Any:
        """Return {"score", "start", "end", "answer"}, or `top_k` of them, the best first; places are characters."""
        texts = {name: item.get(name) for name in ("question", "context")}
        missing = [name for name, text in texts.items() if not isinstance(text, str) or not text.strip()]
        if missing:
            raise OptionError(f"the input has no text as {missing[0]!r}; give question and context")
        top_k, longest = parameters.get("top_k", 1), parameters.get("max_answer_len", _LONGEST_ANSWER)
        wanted: dict[str, Any] = {"return_offsets_mapping": True, "return_tensors": "pt", "truncation": "only_second"}
        read = self.tokenizer(item["question"], item["context"], **wanted)
        places = read.pop("offset_mapping")[0].tolist()
        outputs = self.model(**read.to(self.model.device))
        is_context = torch.tensor([part == 1 for part in read.sequence_ids(0)], device=self.model.device)
        starts = outputs.start_logits[0].float().masked_fill(~is_context, -torch.inf).softmax(-1)  # (S,)
        ends = outputs.end_logits[0].float().masked_fill(~is_context, -torch.inf).softmax(-1)
        # An end does not lie before its start, nor further than the longest answer.
        scores = (starts[:, None] * ends).triu().tril(longest - 1)  # (S, S)
        best = scores.flatten().topk(min(top_k, scores.numel()))
        answers = []
        for score, place in zip(best.values.tolist(), best.indices.tolist(), strict=True):
            first, last = divmod(place, len(places))
            start, end = places[first][0], places[last][1]
            answers.append({"score": score, "start": start, "end": end, "answer": item["context"][start:end]})
        return answers if top_k > 1 else answers[0]


class KeypointDetector(Runner):
    """Models that mark the points of an image by which another view of it is recognised."""

    autos: ClassVar[tuple[str, ...]] = ("AutoModelForKeypointDetection",)
    names = frozenset({"threshold"})
    _load_image_processor = True

    def __init__(self, model: Any, image_processor: Any) -> None:
        self.model, self.image_processor = model, image_processor

    @torch.inference_mode()
    def run(self, item: Any, parameters: Mapping[str, Any]) -> list[dict[str, float]]:
        """Return [{"x", "y", "score"}], places in the image's own pixels, the best first."""
        threshold = parameters.get("threshold", _DETECTION_THRESHOLD)
        read = self.image_processor(item, return_tensors="pt").to(self.model.device)
        found = self.image_processor.post_process_keypoint_detection(self.model(**read), [(item.height, item.width)])[0]
        points = zip(found["keypoints"].tolist(), found["scores"].tolist(), strict=True)
        made = [{"x": x, "y": y, "score": score} for (x, y), score in points if score >= threshold]
        return sorted(made, key=lambda one: -one["score"])


RUNNERS: dict[str, Any] = {
    "text2text-generation": Rewriter,
    "summarization": Summarizer,
    "translation": Translator,
    "question-answering": Reader,
    "keypoint-detection": KeypointDetector,
}
