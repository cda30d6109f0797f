"""The example models of transformers' front page that are not native: each runs over the bridge, on a tiny random
checkpoint of its architecture, and gives what transformers' own pipeline gives where there is one.

docs/models.md lists them; `test_the_table_names_every_test` keeps it to this file.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from auricle.errors import AudioNotFoundError, MissingExtraError, TaskError
from auricle.pipelines import pipeline

ROOT = Path(__file__).parents[2]


def _tiny_models() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tiny_models", ROOT / "tests" / "tiny_models.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tiny = _tiny_models()
HAS_TORCHVISION = importlib.util.find_spec("torchvision") is not None
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8))
SOUND = np.random.default_rng(0).standard_normal(16000).astype(np.float32) * 0.1


def labels(found: Any) -> bool:
    return all(isinstance(one["label"], str) and isinstance(one["score"], float) for one in found) and bool(found)


def wrote(found: Any) -> bool:
    return isinstance(found[0]["generated_text"], str)


def spoke(found: Any) -> bool:
    return found["audio"].dtype == np.float32 and found["audio"].size > 0 and found["sampling_rate"] > 0


@dataclass(frozen=True)
class Example:
    """A model, how it is called, and what holds of its result."""

    make: Callable[[Path], Path]
    told_task: str  # from its configuration
    given: dict[str, Any]
    holds: Callable[[Any], bool]
    task: str | None = None  # where the configuration alone does not tell what is wanted
    parameters: dict[str, Any] = field(default_factory=dict)


FEW = {"max_new_tokens": 4}
TEXT = "the quick brown fox"
EXAMPLES: dict[str, Example] = {
    "ModernBERT": Example(
        tiny.masked_words, "fill-mask", {"inputs": "the quick [MASK] fox"}, lambda found: "sequence" in found[0]
    ),
    "Gemma 2, names": Example(
        tiny.names, "token-classification", {"inputs": TEXT}, lambda found: {"entity", "word", "start"} <= set(found[0])
    ),
    "Mixtral, answers": Example(
        tiny.answers,
        "question-answering",
        {"question": "what is paris", "context": "paris is the capital of france"},
        lambda found: "paris is the capital of france"[found["start"] : found["end"]] == found["answer"],
    ),
    "BART": Example(
        tiny.summaries,
        "text2text-generation",
        {"inputs": TEXT},
        lambda found: isinstance(found[0]["summary_text"], str),
        "summarization",
        FEW,
    ),
    "T5": Example(
        tiny.translations,
        "text2text-generation",
        {"inputs": TEXT},
        lambda found: isinstance(found[0]["translation_text"], str),
        "translation",
        {**FEW, "prefix": "the "},
    ),
    "Qwen 2, classes": Example(tiny.classes, "text-classification", {"inputs": TEXT}, labels),
    "SuperPoint": Example(
        tiny.keypoints,
        "keypoint-detection",
        {"inputs": PICTURE},
        lambda found: all(0 <= one["x"] <= 64 and 0 <= one["y"] <= 48 for one in found) and bool(found),
    ),
    "SuperGlue": Example(
        tiny.matches,
        "keypoint-matching",
        {"inputs": [PICTURE, PICTURE]},
        lambda found: {"keypoint_image_0", "keypoint_image_1", "score"} == set(found[0]),
    ),
    "RT-DETR v2": Example(
        tiny.objects,
        "object-detection",
        {"inputs": PICTURE},
        lambda found: labels(found) and "box" in found[0],
        parameters={"threshold": 0.0},
    ),
    "OneFormer": Example(
        tiny.one_former,
        "image-segmentation",
        {"inputs": PICTURE},
        lambda found: all(one["mask"].size == PICTURE.size for one in found) and bool(found),
        parameters={"subtask": "semantic"},
    ),
    "LayoutLMv3, answers": Example(
        tiny.documents,
        "document-question-answering",
        {"image": PICTURE, "question": "what is", "word_boxes": [("the", [1, 2, 30, 40]), ("fox", [40, 2, 80, 40])]},
        lambda found: isinstance(found[0]["answer"], str),
    ),
    "Llava": Example(
        tiny.llava, "image-text-to-text", {"images": PICTURE, "text": "<image> what is in"}, wrote, parameters=FEW
    ),
    "Emu3, answers": Example(
        tiny.emu, "image-text-to-text", {"images": PICTURE, "text": "<image> what is in"}, wrote, parameters=FEW
    ),
    "BLIP-2": Example(
        tiny.images_of_words, "image-text-to-text", {"images": PICTURE, "text": "what is in"}, wrote, parameters=FEW
    ),
    "Kosmos-2": Example(
        tiny.kosmos, "image-text-to-text", {"images": PICTURE, "text": "what is in"}, wrote, parameters=FEW
    ),
    "GOT-OCR2": Example(
        tiny.read_pages, "image-text-to-text", {"images": PICTURE, "text": "<imgpad>"}, wrote, parameters=FEW
    ),
    "Qwen2-Audio": Example(
        tiny.qwen_hears,
        "any-to-any",
        {"audio": SOUND, "text": "<s> <image> </s> what is in"},
        wrote,
        parameters=FEW,
    ),
    "MusicGen": Example(tiny.music, "text-to-audio", {"inputs": TEXT}, spoke),
    "Bark": Example(tiny.bark, "text-to-audio", {"inputs": TEXT}, spoke),
    "VITS": Example(tiny.speech, "text-to-audio", {"inputs": TEXT}, spoke, "text-to-speech"),
    "Speech2Text": Example(
        tiny.heard_words,
        "automatic-speech-recognition",
        {"inputs": SOUND},
        lambda found: isinstance(found["text"], str),
        parameters=FEW,
    ),
    "Audio Spectrogram Transformer": Example(tiny.sounds, "audio-classification", {"inputs": SOUND}, labels),
    "CLIP": Example(
        tiny.alike,
        "zero-shot-image-classification",
        {"inputs": PICTURE},
        labels,
        parameters={"candidate_labels": ["fox", "dog"]},
    ),
    "BERT, entailment": Example(
        tiny.entailment,
        "text-classification",
        {"inputs": TEXT},
        lambda found: len(found["labels"]) == len(found["scores"]) == 2,
        "zero-shot-classification",
        {"candidate_labels": ["fox", "dog"]},
    ),
    "BERT, vectors": Example(
        tiny.vectors, "feature-extraction", {"inputs": TEXT}, lambda found: np.array(found).shape == (1, 6, 16)
    ),
    "SegFormer": Example(
        tiny.segments, "image-segmentation", {"inputs": PICTURE}, lambda found: found[0]["mask"].size == PICTURE.size
    ),
    "GPT-NeoX": Example(
        tiny.other_writer,
        "text-generation",
        {"inputs": TEXT},
        lambda found: found[0]["generated_text"].startswith(TEXT),
        parameters={**FEW, "do_sample": False},
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_runs_over_the_bridge(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    example = EXAMPLES[name]
    folder = example.make(tmp_path)
    capfd.readouterr()
    run = pipeline(example.task, folder)
    told = [line for line in capfd.readouterr().err.splitlines() if "is run by transformers" in line]
    assert len(told) == 1
    assert told[0].endswith(f", as {run.task}")
    torch.manual_seed(0)
    assert example.holds(run(**example.given, **example.parameters))
    if example.task is not None:
        assert pipeline(model=folder).task == example.told_task
    else:
        assert run.task == example.told_task


EQUAL = {
    "ModernBERT": {},
    "Gemma 2, names": {},
    "Qwen 2, classes": {"top_k": None},
    "RT-DETR v2": {"threshold": 0.0},
    "Audio Spectrogram Transformer": {},
    "CLIP": {"candidate_labels": ["fox", "dog"]},
    "BERT, vectors": {},
    "GPT-NeoX": {**FEW, "do_sample": False},
}


@pytest.mark.parametrize("name", EQUAL)
def test_results_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    folder = EXAMPLES[name].make(tmp_path)
    ours = pipeline(model=folder)
    theirs = transformers.pipeline(EXAMPLES[name].told_task, str(folder), device="cpu")
    given = EXAMPLES[name].given["inputs"]
    expected = theirs(given.copy() if isinstance(given, np.ndarray) else given, **EQUAL[name])
    assert ours(given, **EQUAL[name]) == expected


def test_a_recording_beside_a_text_is_any_that_is_taken(tmp_path: Path) -> None:
    from auricle.audio.decode import load_audio

    path = ROOT / "samples" / "jfk.flac"
    answer = pipeline(model=tiny.qwen_hears(tmp_path))
    text = EXAMPLES["Qwen2-Audio"].given["text"]
    expected = answer(audio=load_audio(path, 16000), text=text, **FEW)
    for audio in (str(path), path, path.read_bytes(), {"path": str(path)}):
        assert answer(audio=audio, text=text, **FEW) == expected
    with pytest.raises(AudioNotFoundError):
        answer(audio="no.wav", text=text)
    heard = {"type": "audio", "path": str(path)}
    found = answer([{"role": "user", "content": [heard, {"type": "text", "text": text}]}], **FEW)
    assert isinstance(found[0]["generated_text"][-1]["content"], str)


def test_videos_are_classified(tmp_path: Path) -> None:
    import av

    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mpeg4", rate=8)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for number in range(8):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), number * 20, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    watch = pipeline(model=tiny.videos(tmp_path / "model"))
    assert watch.task == "video-classification"
    assert labels(watch(path, num_frames=2))


def test_tables_are_asked_where_pandas_is_there(tmp_path: Path) -> None:
    ask = pipeline(model=tiny.tables(tmp_path))
    given = {"table": {"the": ["fox", "dog"], "quick": ["1", "2"]}, "query": "what is the"}
    if importlib.util.find_spec("pandas") is None:
        with pytest.raises(MissingExtraError, match="pandas"):
            ask(**given)
    else:
        assert {"answer", "coordinates", "cells"} <= set(ask(**given))


@pytest.mark.skipif(HAS_TORCHVISION, reason="torchvision is installed, with which it runs")
def test_masks_of_a_sam_need_torchvision_and_it_is_told(tmp_path: Path) -> None:
    find = pipeline(model=tiny.masks(tmp_path))
    assert find.task == "mask-generation"
    with pytest.raises(MissingExtraError, match="requires the Torchvision library"):
        find(PICTURE, points_per_crop=2, pred_iou_thresh=-100.0, stability_score_thresh=-1.0)


@pytest.mark.skipif(HAS_TORCHVISION, reason="torchvision is installed, with which they run")
@pytest.mark.parametrize(
    ("architecture", "model_type", "task"),
    [
        ("DepthProForDepthEstimation", "depth_pro", "depth-estimation"),
        ("Qwen2_5_VLForConditionalGeneration", "qwen2_5_vl", "image-text-to-text"),
        ("LlavaOnevisionForConditionalGeneration", "llava_onevision", "image-text-to-text"),
    ],
)
def test_their_processors_are_not_there_without_torchvision(architecture: str, model_type: str, task: str) -> None:
    from auricle.pipelines.bridge_tasks import task_of_config

    config = {"architectures": [architecture], "model_type": model_type, "vision_config": {}, "patch_size": 16}
    assert task_of_config(config) == task
    processor = {
        "depth_pro": "DepthProImageProcessor",
        "qwen2_5_vl": "Qwen2VLVideoProcessor",
        "llava_onevision": "LlavaOnevisionVideoProcessor",
    }[model_type]
    with pytest.raises(ImportError, match="Torchvision"):
        getattr(transformers, processor)()


@pytest.mark.parametrize(
    ("architecture", "model_type"),
    [("MoshiForConditionalGeneration", "moshi"), ("VitPoseForPoseEstimation", "vitpose")],
)
def test_what_transformers_has_no_task_for_is_refused(architecture: str, model_type: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(f'{{"architectures": ["{architecture}"], "model_type": "{model_type}"}}')
    with pytest.raises(TaskError, match=f"{architecture}.*which tells no task"):
        pipeline(model=tmp_path)


def test_the_table_names_every_test() -> None:
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    table = text.partition("## The example models")[2].partition("\n## ")[0]
    named = set(re.findall(r"`bridge: ([^`]+)`", table))
    assert named <= set(EXAMPLES)
    assert {"ModernBERT", "BART", "T5", "Bark", "MusicGen", "Llava", "OneFormer"} <= named
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:2] == "| "]
    for example, _, here, test in rows[1:]:
        is_heading = example.startswith("**") and not here
        assert is_heading or test, f"no test shows {example!r}"
        for file in re.findall(r"test_\w+\.py", test):
            assert (ROOT / "tests" / "parity" / file).is_file()
        for function in re.findall(r"`(test_\w+)`", test):
            assert function in globals()
