"""The tasks that transformers does where auricle does not: what each takes, and which architectures it is for.

Nothing here imports transformers: the task of a model is told from its config.json alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Other names of tasks, as transformers has or had them.
ALIASES = {
    "sentiment-analysis": "text-classification",
    "ner": "token-classification",
    "text-to-speech": "text-to-audio",
    "image-to-text": "image-text-to-text",
}


@dataclass(frozen=True)
class BridgedTask:
    """What a task takes."""

    takes: str  # "text", "chat" (a text, or messages), "audio", "image", "images" (two), "video", "fields" (a mapping)
    parameters: tuple[str, ...] = ()  # that transformers takes beside those in the signature of its pipeline
    fields: tuple[str, ...] = ()  # parts of an input that may be given by name


_GENERATES = ("generate_kwargs",)
_LABELS = ("candidate_labels", "hypothesis_template")
_MASKS = (
    *("points_per_batch", "points_per_crop", "crops_n_layers", "crop_overlap_ratio", "crop_n_points_downscale_factor"),
    *("pred_iou_thresh", "stability_score_offset", "stability_score_thresh", "mask_threshold", "crops_nms_thresh"),
    *("output_rle_mask", "output_bboxes_mask", "timeout"),
)
TASKS: dict[str, BridgedTask] = {
    "any-to-any": BridgedTask("chat", _GENERATES, ("text", "images", "audio", "videos")),
    "audio-classification": BridgedTask("audio", (), ("audio", "audios")),
    "automatic-speech-recognition": BridgedTask("audio", _GENERATES, ("audio", "audios")),
    "depth-estimation": BridgedTask("image", ("timeout",), ("image", "images")),
    "document-question-answering": BridgedTask("fields", (), ("image", "question", "word_boxes")),
    "feature-extraction": BridgedTask("text", (), ("text",)),
    "fill-mask": BridgedTask("text", (), ("text",)),
    "image-classification": BridgedTask("image", (), ("image", "images")),
    "image-feature-extraction": BridgedTask("image", ("timeout",), ("image", "images")),
    "image-segmentation": BridgedTask(
        "image",
        ("subtask", "threshold", "mask_threshold", "overlap_mask_area_threshold", "timeout"),
        ("image", "images"),
    ),
    "image-text-to-text": BridgedTask("chat", _GENERATES, ("image", "images", "text")),
    "keypoint-detection": BridgedTask("image", ("threshold",), ("image", "images")),
    "keypoint-matching": BridgedTask("images", (), ("images",)),
    "mask-generation": BridgedTask("image", _MASKS, ("image", "images")),
    "object-detection": BridgedTask("image", ("threshold", "timeout"), ("image", "images")),
    "question-answering": BridgedTask("fields", ("top_k", "max_answer_len"), ("question", "context")),
    "summarization": BridgedTask("text", _GENERATES, ("text",)),
    "table-question-answering": BridgedTask("fields", (), ("table", "query")),
    "text-classification": BridgedTask("text", ("truncation", "padding", "max_length"), ("text",)),
    "text-generation": BridgedTask("chat", _GENERATES, ("text_inputs",)),
    "text-to-audio": BridgedTask("text", ("forward_params", "generate_kwargs"), ("text_inputs", "text")),
    "text2text-generation": BridgedTask("text", _GENERATES, ("text",)),
    "token-classification": BridgedTask("text", (), ("text",)),
    "translation": BridgedTask("text", (*_GENERATES, "src_lang", "tgt_lang"), ("text",)),
    "video-classification": BridgedTask("video", (), ("video", "videos")),
    "zero-shot-audio-classification": BridgedTask("audio", _LABELS, ("audio", "audios")),
    "zero-shot-classification": BridgedTask("text", (*_LABELS, "multi_label"), ("sequences",)),
    "zero-shot-image-classification": BridgedTask("image", (*_LABELS, "timeout"), ("image", "images")),
    "zero-shot-object-detection": BridgedTask(
        "image", ("candidate_labels", "threshold", "top_k", "timeout"), ("image", "images")
    ),
}

_HEARS = "wav2vec|hubert|wavlm|unispeech|data2vec-audio|sew|audio-spectrogram"
_SEES = frozenset({"image_size", "patch_size", "num_channels", "vision_config"})
# The class in config.architectures, and the task that such a model does; the first that fits.
_TASKS_OF: tuple[tuple[str, str], ...] = (
    (r"LayoutLM\w*ForQuestionAnswering", "document-question-answering"),
    (r"TapasForQuestionAnswering", "table-question-answering"),
    (r"(Owl|Owlv2|GroundingDino|OmDet|MMGroundingDino)\w*Detection", "zero-shot-object-detection"),
    (r"(Musicgen|MusicgenMelody|Dia)ForConditionalGeneration|\w+ForTextTo(Speech|Waveform)", "text-to-audio"),
    (r"(Bark|Vits|FastSpeech2Conformer|Csm)\w*|SeamlessM4T\w*ForTextToSpeech", "text-to-audio"),
    (r"(Speech2Text|SpeechEncoderDecoder|KyutaiSpeechToText|GraniteSpeech|Voxtral)\w*", "automatic-speech-recognition"),
    (r"SeamlessM4T\w*ForSpeechToText|SpeechT5ForSpeechToText|\w+For(CTC|TDT|RNNT)", "automatic-speech-recognition"),
    (r"Clap\w*Model", "zero-shot-audio-classification"),
    (r"(CLIP|ChineseCLIP|AltCLIP|Siglip|Siglip2|Align|Blip|MetaClip2)\w*Model|\w+ForZeroShotImageClassification",
     "zero-shot-image-classification"),
    (r"(Sam|SamHQ|Sam2|EdgeTam)\w*Model", "mask-generation"),
    (r"\w+ForKeypointMatching", "keypoint-matching"),
    (r"\w+ForKeypointDetection", "keypoint-detection"),
    (r"\w+For(Universal|Semantic|Instance|Image|Panoptic)Segmentation|DetrForSegmentation", "image-segmentation"),
    (r"\w+For(Object)Detection", "object-detection"),
    (r"\w+ForDepthEstimation", "depth-estimation"),
    (r"\w+ForVideoClassification", "video-classification"),
    (r"\w+ForImageClassification\w*", "image-classification"),
    (r"\w+ForAudioClassification", "audio-classification"),
    (r"\w+ForMaskedLM", "fill-mask"),
    (r"\w+ForTokenClassification", "token-classification"),
    (r"\w+ForQuestionAnswering\w*", "question-answering"),
    (r"\w+ForCausalLM|\w+LMHeadModel", "text-generation"),
    (r"VisionEncoderDecoderModel|Pix2Struct\w+|GitForCausalLM", "image-text-to-text"),
)  # fmt: skip


def task_of_config(config: Mapping[str, Any]) -> str | None:
    """Return the task of a model that transformers may run, by its config.json; None where that tells none."""
    for architecture in map(str, config.get("architectures") or ()):
        for pattern, task in _TASKS_OF:
            if re.fullmatch(pattern, architecture):
                return task
        if architecture.endswith("ForSequenceClassification"):
            hears = re.match(_HEARS, str(config.get("model_type")))
            return "audio-classification" if hears else "text-classification"
        if architecture.endswith("ForConditionalGeneration"):
            return None if architecture.startswith("Moshi") else _of_generation(config)
        if architecture.endswith("Model"):
            return "image-feature-extraction" if _SEES & set(config) else "feature-extraction"
    return None


def _of_generation(config: Mapping[str, Any]) -> str:
    if "audio_config" in config:
        return "any-to-any"
    if _SEES & set(config) or "vq_config" in config:
        return "image-text-to-text"
    return "text2text-generation"
