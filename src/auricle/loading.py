"""Where a checkpoint meets a model: a name in, everything that recognition needs out.

The only module that knows models, checkpoints and hub together.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from auricle.audio.features import open_features
from auricle.checkpoints.config import build_config, read_features, read_generation, read_json
from auricle.checkpoints.lora import Lora, read_lora
from auricle.checkpoints.tensors import load_tensors, read_adapter, read_tensors
from auricle.errors import ConfigError, ModelNotFoundError, OptionError, TaskError, TensorError, nearest
from auricle.hub import commit_of, locate, locate_config
from auricle.models import MODELS
from auricle.text import open_tokenizer
from auricle.text.questions import QuestionTokenizer
from auricle.vision.preprocess import open_preprocessor

SPEECH_RECOGNITION = "automatic-speech-recognition"
TEXT_GENERATION = "text-generation"
IMAGE_CLASSIFICATION = "image-classification"
VISUAL_QUESTION_ANSWERING = "visual-question-answering"
AUDIO_CLASSIFICATION = "audio-classification"
# The ending of a class name in config.architectures, and the task that such a model does.
TASK_OF_ARCHITECTURE: tuple[tuple[str, str], ...] = (
    (r"\w+ForCTC", SPEECH_RECOGNITION),
    (r"(Whisper|Moonshine)ForConditionalGeneration", SPEECH_RECOGNITION),
    (r"(Llama|Qwen2|Qwen3|Mistral|SmolLM3|Gemma2|Gemma3)ForCausalLM", TEXT_GENERATION),
    (r"GPT2LMHeadModel|Gemma3ForConditionalGeneration", TEXT_GENERATION),
    (r"(ViT|DeiT|Dinov2|ConvNext|ResNet)ForImageClassification(WithTeacher)?", IMAGE_CLASSIFICATION),
    (r"(Blip|Vilt)ForQuestionAnswering", VISUAL_QUESTION_ANSWERING),
    (r"(Wav2Vec2|Hubert|WavLM)ForSequenceClassification|WhisperForAudioClassification", AUDIO_CLASSIFICATION),
)
# A family that has the model_type of another and is told from it by its architecture.
FAMILY_OF_ARCHITECTURE = {
    "WhisperForCTC": "whisper_ctc",
    "WhisperForAudioClassification": "whisper_classifier",
    "Wav2Vec2ForSequenceClassification": "wav2vec2_classifier",
    "HubertForSequenceClassification": "hubert_classifier",
    "WavLMForSequenceClassification": "wavlm_classifier",
}
# A model that also sees, of which the part that writes is taken: its model_type to that part's.
WRITING_PARTS = {"gemma3": "gemma3_text"}
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# What has a row for each piece of the vocabulary.
HEADS = frozenset({"lm_head.weight", "proj_out.weight"})
# How layers give their weights the numbers from which training starts.
FILLING = frozenset(
    {
        *(nn.init.constant_, nn.init.kaiming_uniform_, nn.init.normal_, nn.init.uniform_),
        *(Tensor.fill_, Tensor.normal_, Tensor.uniform_, Tensor.zero_),
    }
)
SET_DATA = Tensor.data.__set__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Loaded:
    """A model with its weights, and what stands before and behind it."""

    name: str  # as it was asked for
    folder: Path
    revision: str | None  # the Hub's commit; None for a folder or the bundled model
    kind: str  # "ctc", "seq2seq", "causal", "image", "vqa" or "audio"
    model_type: str
    model: nn.Module
    config: Any
    features: Any  # a FeatureExtractor; an ImagePreprocessor of what sees; None for kind "causal", which reads text
    tokenizer: Any  # a Tokenizer; of "causal" a WritingTokenizer, of "vqa" a QuestionTokenizer, of classifiers None
    generation: dict[str, Any]  # generation_config.json, repaired
    adapter: Path | None = None  # the folder of a LoRA adapter, whose weights are merged into those of `folder`


def load(
    name: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype | None = "auto",
    revision: str | None = None,
    token: str | bool | None = None,
    target_lang: str | None = None,
) -> Loaded:
    """Load a checkpoint: "bundled", a folder, or a model of the Hub.

    `dtype` of "auto" is float32, whatever the checkpoint was stored in: every device computes it. None is what it was
    stored in, without a copy of the weights in memory. `target_lang` chooses the adapter and vocabulary of a
    multilingual wav2vec2 checkpoint (MMS).

    Raises:
        CheckpointError: Not found, or its configuration or weights cannot be used.
        TaskError: The checkpoint is a model for something else.
        OptionError: A device, dtype or target_lang that does not exist or does not fit.
    """
    is_code = isinstance(target_lang, str) and re.fullmatch(r"\w[\w-]*", target_lang)
    if target_lang is not None and not is_code:
        raise OptionError(f"target_lang {target_lang!r} is no language code such as 'fra' or 'deu'.")
    place, wanted = _device(device), _dtype(dtype)
    extra = (f"adapter.{target_lang}.*",) if target_lang else ()
    folder = own = locate(name, revision=revision, token=token, extra_files=extra)
    lora = read_lora(folder)
    if lora is not None:
        folder = _base(lora, partial(locate, token=token, extra_files=extra))
    where = str(folder / "config.json")
    raw = _writing_part(read_json(folder, "config.json", required=True), where)
    model_class = _model_class(raw, where)
    adapter = _read_adapter(folder, raw, target_lang) if target_lang else {}
    heads = {**adapter, **(lora.whole(model_class.RENAMES) if lora else {})}
    for name in HEADS.intersection(heads):
        raw = {**raw, "vocab_size": len(heads[name])}  # each language has its own alphabet
    config = build_config(model_class, raw, where)
    model = _build(model_class, config, where)
    if adapter:
        _refuse_partial_adapter(model, adapter, f"adapter.{target_lang} in {folder}")
    tensors = {**read_tensors(folder), **adapter}
    if lora is not None:
        parted = lora.parted(model, model_class.RENAMES)
        if parted:
            config = build_config(model_class, {**raw, "tie_word_embeddings": False}, where)
            model = _build(model_class, config, where)
        tensors = lora.merged(tensors, model_class.RENAMES, parted)
    load_tensors(
        model,
        tensors,
        model_class.RENAMES,
        model_class.IGNORED_TENSORS,
        wanted,
        str(folder),
    )
    finish: Callable[[], None] | None = getattr(model, "finish", None)
    if finish is not None:
        with torch.no_grad():
            finish()
    written = folder if lora is None else _written(own, folder)
    return Loaded(
        name=str(name),
        folder=folder,
        revision=commit_of(own),
        kind=model_class.kind,
        model_type=raw["model_type"],
        model=model.eval().to(place),
        config=config,
        features=_features(folder, model_class.kind, raw["model_type"]),
        tokenizer=_tokenizer(written, model_class.kind, raw["model_type"], target_lang),
        generation=read_generation(folder, raw),
        adapter=None if lora is None else own,
    )


def _base(lora: Lora, find: Callable[..., Path]) -> Path:
    """Return the folder of the model that an adapter belongs to.

    Raises:
        ModelNotFoundError: there is none, or it has no such revision.
    """
    is_folder = Path(lora.base).expanduser().is_dir()
    try:
        return find(lora.base, revision=None if is_folder else lora.revision)
    except ModelNotFoundError as error:
        raise ModelNotFoundError(
            f"{lora.where} is an adapter, and base_model_name_or_path in its adapter_config.json, {lora.base!r}, leads "
            f"to no model: {error} Write there where the model is."
        ) from error


def _written(own: Path, base: Path) -> Path:
    """The folder that says how text is written: an adapter may bring a vocabulary of its own."""
    return own if any((own / name).is_file() for name in ("vocab.json", "tokenizer.json")) else base


def _features(folder: Path, kind: str, model_type: str) -> Any:
    if kind == "causal":
        return None
    if kind in ("image", "vqa"):
        return open_preprocessor(
            read_features(folder, "image_processor"), model_type, f"the image processor of {folder}"
        )
    return open_features(read_features(folder), model_type)


def _tokenizer(folder: Path, kind: str, model_type: str, target_lang: str | None) -> Any:
    if kind in ("image", "audio"):
        return None
    if kind == "vqa":
        return QuestionTokenizer.from_folder(folder, model_type)
    return open_tokenizer(folder, model_type, target_lang, writes=kind == "causal")


def task_of(name: str | Path, *, revision: str | None = None, token: str | bool | None = None) -> str:
    """Return the task that a model does, from its config.json alone.

    Raises:
        TaskError: Its architecture is none that is supported here.
        CheckpointError: There is no such model, or its config.json cannot be used.
    """
    folder = locate_config(name, revision=revision, token=token)
    lora = read_lora(folder, with_weights=False)
    if lora is not None:
        folder = _base(lora, partial(locate_config, token=token))
    return _task(read_json(folder, "config.json", required=True), str(folder / "config.json"))


def runs_natively(name: str | Path, *, revision: str | None = None, token: str | bool | None = None) -> bool:
    """Say whether a model is of a family that is here; True where its folder has no config.json that says.

    Raises:
        CheckpointError: There is no such model.
    """
    folder = locate_config(name, revision=revision, token=token)
    if not (folder / "config.json").is_file():
        return True
    where = str(folder / "config.json")
    raw = _writing_part(read_json(folder, "config.json", required=True), where)
    if raw.get("model_type") is None:
        return True
    try:
        _task(raw, where)
        return raw["model_type"] in MODELS
    except TaskError:
        return not raw.get("architectures") and raw.get("model_type") in MODELS


def _task(raw: Mapping[str, Any], where: str) -> str:
    architectures = raw.get("architectures") or []
    for architecture in architectures:
        for pattern, task in TASK_OF_ARCHITECTURE:
            if re.fullmatch(pattern, str(architecture)):
                return task
    raise TaskError(
        f"{where}: architectures is {architectures!r}, which tells no task that is supported. Supported: "
        "...ForCTC, WhisperForConditionalGeneration, MoonshineForConditionalGeneration and, of the families that are "
        "here, ...ForCausalLM, ...ForImageClassification and ...ForQuestionAnswering. "
        + ("Choose a checkpoint fine-tuned for it." if architectures else "Name the task yourself.")
    )


def _writing_part(raw: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the configuration of the part that writes text, where a model has several; else all of it, under the
    name of its family."""
    names, model_type = raw.get("architectures") or [], raw.get("model_type")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{where}: architectures is {names!r}; expected a list of names such as ['Wav2Vec2ForCTC']")
    if not isinstance(model_type, str | None):
        raise ConfigError(f"{where}: model_type is {model_type!r}; expected a name such as 'wav2vec2'")
    for architecture in names:
        if architecture in FAMILY_OF_ARCHITECTURE:
            return {**raw, "model_type": FAMILY_OF_ARCHITECTURE[architecture]}
    if model_type not in WRITING_PARTS:
        return dict(raw)
    part = raw.get("text_config")
    if not isinstance(part, Mapping):
        raise ConfigError(f"{where} has no text_config, which describes the part that writes; fetch it again.")
    tokens = {name: raw[name] for name in ("eos_token_id", "bos_token_id", "pad_token_id") if raw.get(name) is not None}
    kept = {name: raw[name] for name in ("architectures", "tie_word_embeddings") if name in raw}
    return {**tokens, **part, **kept, "model_type": WRITING_PARTS[model_type]}


def _model_class(raw: Mapping[str, Any], where: str) -> Any:
    if raw.get("architectures"):
        _task(raw, where)  # an encoder without its head is of a known model_type, too
    model_type = raw.get("model_type")
    if model_type not in MODELS:
        state = f"model_type is {model_type!r}" if model_type else "there is no model_type"
        raise ConfigError(
            f"{where}: {state}; supported are {', '.join(sorted(MODELS))}{nearest(str(model_type), MODELS) or '.'}"
        )
    module, _, attribute = MODELS[model_type].partition(":")
    return getattr(importlib.import_module(module), attribute)


def _read_adapter(folder: Path, raw: Mapping[str, Any], target_lang: str) -> dict[str, Tensor]:
    if raw.get("adapter_attn_dim") is None:
        raise OptionError(
            f"target_lang {target_lang!r} was given, but {folder} has no adapters for languages (its "
            "config.json sets no adapter_attn_dim). Omit it, or take a model such as facebook/mms-1b-all."
        )
    return read_adapter(folder, target_lang)


def _refuse_partial_adapter(model: Any, adapter: Mapping[str, Tensor], where: str) -> None:
    # What an incomplete file lacks would silently stay that of the checkpoint's first language.
    missing = sorted(set(model.adapter_parameters()) - {f"{model.prefix}.{name}" for name in adapter} - set(adapter))
    if missing:
        raise TensorError(
            f"{where} lacks {len(missing)} tensors of the language's adapter, such as {missing[0]}; download it again."
        )


def _build(model_class: Any, config: Any, where: str) -> nn.Module:
    try:
        with _Unfilled():
            return model_class(config)
    except (ValueError, TypeError, KeyError, ArithmeticError, RuntimeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"{where} describes a model that cannot be built ({type(error).__name__}: {error}). Check sizes."
        ) from error


class _Unfilled(TorchFunctionMode):
    """Gives layers weights without memory or numbers, on the meta device: the checkpoint brings its own.

    What is computed, such as positions, is computed. On that device it would not be either, but torch would import its
    compiler to answer: 2 s and 100 MB.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if function is torch.empty:
            return function(*args, **{**kwargs, "device": "meta"})
        if function in FILLING:
            tensor = args[0] if args else kwargs["tensor"]
            if tensor.is_meta:
                return tensor
        if function == SET_DATA and args[0].is_meta:
            return function(args[0], args[1].to("meta"))
        return function(*args, **kwargs)


def _device(device: str | torch.device) -> torch.device:
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # the assertion is torch's, of a build without this device
        raise OptionError(f"device {str(device)!r} cannot be used: {error}. Pass 'cpu'.") from error


def _dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    if dtype is None:
        return None
    name = "float32" if dtype == "auto" else str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise OptionError(f"dtype {dtype!r} is not supported; expected 'auto', {', '.join(DTYPES)}.")
    return DTYPES[name]
