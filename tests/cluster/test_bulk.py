"""A dataset on Ray Data with two workers, one of which is killed: every row is there once, and texts are the same."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest

from auricle.audio.decode import load_audio
from auricle.bulk import BulkOptions, Progress, transcribe_corpus
from auricle.errors import OptionError

pytest.importorskip("ray.data", reason="the extra ray is not installed: pip install 'auricle[ray]'")

# Ray leaves pipes and sockets of its processes to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
SAMPLES = Path(__file__).parents[2] / "samples"
N_ROWS = 24


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 24 clips of a second or two, one of them broken."""
    folder = tmp_path_factory.mktemp("clips")
    speech = load_audio(str(SAMPLES / "jfk.flac"))
    rows = []
    for number in range(N_ROWS):
        samples = speech[number * 6000 :][: 16000 + number % 5 * 4000]
        with wave.open(str(folder / f"{number}.wav"), "wb") as file:
            file.setparams((1, 2, 16000, 0, "NONE", ""))
            file.writeframes((samples * 32767).astype("<i2").tobytes())
        rows.append({"path": f"{number}.wav", "id": f"row-{number}"})
    (folder / "13.wav").write_bytes(b"no recording")
    path = folder / "m.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture
def short_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a short name: Ray's sockets lie in it."""
    folder = Path(tempfile.mkdtemp(prefix="aur"))
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def rows_in(out: Path) -> list[dict]:
    return [json.loads(line) for path in sorted(out.glob("shard-*")) for line in path.read_text().splitlines()]


def test_a_killed_worker_costs_no_row_and_none_twice(manifest, short_folder, tmp_path):
    from auricle.cluster.bulk import Setup, Workers, transcribe_on_cluster
    from auricle.corpora import open_corpus
    from auricle.pipelines import pipeline

    options = BulkOptions(shard_size=3)
    killed: list[int] = []

    def kill_one(progress: Progress) -> None:
        """Kill a worker as soon as a shard is told while both are there."""
        workers = workers_of()
        if not killed and len(workers) == 2:
            killed.append(workers[0])
            os.kill(workers[0], signal.SIGKILL)

    setup = Setup(str(manifest), options=options)
    corpus = open_corpus(manifest)
    summary = transcribe_on_cluster(setup, corpus, tmp_path / "out", Workers(2), progress=kill_one)
    assert len(killed) == 1
    assert (summary.rows, summary.failed, summary.shards) == (N_ROWS, 1, 8)
    found = rows_in(tmp_path / "out")
    assert [row["id"] for row in found] == [f"row-{n}" for n in range(N_ROWS)]
    assert not list((tmp_path / "out").glob(".*.part"))
    pipe = pipeline("automatic-speech-recognition", "bundled")
    transcribe_corpus(pipe, corpus, tmp_path / "here", options)
    assert rows_in(tmp_path / "here") == found
    # What one of them began, the other goes on with.
    assert transcribe_corpus(pipe, corpus, tmp_path / "out", options).new_rows == 0


def workers_of() -> list[int]:
    """Return the processes of Ray's actors that do shards."""
    found = []
    for one in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"ray::" in one.read_bytes() and b"MapWorker" in one.read_bytes():
                found.append(int(one.parent.name))
        except OSError:  # it has ended meanwhile
            continue
    return sorted(found)


def test_a_stream_is_refused_since_workers_cannot_begin_in_its_middle(tmp_path):
    from auricle.cluster.bulk import Setup, Workers, transcribe_on_cluster
    from auricle.corpora import open_corpus

    with pytest.raises(OptionError, match="is streamed, and workers cannot begin in its middle"):
        transcribe_on_cluster(Setup("x"), open_corpus(iter([])), tmp_path, Workers(1))


def test_gpus_that_are_not_there_are_not_waited_for(manifest, short_folder, tmp_path):
    from auricle.cluster.bulk import Setup, Workers, transcribe_on_cluster
    from auricle.corpora import open_corpus

    with pytest.raises(OptionError, match=r"is to have 1000 GPUs and Ray finds \d+ on this machine"):
        transcribe_on_cluster(Setup(str(manifest)), open_corpus(manifest), tmp_path / "out", Workers(gpus=1000.0))
