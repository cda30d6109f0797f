from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from auricle.errors import OptionError
from auricle.evaluation.leaderboard import Entry, boards, duels, load_score, way_of
from auricle.evaluation.normalizers import normalizer
from auricle.evaluation.places import labelled, place, slug, unique
from auricle.evaluation.predictions import Prediction
from auricle.evaluation.rescore import rescore
from auricle.evaluation.rows import Made, read_rows, speech_row, write_json
from auricle.evaluation.scoring import Sampling, score
from auricle.evaluation.tables import details, markdown, standings
from auricle.server.leaderboard import read_leaderboard

ENGLISH = normalizer("english")


def row(model: str, dataset: str, wer: float, **more: Any) -> Entry:
    stamp = {"name": "english", "version": "1", "hash": ENGLISH.hash}
    return Entry({"model": model, "dataset": dataset, "wer": wer, "normalizer": stamp, **more})


def stored(folder: Path, model: str, texts: list[str], way: str = "english") -> Path:
    """Write predictions for "Hello there." and "Good night!", and their row."""
    said = ["Hello there.", "Good night!"] * (len(texts) // 2)
    pairs = zip(said, texts, strict=True)
    lines = [Prediction(str(at), *pair, duration=1.0, seconds=0.1) for at, pair in enumerate(pairs)]
    path = place(folder, model, "clean")
    path.parent.mkdir(parents=True)
    path.write_text("".join(one.line() + "\n" for one in lines))
    made = Made(model, "clean", hardware="a machine; reference engine", date="2026-11-01")
    write_json(path.with_suffix(".json"), speech_row(score(lines, normalizer(way)), made, path.name))
    return path.with_suffix(".json")


def entries(folder: Path) -> list[Entry]:
    return [Entry(one, path) for path, one in read_rows(folder)]


def test_the_mean_is_of_data_sets_and_only_of_models_that_have_all() -> None:
    [board] = boards(
        [row("a", "x", 0.1), row("a", "y", 0.3), row("b", "x", 0.05), row("c", "x", 0.1), row("c", "y", 0.1)]
    )
    assert board.standings == [("c", 0.1), ("a", 0.2), ("b", None)]
    assert standings(board).rows == (
        ("1", "c", "10.00", "10.00", "10.00"),
        ("2", "a", "20.00", "10.00", "30.00"),
        ("–", "b", "–", "5.00", "–"),
    )


def test_rows_of_different_normalisers_never_share_a_table() -> None:
    other = {"name": "english", "version": "0", "hash": "0123456789abcdef"}
    found = boards([row("a", "x", 0.1), row("a", "y", 0.3, normalizer=other), row("b", "x", 0.2, normalizer=None)])
    assert [[entry.place for entry in board.entries] for board in found] == [[("a", "x")], [("a", "y")], [("b", "x")]]
    assert all("normalised in 3 ways" in board.warnings[0] for board in found)


def test_different_utterances_hardware_and_failures_are_told() -> None:
    [board] = boards(
        [
            row("a", "x", 0.1, references="1", n_utterances=5, rtfx=3.0, hardware="one; engine"),
            row("b", "x", 0.1, references="2", n_utterances=4, rtfx=4.0, hardware="two; engine", n_failed=1),
        ]
    )
    assert board.warnings == (
        "x: the models were scored on different utterances or references (a 5, b 4)",
        "utterances that failed are not part of the rates of b on x",
        "RTFx was measured on 2 kinds of hardware; compare speeds within one",
    )


def test_of_two_rows_for_one_place_the_later_is_shown_and_told() -> None:
    [board] = boards([row("a", "x", 0.1, date="2026-11-02"), row("a", "x", 0.2, date="2026-11-01")])
    assert [entry.row["wer"] for entry in board.entries] == [0.1]
    assert "is there twice" in board.warnings[0]


def test_diarization_has_a_board_of_its_own_for_each_collar() -> None:
    one = Entry({"task": "speaker-diarization", "model": "a", "dataset": "x", "der": 0.2, "collar": 0.25})
    strict = Entry({**one.row, "collar": 0.0})
    found = boards([one, strict, row("a", "x", 0.1)])
    assert [board.rate for board in found] == ["der", "der", "wer"]
    assert way_of(one.row) == "collar 0.25 s, overlap scored"


def test_models_are_compared_from_their_stored_predictions(tmp_path: Path) -> None:
    stored(tmp_path, "good", ["hello there", "good night"] * 10)
    stored(tmp_path, "poor", ["hello dear", "god night"] * 10)
    scores = {entry.place: load_score(entry) for entry in entries(tmp_path)}
    [duel] = duels({key: one for key, one in scores.items() if one is not None})
    assert str(duel) == (
        "clean: good better than poor in 100.0 % of resamples (difference 50.00 points, 50.00 to 50.00; "
        "20 utterances, drawn by utterance)"
    )


def test_models_of_which_one_heard_other_texts_are_not_compared_and_keep_no_others_from_it(tmp_path: Path) -> None:
    a, b = (stored(tmp_path, model, ["hello there", "good knight"]) for model in "ab")
    other = stored(tmp_path, "c", ["hello there", "good night"])
    content = [json.loads(line) for line in other.with_suffix(".jsonl").read_text().splitlines()]
    content[1]["text"] = "Good morning!"
    other.with_suffix(".jsonl").write_text("".join(json.dumps(one) + "\n" for one in content))
    rows = [Entry(json.loads(path.read_text()), path) for path in (a, b, other)]
    scores = {entry.place: load_score(entry) for entry in rows}
    assert [(duel.first, duel.second) for duel in duels(scores)] == [("a", "b")]  # type: ignore[arg-type]


def test_the_better_model_is_named_first_whatever_the_order(tmp_path: Path) -> None:
    stored(tmp_path, "a-poor", ["hello dear", "good night"] * 10)
    stored(tmp_path, "good", ["hello there", "good night"] * 10)
    [duel] = duels({entry.place: one for entry in entries(tmp_path) if (one := load_score(entry)) is not None})
    assert str(duel).startswith("clean: good better than a-poor in 100.0 % of resamples (difference 25.00 points")


def test_stored_predictions_are_scored_again_in_another_way(tmp_path: Path) -> None:
    path = stored(tmp_path, "m", ["hello there", "good night"])
    [(_, again, _)] = rescore(tmp_path, lambda languages: normalizer("none"), Sampling())
    assert json.loads(path.read_text()) == again
    assert (again["wer"], again["normalizer"]["name"]) == (1.0, "none")
    assert (again["date"], again["hardware"]) == ("2026-11-01", "a machine; reference engine")
    list(rescore(tmp_path, lambda languages: ENGLISH, Sampling()))
    assert json.loads(path.read_text())["wer"] == 0.0


def test_a_normaliser_that_is_no_longer_the_same_is_told(tmp_path: Path) -> None:
    path = stored(tmp_path, "m", ["hello there", "good night"])
    content = json.loads(path.read_text())
    content["normalizer"]["hash"] = "0" * 16
    path.write_text(json.dumps(content))
    with pytest.raises(OptionError, match="score it again: auricle evaluate --rescore"):
        load_score(entries(tmp_path)[0])


def test_the_servers_page_reads_the_rows(tmp_path: Path) -> None:
    stored(tmp_path, "m", ["hello there", "good knight"])
    write_json(tmp_path / "d.json", {"task": "speaker-diarization", "model": "m", "dataset": "ami", "der": 0.2})
    board = read_leaderboard(tmp_path)
    assert board["warnings"] == []
    [one] = board["rows"]
    assert (one["model"], one["dataset"], one["wer"], one["n_utterances"]) == ("m", "clean", 0.25, 2)
    assert (one["rtfx"], one["hardware"], one["date"]) == (10.0, "a machine; reference engine", "2026-11-01")
    assert one["wer_low"] <= one["wer"] <= one["wer_high"]


def test_files_that_are_no_rows_are_told(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="is no folder"):
        list(read_rows(tmp_path / "none"))
    with pytest.raises(OptionError, match=r"holds no \*.json"):
        list(read_rows(tmp_path))
    (tmp_path / "a.json").write_text('{"model": "m", "dataset": "d"}')
    with pytest.raises(OptionError, match="wer is None; expected a fraction"):
        list(read_rows(tmp_path))


def test_markdown_has_raw_beside_normalised_and_what_is_to_be_known(tmp_path: Path) -> None:
    stored(tmp_path, "m", ["hello there", "good night"])
    [board] = boards(entries(tmp_path))
    text = markdown([standings(board), details(board)], ["careful"])
    assert "| 1 | m | 0.00 | 0.00 (100.00) |" in text
    assert "| m | clean | 0.00 | 0.00 to 0.00 | 100.00 | 0.00 |" in text
    assert text.endswith("### To be known\n\n- careful\n")


def test_names_of_models_and_files(tmp_path: Path) -> None:
    assert labelled("greedy=bundled") == ("greedy", "bundled")
    assert labelled("openai/whisper-tiny") == ("openai/whisper-tiny", "openai/whisper-tiny")
    assert labelled(str(tmp_path)) == (tmp_path.name, str(tmp_path))
    assert slug("openai/whisper tiny [en]") == "openai_whisper_tiny_en"
    with pytest.raises(OptionError, match="are both called 'm'; name one: --model NAME=y"):
        unique([("m", "x"), ("m", "y")], "--model")
