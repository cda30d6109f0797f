"""Models that answer questions about images = transformers: states, logits, written answers.

Tiny configurations with every number drawn at random; the tokenizer is BERT's, from vocab.txt.
"""

from __future__ import annotations

import string
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from PIL import Image

from auricle import pipeline
from auricle.loading import load, task_of

from .test_image_models import PIXEL_TOLERANCE, TOLERANCE, TRUE_SIZE_TOLERANCE, pictures, randomize

WORDS = "what is in the image how many cats are there ? , a statue of liberty on it ##s ##ty two color".split()
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *string.ascii_lowercase]
VOCABULARY += [f"##{letter}" for letter in string.ascii_lowercase]
SEP, BEGIN = VOCABULARY.index("[SEP]"), 1
QUESTIONS = ["What is in the image?", "How many cats are there, two?", "Is it a zebra?"]
LAYERS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}


def tokenizer_in(folder: Path) -> Any:
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY))
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true, "tokenizer_class": "BertTokenizer"}')
    return transformers.BertTokenizer.from_pretrained(folder)


@pytest.fixture
def vilt(tmp_path: Path) -> tuple[Any, Any, Any, Path]:
    labels = {number: f"answer {number}" for number in range(9)}
    config = transformers.ViltConfig(
        **LAYERS, vocab_size=len(VOCABULARY), image_size=32, patch_size=8, id2label=labels, max_position_embeddings=20
    )
    model = randomize(transformers.ViltForQuestionAnswering(config))
    processor = transformers.ViltImageProcessorPil(size={"shortest_edge": 32}, size_divisor=8)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    return model, processor, tokenizer_in(tmp_path), tmp_path


@pytest.fixture
def blip(tmp_path: Path) -> tuple[Any, Any, Any, Path]:
    text = {"vocab_size": len(VOCABULARY), "max_position_embeddings": 48, "bos_token_id": BEGIN, "sep_token_id": SEP}
    config = transformers.BlipConfig(
        text_config={**LAYERS, **text, "eos_token_id": 2},
        vision_config={**LAYERS, "image_size": 32, "patch_size": 8},
    )
    model = randomize(transformers.BlipForQuestionAnswering(config))
    processor = transformers.BlipImageProcessorPil(size={"height": 32, "width": 32})
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    return model, processor, tokenizer_in(tmp_path), tmp_path


@torch.inference_mode()
def test_vilt_equals_transformers(vilt: tuple[Any, Any, Any, Path]) -> None:
    model, processor, tokenizer, folder = vilt
    ours = load(folder)
    for picture, question in zip(pictures(), QUESTIONS, strict=True):
        expected = processor(picture, return_tensors="pt")
        pixels = ours.features(picture)[None]
        torch.testing.assert_close(pixels, expected["pixel_values"], atol=PIXEL_TOLERANCE, rtol=0)
        encoded = tokenizer(question, return_tensors="pt")
        words = torch.tensor([ours.tokenizer.question(question, 20, False)])
        assert words.tolist() == encoded["input_ids"].tolist()
        lengths = torch.tensor([words.shape[1]])
        # Patches come in another order there, which is drawn by chance; the words and the first token do not.
        n_ordered = words.shape[1] + 1
        states = ours.model.states(words, lengths, pixels)[:, :n_ordered]
        outputs = model.vilt(**encoded, **expected)
        torch.testing.assert_close(states, outputs.last_hidden_state[:, :n_ordered], atol=TOLERANCE, rtol=1e-4)
        logits = ours.model(words, lengths, pixels)
        torch.testing.assert_close(logits, model(**encoded, **expected).logits, atol=TOLERANCE, rtol=1e-4)


@torch.inference_mode()
def test_vilts_answers_equal_transformers(vilt: tuple[Any, Any, Any, Path]) -> None:
    model, processor, tokenizer, folder = vilt
    assert task_of(folder) == "visual-question-answering"
    ask = pipeline(model=folder)
    for top_k in (1, 5, 100):
        found = ask(image=pictures(), question=QUESTIONS[0], top_k=top_k)
        for picture, answers in zip(pictures(), found, strict=True):
            inputs = {**tokenizer(QUESTIONS[0], return_tensors="pt"), **processor(picture, return_tensors="pt")}
            scores, places = model(**inputs).logits.sigmoid()[0].topk(min(top_k, 9))
            assert [one["answer"] for one in answers] == [model.config.id2label[place] for place in places.tolist()]
            assert [one["score"] for one in answers] == pytest.approx(scores.tolist(), abs=1e-5)


@torch.inference_mode()
def test_blip_equals_transformers(blip: tuple[Any, Any, Any, Path]) -> None:
    model, processor, tokenizer, folder = blip
    ours = load(folder)
    picture, question = pictures()[0], QUESTIONS[1]
    expected = processor(picture, return_tensors="pt")["pixel_values"]
    pixels = ours.features(picture)[None]
    torch.testing.assert_close(pixels, expected, atol=PIXEL_TOLERANCE, rtol=0)
    encoded = tokenizer(question, return_tensors="pt")
    words = torch.tensor([ours.tokenizer.question(question, 48, False)])
    assert words.tolist() == encoded["input_ids"].tolist()
    lengths = torch.tensor([words.shape[1]])
    seen = ours.model.see(pixels)
    their_seen = model.vision_model(expected).last_hidden_state
    torch.testing.assert_close(seen, their_seen, atol=TOLERANCE, rtol=1e-4)
    states = ours.model.read(words, lengths, seen)
    their_states = model.text_encoder(encoded["input_ids"], encoder_hidden_states=their_seen).last_hidden_state
    torch.testing.assert_close(states, their_states, atol=TOLERANCE, rtol=1e-4)
    tokens = torch.tensor([[BEGIN, 7, 9, 20]])
    logits = ours.model.logits(ours.model.hidden_states(tokens, ours.model.new_cache(states, lengths)))
    expected_logits = model.text_decoder(tokens, encoder_hidden_states=their_states).logits
    torch.testing.assert_close(logits, expected_logits, atol=TOLERANCE, rtol=1e-4)


def test_settings_inside_processor_config_are_read(blip: tuple[Any, Any, Any, Path]) -> None:
    _, processor, tokenizer, folder = blip
    expected = load(folder).features.settings
    for name in ("preprocessor_config.json", "vocab.txt"):
        (folder / name).unlink(missing_ok=True)
    transformers.BlipProcessor(processor, tokenizer).save_pretrained(folder)  # as transformers 5 writes it
    assert not (folder / "preprocessor_config.json").exists()
    again = load(folder)
    assert again.features.settings == expected
    words = again.tokenizer.question(QUESTIONS[0], 48, False)
    assert words == tokenizer(QUESTIONS[0])["input_ids"]


@pytest.mark.parametrize(
    "options",
    [{}, {"num_beams": 3}, {"max_new_tokens": 4}, {"num_beams": 4, "length_penalty": 0.3, "min_length": 6}],
)
def test_blips_answers_equal_transformers(options: dict[str, Any], blip: tuple[Any, Any, Any, Path]) -> None:
    model, processor, tokenizer, folder = blip
    ask = pipeline("visual-question-answering", folder)
    pairs = [{"image": picture, "question": one} for picture, one in zip(pictures(), QUESTIONS, strict=True)]
    found = ask(pairs, **options)
    for pair, answers in zip(pairs, found, strict=True):
        inputs = {
            **tokenizer(pair["question"], return_tensors="pt", return_token_type_ids=False),
            **processor(pair["image"], return_tensors="pt"),
        }
        ids = model.generate(**inputs, **options)[0]
        (answer,) = answers
        assert answer["answer"] == tokenizer.decode(ids, skip_special_tokens=True).strip()
        assert 0 < answer["score"] <= 1


TRUE_SIZES: dict[str, Callable[[], Any]] = {
    "vilt base": lambda: transformers.ViltForQuestionAnswering(transformers.ViltConfig(num_labels=3129)),
    "blip base": lambda: transformers.BlipForQuestionAnswering(
        transformers.BlipConfig(text_config={"num_attention_heads": 12})
    ),
}


@pytest.mark.parametrize("name", TRUE_SIZES)
@torch.inference_mode()
def test_true_size_equals_transformers(name: str) -> None:
    torch.manual_seed(0)
    model = TRUE_SIZES[name]().eval()
    for parameter in model.parameters():
        # Norms and biases too.
        parameter.add_(0.05 * torch.randn_like(parameter))
    words, pixels, lengths = torch.randint(1000, 2000, (1, 12)), torch.randn(1, 3, 384, 384), torch.tensor([12])
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        (Path(folder) / "preprocessor_config.json").write_text('{"size": 384}')
        tokenizer_in(Path(folder))
        ours = load(folder).model
    if name.startswith("vilt"):
        found, expected = ours(words, lengths, pixels), model(words, pixel_values=pixels).logits
    else:
        tokens = torch.tensor([[30522, 1037, 6231]])
        seen = model.vision_model(pixels).last_hidden_state
        states = model.text_encoder(words, encoder_hidden_states=seen).last_hidden_state
        expected = model.text_decoder(tokens, encoder_hidden_states=states).logits
        cache = ours.new_cache(ours.read(words, lengths, ours.see(pixels)), lengths)
        found = ours.logits(ours.hidden_states(tokens, cache))
    error = float((found - expected).abs().max() / expected.abs().max())
    print(f"{name} | logits {error:.1e}")
    assert error < TRUE_SIZE_TOLERANCE


@torch.inference_mode()
def test_blips_score_is_the_probability_of_its_words(blip: tuple[Any, Any, Any, Path]) -> None:
    model, processor, tokenizer, folder = blip
    picture = Image.new("RGB", (20, 30), "green")
    (answer,) = pipeline("visual-question-answering", folder)(image=picture, question=QUESTIONS[2])
    inputs = {
        **tokenizer(QUESTIONS[2], return_tensors="pt", return_token_type_ids=False),
        **processor(picture, return_tensors="pt"),
    }
    tokens = model.generate(**inputs)
    seen = model.vision_model(inputs["pixel_values"]).last_hidden_state
    states = model.text_encoder(inputs["input_ids"], encoder_hidden_states=seen).last_hidden_state
    log_probs = model.text_decoder(tokens[:, :-1], encoder_hidden_states=states).logits.log_softmax(-1)
    total = log_probs.gather(2, tokens[:, 1:, None]).sum().exp()
    assert answer["score"] == pytest.approx(float(total), rel=1e-3)
