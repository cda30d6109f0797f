"""Fine-tuning Whisper: the loss and gradients of transformers, and checkpoints that transformers loads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from whisper_rows import clips, write_whisper_folder

from auricle.training.objective import Example
from auricle.training.whisper_labels import Drawing
from auricle.training.whisper_objective import Seq2SeqSettings, WhisperObjective
from auricle.training.whisper_start import read_whisper

transformers = pytest.importorskip("transformers")

# float32 sums in another order; losses are about 7, gradients at most of order one.
SAME = 2e-5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_whisper_folder(tmp_path_factory.mktemp("whisper") / "start")


def objective(folder: Path, **drawing: float) -> tuple[WhisperObjective, list[Example]]:
    one = WhisperObjective(read_whisper(folder), Seq2SeqSettings(drawing=Drawing(**drawing)))
    examples = [example for example in map(one.prepare, clips(4)) if isinstance(example, Example)]
    assert len(examples) == 4
    return one, examples


@pytest.mark.parametrize("told", [0.0, 1.0])
def test_loss_and_every_gradient_are_those_of_transformers(folder: Path, told: float) -> None:
    one, examples = objective(folder, told=told)
    batch = one.collate(examples, torch.Generator().manual_seed(2))
    assert bool((batch.labels >= one.begin).any())
    theirs = transformers.WhisperForConditionalGeneration.from_pretrained(folder)
    theirs.config.apply_spec_augment = False
    given = {"decoder_input_ids": batch.extra["tokens"]} if told else {}
    expected = theirs(input_features=batch.features.transpose(1, 2), labels=batch.labels, **given).loss
    loss, _ = one.loss(batch)
    torch.testing.assert_close(loss, expected, rtol=SAME, atol=SAME)
    expected.backward()
    loss.backward()
    ours = {name: p.grad for name, p in one.model.named_parameters() if p.requires_grad}
    others = {name: p.grad for name, p in theirs.named_parameters() if p.requires_grad}
    others.pop("model.encoder.embed_positions.weight", None)  # sinusoids, which its authors do not train either
    assert set(ours) == set(others)
    for name, gradient in ours.items():
        torch.testing.assert_close(
            gradient, others[name], rtol=1e-3, atol=SAME, msg=lambda said, n=name: f"{n}: {said}"
        )


def test_what_is_saved_gives_the_same_logits_in_transformers(folder: Path, tmp_path: Path) -> None:
    one, examples = objective(folder)
    optimizer = torch.optim.AdamW([p for p in one.model.parameters() if p.requires_grad], 1e-3)
    for seed in range(3):
        loss, _ = one.loss(one.collate(examples, torch.Generator().manual_seed(seed)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    one.save(tmp_path)
    theirs = transformers.AutoModelForSpeechSeq2Seq.from_pretrained(tmp_path).eval()
    processor = transformers.WhisperProcessor.from_pretrained(tmp_path)
    batch = one.collate(examples, None)
    sounds = [np.asarray(example.features[:, 0]) for example in examples]
    features = processor.feature_extractor(sounds, sampling_rate=16000, return_tensors="pt").input_features
    torch.testing.assert_close(features.transpose(1, 2), batch.features, rtol=1e-4, atol=1e-4)
    tokens = batch.extra["tokens"]
    with torch.no_grad():
        logits = theirs(input_features=batch.features.transpose(1, 2), decoder_input_ids=tokens).logits
        ours = one.model(batch.features.transpose(1, 2), batch.lengths, tokens)
    torch.testing.assert_close(ours, logits, rtol=1e-4, atol=1e-4)
    assert processor.tokenizer.decode(tokens[0], skip_special_tokens=True) == " and so"
    spoken = theirs.generate(features[:1], language="en", return_timestamps=True, max_new_tokens=8)
    assert spoken.shape[0] == 1
    assert not getattr(theirs.generation_config, "forced_decoder_ids", None)
    assert theirs.generation_config.alignment_heads
