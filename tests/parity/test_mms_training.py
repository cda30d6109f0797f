"""A new language for an MMS checkpoint: little is trained, and both libraries load it by its code."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from whisper_rows import clips

from auricle.checkpoints.tensors import write_checkpoint
from auricle.errors import OptionError
from auricle.loading import load
from auricle.models.wav2vec2 import Wav2Vec2CTC
from auricle.pipelines import pipeline
from auricle.training.ctc_labels import new_labels
from auricle.training.ctc_objective import CTCSettings
from auricle.training.mms_objective import MMSObjective, read_mms
from auricle.training.objective import Example
from auricle.training.vocabulary import build_vocabulary

SOUND = torch.randn(1, 4000, generator=torch.Generator().manual_seed(2))
SAME = 1e-4  # float32 sums in another order


def base(folder: Path, adapter: int | None = 6) -> Path:
    """A random MMS checkpoint that writes English."""
    torch.manual_seed(0)
    vocabulary = build_vocabulary(["abcdefghijklmnopqrstuvwxyz"])
    form = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
    model = Wav2Vec2CTC(Wav2Vec2CTC.tiny(vocab_size=len(vocabulary), adapter_attn_dim=adapter, **form))
    raw = {"architectures": ["Wav2Vec2ForCTC"], "model_type": "wav2vec2", **asdict(model.config)}
    write_checkpoint(folder, raw | {"pad_token_id": vocabulary.blank}, model.state_dict())
    vocabulary.save(folder, "eng")
    if adapter:
        save_file(dict(model.adapter_parameters()), folder / "adapter.eng.safetensors")
    (folder / "preprocessor_config.json").write_text('{"feature_extractor_type": "Wav2Vec2FeatureExtractor"}')
    return folder


def train(folder: Path, language: str = "tur") -> tuple[MMSObjective, list[float]]:
    start = read_mms(folder, language)
    rows = clips(4)
    labels = new_labels(build_vocabulary([f"ş{row.text}" for row in rows], "tr"), start.family)
    one = MMSObjective(start, labels, CTCSettings(augments=False), language)
    examples = [example for example in map(one.prepare, rows) if isinstance(example, Example)]
    assert len(examples) == 4
    batch = one.collate(examples, torch.Generator().manual_seed(1))
    optimizer = torch.optim.AdamW([p for p in one.model.parameters() if p.requires_grad], 1e-2)
    losses = []
    for _ in range(8):
        loss, _ = one.loss(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return one, losses


@pytest.mark.parametrize("adapter", [6, None])
def test_adapters_and_head_alone_learn(tmp_path: Path, adapter: int | None) -> None:
    folder = base(tmp_path / "base", adapter)
    before = load_file(folder / "model.safetensors")
    one, losses = train(folder)
    assert losses[-1] < losses[0]
    after = one.model.state_dict()
    frozen = [name for name in before if "adapter_layer" not in name and not name.startswith("lm_head")]
    assert len(frozen) > 40
    assert all(torch.equal(after[name], before[name]) for name in frozen)
    assert any(p.requires_grad for name, p in one.model.named_parameters() if "adapter_layer" in name)


def test_a_language_loads_by_its_code_here_and_in_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    one, _ = train(base(tmp_path / "base"))
    folder = tmp_path / "saved"
    one.save(folder)
    one.model.eval()
    with torch.no_grad():
        expected, _ = one.model(SOUND, torch.tensor([4000]))
        loaded = load(folder, target_lang="tur")
        logits, _ = loaded.model(SOUND, torch.tensor([4000]))
        plain, _ = load(folder).model(SOUND, torch.tensor([4000]))
        theirs = transformers.Wav2Vec2ForCTC.from_pretrained(
            folder, target_lang="tur", ignore_mismatched_sizes=True
        ).eval()
        others = theirs(SOUND).logits
    torch.testing.assert_close(logits, expected, rtol=SAME, atol=SAME)
    torch.testing.assert_close(plain, expected, rtol=SAME, atol=SAME)
    torch.testing.assert_close(others, expected, rtol=SAME, atol=SAME)
    tokenizer = transformers.Wav2Vec2CTCTokenizer.from_pretrained(folder, target_lang="tur")
    assert tokenizer("şo").input_ids == loaded.tokenizer.encode("şo")
    assert isinstance(
        pipeline("automatic-speech-recognition", folder, target_lang="tur")(SOUND[0].numpy())["text"], str
    )


def test_the_file_of_a_language_fits_the_model_it_was_made_from(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = base(tmp_path / "base")
    one, _ = train(folder)
    one.save(tmp_path / "saved")
    written = load_file(tmp_path / "saved" / "adapter.tur.safetensors")
    names = load_file(folder / "adapter.eng.safetensors")
    assert set(written) == set(names)
    # Copied beside another language's, it is what load_adapter takes.
    (folder / "adapter.tur.safetensors").write_bytes((tmp_path / "saved" / "adapter.tur.safetensors").read_bytes())
    model = transformers.Wav2Vec2ForCTC.from_pretrained(folder).eval()
    model.load_adapter("tur")
    one.model.eval()
    with torch.no_grad():
        expected, _ = one.model(SOUND, torch.tensor([4000]))
        torch.testing.assert_close(model(SOUND).logits, expected, rtol=SAME, atol=SAME)


def test_a_language_that_is_there_goes_on_from_its_own_adapter(tmp_path: Path) -> None:
    folder = base(tmp_path / "base")
    tensors = load_file(folder / "adapter.eng.safetensors")
    name = "wav2vec2.encoder.layers.1.adapter_layer.linear_1.bias"
    save_file({**tensors, name: torch.full_like(tensors[name], 7.0)}, folder / "adapter.eng.safetensors")
    start = read_mms(folder, "eng")
    assert float(start.tensors[name][0]) == 7.0
    assert getattr(start.tokenizer, "target_lang", None) == "eng"


def test_models_without_a_place_for_adapters_are_refused(tmp_path: Path) -> None:
    model = Wav2Vec2CTC(Wav2Vec2CTC.tiny())
    raw = {"architectures": ["Wav2Vec2ForCTC"], "model_type": "wav2vec2", **asdict(model.config)}
    write_checkpoint(tmp_path, raw, model.state_dict())
    (tmp_path / "preprocessor_config.json").write_text("{}")
    with pytest.raises(OptionError, match="post-norm form"):
        read_mms(tmp_path, "tur")
