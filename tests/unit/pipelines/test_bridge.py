"""Which models go over the bridge, what is checked there, and how its errors are told."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import BatchEncoding

from auricle.audio.limits import AudioLimits
from auricle.errors import AudioTooLargeError, CheckpointError, MissingExtraError, OptionError, TaskError, TensorError
from auricle.pipelines import pipeline
from auricle.pipelines.bridge_runners import Translator
from auricle.pipelines.bridge_tasks import task_of_config
from auricle.pipelines.bridge_values import plain
from auricle.vision.sources import ImageLimits


def _tiny_models() -> ModuleType:
    path = Path(__file__).parents[2] / "tiny_models.py"
    spec = importlib.util.spec_from_file_location("tiny_models", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _tiny_models().masked_words(tmp_path_factory.mktemp("masked"))


@pytest.fixture(scope="module")
def fill(masked: Path) -> Any:
    return pipeline(model=masked)


def config(folder: Path, architecture: str, model_type: str, **more: Any) -> Path:
    (folder / "config.json").write_text(json.dumps({"architectures": [architecture], "model_type": model_type, **more}))
    return folder


@pytest.mark.parametrize(
    ("architecture", "more", "task"),
    [
        ("BertForMaskedLM", {}, "fill-mask"),
        ("LlamaForSequenceClassification", {}, "text-classification"),
        ("UniSpeechSatForSequenceClassification", {"model_type": "unispeech-sat"}, "audio-classification"),
        ("Wav2Vec2BertForCTC", {}, "automatic-speech-recognition"),
        ("SeamlessM4Tv2ForSpeechToText", {}, "automatic-speech-recognition"),
        ("Pix2StructForConditionalGeneration", {}, "image-text-to-text"),
        ("T5ForConditionalGeneration", {}, "text2text-generation"),
        ("Qwen2AudioForConditionalGeneration", {"audio_config": {}}, "any-to-any"),
        ("Mistral3ForConditionalGeneration", {"vision_config": {}}, "image-text-to-text"),
        ("LayoutLMForQuestionAnswering", {}, "document-question-answering"),
        ("BertForQuestionAnswering", {}, "question-answering"),
        ("Owlv2ForObjectDetection", {}, "zero-shot-object-detection"),
        ("MaskFormerForInstanceSegmentation", {}, "image-segmentation"),
        ("BertModel", {}, "feature-extraction"),
        ("ViTModel", {"image_size": 224}, "image-feature-extraction"),
        ("MoshiForConditionalGeneration", {"audio_config": {}}, None),
    ],
)
def test_tasks_are_told_from_the_configuration(architecture: str, more: dict[str, Any], task: str | None) -> None:
    assert task_of_config({"architectures": [architecture], **more}) == task


def test_without_transformers_the_extra_and_the_architecture_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"BertForMaskedLM .*pip install 'auricle\[transformers\]'"):
        pipeline(model=config(tmp_path, "BertForMaskedLM", "bert"))


def test_a_native_model_stays_native_unless_transformers_is_asked_for(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import transformers

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    shape = transformers.ViTConfig(**sizes, image_size=32, patch_size=16, num_labels=3)
    transformers.ViTForImageClassification(shape).eval().save_pretrained(tmp_path)
    transformers.ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8))
    native = pipeline("image-classification", tmp_path, engine="reference")
    assert "is run by transformers" not in capfd.readouterr().err
    theirs = pipeline("image-classification", tmp_path, engine="transformers")
    assert "ViTForImageClassification (model_type 'vit') is run by transformers" in capfd.readouterr().err
    for one, other in zip(native(picture), theirs(picture), strict=True):
        assert one["label"] == other["label"]
        assert one["score"] == pytest.approx(other["score"], abs=1e-5)


@pytest.mark.parametrize("engine", ["reference", "cpu", "referense"])
def test_an_engine_that_cannot_run_the_family_is_refused(masked: Path, engine: str) -> None:
    with pytest.raises(OptionError, match=rf"engine='{engine}' does not run ModernBertForMaskedLM"):
        pipeline(model=masked, engine=engine)


def test_limits_are_those_of_what_the_task_reads(masked: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="it must be an ImageLimits"):
        pipeline(model=masked, limits=AudioLimits())
    folder = _tiny_models().sounds(tmp_path)
    with pytest.raises(OptionError, match="it must be an AudioLimits"):
        pipeline(model=folder, limits=ImageLimits())
    hear = pipeline(model=folder, limits=AudioLimits(max_read_duration=0.5))
    with pytest.raises(AudioTooLargeError):
        hear(np.zeros(16000, np.float32))


def test_a_language_of_one_call_is_not_that_of_the_next() -> None:
    class Tokenizer:
        src_lang = "eng"
        heard: ClassVar[list[str]] = []

        def __call__(self, text: str, **settings: Any) -> BatchEncoding:
            self.heard.append(self.src_lang)
            return BatchEncoding({"input_ids": torch.zeros(1, 1, dtype=torch.long)})

        def batch_decode(self, ids: Any, **settings: Any) -> list[str]:
            return ["written"]

    config = SimpleNamespace(task_specific_params=None)
    own = SimpleNamespace(to_dict=dict)
    model = SimpleNamespace(config=config, generation_config=own, device="cpu", generate=lambda **given: None)
    translate = Translator(model, Tokenizer())
    for parameters in ({}, {"src_lang": "fra"}, {}):
        assert translate.run("text", parameters) == [{"translation_text": "written"}]
    assert Tokenizer.heard == ["eng", "fra", "eng"]


def test_weights_that_are_missing_are_refused_and_not_drawn(masked: Path) -> None:
    with pytest.raises(TensorError, match=r"lacks \d+ tensors that ModernBertForTokenClassification needs"):
        pipeline("token-classification", masked)


def test_a_task_that_the_family_does_not_do_is_refused(masked: Path) -> None:
    with pytest.raises(TaskError, match=r"with which transformers .* does not do object-detection"):
        pipeline("object-detection", masked)
    with pytest.raises(TaskError, match=r"unknown task 'fil-mask'; did you mean 'fill-mask'"):
        pipeline("fil-mask", masked)


def test_a_task_that_the_installed_transformers_lacks_is_not_told_to_be_there(
    masked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.pipelines import PIPELINE_REGISTRY

    monkeypatch.setattr(PIPELINE_REGISTRY, "get_supported_tasks", lambda: ["fill-mask", "text-generation"])
    with pytest.raises(TaskError, match=r"has no task 'keypoint-matching'; it has fill-mask, text-generation$"):
        pipeline("keypoint-matching", masked)


def test_a_task_that_transformers_dropped_names_the_one_that_took_its_place(tmp_path: Path) -> None:
    config(tmp_path, "LlavaForConditionalGeneration", "llava", vision_config={})
    for task in ("visual-question-answering", "vqa"):
        with pytest.raises(TaskError, match=r"Llava.*no such task; it does image-text-to-text: name that, or no task"):
            pipeline(task, tmp_path)


def test_the_line_on_stderr_tells_of_models_that_run(masked: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TaskError, match="does not do object-detection"):
        pipeline("object-detection", masked)
    assert "is run by transformers" not in capfd.readouterr().err


def test_results_come_whole_and_it_is_told(fill: Any) -> None:
    for ask in (fill.stream, fill.write):
        with pytest.raises(TaskError, match="whose results come whole; call the pipeline itself"):
            ask("the [MASK]")


def test_a_number_format_that_is_none_is_refused(masked: Path) -> None:
    with pytest.raises(OptionError, match="dtype 'floot' is not supported; expected 'auto', float32"):
        pipeline(model=masked, dtype="floot")


def test_labels_may_be_a_text_with_commas(tmp_path: Path) -> None:
    choose = pipeline(model=_tiny_models().alike(tmp_path))
    picture = Image.new("RGB", (40, 40), "red")
    assert choose(picture, "fox, dog") == choose(picture, ["fox", "dog"])


def test_a_part_of_a_message_that_is_no_object_is_refused(tmp_path: Path) -> None:
    see = pipeline(model=_tiny_models().llava(tmp_path))
    with pytest.raises(OptionError, match="a message has the part 'what'; expected an object"):
        see([{"role": "user", "content": ["what"]}])


def test_code_of_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("raise SystemExit('run')")
    auto = {"AutoConfig": "own.Own", "AutoModelForMaskedLM": "own.Own"}
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        pipeline(model=config(tmp_path, "OwnForMaskedLM", "own", auto_map=auto))
    with pytest.raises(OptionError, match="never runs code"):
        pipeline(model=tmp_path, trust_remote_code=True)


def test_lists_generators_and_batches_give_what_each_gives(fill: Any) -> None:
    texts = ["the quick [MASK] fox", "the [MASK] dog", "paris [MASK]"]
    expected = [[round(one["score"], 5) for one in fill(text)] for text in texts]
    for found in (fill(texts), fill(texts, batch_size=2), list(fill(text for text in texts))):
        assert [[round(one["score"], 5) for one in result] for result in found] == expected


def test_labels_of_a_text_are_a_list_alone_and_in_a_batch(tmp_path: Path) -> None:
    choose = pipeline(model=_tiny_models().classes(tmp_path))
    alone = choose("the quick")
    assert [one["label"] for one in alone] == [alone[0]["label"]]
    for found in (choose(["the quick", "fox"]), choose(["the quick", "fox"], batch_size=2)):
        assert found[0][0]["label"] == alone[0]["label"]
        assert found[0][0]["score"] == pytest.approx(alone[0]["score"], abs=1e-5)


def test_an_input_that_fails_is_an_item_and_the_others_go_on(fill: Any) -> None:
    good, bad, other = fill(["the [MASK]", "no mask", 3], on_error="return", batch_size=2)
    assert good[0]["sequence"].startswith("the")
    assert bad["error_type"] == "OptionError"
    assert "transformers could not do fill-mask" in bad["error"]
    assert "int arrived where a text was expected" in other["error"]
    with pytest.raises(OptionError, match="transformers could not do fill-mask"):
        fill("no mask")


def test_a_parameter_that_the_task_does_not_have_is_refused_at_once(fill: Any, masked: Path) -> None:
    with pytest.raises(OptionError, match=r"unknown parameter 'topk'.*did you mean 'top_k'"):
        fill("the [MASK]", topk=1)
    with pytest.raises(OptionError, match=r"unknown parameter 'targts'"):
        pipeline(model=masked, targts=["fox"])
    assert len(pipeline(model=masked, top_k=1)("the [MASK]")) == 1


def test_more_inputs_than_the_task_takes_are_refused(tmp_path: Path) -> None:
    choose = pipeline("zero-shot-classification", _tiny_models().entailment(tmp_path))
    labels = ["fox", "dog"]
    assert choose("the quick", labels) == choose("the quick", candidate_labels=labels)
    with pytest.raises(OptionError, match="3 inputs arrived without a name"):
        choose("the quick", labels, "a third")
    with pytest.raises(OptionError, match="'candidate_labels' arrived twice"):
        choose("the quick", labels, candidate_labels=["dog"])


@pytest.mark.parametrize("context", ["", "  ", None])
def test_a_question_about_nothing_is_refused(tmp_path: Path, context: str | None) -> None:
    ask = pipeline(model=_tiny_models().answers(tmp_path))
    with pytest.raises(OptionError, match="no text as 'context'"):
        ask(question="what is paris", context=context)


def test_numbers_of_results_are_pythons() -> None:
    found = plain({"score": np.float32(0.5), "n": torch.tensor(3), "box": (1, 2), "states": torch.ones(2, 2)})
    assert found["score"] == 0.5
    assert type(found["score"]) is float
    assert type(found["n"]) is int
    assert found["box"] == [1, 2]
    assert isinstance(found["states"], np.ndarray)
    json.dumps({name: value for name, value in found.items() if name != "states"})
