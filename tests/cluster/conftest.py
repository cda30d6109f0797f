"""A Ray cluster of two machines, both of them this one, and the models of a server on it."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import tempfile
import threading
import time
import wave
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from auricle.audio.decode import load_audio
from auricle.pipelines import pipeline
from auricle.server.recognition import Recognition, Source
from auricle.server.runner import Runner
from auricle.server.settings import Settings

if TYPE_CHECKING:
    from auricle.cluster.registry import ClusterRegistry

DEADLINE_S = 120.0  # by which anything that is waited for has happened
POLL_S = 0.05
SAMPLES = Path(__file__).parents[2] / "samples"
STARTS = 3  # of the nodes, before the tests fail
STORE_BYTES = 80 << 20  # the least that Ray takes


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    """Wait for a condition."""
    end = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < end, f"waited {DEADLINE_S:g} s in vain: {what}"
        time.sleep(POLL_S)


@dataclass
class Served:
    """A server's models on the cluster, on an event loop in a thread of its own."""

    loop: asyncio.AbstractEventLoop
    registry: ClusterRegistry
    recognition: Recognition
    folder: Path  # where replicas have their recordings
    nodes: Any  # ray.cluster_utils.Cluster

    def begin(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Begin work on the event loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def texts(self, sources: list[Source], **parameters: Any) -> list[str]:
        """Transcribe recordings at once."""
        begun = [self.begin(self.recognition.recognize(None, one, parameters)) for one in sources]
        return [one.result(DEADLINE_S).transcript.text for one in begun]

    def processes(self) -> list[int]:
        """Return the replicas' processes."""
        title = f"ray::ServeReplica:{self.registry.cluster.prefix}".encode()
        found = []
        for one in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if one.read_bytes().startswith(title):
                    found.append(int(one.parent.name))
            except OSError:  # it has ended meanwhile
                continue
        return sorted(found)

    def at_work(self) -> list[Path]:
        """Return the folders of what replicas work on; one that was killed left its own until another begins."""
        return list(self.folder.glob("auricle-replica-*/job-*"))


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    """Begin with one replica; there may be two, and are while there is much to do."""
    from ray import cluster_utils

    from auricle.cluster.machines import joined

    folder = Path(tempfile.mkdtemp(prefix="aur"))  # short: sockets lie in it
    before = tempfile.tempdir
    patch = pytest.MonkeyPatch()
    for name, value in {"TMPDIR": str(folder), "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}.items():
        patch.setenv(name, value)
    tempfile.tempdir = str(folder)
    nodes = two_machines(cluster_utils.Cluster)
    settings = Settings(
        data_dir=folder / "data",
        models=("bundled", f"broken={broken_model(folder)}"),
        ray_address=nodes.address,
        replicas=(1, 2),
        replica_cpus=1,
        batch_size=2,
        upscale_delay=0,
    )
    try:
        with joined(settings) as cluster, on_a_loop(settings, cluster, folder, nodes) as found:
            yield found
    finally:
        nodes.shutdown()
        tempfile.tempdir = before
        patch.undo()
        shutil.rmtree(folder, ignore_errors=True)


def two_machines(kind: Any) -> Any:
    """Begin two nodes; Ray gives a node 15 s, which may be too little where tests run beside much else."""
    machine = {"num_cpus": 1, "object_store_memory": STORE_BYTES}
    for left in reversed(range(STARTS)):
        nodes = kind()
        try:
            nodes.add_node(**machine, include_dashboard=False)
            nodes.add_node(**machine)
        except Exception:  # Ray raises no narrower one
            nodes.shutdown()
            if not left:
                raise
        else:
            return nodes
    raise AssertionError("the last try raises")


@contextmanager
def on_a_loop(settings: Settings, cluster: Any, folder: Path, nodes: Any) -> Iterator[Served]:
    """Make what the routes of a server use."""
    from auricle.cluster.registry import ClusterRegistry

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="server", daemon=True)
    thread.start()

    async def made() -> Served:
        registry = ClusterRegistry(settings, cluster)
        runner = Runner(64, 256)
        return Served(loop, registry, Recognition(settings, registry, runner, None), folder, nodes)

    found = asyncio.run_coroutine_threadsafe(made(), loop).result(DEADLINE_S)
    try:
        yield found
    finally:
        found.recognition.runner.close()
        found.begin(found.registry.close()).result(DEADLINE_S)
        found.begin(loop.shutdown_default_executor()).result(DEADLINE_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(DEADLINE_S)
        loop.close()


@pytest.fixture
def two(served: Served, recordings: list[Source]) -> Served:
    """Keep one replica busy until there are two."""
    while served.registry.replicas("bundled") < 2:
        served.texts(recordings * 4)
    return served


@pytest.fixture(scope="session")
def listen() -> Any:
    """Return the pipeline as it runs without a cluster."""
    return pipeline("automatic-speech-recognition", "bundled")


@pytest.fixture(scope="session")
def waveform() -> np.ndarray:
    """Return eleven seconds of speech."""
    return load_audio(str(SAMPLES / "jfk.flac"))


@pytest.fixture(scope="session")
def recordings(waveform: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> list[Source]:
    """Return recordings of 2 to 9 seconds."""
    folder = tmp_path_factory.mktemp("recordings")
    return [recording(folder, waveform[: 16000 * seconds]) for seconds in range(2, 10)]


@pytest.fixture(scope="session")
def long_recording(waveform: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Return four minutes, beyond what travels with a request and longer than one piece."""
    return recording(tmp_path_factory.mktemp("long"), np.tile(waveform, 22))


def recording(folder: Path, samples: np.ndarray) -> Source:
    """Write samples at 16 kHz to a file."""
    path = folder / f"{len(samples)}.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    data = path.read_bytes()
    return Source(path, hashlib.sha256(data).hexdigest(), len(data))


def broken_model(folder: Path) -> Path:
    """Make a model's folder without a model."""
    path = folder / "broken"
    path.mkdir()
    (path / "config.json").write_text('{"model_type": "wav2vec2"', encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def until() -> Callable[[Callable[[], bool], str], None]:
    """Return the function that waits for a condition: `until(lambda: x.is_ready, "x is ready")`."""
    return wait_until
