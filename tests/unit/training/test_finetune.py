"""Fine-tuning as a whole, and its parts that only it uses: order, rows, masks, rates, events, card and page."""

from __future__ import annotations

import html.parser
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from finetune_toys import STILL, Row, finetune_toy, spoken, toy_checkpoint, toy_rows, write_corpus

from auricle import pipeline
from auricle.checkpoints.language_model import find_language_model
from auricle.corpora import open_corpus
from auricle.errors import OptionError
from auricle.training.ctc_fronts import draw_spans
from auricle.training.ctc_labels import kept_labels, new_labels
from auricle.training.ctc_objective import CTCObjective, CTCSettings, frames_needed
from auricle.training.ctc_start import read_start
from auricle.training.finetuning import finetune
from auricle.training.journal import read_log
from auricle.training.methods import open_objective
from auricle.training.objective import Example, Rejected
from auricle.training.options import FinetuneOptions
from auricle.training.order import batches_of_epoch
from auricle.training.prepared import prepare_rows
from auricle.training.rates import rate_at
from auricle.training.rows import choose_rows, hold_out
from auricle.training.tensorboard import crc32c, write_events
from auricle.training.vocabulary import build_vocabulary


def objective_of(tmp_path: Path, family: str, freeze: str = "none", **settings: Any) -> CTCObjective:
    start = read_start(toy_checkpoint(tmp_path / "start", family))
    labels = new_labels(build_vocabulary([row.text or "" for row in toy_rows()]), start.family)
    return CTCObjective(start, labels, CTCSettings(freeze=freeze, **settings))


def test_a_run_leaves_a_model_a_card_a_page_and_its_log(tmp_path: Path) -> None:
    start, data = toy_checkpoint(tmp_path / "start", "wav2vec2"), write_corpus(tmp_path / "data", 9)
    out = tmp_path / "out"
    options = {"steps": 3, "batch_seconds": 8.0, "evaluate_every": 2, "tensorboard": True, "language": "en"}
    finetune_toy(str(start), str(data), str(out), {**options, "device": "cpu"})
    heard = pipeline("automatic-speech-recognition", model=str(out))
    assert set(heard({"array": spoken("abc"), "sampling_rate": 16000})) == {"text"}
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "## Accuracy" in card
    assert "1 of 3 speakers" in card
    assert "learning_rate: 0.0001" in card
    assert "language:\n- en" in card
    page = (out / "results.html").read_text(encoding="utf-8")
    assert page.count("<svg") >= 4
    assert not [url for url in ("http:", "https:", "src=", "<link") if url in page]
    html.parser.HTMLParser().feed(page)
    log = read_log(out / "log.jsonl")
    assert [row["step"] for row in log if "wer" in row] == [0, 2, 3]
    assert (out / "tensorboard" / "events.out.tfevents.auricle").stat().st_size > 100


def test_nothing_that_is_there_is_written_over(tmp_path: Path) -> None:
    start, data = toy_checkpoint(tmp_path / "start", "wav2vec2"), write_corpus(tmp_path / "data", 6)
    before = (start / "model.safetensors").read_bytes()
    with pytest.raises(OptionError, match=r"start holds config.json, model.safetensors and no run of finetune"):
        finetune_toy(str(start), str(data), str(start), {"steps": 1})
    assert (start / "model.safetensors").read_bytes() == before
    with pytest.raises(OptionError, match=r"rows.jsonl is a file"):
        finetune_toy(str(start), str(data), str(data), {"steps": 1})
    with pytest.raises(OptionError, match=r"cannot write to '/dev/null/.*give another --out"):
        finetune_toy(str(start), str(data), "/dev/null/model", {"steps": 1})
    clone = tmp_path / "clone"
    (clone / ".git").mkdir(parents=True)
    finetune_toy(str(start), str(data), str(clone), {"steps": 1, "device": "cpu", "force": True})
    assert (clone / "model.safetensors").exists()


class Streamed:
    """Rows that are read anew each time, and of which nobody knows how many there are."""

    def __init__(self, rows: list[dict[str, str]]) -> None:
        self.rows = rows

    def __iter__(self) -> Iterator[dict[str, str]]:
        return iter(self.rows)


def test_rows_may_come_from_a_generator_and_a_dataset_that_is_open_keeps_its_splits(tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "data", 6)
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    places = [{"audio": str(data.parent / row["path"]), "text": row["text"]} for row in rows]
    assert len(choose_rows(place for place in places).training) == 5
    streamed = choose_rows(Streamed([*places, {"audio": str(tmp_path / "nowhere.wav"), "text": "ab"}]))
    assert streamed.said["left_out"] == {"no such file": 1}
    assert "left out 1: no such file (row 6)" in streamed.reports[0]
    splits = ["train", "train", "train", "dev", "test", "test"]
    data.write_text(
        "".join(json.dumps({**row, "split": split}) + "\n" for row, split in zip(rows, splits, strict=True))
    )
    chosen = choose_rows(open_corpus(data))
    assert (len(chosen.training), len(chosen.validation)) == (3, 1)


def test_what_is_frozen_stays_and_the_rest_learns(tmp_path: Path) -> None:
    data = write_corpus(tmp_path / "data", 9)
    for freeze, frozen in (("encoder", "wav2vec2.encoder.layers"), ("feature-encoder", "feature_extractor")):
        start = toy_checkpoint(tmp_path / f"start {freeze}", "wav2vec2")
        out = tmp_path / freeze
        options = {"steps": 2, "batch_seconds": 8.0, "freeze": freeze, "learning_rate": 1e-2, "device": "cpu"}
        finetune_toy(str(start), str(data), str(out), {**options, "evaluate_every": 2, "metric": "cer"})
        before, after = read_start(start).tensors, read_start(out).tensors
        state = torch.load(sorted((out / "training_state").glob("snapshot*"))[-1], weights_only=True)
        assert all(before[name].equal(after[name]) for name in before if frozen in name)
        assert not [name for name in state["parameters"] if frozen in name]
        assert "lm_head.weight" in state["parameters"]


def test_states_of_a_frozen_encoder_are_what_the_model_computes(tmp_path: Path) -> None:
    row = Row("one", {"array": spoken("ab de"), "sampling_rate": 16000}, "ab de")
    losses = []
    for freeze in ("none", "encoder"):
        objective = objective_of(tmp_path, "wav2vec2", freeze, augments=False)
        example = objective.prepare(row)  # type: ignore[arg-type]
        assert isinstance(example, Example)
        loss, _ = objective.loss(objective.collate([example], None))
        losses.append(float(loss.detach()))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize(
    ("text", "seconds", "reason"),
    [
        (None, 1.0, "without text"),
        ("  ", 1.0, "without text"),
        ("abz", 1.0, "characters outside the vocabulary"),
        ("?!", 1.0, "nothing of the text can be written"),
        ("abc", 0.05, "shorter than 0.1 s"),
        ("abc", 3.0, "longer than 2 s"),
        ("abcde abcde abcde", 0.2, "more labels than frames"),
    ],
)
def test_rows_that_cannot_be_learned_say_why(tmp_path: Path, text: str | None, seconds: float, reason: str) -> None:
    objective = objective_of(tmp_path, "wav2vec2", max_duration=2.0)
    audio = {"array": spoken("a", seconds_a_letter=seconds / 3), "sampling_rate": 16000}
    found = objective.prepare(Row("one", audio, text))  # type: ignore[arg-type]
    assert isinstance(found, Rejected)
    assert found.reason == reason


def test_rows_that_are_prepared_are_not_computed_again_and_half_a_row_is(tmp_path: Path) -> None:
    objective, rows = objective_of(tmp_path, "wav2vec2"), toy_rows(5)
    whole = prepare_rows(objective, rows, tmp_path / "whole")  # type: ignore[arg-type]
    prepare_rows(objective, rows, tmp_path / "cut")  # type: ignore[arg-type]
    lines = (tmp_path / "cut" / "rows.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "cut" / "rows.jsonl").write_bytes(b"".join(lines[:3]) + lines[3][:20])
    computed = []
    again = prepare_rows(objective, rows, tmp_path / "cut", lambda done, _: computed.append(done))  # type: ignore[arg-type]
    assert computed == [3, 4, 5]
    assert again.fingerprint == whole.fingerprint
    assert all(again[at].features.equal(whole[at].features) for at in range(5))


@pytest.mark.parametrize("is_finished", [True, False])
@pytest.mark.parametrize("kept", [None, 1000])
def test_features_that_were_lost_are_computed_again(tmp_path: Path, is_finished: bool, kept: int | None) -> None:
    objective, rows = objective_of(tmp_path, "wav2vec2"), toy_rows(5)
    whole = prepare_rows(objective, rows, tmp_path / "whole")  # type: ignore[arg-type]
    prepare_rows(objective, rows, tmp_path / "cut")  # type: ignore[arg-type]
    features, lines = tmp_path / "cut" / "features.f32", tmp_path / "cut" / "rows.jsonl"
    if not is_finished:
        lines.write_bytes(b"".join(lines.read_bytes().splitlines(keepends=True)[:-1]))
    if kept is None:
        features.unlink()
    else:
        features.write_bytes(features.read_bytes()[:kept])
    again = prepare_rows(objective, rows, tmp_path / "cut")  # type: ignore[arg-type]
    assert again.fingerprint == whole.fingerprint
    assert all(again[at].features.equal(whole[at].features) for at in range(5))


def test_the_card_beside_a_checkpoint_has_its_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start, data = toy_checkpoint(tmp_path / "start", "wav2vec2"), write_corpus(tmp_path / "data", 9)
    written: list[list[dict[str, Any]]] = []
    monkeypatch.setattr("auricle.training.finetuning.write_card", lambda folder, run, log: written.append(log))
    finetune_toy(str(start), str(data), str(tmp_path / "out"), {"steps": 1, "batch_seconds": 8.0, "device": "cpu"})
    # Written with the checkpoint of the start, and not of a log without its evaluation.
    assert [row["step"] for row in written[0] if "wer" in row] == [0]


def test_an_epoch_has_every_example_once_within_its_seconds_and_another_order_than_the_next() -> None:
    draw = torch.Generator().manual_seed(0)
    durations = (torch.rand(500, generator=draw) * 15 + 0.3).tolist()
    groups = batches_of_epoch(durations, 60.0, 1, 0)
    assert sorted(place for group in groups for place in group) == list(range(500))
    padded = [len(group) * max(durations[at] for at in group) for group in groups]
    assert max(padded) <= 60.0
    assert sum(durations) / sum(padded) > 0.9
    assert groups == batches_of_epoch(durations, 60.0, 1, 0)
    assert groups != batches_of_epoch(durations, 60.0, 1, 1)


def test_whole_speakers_are_held_out_whatever_the_order_of_the_rows() -> None:
    rows = [Row(str(at), b"", "a", speaker=f"speaker {at % 7}") for at in range(70)]
    training, held, said = hold_out(rows, 0.2, 1)  # type: ignore[arg-type]
    assert said == "1 of 7 speakers"
    assert not {row.speaker for row in training} & {row.speaker for row in held}
    assert {row.speaker for row in hold_out(rows[::-1], 0.2, 1)[1]} == {row.speaker for row in held}  # type: ignore[arg-type]


def test_rows_are_held_out_by_themselves_where_speakers_are_not_known() -> None:
    rows = [Row(str(at), b"", "a") for at in range(40)]
    training, held, _ = hold_out(rows, 0.1, 1)  # type: ignore[arg-type]
    assert (len(training), len(held)) == (36, 4)


@pytest.mark.parametrize("speakers", [1, 4])
def test_rows_without_text_are_never_held_out(speakers: int) -> None:
    texts = [None, "", "  ", "a"]
    rows = [Row(str(at), b"", texts[at % 4], speaker=f"{at % speakers}" if speakers > 1 else None) for at in range(40)]
    for seed in range(8):
        training, held, _ = hold_out(rows, 0.1, seed)  # type: ignore[arg-type]
        assert {row.text for row in held} == {"a"}
        assert sorted(row.id for row in [*training, *held]) == sorted(row.id for row in rows)


def test_spans_cover_about_what_they_are_to_and_never_reach_past_a_row() -> None:
    lengths = [400] * 60 + [12]
    hidden = draw_spans(lengths, 400, 0.3, 10, 2, torch.Generator().manual_seed(0))
    assert not hidden[-1, 12:].any()
    # Spans overlap: 1 - (1 - 10 / 391) ** 12 of the frames.
    assert float(hidden[:60].float().mean()) == pytest.approx(0.26, abs=0.03)


def test_labels_that_repeat_need_a_frame_between_them() -> None:
    assert frames_needed([1, 1, 2, 2, 2, 3]) == 9


def test_a_kept_vocabulary_takes_texts_in_its_own_case() -> None:
    start = read_start("bundled")
    assert start.tokenizer is not None
    labels = kept_labels(start.tokenizer, start.folder, "en")
    assert labels.spelled("Don’t – SHOUT!") == "don't shout"
    assert labels.missing(labels.spelled("Größe 3")) == "3ßö"
    assert start.tokenizer.decode(labels.encode("don't shout")) == "don't shout"


@pytest.mark.parametrize(
    ("given", "stays"),
    [
        ({}, True),
        ({"language": "en"}, True),
        ({"language": "it"}, False),
        ({"vocabulary": "new"}, False),
        ({"language_model": False}, False),
    ],
)
def test_a_language_model_stays_with_its_vocabulary_and_language(
    given: dict[str, Any], stays: bool, tmp_path: Path
) -> None:
    objective, _ = open_objective("bundled", FinetuneOptions(**given), toy_rows())
    objective.save(tmp_path)
    found = find_language_model(tmp_path)
    assert (found is not None) == stays
    heard = pipeline("automatic-speech-recognition", model=str(tmp_path))
    assert ("own_lm" in heard.dialect.preset) == stays


def test_a_new_head_knows_the_letters_that_the_old_one_knew() -> None:
    start = read_start("bundled")
    labels = new_labels(build_vocabulary(["abc öz"], "de"), start.family)
    head: Any = CTCObjective(start, labels, CTCSettings(freeze="encoder")).model
    old = start.tensors["ctc_head.weight"].float()
    assert start.tokenizer is not None
    for letter in " abcz":
        ours, theirs = labels.tokenizer.encode(f"a{letter}a")[1], start.tokenizer.encode(f"a{letter}a")[1]
        assert head.ctc_head.weight[ours].equal(old[theirs])
    assert head.ctc_head.weight[labels.tokenizer.blank].equal(old[start.tokenizer.blank])


def test_options_are_no_dictionary(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="options is a dict; expected FinetuneOptions"):
        finetune("bundled", tmp_path, tmp_path / "out", {"steps": 1})  # type: ignore[arg-type]


def test_rates_rise_then_fall_to_nothing() -> None:
    rates = [rate_at(at / 100, 0.1, "linear") for at in range(101)]
    assert max(rates) == rates[10] == 1.0
    assert rates[-1] == 0.0
    assert rate_at(0.55, 0.1, "cosine") == pytest.approx(0.5)


@pytest.mark.parametrize(
    "given",
    [
        {"epochs": 3, "steps": 5},
        {"freeze": "all"},
        {"batch_seconds": 0},
        {"warmup_share": 1.0},
        {"metric": "bleu"},
        {"weight_decay": -0.1},
        {"min_duration": -1.0},
        {"min_duration": 5.0, "max_duration": 2.0},
        {"seed": -1},
        {"steps": "3"},
        {"steps": 1.5},
        {"accumulate": 2.0},
        {"epochs": True},
    ],
)
def test_options_that_make_no_sense_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        FinetuneOptions(**given)


def test_little_data_is_repeated_until_something_can_be_learned_from_it() -> None:
    assert FinetuneOptions().resolved("parakeet_ctc", 2).epochs == 300
    assert FinetuneOptions().resolved("parakeet_ctc", 2000).epochs == 15


def test_event_files_hold_the_figures_in_tensorboards_records(tmp_path: Path) -> None:
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720, appendix B.4, and every other description
    path = tmp_path / "events"
    write_events(path, [{"step": 7, "loss": 0.5, "seconds": 2.0}, {"step": 7, "wer": 0.25, "cer": 0.125}], 1000.0)
    data, records = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        records.append(data[12 : 12 + length])
        data = data[16 + length :]
    assert b"brain.Event:2" in records[0]
    assert b"training/loss" in records[1]
    assert struct.pack("<d", 1002.0) in records[1]
    assert struct.pack("<f", 0.5) in records[1]
    assert b"validation/wer" in records[2]
    assert struct.pack("<f", 0.25) in records[2]


def test_checkpoints_may_say_how_they_drop_out(tmp_path: Path) -> None:
    raw = json.loads((toy_checkpoint(tmp_path, "wav2vec2", hidden_dropout=0.5) / "config.json").read_text("utf-8"))
    assert raw["hidden_dropout"] == 0.5
    objective = objective_of(tmp_path, "wav2vec2")
    example = objective.prepare(Row("one", {"array": spoken("ab"), "sampling_rate": 16000}, "ab"))  # type: ignore[arg-type]
    assert isinstance(example, Example)
    batch = objective.collate([example], None)
    drawn = []
    for dropout in (0.0, 0.5):
        for module in objective.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = dropout
        objective.set_training(True)
        torch.manual_seed(1)
        first = float(objective.loss(batch)[0].detach())
        torch.manual_seed(2)
        drawn.append(first == float(objective.loss(batch)[0].detach()))
    assert STILL["hidden_dropout"] == 0.0
    assert drawn == [True, False]
