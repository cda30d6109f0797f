"""`auricle transcribe` stopped in the middle and begun again: what is kept, where, and what is told."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
import wave
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from auricle.cli import app

RATE = 16000
DEADLINE_S = 60.0

# A process of its own with the same pipeline: what a shell sees.
DRIVER = """
import signal, sys
# A background job of a shell ignores Ctrl-C, and so would what it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, {folder!r})
import auricle.cli.transcribe as command
from conftest import level_pipeline
command.load = level_pipeline
from auricle.__main__ import main
main()
"""


def write_wav(path: Path, seconds: int, first: int = 1) -> Path:
    """Each second has a level of its own."""
    levels = np.repeat((first + np.arange(seconds)) * 0.01, RATE)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((levels * 32768).astype("<i2").tobytes())
    return path


def spawn(*arguments: object) -> subprocess.Popen[bytes]:
    """Begin a run in the current folder."""
    driver = DRIVER.format(folder=str(Path(__file__).parent))
    command = [sys.executable, "-c", driver, "transcribe", *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def run(*arguments: object, given: bytes = b"") -> tuple[int, str, str]:
    """Run to the end, in this process."""
    result = CliRunner().invoke(app, ["transcribe", *map(str, arguments)], input=given)
    return result.exit_code, result.stdout, result.stderr


def wait_for(journal: Path, n_steps: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not journal.exists() or journal.read_bytes().count(b"\n") < 1 + n_steps:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def decoded() -> list[int]:
    """The seconds that were decoded since this was last asked for."""
    path = Path("DECODED")
    found = [int(line) for line in path.read_text().split()] if path.exists() else []
    path.unlink(missing_ok=True)
    return found


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, levels: None) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a run into out/ met Ctrl-C after three of five seconds."""
    folder = tmp_path_factory.mktemp("interrupted")
    write_wav(folder / "talk.wav", 5)
    (folder / "STOP").write_text("3")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        process = spawn("talk.wav", "-o", "out", "-f", "txt,json")
        wait_for(folder / "out" / ".talk.auricle-journal.jsonl", 3, process)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 130
        assert err == b"auricle: interrupted; the finished windows are kept, and --resume goes on from there\n"
        assert decoded() == [0, 1, 2]
    (folder / "STOP").unlink()
    return folder


@pytest.fixture
def stopped(interrupted: Path, tmp_path: Path, _here: None) -> Path:
    """A copy of that folder."""
    shutil.copytree(interrupted, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_resumed_run_writes_what_an_uninterrupted_one_writes_and_decodes_only_the_rest(stopped: Path) -> None:
    code, _, err = run("talk.wav", "-o", "out", "-f", "txt,json", "--resume")
    assert code == 0, err
    assert decoded() == [3, 4]
    assert sorted(path.name for path in (stopped / "out").iterdir()) == ["talk.json", "talk.txt"]
    assert run("talk.wav", "-o", "whole", "-f", "txt,json")[0] == 0
    for name in ("talk.txt", "talk.json"):
        assert (stopped / "out" / name).read_bytes() == (stopped / "whole" / name).read_bytes()
    assert (stopped / "out" / "talk.txt").read_text() == "1 2 3 4 5\n"


def test_run_without_a_word_about_what_was_left_is_refused_and_keeps_it(stopped: Path) -> None:
    code, _, err = run("talk.wav", "-o", "out")
    assert code == 2
    assert err == (
        "auricle: an interrupted run left out/.talk.auricle-journal.jsonl; --resume goes on from there, "
        "--overwrite begins anew\n"
    )
    assert decoded() == []
    assert run("talk.wav", "-o", "out", "--overwrite")[0] == 0
    assert decoded() == [0, 1, 2, 3, 4]


def test_resuming_with_other_options_or_another_recording_says_what_differs(stopped: Path) -> None:
    code, _, err = run("talk.wav", "-o", "out", "--resume", "--option", "louder=true")
    assert code == 1
    assert "options.louder was false and is true" in err.splitlines()[0]
    write_wav(stopped / "talk.wav", 6)
    code, _, err = run("talk.wav", "-o", "out", "--resume")
    assert code == 1
    assert "audio_sha256 was" in err.splitlines()[0]
    assert decoded() == []


def test_killed_run_can_be_resumed_with_another_batch_size(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", 2)
    write_wav(tmp_path / "b.wav", 4, first=20)
    (tmp_path / "STOP").write_text("2")
    process = spawn("a.wav", "b.wav", "-o", "out")
    journal = tmp_path / "out" / ".b.auricle-journal.jsonl"
    wait_for(journal, 2, process)
    process.kill()
    process.communicate(timeout=DEADLINE_S)
    (tmp_path / "STOP").unlink()
    with journal.open("ab") as file:
        file.write(b'{"channel":0,"ent')  # as a crash may leave it
    decoded()
    code, _, err = run("a.wav", "b.wav", "-o", "out", "--resume", "--batch-size", 2)
    assert code == 0, err
    assert decoded() == [2, 3]
    assert (tmp_path / "out" / "b.txt").read_text() == "20 21 22 23\n"


def test_stdin_on_stdout_is_resumed_when_it_is_given_again(tmp_path: Path) -> None:
    content = write_wav(tmp_path / "talk.wav", 4).read_bytes()
    (tmp_path / "CTRL_C").write_text("2")
    code, _, err = run("-", "--resume", given=content)
    assert (code, decoded()) == (130, [0, 1])
    assert "--resume goes on" in err
    (tmp_path / "CTRL_C").unlink()
    code, out, _ = run("-", "--resume", given=content)
    assert (code, out, decoded()) == (0, "1 2 3 4\n", [2, 3])
    assert not (tmp_path / ".stdin.auricle-journal.jsonl").exists()


def test_resume_of_several_needs_an_output_folder(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", 1)
    write_wav(tmp_path / "b.wav", 1)
    code, _, err = run("a.wav", "b.wav", "--resume")
    assert code == 2
    assert "--output-dir" in err


def test_stdout_without_resume_leaves_no_file(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", 1)
    assert run("a.wav")[:2] == (0, "1\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["DECODED", "a.wav"]


def test_json_of_a_split_call_names_channels_and_provenance(tmp_path: Path) -> None:
    left, right = np.repeat([0.1, 0.0], RATE), np.repeat([0.0, 0.2], RATE)
    with wave.open(str(tmp_path / "call.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((np.stack([left, right], 1) * 32768).astype("<i2").tobytes())
    code, out, err = run("call.wav", "-f", "json", "--channels", "split")
    assert code == 0, err
    whole = json.loads(out)
    assert [(one["channel"], one["start"]) for one in whole["segments"]] == [(0, 0.0), (1, 0.0), (0, 1.0), (1, 1.0)]
    assert whole["provenance"]["options"] == {"louder": False, "batch_size": None, "channels": "split"}
    assert len(whole["provenance"]["audio_sha256"]) == 64
