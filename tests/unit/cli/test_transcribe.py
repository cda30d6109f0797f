"""`auricle transcribe` with a recognizer that is a fake: what goes where, and with which exit code."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

import auricle.cli.transcribe as command
from auricle.cli import app, outputs
from auricle.errors import ModelNotFoundError, OptionError

# A process of its own with the same fake recognizer: what a shell sees.
DRIVER = """
import signal, sys
# A background job of a shell ignores Ctrl-C, and so would what it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, {folder!r})
import auricle.cli.transcribe as command
from conftest import FakePipeline
command.load = lambda order: FakePipeline()
from auricle.__main__ import main
main()
"""


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["transcribe", *map(str, arguments)])


def spawn(*arguments: object, **settings: Any) -> subprocess.Popen[bytes]:
    driver = DRIVER.format(folder=str(Path(__file__).parent))
    return subprocess.Popen(
        [sys.executable, "-c", driver, "transcribe", *map(str, arguments)],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **settings},
    )


def recording(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.usefixtures("fake")
def test_one_text_goes_to_stdout_and_everything_else_to_stderr(tmp_path: Path) -> None:
    result = run(recording(tmp_path, "a.wav", "good morning"))
    assert result.exit_code == 0
    assert result.stdout == "good morning\n"
    assert "1 done; 2.0 s of audio" in result.stderr


@pytest.mark.usefixtures("fake")
def test_quiet_leaves_only_the_text(tmp_path: Path) -> None:
    result = run(recording(tmp_path, "a.wav", ""), "--quiet")
    assert (result.stdout, result.stderr) == ("\n", "")


@pytest.mark.usefixtures("fake")
def test_warnings_go_to_stderr_with_their_time(tmp_path: Path) -> None:
    path = recording(tmp_path, "a.wav", "")
    assert f"{path}: no_speech at 1.0 s: nothing was heard" in run(path).stderr


@pytest.mark.usefixtures("fake")
def test_several_texts_are_rows_of_name_tab_text(tmp_path: Path) -> None:
    first, second = recording(tmp_path, "a.wav", "one"), recording(tmp_path, "b.wav", "two")
    assert run(first, second).stdout == f"{first}\tone\n{second}\ttwo\n"


@pytest.mark.usefixtures("fake")
def test_failing_files_do_not_stop_the_rest_and_give_exit_code_1(tmp_path: Path) -> None:
    broken, good = recording(tmp_path, "a.wav", "broken"), recording(tmp_path, "b.wav", "two")
    result = run(broken, tmp_path / "absent.wav", good)
    assert result.exit_code == 1
    assert result.stdout == f"{good}\ttwo\n"
    errors = result.stderr.splitlines()
    assert errors[0] == f"{broken}: '{broken}' holds no sound"
    assert "absent.wav" in errors[1]
    assert errors[2].startswith("auricle: 1 done, 2 failed;")
    assert "Traceback" not in result.stderr


@pytest.mark.usefixtures("fake")
def test_json_of_several_is_one_object_a_line(tmp_path: Path) -> None:
    paths = [recording(tmp_path, "a.wav", "one"), recording(tmp_path, "b.wav", "two words")]
    rows = [json.loads(line) for line in run(*paths, "--format", "json").stdout.splitlines()]
    assert [row["text"] for row in rows] == ["one", "two words"]
    assert rows[1]["source"] == str(paths[1])
    assert rows[1]["model"] == "fake"
    assert rows[1]["segments"][0]["words"][1] == {
        "text": "words",
        "start": 0.5,
        "end": 0.9,
        "confidence": 0.9,
    }


@pytest.mark.usefixtures("fake")
def test_formats_are_written_side_by_side_and_stdout_stays_empty(tmp_path: Path) -> None:
    path = recording(tmp_path, "Dr. No.wav", "one")
    result = run(path, "--format", "txt,srt", "-f", "json", "-o", tmp_path / "out")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == [
        "Dr. No.json",
        "Dr. No.srt",
        "Dr. No.txt",
    ]
    assert (tmp_path / "out" / "Dr. No.srt").read_text() == "1\n00:00:00,000 --> 00:00:00,833\none\n"


@pytest.mark.usefixtures("fake")
def test_folder_keeps_its_subfolders_and_equal_stems_keep_apart(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (
        recording(folder, "a.wav", "wav"),
        recording(folder, "a.mp3", "mp3"),
        recording(folder, "sub/a.ogg", "ogg"),
    )
    recording(folder, "notes.txt", "no recording"), recording(folder, ".hidden.wav", "hidden")
    result = run(folder, "-o", tmp_path / "out")
    assert result.exit_code == 0
    written = {str(one.relative_to(tmp_path / "out")): one.read_text() for one in (tmp_path / "out").rglob("*.txt")}
    assert written == {"a.wav.txt": "wav\n", "a.mp3.txt": "mp3\n", "sub/a.txt": "ogg\n"}


@pytest.mark.usefixtures("fake")
def test_existing_results_are_skipped_until_overwrite(tmp_path: Path) -> None:
    path = recording(tmp_path, "a.wav", "one")
    out = tmp_path / "out"
    assert run(path, "-o", out).exit_code == 0
    path.write_text("another")
    again = run(path, "-o", out)
    assert again.exit_code == 0
    assert "skipped" in again.stderr
    assert (out / "a.txt").read_text() == "one\n"
    run(path, "-o", out, "--overwrite")
    assert (out / "a.txt").read_text() == "another\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--format", "docx"],
        ["--format", ","],
        ["--format", "txt,json"],
        ["--timestamps", "syllable"],
        ["--timestamps", "none", "--format", "srt"],
        ["--language", "xx"],
        ["--batch-size", "0"],
        ["--option", "top_k"],
        ["--option", "=5"],
        ["--option", "batch_size=5"],
        ["--option", "top_k=5", "--option", "top_k=6"],
        ["--option", "task=translate", "--task", "transcribe"],
        ["--temperature", "warm"],
        ["--max-lines", "1"],
        ["--max-lines", "1", "--format", "srt", "--timestamps", "word"],
        ["--max-lines", "0", "--format", "srt"],
        ["--word-cues"],
        ["--paragraphs", "--format", "srt"],
        ["--frobnicate"],
    ],
)
@pytest.mark.usefixtures("fake")
def test_wrong_usage_gives_exit_code_2_and_no_traceback(arguments: list[str], tmp_path: Path) -> None:
    result = run(recording(tmp_path, "a.wav", "one"), *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


@pytest.mark.usefixtures("fake")
def test_subtitles_of_several_need_an_output_folder(tmp_path: Path) -> None:
    paths = [recording(tmp_path, "a.wav", "one"), recording(tmp_path, "b.wav", "two")]
    result = run(*paths, "--format", "srt")
    assert result.exit_code == 2
    assert "--output-dir" in result.stderr


def test_output_folder_that_is_a_file_is_refused_before_work(fake: Any, tmp_path: Path) -> None:
    path = recording(tmp_path, "a.wav", "one")
    result = run(path, "-o", path)
    assert result.exit_code == 2
    assert "is a file; give a folder" in result.stderr
    assert fake.asked == {}


def test_output_folder_that_takes_no_files_is_refused_before_work(
    fake: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(dir: Path) -> None:
        raise OSError(30, "Read-only file system", str(dir / "tmp123"))

    monkeypatch.setattr(outputs.tempfile, "TemporaryFile", refuse)
    result = run(recording(tmp_path, "a.wav", "one"), "-o", tmp_path)
    assert result.exit_code == 2
    assert f"cannot write to '{tmp_path}': Read-only file system" in result.stderr
    assert fake.asked == {}


@pytest.mark.usefixtures("fake")
def test_names_with_tabs_and_new_lines_stay_one_field_of_one_row(tmp_path: Path) -> None:
    paths = [recording(tmp_path, name, "one") for name in ("a\tb.wav", "c\nd.wav")]
    result = run(*paths)
    assert result.stdout == f"{tmp_path}/a\\tb.wav\tone\n{tmp_path}/c\\nd.wav\tone\n"


def test_model_that_cannot_be_loaded_gives_exit_code_3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(order: object) -> None:
        raise ModelNotFoundError("no model 'x' here")

    monkeypatch.setattr(command, "load", fail)
    result = run(recording(tmp_path, "a.wav", "one"), "--model", "x")
    assert result.exit_code == 3
    assert result.stderr == "auricle: no model 'x' here\n"


def test_model_that_transformers_runs_is_refused_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bridged = SimpleNamespace(is_bridged=True, name="sew", task="automatic-speech-recognition")
    monkeypatch.setattr("auricle.pipelines.pipeline", lambda *_, **__: bridged)
    result = run(recording(tmp_path, "a.wav", "one"), "--model", "sew")
    assert result.exit_code == 3
    assert result.stderr.startswith("auricle: 'sew' is run by transformers, whose results come whole")


def test_only_given_parameters_reach_the_pipeline(fake: Any, tmp_path: Path) -> None:
    path = recording(tmp_path, "a.wav", "one")
    run(path)
    assert set(fake.asked) == {"batch_size", "on_error", "progress", "return_timestamps"}
    assert fake.asked["return_timestamps"] is None
    run(path, "--timestamps", "word", "--beams", 5, "--hotword", "a b", "--hotword", "c",
        "--chunk-length", 20, "--initial-prompt", "Hello", "--task", "translate",
        "--lm", "x.arpa", "--batch-size", 4)  # fmt: skip
    expected = {"return_timestamps": "word", "num_beams": 5, "hotwords": ("a b", "c"), "chunk_length_s": 20.0,
                "initial_prompt": "Hello", "task": "translate", "lm": "x.arpa", "batch_size": 4}  # fmt: skip
    assert expected.items() <= fake.asked.items()


def test_subtitles_ask_for_words_where_the_model_times_them(fake: Any, tmp_path: Path) -> None:
    path = recording(tmp_path, "a.wav", "one")
    run(path, "--format", "vtt")
    assert fake.asked["return_timestamps"] == "word"
    run(path, "--format", "vtt", "--timestamps", "segment")
    assert fake.asked["return_timestamps"] == "segment"
    fake.dialect = SimpleNamespace(times={None: None, "segment": "segment"})
    run(path, "--format", "vtt")
    assert fake.asked["return_timestamps"] == "segment"
    result = run(path, "--format", "vtt", "--word-cues")
    assert (result.exit_code, result.stderr) == (
        2,
        "auricle: --word-cues needs the times of words, and this model has none; leave it out\n",
    )


def test_every_flag_of_the_text_reaches_its_parameter(fake: Any, tmp_path: Path) -> None:
    path = recording(tmp_path, "a.wav", "one")
    run(path, "--no-vad", "--schedule", "batched", "--channels", "split", "--no-condition", "--prefix", "So",
        "--temperature", "0,0.4")  # fmt: skip
    expected = {"vad": False, "schedule": "batched", "channels": "split", "condition_on_prev_tokens": False,
                "prefix": "So", "temperature": (0.0, 0.4)}  # fmt: skip
    assert expected.items() <= fake.asked.items()
    run(path, "--vad", "--condition", "--channels", "1", "--temperature", "0.5")
    expected = {"vad": True, "condition_on_prev_tokens": True, "channels": 1, "temperature": 0.5}
    assert expected.items() <= fake.asked.items()


def test_any_parameter_is_set_by_its_name_as_json_or_text(fake: Any, tmp_path: Path) -> None:
    given = {"top_k": 5, "suppress_tokens": [1, 2], "hotword_weight": "x", "lm": None}
    pairs = ["top_k=5", "suppress-tokens=[1, 2]", "hotword_weight=x", "lm=null"]
    run(recording(tmp_path, "a.wav", "one"), *[part for pair in pairs for part in ("--option", pair)])
    assert given.items() <= fake.asked.items()


@pytest.mark.usefixtures("fake")
def test_subtitles_are_shaped_by_their_flags(tmp_path: Path) -> None:
    path = recording(tmp_path, "a.wav", "one two three four five")
    lines = run(path, "-f", "srt", "--max-line-length", 9, "--max-lines", 1).stdout.splitlines()
    assert max(len(line) for line in lines if "-->" not in line) <= 9
    assert "<00:00:00.500>" in run(path, "-f", "vtt", "--word-cues").stdout


@pytest.mark.usefixtures("fake")
def test_provenance_is_in_the_json(tmp_path: Path) -> None:
    assert "provenance" in json.loads(run(recording(tmp_path, "a.wav", "one"), "-f", "json").stdout)


@pytest.mark.usefixtures("fake")
def test_times_in_text_are_a_line_each(tmp_path: Path) -> None:
    result = run(recording(tmp_path, "a.wav", "one two"), "--timestamps", "word")
    assert result.stdout == "[00:00:00.000 --> 00:00:00.400] one\n[00:00:00.500 --> 00:00:00.900] two\n"


# What a shell sees


def test_process_keeps_stdout_clean_and_shows_no_bar_in_a_pipe(tmp_path: Path) -> None:
    process = spawn(recording(tmp_path, "a.wav", "grüße"), env={**os.environ, "LC_ALL": "C"})
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out.decode("utf-8") == "grüße\n"
    assert b"\x1b" not in err
    assert len(err.splitlines()) == 1


def test_terminal_on_stderr_shows_the_audio_done_and_stdout_stays_clean(tmp_path: Path) -> None:
    terminal, end = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"}
    paths = [recording(tmp_path, name, "one") for name in ("a.wav", "b.wav")]
    process = spawn(*paths, stderr=end, env=env)
    os.close(end)
    shown = b""
    # A terminal whose other end was closed gives an error where a pipe gives nothing.
    with contextlib.suppress(OSError):
        while part := os.read(terminal, 1 << 16):
            shown += part
    assert process.wait(timeout=60) == 0
    assert process.stdout is not None
    assert process.stdout.read() == f"{paths[0]}\tone\n{paths[1]}\tone\n".encode()
    process.stdout.close()
    os.close(terminal)
    assert b" of audio" in shown.split(b"2 done")[0]
    assert b"2 done; 4.0 s of audio" in shown


def test_ctrl_c_keeps_finished_files_whole_and_leaves_no_others(tmp_path: Path) -> None:
    recordings = [recording(tmp_path, "a.wav", "one"), recording(tmp_path, "b.wav", "slow")]
    process = spawn(*recordings, "-f", "txt,json", "-o", tmp_path / "out")
    deadline = time.monotonic() + 60
    while not (tmp_path / "out" / "a.json").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.json", "a.txt"]
    assert json.loads((tmp_path / "out" / "a.json").read_text())["text"] == "one"


def test_reader_that_goes_away_is_met_quietly(tmp_path: Path) -> None:
    # More than a pipe holds, so that writing meets the closed end.
    process = spawn(recording(tmp_path, "a.wav", "word " * 50_000))
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait(timeout=60) == 141
    assert err == b""
    process.stderr.close()


def test_full_disk_behind_stdout_is_one_line_and_no_traceback(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with full.open("wb") as sink:
        process = spawn(recording(tmp_path, "a.wav", "one"), stdout=sink)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err == b"auricle: the output: No space left on device\n"


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help_that_cannot_be_written_is_one_line_and_no_traceback(arguments: list[str]) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with full.open("wb") as sink:
        process = spawn(*arguments, stdout=sink)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err == b"auricle: the output: No space left on device\n"


def test_closed_streams_lose_what_goes_there_and_nothing_else(tmp_path: Path) -> None:
    path, out = recording(tmp_path, "a.wav", "one"), tmp_path / "out"
    mute = spawn(path, preexec_fn=lambda: os.close(1))
    _, err = mute.communicate(timeout=60)
    assert (mute.returncode, err.splitlines()[-1]) == (1, b"auricle: the output: Bad file descriptor")
    written = spawn(path, "-o", out, preexec_fn=lambda: [os.close(number) for number in (0, 1, 2)])
    written.communicate(timeout=60)
    assert written.returncode == 0
    assert (out / "a.txt").read_text() == "one\n"
    silent = spawn(path, preexec_fn=lambda: os.close(2))
    assert silent.communicate(timeout=60)[0] == b"one\n"


def test_files_of_a_failed_write_do_not_stay(tmp_path: Path) -> None:
    good, blocked = tmp_path / "a.txt", tmp_path / "a.json"
    blocked.mkdir()
    (blocked / "full").touch()
    with pytest.raises(OptionError, match="cannot write"):
        outputs.write_whole({blocked: "{}", good: "text"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json"]


@pytest.mark.usefixtures("fake")
def test_home_in_the_output_folder_is_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run(recording(tmp_path, "a.wav", "one"), "--output-dir=~/texts").exit_code == 0
    assert (tmp_path / "texts" / "a.txt").read_text() == "one\n"
