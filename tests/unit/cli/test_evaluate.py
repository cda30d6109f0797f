"""`auricle evaluate` and `auricle leaderboard` as a shell sees them, with the bundled model on the samples."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from auricle.cli import app
from auricle.errors import CheckpointError
from auricle.pipelines.provenance import ModelIdentity
from auricle.results import SpeakerTurn, Transcript
from auricle.speech.diarization import Diarization

SAMPLES = Path(__file__).parents[3] / "samples"
JFK = "And so, my fellow Americans, ask not what your country can do for you, ask what you can do for your country."


def call(*arguments: Any) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


class Fake:
    """Writes each file's text; hears the file named broken.wav not at all."""

    identity = ModelIdentity("fake", "abc", engine="reference", dtype="float32")
    dialect = SimpleNamespace(fields={})

    def __init__(self) -> None:
        self.heard: list[str] = []

    def transcripts(self, sources: Any, **parameters: Any) -> Iterator[Any]:
        for source in sources:
            self.heard.append(Path(source).name)
            text = Path(source).read_text()
            if text == "broken":
                raise RuntimeError("no sound")
            yield Transcript(text, duration=1.0)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    made = Fake()
    monkeypatch.setattr("auricle.cli.evaluate_models.load", lambda model, plan: made)
    return made


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four recordings of two corpora and two languages, the last of which cannot be heard."""
    folder = tmp_path / "data"
    folder.mkdir()
    rows = []
    for name, text, heard, corpus, language in (
        ("a", "Hello there.", "hello there", "one", "en"),
        ("b", "Good night, all!", "good knight all", "one", "en"),
        ("c", "Guten Abend", "guten tag", "two", "de"),
        ("d", "Nothing", "broken", "two", "en"),
    ):
        (folder / f"{name}.wav").write_text(heard)
        rows.append({"path": f"{name}.wav", "text": text, "corpus": corpus, "language": language, "split": "test"})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "manifest.jsonl"


def test_a_model_that_transformers_runs_is_refused_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path
) -> None:
    bridged = SimpleNamespace(is_bridged=True, name="sew", task="automatic-speech-recognition")
    monkeypatch.setattr("auricle.pipelines.pipeline", lambda *_, **__: bridged)
    result = call("evaluate", "--model", "sew", "--data", data, "--out", tmp_path / "out")
    assert result.exit_code != 0
    assert "'sew' is run by transformers, whose results come whole" in result.stderr


@pytest.mark.timeout(120)
def test_the_bundled_model_on_two_recordings(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.jsonl"
    row = {"path": str(SAMPLES / "jfk.flac"), "text": JFK, "language": "en"}
    manifest.write_text(json.dumps(row) + "\n")
    out = tmp_path / "results"
    done = call("evaluate", "-m", "bundled", "-d", f"jfk={manifest}", "-o", out, "-f", "json", "-q")
    assert done.exit_code == 0, done.output
    [result] = json.loads(done.stdout)["results"]
    assert (result["model"], result["dataset"], result["n_utterances"], result["words"]) == ("bundled", "jfk", 1, 22)
    assert 0 <= result["wer"] < 0.7
    assert result["raw"]["wer"] > result["wer"]  # the reference has capitals and commas
    assert result["normalizer"]["name"] == "whisper-english"
    assert result["rtfx"] > 0
    assert "cores" in result["hardware"]
    assert "torch" in result["hardware"]
    assert result["revision"]
    [line] = (out / "bundled" / "jfk.jsonl").read_text().splitlines()
    assert json.loads(line)["text"] == JFK
    assert json.loads(line)["duration"] == pytest.approx(11.0)


def test_rows_are_chosen_and_failures_told(fake: Fake, data: Path, tmp_path: Path) -> None:
    done = call("evaluate", "-m", "fake", "-d", data, "--language", "en", "-o", tmp_path / "out", "-f", "json")
    assert done.exit_code == 1
    [row] = json.loads(done.stdout)["results"]
    assert (row["n_utterances"], row["n_failed"], row["wer"]) == (2, 1, 1 / 5)
    assert row["failures"] == [{"id": row["failures"][0]["id"], "error": "RuntimeError: no sound"}]
    assert row["dropped"] == {"it is in another language": {"n": 1, "ids": []}}
    assert "RuntimeError: no sound" in done.stderr


def test_where_and_limit_are_part_of_the_data_sets_name(fake: Fake, data: Path) -> None:
    done = call("evaluate", "-m", "fake", "-d", data, "--where", "corpus=one", "--limit", 1, "-f", "json")
    [row] = json.loads(done.stdout)["results"]
    assert (row["dataset"], row["n_utterances"]) == ("data corpus=one first 1", 1)
    done = call("evaluate", "-m", "fake", "-d", data, "--where", "corpse=one")
    assert done.exit_code == 2
    assert "has no column 'corpse'; it has id, language, speaker" in done.stderr


def test_columns_may_be_called_anything(fake: Fake, data: Path, tmp_path: Path) -> None:
    data.write_text(data.read_text().replace('"text"', '"words"'))
    command = ("evaluate", "-m", "fake", "-d", data, "--where", "corpus=one", "-o", tmp_path / "out", "-f", "json")
    unnamed = call(*command)
    assert unnamed.exit_code == 2
    assert "its other columns are corpus, split, words: name that of the text (--text-column" in unnamed.stderr
    assert fake.heard == []  # before a model is loaded
    named = json.loads(call(*command, "--text-column", "words").stdout)["results"]
    assert [(row["dataset"], row["n_utterances"]) for row in named] == [("data by words corpus=one", 2)]


def test_what_is_left_out_is_told_with_its_place(fake: Fake, data: Path) -> None:
    with data.open("a") as file:
        file.write('{"path": "nowhere.wav", "text": "nothing"}\n')
    done = call("evaluate", "-m", "fake", "-d", data, "--where", "corpus=one", "-f", "json")
    assert "  left out 1: no such file (line 5 of manifest.jsonl)" in done.stderr.splitlines()


def test_a_second_run_hears_nothing_and_says_the_same(fake: Fake, data: Path, tmp_path: Path) -> None:
    arguments = ("evaluate", "-m", "fake", "-d", data, "--where", "corpus=one", "-o", tmp_path / "out", "-f", "json")
    first = json.loads(call(*arguments).stdout)["results"]
    fake.heard.clear()
    assert json.loads(call(*arguments).stdout)["results"] == first
    assert fake.heard == []
    call(*arguments, "--overwrite")
    assert fake.heard == ["a.wav", "a.wav", "b.wav"]


def test_data_of_the_same_name_elsewhere_is_not_taken_for_what_was_heard(fake: Fake, tmp_path: Path) -> None:
    for place, heard in (("clean", "hello there"), ("noisy", "low bear")):
        (tmp_path / place / "test").mkdir(parents=True)
        (tmp_path / place / "test" / "a.wav").write_text(heard)
        row = {"id": "1", "path": "a.wav", "text": "hello there"}
        (tmp_path / place / "test" / "manifest.jsonl").write_text(json.dumps(row) + "\n")
    given = ("evaluate", "-m", "fake", "-o", tmp_path / "out", "-f", "json", "-d")
    assert call(*given, tmp_path / "clean" / "test").exit_code == 0
    other = call(*given, tmp_path / "noisy" / "test")
    assert other.exit_code == 2
    assert "data was" in other.stderr
    assert "--data NAME=DATA" in other.stderr.replace("\n", " ")
    named = call(*given, f"noisy={tmp_path / 'noisy' / 'test'}")
    [row] = json.loads(named.stdout)["results"]
    assert (row["dataset"], row["wer"]) == ("noisy", 1.0)


def test_manifests_of_one_folder_are_data_sets_of_their_own(fake: Fake, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "calls"
    folder.mkdir()
    (folder / "a.wav").write_text("hello there")
    for name in ("manifest", "loud", "quiet"):
        (folder / f"{name}.jsonl").write_text(json.dumps({"id": name, "path": "a.wav", "text": "hello there"}) + "\n")
    given = [part for name in ("manifest", "loud", "quiet") for part in ("-d", folder / f"{name}.jsonl")]
    rows = json.loads(call("evaluate", "-m", "fake", "-f", "json", *given).stdout)["results"]
    assert [row["dataset"] for row in rows] == ["calls", "calls loud", "calls quiet"]


def test_a_model_that_is_not_there_keeps_no_other_from_being_measured(
    fake: Fake, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(model: str, plan: Any) -> Fake:
        if model != "fake":
            raise CheckpointError(f"{model} has no tokenizer")
        return fake

    monkeypatch.setattr("auricle.cli.evaluate_models.load", load)
    arguments = ("-d", data, "--where", "corpus=one", "-f", "json")
    done = call("evaluate", "-m", "none", "-m", "fake", *arguments)
    assert done.exit_code == 3
    assert [row["model"] for row in json.loads(done.stdout)["results"]] == ["fake"]
    assert "auricle: none is not measured: none has no tokenizer" in done.stderr
    alone = call("evaluate", "-m", "none", *arguments)
    assert (alone.exit_code, alone.stdout) == (3, "")
    assert alone.stderr.splitlines() == ["auricle: none has no tokenizer"]


def test_a_language_may_be_named_and_one_that_is_none_is_refused(fake: Fake, data: Path) -> None:
    done = call("evaluate", "-m", "fake", "-d", data, "--language", "German", "-f", "json")
    [row] = json.loads(done.stdout)["results"]
    assert (row["dataset"], row["n_utterances"]) == ("data de", 1)
    done = call("evaluate", "-m", "fake", "-d", data, "--language", "germna")
    assert done.exit_code == 2
    assert "language='germna' is not a language; did you mean 'german'" in done.stderr


def test_options_that_score_nothing_say_so(fake: Fake, data: Path) -> None:
    done = call("evaluate", "-m", "fake", "-d", data, "--option", "speakers=true")
    assert done.exit_code == 2
    assert "--option speakers: texts are scored without speakers; --task speaker-diarization" in done.stderr
    assert call("evaluate", "-m", "fake", "-d", data, "--option", "channels=split", "-q").exit_code == 1


def test_models_are_compared_and_differences_shown(fake: Fake, data: Path) -> None:
    arguments = ("-d", data, "--where", "corpus=one", "--differences", 2)
    done = call("evaluate", "-m", "a=fake", "-m", "b=fake", *arguments)
    assert done.exit_code == 0, done.output
    assert "data corpus=one: a better than b in 50.0 % of resamples" in done.stdout
    assert "good [night -> knight] all" in done.stdout
    assert "confused: night -> knight 1" in done.stdout


def test_predictions_of_two_data_sets_are_scored_in_one_go_although_their_ids_are_the_same(tmp_path: Path) -> None:
    for name, text in (("clean", "hello there"), ("other", "good night")):
        line = json.dumps({"id": "1", "text": text, "pred_text": text}) + "\n"
        (tmp_path / f"{name}.jsonl").write_text(line * 2)
    files = ("-p", tmp_path / "clean.jsonl", "-p", tmp_path / "other.jsonl")
    done = call("evaluate", *files, "-o", tmp_path / "out", "--language", "en")
    assert done.exit_code == 0, done.output
    assert "were scored on different utterances or references (clean 2, other 2)" in " ".join(done.stderr.split())
    kept = (tmp_path / "out" / "clean" / "predictions.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in kept] == ["1", "1 (2)"]
    assert call("leaderboard", tmp_path / "out").exit_code == 0


def test_predictions_of_others_are_scored_and_scored_again(tmp_path: Path) -> None:
    (tmp_path / "hyp.txt").write_text("hello there\ngood knight\n")
    (tmp_path / "ref.txt").write_text("Hello there.\nGood night!\n")
    out = tmp_path / "out"
    done = call("evaluate", "-p", tmp_path / "hyp.txt", "--references", tmp_path / "ref.txt", "-o", out,
                "--language", "en", "-f", "json")  # fmt: skip
    [row] = json.loads(done.stdout)["results"]
    assert (row["model"], row["dataset"], row["wer"], row["raw"]["wer"]) == ("hyp", "ref", 0.25, 1.0)
    done = call("evaluate", "--rescore", out, "--normalizer", "none", "-f", "json")
    assert json.loads(done.stdout)["results"][0]["wer"] == 1.0
    assert json.loads((out / "hyp" / "ref.json").read_text())["normalizer"]["name"] == "none"


def test_predictions_of_others_are_written_over_no_others(tmp_path: Path) -> None:
    for place, heard in (("one", "a b"), ("two", "a c")):
        (tmp_path / place).mkdir()
        (tmp_path / place / "theirs.jsonl").write_text(json.dumps({"text": "a b", "pred_text": heard}) + "\n")
    kept = ("evaluate", "-o", tmp_path / "out", "-q", "-p")
    assert call(*kept, tmp_path / "one" / "theirs.jsonl").exit_code == 0
    assert call(*kept, tmp_path / "one" / "theirs.jsonl").exit_code == 0
    other = call(*kept, tmp_path / "two" / "theirs.jsonl")
    assert other.exit_code == 2
    assert "holds other predictions; name these differently" in other.stderr
    assert json.loads((tmp_path / "out" / "theirs" / "predictions.json").read_text())["wer"] == 0.0
    assert call(*kept, tmp_path / "two" / "theirs.jsonl", "--overwrite").exit_code == 0
    assert json.loads((tmp_path / "out" / "theirs" / "predictions.json").read_text())["wer"] == 0.5


def run_of(folder: Path, texts: list[list[str]], n_rows: int | None = None, name: str = "small.jsonl [test]") -> Path:
    """Write a run of `auricle transcribe --out` by hand: what was heard in each shard, and "good night" was said."""
    folder.mkdir()
    for number, shard in enumerate(texts):
        rows = [{"id": f"{number}-{k}", "text": text, "reference": "good night", "error": None} for k, text in
                enumerate(shard)]  # fmt: skip
        (folder / f"shard-0000{number}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plan = {"auricle_bulk": 1, "form": "jsonl", "dataset": {"name": name if name[0] == "<" else f"/corpora/{name}"}}
    (folder / "auricle-bulk.json").write_text(json.dumps(plan if n_rows is None else {**plan, "rows": n_rows}))
    return folder


def test_a_run_s_folder_is_scored_whole_and_its_data_set_has_its_name(tmp_path: Path) -> None:
    run = run_of(tmp_path / "greedy", [["good night", "good knight"], ["good night"]], n_rows=3)
    other = run_of(tmp_path / "beams", [["good night", "good night"], ["good night"]], n_rows=3)
    done = call("evaluate", "-p", run, "-p", other, "--language", "en", "-f", "json", "-o", tmp_path / "out")
    rows = json.loads(done.stdout)["results"]
    told = [(row["model"], row["dataset"], row["n_utterances"], row["substitutions"]) for row in rows]
    assert told == [("greedy", "small [test]", 3, 1), ("beams", "small [test]", 3, 0)]
    assert "small [test]: beams better than greedy" in call("leaderboard", tmp_path / "out").stdout
    unnamed = run_of(tmp_path / "list", [["good night"]], n_rows=1, name="<list>")
    [row] = json.loads(call("evaluate", "-p", unnamed, "-f", "json").stdout)["results"]
    assert (row["model"], row["dataset"]) == ("list", "predictions")


def test_a_run_that_lacks_rows_or_was_not_scored_is_told(tmp_path: Path) -> None:
    unfinished = run_of(tmp_path / "a", [["good night"]])
    lost = run_of(tmp_path / "b", [["good night"]], n_rows=2)
    for run, told in ((unfinished, "is not finished; go on with it"), (lost, "has 1 rows in its shards and 2 by its")):
        done = call("evaluate", "-p", run)
        assert done.exit_code == 2
        assert told in " ".join(done.stderr.split())
    board = call("leaderboard", lost)
    assert board.exit_code == 2
    assert f"auricle evaluate --predictions {lost} --out" in " ".join(board.stderr.split())


def test_a_parquet_shard_is_scored_as_its_lines_are(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="needs the extra data")
    from pyarrow import parquet

    row = {"id": "1", "text": "good knight", "reference": "good night", "error": None, "chunks": [{"text": "good"}]}
    parquet.write_table(pa.Table.from_pylist([row]), tmp_path / "s.parquet")
    [found] = json.loads(call("evaluate", "-p", tmp_path / "s.parquet", "-f", "json").stdout)["results"]
    assert (found["wer"], found["n_utterances"]) == (0.5, 1)


@pytest.mark.parametrize(
    ("files", "names"),
    [
        ({"ours/clean": "a", "theirs/clean": "a"}, ["clean", "clean"]),
        ({"ours/clean": "a", "theirs/other": "b"}, ["clean", "other"]),
        ({"ours/mine": "a", "theirs/yours": "a"}, ["predictions", "predictions"]),
    ],
)
def test_a_file_whose_model_is_named_names_the_data_set(
    tmp_path: Path, files: dict[str, str], names: list[str]
) -> None:
    given: list[str] = []
    for name, said in files.items():
        path = tmp_path / f"{name}.jsonl"
        path.parent.mkdir()
        path.write_text(json.dumps({"text": said, "pred_text": said}) + "\n")
        given += ["-p", f"{path.parent.name}={path}"]
    rows = json.loads(call("evaluate", *given, "-f", "json", "-q").stdout)["results"]
    assert [(row["model"], row["dataset"]) for row in rows] == [("ours", names[0]), ("theirs", names[1])]


def test_an_unknown_language_is_said_and_not_guessed(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"text": "Twenty one.", "pred_text": "twenty one"}\n')
    done = call("evaluate", "-p", tmp_path / "p.jsonl", "-f", "json")
    assert json.loads(done.stdout)["results"][0]["normalizer"]["name"] == "basic"
    assert "give --language en for English" in done.stderr


def test_the_leaderboard_in_every_form(fake: Fake, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    call("evaluate", "-m", "a=fake", "-m", "b=fake", "-d", data, "--where", "corpus=one", "-o", out)
    shown = call("leaderboard", out)
    assert shown.exit_code == 0, shown.output
    assert "20.00 (100.00)" in shown.stdout
    assert "b" in call("leaderboard", out, "-f", "markdown").stdout
    board = json.loads(call("leaderboard", out, "-f", "json").stdout)
    assert len(board["results"]) == 2
    assert board["comparisons"][0]["first_better"] == 0.5
    done = call("leaderboard", out, "--out", tmp_path / "page.html")
    assert "wrote" in done.stderr
    page = (tmp_path / "page.html").read_text()
    assert '<del class="sub">night</del> <ins class="sub">knight</ins>' in page
    assert call("leaderboard", out, "--out", tmp_path / "page.txt").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-m", "x"], "--model is given and --data is not"),
        (["-m", "x", "-d", "y", "-p", "z"], "several of them arrived"),
        (["--references", "z"], "none of them arrived"),
        (["-m", "x", "-d", "y", "-f", "html"], "--format 'html' is none of table, json, markdown"),
        (["-m", "x", "-d", "y", "--task", "speech"], "--task 'speech' is none of"),
        (["-m", "x", "-d", "y", "--where", "corpus"], "is not KEY=VALUE"),
        (["-m", "x", "-d", "y", "--collar", "0.25"], "--collar is for --task speaker-diarization"),
        (["-m", "x", "-d", "y", "--skip-overlap"], "--skip-overlap is for --task speaker-diarization"),
        (
            ["-m", "x", "-d", "y", "--task", "speaker-diarization", "--split", "test"],
            "--split is for --task auto",
        ),
        (["-m", "x", "-d", "y", "--task", "speaker-diarization", "--differences", "3"], "--differences is for --task"),
        (["-p", "z.jsonl", "--limit", "3"], "--limit chooses rows of --data; leave it out"),
        (["-p", "z.jsonl", "--option", "num_beams=5"], "--option is of a model that is run; leave it out"),
        (["--rescore", "z", "--out", "y"], "--rescore writes to its own folder; leave --out out"),
    ],
)
def test_conflicts_are_refused_before_anything_is_loaded(arguments: list[str], told: str) -> None:
    done = call("evaluate", *arguments)
    assert done.exit_code == 2
    assert told in done.stderr


class FakeDiarizer:
    identity = ModelIdentity("who", "abc", engine="reference", dtype="float32")

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def diarizations(self, sources: Any, **parameters: Any) -> Iterator[Diarization]:
        self.asked.append(parameters)
        turns = (SpeakerTurn("SPEAKER_00", 0.0, 5.0), SpeakerTurn("SPEAKER_01", 6.0, 9.0))
        yield Diarization(turns, ("SPEAKER_00", "SPEAKER_01"), duration=10.0)


def test_a_diarization_model_on_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = FakeDiarizer()
    monkeypatch.setattr("auricle.cli.evaluate_diarization.load", lambda model, plan: fake)
    folder = tmp_path / "meetings"
    folder.mkdir()
    (folder / "rec.wav").write_bytes(b"")
    (folder / "all.rttm").write_text(
        "SPEAKER rec 1 0.0 5.0 <NA> <NA> ann <NA> <NA>\nSPEAKER rec 1 5.0 5.0 <NA> <NA> bob <NA> <NA>\n"
        "SPEAKER elsewhere 1 5.0 5.0 <NA> <NA> bob <NA> <NA>\n"
    )
    arguments = ("evaluate", "--task", "speaker-diarization", "-m", "who", "-d", folder, "-o", tmp_path / "out")
    done = call(*arguments, "-f", "json", "--batch-size", 3)
    assert done.exit_code == 0, done.output
    assert [one["batch_size"] for one in fake.asked] == [3, 3]
    [row] = json.loads(done.stdout)["results"]
    assert (row["der"], row["missed"], row["confusion"], row["jer"]) == pytest.approx((0.2, 0.2, 0.0, 0.2))
    assert "1 recordings of the references are not in" in done.stderr
    assert (tmp_path / "out" / "who" / "meetings.rttm").read_text().startswith("SPEAKER rec 1 0.000 5.000")
    board = call("leaderboard", tmp_path / "out")
    assert "collar 0.0 s, overlap scored" in board.stdout
    assert call(*arguments, "-q").exit_code == 0
    other = call(*arguments, "--option", "num_speakers=2")
    assert other.exit_code == 2
    assert "meetings.json was made otherwise: options was {'model': 'who'} and is {'num_speakers': 2" in other.stderr
    assert call(*arguments, "--option", "num_speakers=2", "--overwrite", "-q").exit_code == 0


def test_a_diarization_that_is_not_there_keeps_no_other_from_being_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def load(model: str, plan: Any) -> FakeDiarizer:
        if model != "who":
            raise CheckpointError(f"{model} has no config.yaml")
        return FakeDiarizer()

    monkeypatch.setattr("auricle.cli.evaluate_diarization.load", load)
    (tmp_path / "rec.wav").write_bytes(b"")
    (tmp_path / "rec.rttm").write_text("SPEAKER rec 1 0.0 5.0 <NA> <NA> ann <NA> <NA>\n")
    arguments = ("evaluate", "--task", "speaker-diarization", "-d", tmp_path, "-f", "json", "-m", "none")
    done = call(*arguments, "-m", "who")
    assert done.exit_code == 3
    assert [row["model"] for row in json.loads(done.stdout)["results"]] == ["who"]
    assert "auricle: none is not measured: none has no config.yaml" in done.stderr
    assert (call(*arguments).exit_code, call(*arguments).stdout) == (3, "")


def test_turns_are_no_texts_and_a_file_is_no_folder_of_results(tmp_path: Path) -> None:
    turns = tmp_path / "turns.rttm"
    turns.write_text("SPEAKER rec 1 0.0 5.0 <NA> <NA> ann <NA> <NA>\n")
    done = call("evaluate", "-p", turns, "--references", turns)
    assert done.exit_code == 2
    assert "turns.rttm has speakers' turns and no texts; add --task speaker-diarization" in done.stderr
    scored = ("evaluate", "--task", "speaker-diarization", "-p", turns, "--references", turns)
    done = call(*scored, "-o", turns)
    assert done.exit_code == 2
    assert "turns.rttm is a file; give a folder" in done.stderr
    (tmp_path / "turns.json").write_text('[{"session_id": "rec"}]')
    done = call(*scored[:-1], tmp_path / "turns.json")
    assert "turns.json, [0] has no 'start_time'; expected session_id" in done.stderr


def test_words_with_speakers_are_scored(tmp_path: Path) -> None:
    (tmp_path / "ref.stm").write_text("rec 1 ann 0 2 red green blue\nrec 1 bob 2 4 black white\n")
    (tmp_path / "hyp.stm").write_text("rec 1 x 0 3 red green blue black\nrec 1 y 3 4 white\n")
    done = call("evaluate", "--task", "speaker-diarization", "-p", tmp_path / "hyp.stm", "--references",
                tmp_path / "ref.stm", "--language", "en", "-f", "json")  # fmt: skip
    [row] = json.loads(done.stdout)["results"]
    assert (row["cpwer"], row["wder"], row["der"]) == pytest.approx((2 / 5, 1 / 5, 1 / 4))


def test_turns_of_others_are_kept_and_their_interval_is_drawn_as_asked(tmp_path: Path) -> None:
    lines = [f"SPEAKER rec{n} 1 0.0 {5 + n} <NA> <NA> ann <NA> <NA>\n" for n in range(4)]
    (tmp_path / "ref.rttm").write_text("".join(lines))
    (tmp_path / "hyp.rttm").write_text("".join(lines[:3]))
    out = tmp_path / "out"
    found = []
    for seed in (0, 1):
        done = call("evaluate", "--task", "speaker-diarization", "-p", tmp_path / "hyp.rttm", "--references",
                    tmp_path / "ref.rttm", "-o", out, "--resamples", 1, "--seed", seed, "-f", "json")  # fmt: skip
        [row] = json.loads(done.stdout)["results"]
        assert row["der_low"] == row["der_high"]
        found.append(row["der_low"])
    assert found[0] != found[1]
    assert json.loads((out / "hyp" / "ref.json").read_text())["der"] == row["der"]
    assert (out / "hyp" / "ref.rttm").read_text().startswith("SPEAKER rec0 1 0.000 5.000")
    assert "hyp" in call("leaderboard", out).stdout
