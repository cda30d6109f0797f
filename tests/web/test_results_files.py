"""Results files: what counts as one, and what is said of those that do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from auricle.server.leaderboard import MAX_FILE_BYTES, read_leaderboard

GOOD = {
    "model": "org/good",
    "dataset": "clean",
    "wer": 0.021,
    "wer_low": 0.018,
    "wer_high": 0.024,
    "cer": 0.007,
    "rtfx": 1.31,
    "hardware": "2 cores",
    "date": "2026-11-21",
    "n_utterances": 1033,
}
QUICK = {"model": "org/quick", "dataset": "clean", "wer": 0.545, "rtfx": 120.4}
NOISY = {"model": "org/quick", "dataset": "noisy", "wer": 0.7}


def write(folder: Path, name: str, content: Any) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def models(board: dict[str, Any]) -> list[str]:
    return [row["model"] for row in board["rows"]]


def test_a_file_holds_one_result_a_list_or_results(tmp_path: Path) -> None:
    write(tmp_path, "a.json", GOOD)
    write(tmp_path, "b/c.json", [QUICK, NOISY])
    write(tmp_path, "d.json", {"results": [QUICK], "anything": "else"})
    board = read_leaderboard(tmp_path)
    assert models(board) == ["org/good", "org/quick", "org/quick", "org/quick"]
    assert board["rows"][0] == {**GOOD, "file": "a.json"}
    assert board["rows"][1]["cer"] is None
    assert board["rows"][1]["file"] == "b/c.json"
    assert (board["datasets"], board["warnings"], board["configured"]) == (["clean", "noisy"], [], True)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("7", "the file is int"),
        ([GOOD, "x"], "[1] is str"),
        ({"model": "x", "dataset": "y"}, "wer: Field required"),
        ({**GOOD, "wer": "many"}, "wer: Input should be a valid number"),
        ({**GOOD, "wer": -0.1}, "wer: Input should be greater than or equal to 0"),
        ('{"model": "x", "dataset": "y", "wer": Infinity}', "wer: Input should be a finite number"),
        ([{**GOOD, "date": "soon"}], "[0].date: "),
    ],
)
def test_a_malformed_file_is_a_warning_beside_the_good_ones(tmp_path: Path, content: Any, told: str) -> None:
    write(tmp_path, "bad.json", content)
    write(tmp_path, "good.json", GOOD)
    board = read_leaderboard(tmp_path)
    assert models(board) == ["org/good"]
    assert [warning["file"] for warning in board["warnings"]] == ["bad.json"]
    assert told in board["warnings"][0]["message"]
    assert str(tmp_path) not in json.dumps(board)


def test_what_is_no_text_or_too_large_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    write(tmp_path, "large.json", " " * (MAX_FILE_BYTES + 1))
    messages = [warning["message"] for warning in read_leaderboard(tmp_path)["warnings"]]
    assert "is no JSON" in messages[0]
    assert "at most 4194304 are read" in messages[1]


def test_without_a_folder_there_are_no_rows(tmp_path: Path) -> None:
    assert read_leaderboard(None) == {"rows": [], "datasets": [], "warnings": [], "configured": False}
    assert read_leaderboard(tmp_path / "nowhere")["configured"] is True
