"""What is found in data that would spoil a training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auricle.corpora.utterance import Utterance
from auricle.training.ctc_objective import frames_needed
from auricle.training.doctor import Case, examine, histogram
from auricle.training.findings import Findings
from auricle.training.objective import Batch, Example, Rejected
from auricle.training.sound_check import check_sounds, duplicated_sounds
from auricle.training.vocabulary import build_vocabulary

RATE = 16000


class Learner:
    """An objective of one weight."""

    kind = "ctc"

    def __init__(self) -> None:
        self.model: nn.Module = nn.Linear(1, 1)
        self.modes: list[bool] = []

    def collate(self, examples: Sequence[Example], generator: torch.Generator | None) -> Batch:
        features = torch.stack([example.features for example in examples])
        ones = torch.ones(len(examples), dtype=torch.int64)
        return Batch(features, ones, ones[:, None], ones, len(examples))

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        return self.model(batch.features).square().mean(), {}

    def set_training(self, training: bool) -> None:
        self.modes.append(training)


@dataclass
class Rows:
    """A prepared split in memory."""

    entries: list[Example] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)

    def __getitem__(self, place: int) -> Example:
        return self.entries[place]


def example(id: str, text: str, duration: float = 3.0, n_frames: int = 150, **others: Any) -> Example:
    labels = tuple(ord(letter) for letter in text)
    return Example(id, torch.ones(2, 1), labels, n_frames, text, duration, **others)


def texts(n: int, start: int = 0) -> list[str]:
    words = "one two three four five six seven eight nine ten".split()
    return [
        " ".join(words[(place * step) % 10] for step in (1, 3, 7, 9, 4)) + f" {chr(97 + place % 26)}"
        for place in range(start, start + n)
    ]


def case(training: Rows, validation: Rows | None = None, **others: Any) -> Case:
    def rows(split: Rows | None) -> list[Utterance]:
        return [Utterance(one.id, b"", one.text) for one in split.entries] if split else []

    given = {"training_rows": rows(training), "validation_rows": rows(validation), **others}
    return Case(training, validation, **given)


def looked(training: Rows, validation: Rows | None = None, **others: Any) -> Findings:
    return examine(Learner(), case(training, validation, **others), listens=False, measures=False)  # type: ignore[arg-type]


@pytest.fixture
def good() -> Rows:
    return Rows([example(f"r{place}", text, duration=40.0, n_frames=2000) for place, text in enumerate(texts(24))])


@pytest.fixture
def held() -> Rows:
    return Rows([example(f"h{place}", f"held {text}", duration=40.0) for place, text in enumerate(texts(24, 30))])


def test_good_data_gives_nothing_to_say(good: Rows, held: Rows) -> None:
    assert looked(good, held).found == ()


def test_frames_are_needed_between_labels_that_are_alike() -> None:
    assert frames_needed([1, 2, 3]) == 3
    assert frames_needed([1, 1, 2, 2, 2]) == 8


def test_rows_with_hardly_enough_frames_are_named(good: Rows, held: Rows) -> None:
    good.entries[3] = example("tight", "aabbcc dd", duration=40.0, n_frames=13)  # 9 labels and 4 blanks
    [found] = looked(good, held).of("tight frames")
    assert found.count == 1
    assert found.examples == ("tight: 13 frames for 13: 'aabbcc dd'",)


def test_reasons_of_rows_left_out_are_counted_and_most_of_all_stop_a_run(good: Rows, held: Rows) -> None:
    good.rejected = [Rejected("x1", "more labels than frames", "80 needed, 20 there: 'text'")]
    findings = looked(good, held)
    [found] = findings.of("more labels than frames")
    assert (found.severity, found.count) == ("warning", 1)
    assert found.message.startswith("training: 1 of 25 rows")
    assert "misplaced" in found.advice
    good.rejected = [Rejected(f"x{place}", "without text") for place in range(30)]
    assert [one.kind for one in looked(good, held).errors] == ["without text"]


def test_labels_that_say_another_text_stop_a_run(good: Rows, held: Rows) -> None:
    wrong = {row.id: f"zzz qqq {row.id}" for row in good.entries}
    findings = looked(good, held, training_rows=[Utterance(id, b"", text) for id, text in wrong.items()])
    assert [one.kind for one in findings.errors] == ["other labels"]


def test_empty_labels_are_found_by_what_they_decode_to(good: Rows, held: Rows) -> None:
    findings = looked(good, held, decode=lambda labels: "")
    assert [one.kind for one in findings.errors] == ["silent labels"]


def test_five_pairs_show_the_text_beside_its_labels(good: Rows) -> None:
    lines = looked(good).tables
    shown = [line for line in lines if line.startswith("  text")]
    assert len(shown) == 5
    assert shown[0] == f"  text   {good.entries[0].text!r}"


def test_characters_are_reported_by_split_and_kind(good: Rows, held: Rows) -> None:
    vocabulary = build_vocabulary([*(row.text for row in good.entries), "number 5 %, ok!"])
    validation = [Utterance("v", b"", "déjà vu")]
    findings = looked(good, held, vocabulary=vocabulary, validation_rows=validation)
    assert "'é' 1" in findings.of("unknown characters")[0].message
    assert findings.of("digits")[0].count == 1
    assert "'%' 1" in findings.of("symbols")[0].message
    assert "'!' 1" in findings.of("removed")[0].message
    assert findings.of("rare characters")


def test_a_text_too_long_for_its_sound_is_found(good: Rows, held: Rows) -> None:
    good.entries[5] = example("odd", "many words in no time at all", duration=0.5, n_frames=2000)
    [found] = looked(good, held).of("speed")
    assert found.count == 1
    assert found.examples[0].startswith("odd: 56.0 characters a second")


def test_speakers_and_sentences_in_both_splits_are_found(good: Rows, held: Rows) -> None:
    good.entries[0] = replace(good.entries[0], speaker="ann")
    held.entries[0] = replace(held.entries[0], speaker="ann")
    assert looked(good, held).of("speakers")[0].examples == ("ann",)
    held.entries[1] = replace(held.entries[1], speaker="ann", text=good.entries[0].text)
    assert looked(good, held).of("same sentences")[0].count == 1


def test_little_data_and_few_texts_are_said() -> None:
    few = Rows([example(f"r{place}", "the same text every time") for place in range(40)])
    kinds = {one.kind for one in looked(few).found}
    assert {"little data", "little validation", "few texts"} <= kinds


def test_a_vocabulary_that_is_new_already_is_not_advised(good: Rows, held: Rows) -> None:
    held.rejected.append(Rejected("v", "characters outside the vocabulary", "'é'"))
    [of_kept] = looked(good, held).of("characters outside the vocabulary")
    assert "--new-vocabulary" in of_kept.advice
    [of_new] = looked(good, held, vocabulary=build_vocabulary(["a"])).of("characters outside the vocabulary")
    assert "--new-vocabulary" not in of_new.advice
    assert "in the training split, too" in of_new.advice


def test_without_validation_rows_the_last_weights_are_said_to_be_kept(good: Rows) -> None:
    few = Rows([example("v", "the same text every time")])
    assert "fewer than 20" in looked(good, few).of("little validation")[0].advice
    assert "last weights are kept" in looked(good).of("little validation")[0].advice


def test_the_histogram_counts_every_recording() -> None:
    lines = histogram([0.5, 1.5, 1.6, 7.9])
    assert lines[0].startswith("4 recordings, 0.00 h, median 1.6 s") or lines[0].startswith("4 recordings")
    assert [int(line.rsplit(" ", 1)[-1]) for line in lines[1:]] == [1, 2, 0, 0, 0, 0, 0, 1]
    assert histogram([]) == []


def test_a_tried_step_leaves_no_trace(good: Rows, held: Rows) -> None:
    learner = Learner()
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    findings = examine(learner, case(good, held, n_steps=600), listens=False)  # type: ignore[arg-type]
    assert "600 steps take about" in findings.tables[-1]
    assert all(torch.equal(value, before[name]) for name, value in learner.model.state_dict().items())
    assert all(parameter.grad is None for parameter in learner.model.parameters())
    assert learner.modes == [True, False]


def tone(level: float, seconds: float = 0.5, rate: int = RATE) -> dict[str, Any]:
    samples = level * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)
    return {"array": samples.clip(-1, 1).astype(np.float32), "sampling_rate": rate}


def test_silence_clipping_and_rates_are_heard() -> None:
    rows = [
        Utterance("fine", tone(0.5)),
        Utterance("silent", tone(0.0)),
        Utterance("quiet", tone(0.002)),
        Utterance("clipped", tone(3.0)),
        Utterance("telephone", tone(0.5, rate=8000)),
    ]
    found, said = check_sounds(rows)
    assert {one.kind: one.examples[0].split(":")[0] for one in found if one.examples} == {
        "silence": "silent",
        "quiet": "quiet",
        "clipping": "clipped",
        "low rate": "telephone",
    }
    assert "4 at 16000 Hz, 1 at 8000 Hz" in said


def test_recordings_of_both_splits_are_found_under_other_names(tmp_path: Path) -> None:
    import wave

    for name, level in (("a.wav", 0.1), ("b.wav", 0.2)):
        with wave.open(str(tmp_path / name), "wb") as file:
            file.setparams((1, 2, RATE, 0, "NONE", ""))
            file.writeframes((tone(level)["array"] * 32767).astype("<i2").tobytes())
    (tmp_path / "copy.wav").write_bytes((tmp_path / "a.wav").read_bytes())
    taught = [Utterance("a", str(tmp_path / "a.wav")), Utterance("b", str(tmp_path / "b.wav"))]
    [found] = duplicated_sounds(taught, [Utterance("c", str(tmp_path / "copy.wav"))])
    assert (found.severity, found.examples) == ("error", ("c is a",))
    stretch = [Utterance("d", str(tmp_path / "a.wav"), start=0.1, end=0.2)]
    assert duplicated_sounds(taught, stretch) == []
    [again] = duplicated_sounds([*taught, Utterance("e", str(tmp_path / "copy.wav"))], [])
    assert again.kind == "repeated"
