from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from auricle.corpora import Utterance
from auricle.errors import AudioFormatError, AuricleError, OptionError
from auricle.evaluation.predictions import read_jsonl
from auricle.evaluation.running import Run, predict
from auricle.results import Transcript

ROWS = [Utterance(str(number), f"{number}.wav", f"word {number}", speaker="ann", language="en") for number in range(4)]


class Echo:
    """Writes the name of each recording; what `breaks` names is an error, what `crashes` names is a fault of ours."""

    def __init__(self, breaks: tuple[str, ...] = (), crashes: tuple[str, ...] = ()) -> None:
        self.breaks, self.crashes = breaks, crashes
        self.heard: list[str] = []

    def transcripts(self, sources: Any, **parameters: Any) -> Iterator[Transcript | AuricleError]:
        assert parameters == {"batch_size": len(sources), "on_error": "return", "louder": True}
        for source in sources:
            self.heard.append(source)
            if source in self.crashes:
                raise RuntimeError("the matrix is singular")
            if source in self.breaks:
                yield AudioFormatError(f"{source} holds no sound")
            else:
                yield Transcript(f"heard {source}", duration=2.0)


def run(folder: Path, batch_size: int | None = None, **settings: Any) -> Run:
    return Run(folder / "p.jsonl", {"model": "echo", **settings}, {"louder": True}, batch_size)


def test_predictions_are_raw_and_in_the_order_of_the_rows(tmp_path: Path) -> None:
    found = predict(Echo(), ROWS, run(tmp_path, batch_size=3))
    assert [(one.id, one.reference, one.prediction) for one in found] == [
        (row.id, row.text, f"heard {row.audio}") for row in ROWS
    ]
    assert all(one.seconds is not None and one.seconds > 0 and one.duration == 2.0 for one in found)
    assert read_jsonl(tmp_path / "p.jsonl") == found


def test_the_first_recording_is_heard_once_more_to_warm_up(tmp_path: Path) -> None:
    pipe = Echo()
    predict(pipe, ROWS[:2], run(tmp_path))
    assert pipe.heard == ["0.wav", "0.wav", "1.wav"]


def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path) -> None:
    def interrupted() -> Iterator[Utterance]:
        yield from ROWS[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict(Echo(), interrupted(), run(tmp_path))
    with (tmp_path / "p.jsonl").open("a") as file:
        file.write('{"id": "2", "text": "wo')  # half a line
    pipe = Echo()
    found = predict(pipe, ROWS, run(tmp_path))
    assert pipe.heard == ["2.wav", "2.wav", "3.wav"]
    assert [one.prediction for one in found] == [f"heard {row.audio}" for row in ROWS]
    assert len((tmp_path / "p.jsonl").read_text().splitlines()) == 4
    again = Echo()
    assert predict(again, ROWS, run(tmp_path)) == found
    assert again.heard == []


@pytest.mark.parametrize("batch_size", [1, 4])
def test_what_fails_is_told_and_the_others_go_on(tmp_path: Path, batch_size: int) -> None:
    pipe = Echo(breaks=("1.wav",), crashes=("2.wav",))
    found = predict(pipe, ROWS, run(tmp_path, batch_size))
    assert [one.error for one in found] == [
        None,
        "AudioFormatError: 1.wav holds no sound",
        "RuntimeError: the matrix is singular",
        None,
    ]
    assert found[3].prediction == "heard 3.wav"


def test_what_failed_is_tried_again(tmp_path: Path) -> None:
    predict(Echo(breaks=("1.wav",)), ROWS, run(tmp_path))
    pipe = Echo()
    found = predict(pipe, ROWS, run(tmp_path))
    assert pipe.heard == ["1.wav", "1.wav"]
    assert found[1].prediction == "heard 1.wav"
    assert read_jsonl(tmp_path / "p.jsonl")[1].error is None


def test_predictions_of_other_settings_are_not_gone_on_with(tmp_path: Path) -> None:
    predict(Echo(), ROWS, run(tmp_path, beams=1))
    with pytest.raises(OptionError, match="beams was 1 and is 5"):
        predict(Echo(), ROWS, run(tmp_path, beams=5))


def test_results_of_earlier_versions_that_do_not_say_where_the_data_lay_go_on(tmp_path: Path) -> None:
    predict(Echo(), ROWS, run(tmp_path))
    pipe = Echo()
    predict(pipe, ROWS, run(tmp_path, data="/recordings/clean"))
    assert pipe.heard == []


def test_a_reference_that_changed_is_told(tmp_path: Path) -> None:
    predict(Echo(), ROWS, run(tmp_path))
    with pytest.raises(OptionError, match="'word 0' as the reference of '0', and the data set has 'other'"):
        predict(Echo(), [Utterance("0", "0.wav", "other")], run(tmp_path))


def test_settings_are_kept_beside_the_predictions_and_are_no_row(tmp_path: Path) -> None:
    predict(Echo(), ROWS[:1], run(tmp_path, beams=1))
    assert json.loads((tmp_path / "p.run").read_text()) == {"model": "echo", "beams": 1}
    assert not list(tmp_path.glob("*.json"))
