"""A step of CTC fine-tuning against transformers': the same loss and the same gradients; and what is saved loads there.

Compared without dropout. Theirs is asked for the sum over all rows, as ours is before it is divided by the labels.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import nn

sys.path.append(str(Path(__file__).parents[1] / "unit" / "training"))

from finetune_toys import FAMILIES, Row, spoken, toy_checkpoint, toy_rows

from auricle import pipeline
from auricle.training.ctc_labels import new_labels
from auricle.training.ctc_objective import CTCObjective, CTCSettings
from auricle.training.ctc_start import read_start
from auricle.training.objective import Example
from auricle.training.vocabulary import build_vocabulary

# float32 sums in another order.
TOLERANCE = 1e-4
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
# The base form's statistics over time see the padding in transformers: rows of one length.
CASES = [
    ("wav2vec2", {}, False),
    ("wav2vec2", LARGE, True),
    ("hubert", LARGE, True),
    ("wavlm", LARGE, True),
    ("parakeet_ctc", {}, True),
]
AUTO = {"parakeet_ctc": transformers.ParakeetForCTC}


def make_objective(tmp_path: Path, family: str, changes: dict[str, Any], freeze: str = "none") -> CTCObjective:
    start = read_start(toy_checkpoint(tmp_path / "start", family, **changes))
    labels = new_labels(build_vocabulary([row.text or "" for row in toy_rows()]), start.family)
    return CTCObjective(start, labels, CTCSettings(freeze=freeze, augments=False))


def examples_of(objective: CTCObjective, texts: list[str]) -> list[Example]:
    rows = [Row(text, {"array": spoken(text, at), "sampling_rate": 16000}, text) for at, text in enumerate(texts)]
    made = [objective.prepare(row) for row in rows]  # type: ignore[arg-type]
    assert all(isinstance(one, Example) for one in made)
    return made  # type: ignore[return-value]


def theirs_of(folder: Path, family: str) -> nn.Module:
    auto = AUTO.get(family, transformers.AutoModelForCTC)
    model = auto.from_pretrained(folder, ctc_loss_reduction="sum", ctc_zero_infinity=True).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.eval()
    return model


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")  # in their WavLM
@pytest.mark.parametrize(("family", "changes", "padded"), CASES)
def test_loss_and_gradients_are_those_of_transformers(
    tmp_path: Path, family: str, changes: dict[str, Any], padded: bool
) -> None:
    objective = make_objective(tmp_path, family, changes)
    objective.save(tmp_path)
    theirs = theirs_of(tmp_path, family)
    examples = examples_of(objective, ["ab cd", "abc" if padded else "ea dc", "de bca" if padded else "aa bb"])
    batch = objective.collate(examples, torch.Generator().manual_seed(0))
    objective.set_training(True)
    loss, _ = objective.loss(batch)
    total = loss * batch.n_units
    total.backward()
    own = torch.arange(batch.features.shape[1]) < batch.lengths[:, None]
    if family == "parakeet_ctc":
        labels = batch.labels.masked_fill(batch.labels < 0, theirs.config.pad_token_id)
        found = theirs(input_features=batch.features, attention_mask=own, labels=labels)
    else:
        found = theirs(input_values=batch.features[..., 0], attention_mask=own, labels=batch.labels)
    found.loss.backward()
    assert float(total.detach()) == pytest.approx(float(found.loss.detach()), rel=TOLERANCE)
    theirs_by_name = dict(theirs.named_parameters())
    compared = 0
    for name, parameter in objective.model.named_parameters():
        other = theirs_by_name.get(their_name(name))
        if other is None or parameter.grad is None or other.grad is None:
            continue
        scale = float(other.grad.abs().max().clamp(min=1.0))
        torch.testing.assert_close(parameter.grad / scale, other.grad / scale, atol=TOLERANCE, rtol=0)
        compared += 1
    assert compared >= 0.95 * sum(p.grad is not None for p in theirs.parameters())


def their_name(name: str) -> str:
    name = name.replace("pos_conv_embed.conv.weight_g", "pos_conv_embed.conv.parametrizations.weight.original0")
    return name.replace("pos_conv_embed.conv.weight_v", "pos_conv_embed.conv.parametrizations.weight.original1")


@pytest.mark.parametrize("family", ["wav2vec2", "hubert", "wavlm"])
def test_what_is_saved_gives_the_same_text_in_transformers_and_in_auricle(tmp_path: Path, family: str) -> None:
    objective = make_objective(tmp_path, family, LARGE)
    loud(objective)
    objective.save(tmp_path)
    wave = spoken("abc de", 3)
    batch = objective.collate(examples_of(objective, ["abc de"]), None)
    model = transformers.AutoModelForCTC.from_pretrained(tmp_path).eval()
    processor = transformers.AutoProcessor.from_pretrained(tmp_path)
    assert isinstance(processor, transformers.Wav2Vec2Processor)
    inputs = processor(spoken("abc de", 0), sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        theirs = processor.batch_decode(model(inputs.input_values).logits.argmax(-1))
    assert objective.transcribe(batch) == theirs
    assert theirs[0]
    heard = pipeline("automatic-speech-recognition", model=str(tmp_path), vad=False)
    ours = objective.transcribe(objective.collate([prepared(objective, wave)], None))
    assert heard({"array": wave, "sampling_rate": 16000}) == {"text": ours[0]}


def prepared(objective: CTCObjective, wave: np.ndarray) -> Example:
    made = objective.prepare(Row("one", {"array": wave, "sampling_rate": 16000}, "abc"))  # type: ignore[arg-type]
    assert isinstance(made, Example)
    return made


def loud(objective: CTCObjective) -> None:
    """Make the random head write something: its new rows are too small to."""
    torch.manual_seed(1)
    with torch.no_grad():
        head = getattr(objective.model, objective.start.head)
        head.weight.normal_(std=1.0)
        head.bias[objective.labels.tokenizer.blank] = 0.5
        if objective.start.family != "parakeet_ctc":
            # No text ever has it, so that no trained head writes it; transformers would show it.
            head.bias[objective.labels.tokenizer.blank - 1] = -100.0


def test_a_parakeet_that_is_saved_gives_the_same_text_in_transformers_and_in_auricle(tmp_path: Path) -> None:
    objective = make_objective(tmp_path, "parakeet_ctc", {})
    loud(objective)
    objective.save(tmp_path)
    wave = spoken("abc de", 3)
    model = transformers.AutoModelForCTC.from_pretrained(tmp_path).eval()
    processor = transformers.AutoProcessor.from_pretrained(tmp_path)
    inputs = processor(wave, sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        ids = model.generate(**inputs)
    theirs = processor.batch_decode(ids)
    ours = objective.transcribe(objective.collate([prepared(objective, wave)], None))
    assert [" ".join(text.split()) for text in theirs] == ours
    assert ours[0]
    heard = pipeline("automatic-speech-recognition", model=str(tmp_path), vad=False)
    assert heard({"array": wave, "sampling_rate": 16000}) == {"text": ours[0]}


def test_a_ctc_layer_on_a_whisper_encoder_is_heard_by_auricle_and_its_encoder_by_transformers(tmp_path: Path) -> None:
    objective = make_objective(tmp_path, "whisper", {}, freeze="encoder")
    loud(objective)
    objective.save(tmp_path)
    wave = spoken("abc de", 3)
    example = prepared(objective, wave)
    ours = objective.transcribe(objective.collate([example], None))
    assert ours[0]
    heard = pipeline("automatic-speech-recognition", model=str(tmp_path), vad=False)
    assert heard({"array": wave, "sampling_rate": 16000}) == {"text": ours[0]}
    theirs = transformers.WhisperModel.from_pretrained(tmp_path).get_encoder().eval()
    mine: Any = objective.model
    features = torch.randn(1, 80, 3000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        states, _ = mine.encode(features.transpose(1, 2), torch.tensor([3000]))
        other = theirs(features).last_hidden_state
    torch.testing.assert_close(states, other, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_rows_of_a_batch_are_transcribed_as_alone(tmp_path: Path, family: str) -> None:
    for freeze in ("none", "encoder"):
        objective = make_objective(tmp_path, family, {}, freeze=freeze)
        loud(objective)
        examples = examples_of(objective, ["ab cd", "abc", "de bca eee"])
        alone = [objective.transcribe(objective.collate([one], None))[0] for one in examples]
        assert objective.transcribe(objective.collate(examples, None)) == alone
