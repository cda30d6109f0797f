"""Fine-tuning a tiny Whisper on real speech: what it learns, and that it keeps its times."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from whisper_rows import clips, write_whisper_folder
from whisper_toy import EOS, NO_TIMESTAMPS, START

from auricle.errors import OptionError
from auricle.pipelines import pipeline
from auricle.training.disturbance import DisturbanceOptions
from auricle.training.lora import LoraOptions, add_lora
from auricle.training.objective import Example, Rejected
from auricle.training.whisper_labels import Drawing
from auricle.training.whisper_objective import Seq2SeqSettings, WhisperObjective
from auricle.training.whisper_start import read_whisper

BEGIN = NO_TIMESTAMPS + 1
QUIET = Drawing(timed=0.8, joined=0.0, told=0.1, longest_gap=0.0)


def objective(folder: Path, **changes: Any) -> WhisperObjective:
    return WhisperObjective(read_whisper(folder), Seq2SeqSettings(**changes))


def prepared(one: WhisperObjective, n: int = 8) -> list[Example]:
    made = [one.prepare(row) for row in clips(n)]
    assert all(isinstance(example, Example) for example in made), made
    return made  # type: ignore[return-value]  # just asserted


def train(one: WhisperObjective, examples: list[Example], n_steps: int, rate: float) -> list[float]:
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.AdamW([p for p in one.model.parameters() if p.requires_grad], rate)
    losses = []
    one.set_training(True)
    for step in range(n_steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 20) * (1 - step / (n_steps + 5))
        loss, _ = one.loss(one.collate(examples, generator))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(one.model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    one.set_training(False)
    return losses


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_whisper_folder(tmp_path_factory.mktemp("whisper") / "start")


def test_a_tuned_model_keeps_its_segment_and_word_times(tmp_path: Path) -> None:
    start = write_whisper_folder(tmp_path / "start", seconds=1, width=48)
    one = objective(start, language="en", augments=False, drawing=QUIET)
    rows, examples = clips(3), prepared(one, 3)
    train(one, examples, 110, 6e-3)
    assert one.transcribe(one.collate(examples, None)) == [row.text for row in rows]
    one.save(tmp_path / "tuned")
    recognize = pipeline("automatic-speech-recognition", tmp_path / "tuned")
    for row in rows:
        spoken = row.extra["word_times"]
        [segment] = recognize(row.audio, return_timestamps=True)["chunks"]
        assert segment["timestamp"] == pytest.approx((spoken[0][0], spoken[-1][1]), abs=0.041)
        words = recognize(row.audio, return_timestamps="word")["chunks"]
        assert "".join(word["text"] for word in words) == f" {row.text}"
        assert all(0 <= word["timestamp"][0] <= word["timestamp"][1] <= 1.0 for word in words)


def test_labels_hold_the_times_of_words_and_their_text(folder: Path) -> None:
    one = objective(folder)
    [example] = prepared(one, 1)
    assert example.labels[0] == BEGIN + 3  # 0.06 s
    assert example.labels[-1] == BEGIN + 30  # 0.7 s of sound, the last word ends 0.1 s before
    assert one.tokenizer.decode(example.labels) == " and so"
    assert example.text == "and so"


def test_joined_clips_sound_where_their_labels_say(folder: Path) -> None:
    long = write_whisper_folder(folder.with_name("long"), seconds=10)
    one = objective(long, augments=False, drawing=Drawing(joined=1.0, timed=1.0, told=0.0))
    examples = prepared(one, 6)
    tones = [
        torch.sin(torch.arange(len(example.features)) * 2 * torch.pi * 500 / 16000)[:, None] for example in examples
    ]
    examples = [
        # A tone, in labels from its very beginning to its end.
        replace(example, features=tone, labels=(BEGIN, 5 + place, BEGIN + len(tone) // 320))
        for place, (example, tone) in enumerate(zip(examples, tones, strict=True))
    ]
    batch = one.collate(examples, torch.Generator().manual_seed(3))
    assert len(batch.features) == 1
    times = [id - BEGIN for id in batch.labels[0].tolist() if id >= BEGIN]
    assert len(times) == 12
    level = batch.features[0].max(1).values  # (F,), two frames in a step
    said = torch.zeros(len(level), dtype=torch.bool)
    for first, last in zip(times[::2], times[1::2], strict=True):
        said[2 * first : 2 * last] = True
    inner = said.clone()
    inner[1:-1] &= said[2:] & said[:-2]
    assert float(level[inner].min()) > 1.0
    outer = ~said
    for _ in range(3):  # a frame hears 12 ms to both sides
        outer[1:-1] &= outer[2:] & outer[:-2]
    assert float(level[outer].max()) < 0.0


def test_no_window_is_told_its_own_text(folder: Path) -> None:
    one = objective(folder, drawing=Drawing(told=1.0, joined=0.0))
    batch = one.collate(prepared(one), torch.Generator().manual_seed(3))
    previous = one.tokens.previous
    for tokens, text in zip(batch.extra["tokens"].tolist(), batch.texts, strict=True):
        assert tokens[0] == previous
        before = one.tokenizer.decode(tokens[1 : tokens.index(START)])
        assert before.strip()
        assert before.strip() != text
    [alone] = one.collate(prepared(one, 1), torch.Generator().manual_seed(3)).extra["tokens"].tolist()
    assert alone[0] == START


def test_without_a_generator_each_clip_is_alone_and_plain(folder: Path) -> None:
    one = objective(folder)
    batch = one.collate(prepared(one), None)
    assert len(batch.features) == 8
    assert batch.texts == tuple(row.text for row in clips())
    assert batch.extra["tokens"][0, :4].tolist() == [START, START + 1, START + 4, NO_TIMESTAMPS]
    assert not bool((batch.labels >= BEGIN).any())
    assert batch.n_units == int((batch.labels != -100).sum())
    assert batch.labels[0][batch.labels[0] != -100][-1] == EOS


def test_the_same_generator_draws_the_same_batch(folder: Path) -> None:
    one = objective(folder, disturbance=DisturbanceOptions())
    examples = prepared(one)
    first, again, other = (one.collate(examples, torch.Generator().manual_seed(seed)) for seed in (7, 7, 8))
    assert torch.equal(first.features, again.features)
    assert torch.equal(first.labels, again.labels)
    assert not torch.equal(first.features[: len(other.features)], other.features[: len(first.features)])


def test_a_row_learns_the_same_beside_others(folder: Path) -> None:
    one = objective(folder)
    examples = prepared(one, 4)
    together, _ = one.loss(one.collate(examples, None))
    alone = [one.collate([example], None) for example in examples]
    sums = [one.loss(batch)[0] * batch.n_units for batch in alone]
    expected = sum(sums) / sum(batch.n_units for batch in alone)
    torch.testing.assert_close(together, torch.as_tensor(expected), rtol=1e-5, atol=1e-5)


def test_label_smoothing_changes_the_loss_as_defined(folder: Path) -> None:
    one, smooth = objective(folder), objective(folder, label_smoothing=0.1)
    batch = one.collate(prepared(one, 2), None)
    plain, _ = one.loss(batch)
    tokens = batch.extra["tokens"]
    states, lengths = one.model.encode(batch.features.transpose(1, 2), batch.lengths)
    logits = one.model.decode(tokens, one.model.new_cache(states, lengths), tokens.shape[1])
    uniform = -logits.log_softmax(-1).mean(-1)[batch.labels != -100].mean()
    torch.testing.assert_close(smooth.loss(batch)[0], 0.9 * plain + 0.1 * uniform, rtol=1e-5, atol=1e-5)


def test_a_frozen_encoder_stays_as_it_was(folder: Path) -> None:
    one = objective(folder, freeze_encoder=True)
    before = {name: value.clone() for name, value in one.model.state_dict().items()}
    train(one, prepared(one, 2), 2, 1e-3)
    changed = {name for name, value in one.model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert not any("encoder." in name and "decoder." not in name for name in changed)


def test_rows_that_cannot_be_learned_say_why(folder: Path) -> None:
    one = objective(folder)
    [row] = clips(1)
    long = {"array": np.zeros(16000 * 3, np.float32), "sampling_rate": 16000}
    reasons = [
        one.prepare(changed).reason  # type: ignore[union-attr]  # all are rejected
        for changed in (
            replace(row, text=" "),
            replace(row, audio=long),
            replace(row, text="word " * 60),
            replace(row, language=None),
            replace(row, language="fr"),
            replace(row, audio="/none.wav"),
        )
    ]
    assert reasons == [
        "without text",
        "longer than 2 s",
        "more tokens than the decoder has positions",
        "without a language",
        "a language that the checkpoint does not have",
        "the recording cannot be read",
    ]
    assert not isinstance(one.prepare(replace(row, language="en-US")), Rejected)


def test_generation_settings_are_whole_and_force_nothing(folder: Path, tmp_path: Path) -> None:
    one = objective(folder, language="german")
    one.save(tmp_path / "saved")
    written = json.loads((tmp_path / "saved" / "generation_config.json").read_text())
    original = json.loads((folder / "generation_config.json").read_text())
    assert {name: written[name] for name in original} == original
    assert written["language"] == "de"
    assert written["task"] == "transcribe"
    assert written["alignment_heads"]
    assert "forced_decoder_ids" not in written
    assert "forced_decoder_ids" not in json.loads((tmp_path / "saved" / "config.json").read_text())


def test_detours_alone_are_trained_and_merged_when_saved(folder: Path, tmp_path: Path) -> None:
    one = objective(folder)
    layers = add_lora(one.model, LoraOptions(rank=4, dropout=0.0))
    assert len(layers) == 2 * 6 + 2 * 10
    examples = prepared(one, 4)
    losses = train(one, examples, 12, 2e-2)
    assert losses[-1] < losses[0]
    batch = one.collate(examples, None)
    one.save(tmp_path / "merged")
    merged = objective(tmp_path / "merged")
    assert set(merged.model.state_dict()) == set(read_whisper(folder).model.state_dict())
    torch.testing.assert_close(merged.loss(batch)[0], one.loss(batch)[0], rtol=1e-5, atol=1e-5)


def test_other_models_are_refused() -> None:
    with pytest.raises(OptionError, match="--method ctc"):
        read_whisper("bundled")
