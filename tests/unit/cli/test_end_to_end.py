"""`python -m auricle` from a recording to text with a random model in a folder: the whole path, as a shell sees it."""

from __future__ import annotations

import functools
import http.server
import io
import json
import os
import subprocess
import sys
import threading
import wave
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from auricle import pipeline
from auricle.checkpoints.tensors import write_checkpoint
from auricle.models.wav2vec2 import Wav2Vec2CTC

RATE = 16000
PIECES = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAOINSHRDLUCMF"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random wav2vec2 that writes letters and spaces."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    config = Wav2Vec2CTC.tiny(vocab_size=len(PIECES))
    network = Wav2Vec2CTC(config)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.startswith("lm_head"):
                parameter.mul_(20)
                if name.endswith("bias"):
                    parameter[1:4] = -1e4
                    parameter[4] += 1.0
    raw = {**asdict(config), "model_type": "wav2vec2", "architectures": ["Wav2Vec2ForCTC"]}
    write_checkpoint(folder, raw, network.state_dict())
    (folder / "vocab.json").write_text(json.dumps({piece: id for id, piece in enumerate(PIECES)}))
    return folder


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and logs nothing."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


def wav(folder: Path, name: str, seconds: float, seed: int = 0) -> Path:
    samples = np.random.default_rng(seed).standard_normal(round(seconds * RATE)) * 3000
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.astype("<i2").tobytes())
    (folder / name).write_bytes(written.getvalue())
    return folder / name


def auricle(*arguments: object, **settings: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "auricle", *map(str, arguments)],
        capture_output=True,
        timeout=120,
        check=False,
        # A model in a folder needs no network, and nobody's cache.
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        **settings,
    )


def test_text_of_the_command_is_that_of_the_pipeline(model: Path, tmp_path: Path) -> None:
    path = wav(tmp_path, "a.wav", 2.0)
    result = auricle("transcribe", path, "--model", model)
    assert result.returncode == 0, result.stderr
    expected = pipeline(model=model)(path)["text"]
    assert len(expected.split()) > 1
    assert result.stdout.decode() == expected + "\n"


def test_stdin_is_a_recording(model: Path, tmp_path: Path) -> None:
    path = wav(tmp_path, "a.wav", 1.0)
    named = auricle("transcribe", path, "-m", model, "-q")
    piped = auricle("transcribe", "-", "-m", model, "-q", input=path.read_bytes())
    assert piped.stdout == named.stdout
    assert piped.stderr == b""


def test_all_formats_of_a_folder_with_a_damaged_file(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    wav(folder, "a.wav", 2.0)
    wav(folder, "b.wav", 41.0, seed=1)
    (folder / "c.mp3").write_text("no recording at all\n" * 100)
    # In noise no voice is detected.
    result = auricle("transcribe", folder, "-m", model, "-o", tmp_path / "out", "-f", "txt,json,srt,vtt,tsv",
                     "--batch-size", 2, "--no-vad")  # fmt: skip
    assert result.returncode == 1
    assert result.stdout == b""
    lines = result.stderr.decode().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"{folder / 'c.mp3'}: ")
    assert "2 done, 1 failed; 43.0 s of audio" in lines[1]
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [f"{stem}.{form}" for stem in "ab" for form in ("json", "srt", "tsv", "txt", "vtt")]
    whole = json.loads((tmp_path / "out" / "b.json").read_text())
    assert whole["duration"] == 41.0
    assert " ".join(word["text"] for one in whole["segments"] for word in one["words"]).split() == whole["text"].split()
    assert all(0.0 <= word["confidence"] <= 1.0 for one in whole["segments"] for word in one["words"])
    starts = [int(row.split("\t")[0]) for row in (tmp_path / "out" / "b.tsv").read_text().splitlines()[1:]]
    assert starts == sorted(starts)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--language", "en"], 2, "language='en' is refused by a CTC model"),
        (["--device", "cuda:99"], 2, "cuda:99"),
        (["--dtype", "float8"], 2, "float8"),
        (["--lm", "absent.arpa"], 2, "absent.arpa"),
    ],
)
def test_options_that_do_not_fit_are_one_line_and_an_exit_code(
    model: Path, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    result = auricle("transcribe", wav(tmp_path, "a.wav", 0.5), "-m", model, *arguments)
    assert result.returncode == code
    assert message in result.stderr.decode()
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == b""


def test_absent_models_give_exit_code_3(tmp_path: Path) -> None:
    path = wav(tmp_path, "a.wav", 0.5)
    for name in (tmp_path / "absent", "nobody/no-such-model"):
        result = auricle("transcribe", path, "-m", name)
        assert result.returncode == 3
        assert len(result.stderr.splitlines()) == 1


def test_private_addresses_are_fetched_only_when_allowed(model: Path, tmp_path: Path) -> None:
    wav(tmp_path, "a.wav", 1.0)
    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/a.wav"
        refused = auricle("transcribe", url, "-m", model)
        allowed = auricle("transcribe", url, "-m", model, "--allow-private-urls", "-o", tmp_path / "out")
        server.shutdown()
    assert refused.returncode == 1
    assert url in refused.stderr.decode().splitlines()[0]
    assert allowed.returncode == 0, allowed.stderr
    assert (tmp_path / "out" / "a.txt").read_text().strip() == pipeline(model=model)(tmp_path / "a.wav")["text"]


def test_models_lists_as_text_and_json() -> None:
    listed = auricle("models", "--json")
    assert listed.returncode == 0
    found = json.loads(listed.stdout)
    assert all({"name", "revision", "size", "folder", "runs"} == set(one) for one in found)
    assert next(one for one in found if one["name"] == "bundled")["runs"] == "native"
    assert auricle("models").returncode == 0


def test_download_of_no_model_says_what_was_expected() -> None:
    result = auricle("download", "no model at all")
    assert result.returncode in (2, 3)
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == b""
