"""Every kind of object that may hold a recording, and that none of them is changed."""

from __future__ import annotations

import copy
import io
import os
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from auricle.audio.decode import load_audio, open_audio
from auricle.errors import AudioNotFoundError

ROUNDING = 1e-7  # float32 has 24 bits


class OneWay(io.RawIOBase):
    """A stream that cannot seek, such as a socket."""

    def __init__(self, content: bytes) -> None:
        self.rest = content

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def read(self, size: int = -1) -> bytes:
        size = min(size, 1000) if size >= 0 else len(self.rest)  # short reads, as sockets give
        part, self.rest = self.rest[:size], self.rest[size:]
        return part


@pytest.fixture
def samples() -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.9, 0.9, 16000).astype(np.float32)


def test_path_pathlib_bytes_and_file_objects_give_the_same(tmp_path, wav):
    path = tmp_path / "a.wav"
    path.write_bytes(wav)
    expected = load_audio(str(path))
    for source in (path, wav, bytearray(wav), memoryview(wav), io.BytesIO(wav), OneWay(wav)):
        np.testing.assert_array_equal(load_audio(source), expected)
    with open(path, "rb") as file:
        np.testing.assert_array_equal(load_audio(file), expected)


def test_the_name_of_a_file_decides_nothing(tmp_path, wav):
    path = tmp_path / "concat:recording.mp3"
    path.write_bytes(wav)
    assert len(load_audio(path)) == 32000


def test_an_mp4_with_its_index_at_the_end_is_read_from_a_stream(encode):
    film = encode("mp4", "aac", sample_rate=16000, video=True)
    assert film.rfind(b"moov") > film.rfind(b"mdat")
    np.testing.assert_array_equal(load_audio(OneWay(film)), load_audio(film))


def test_standard_input_is_read(monkeypatch, wav):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=OneWay(wav), isatty=lambda: False))
    audio = open_audio("-")
    assert audio.name == "<stdin>"
    np.testing.assert_array_equal(audio.read(), load_audio(wav))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_is_read(tmp_path, wav):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(wav,))
    writer.start()
    np.testing.assert_array_equal(load_audio(path), load_audio(wav))
    writer.join()


def test_a_file_object_is_read_from_its_beginning_and_put_back(wav):
    file = io.BytesIO(wav)
    file.seek(123)
    first, second = load_audio(file), load_audio(file)
    np.testing.assert_array_equal(first, second)
    assert file.tell() == 123
    assert not file.closed


def test_an_array_without_a_rate_is_at_the_target_rate(samples):
    np.testing.assert_array_equal(load_audio(samples), samples)
    np.testing.assert_array_equal(load_audio(torch.from_numpy(samples)), samples)
    assert open_audio(samples, 8000).duration == 2.0


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        (np.int8, [-128, 0, 64], [-1.0, 0.0, 0.5]),
        (np.uint8, [0, 128, 192], [-1.0, 0.0, 0.5]),
        (np.int16, [-32768, 0, 16384], [-1.0, 0.0, 0.5]),
        (np.uint16, [0, 32768, 49152], [-1.0, 0.0, 0.5]),
        (np.int32, [-(2**31), 0, 2**30], [-1.0, 0.0, 0.5]),
        (np.float16, [-1.0, 0.0, 0.5], [-1.0, 0.0, 0.5]),
        (np.float64, [-1.0, 0.0, 0.5], [-1.0, 0.0, 0.5]),
        (">i2", [-32768, 0, 16384], [-1.0, 0.0, 0.5]),
    ],
)
def test_integers_are_scaled_by_the_full_scale_of_their_dtype(dtype, values, expected):
    np.testing.assert_array_equal(load_audio(np.array(values, dtype)), np.array(expected, np.float32))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_tensors_of_every_float_dtype_are_read(dtype):
    tensor = torch.tensor([[-1.0, 0.0, 0.5]], dtype=dtype, requires_grad=True)
    np.testing.assert_array_equal(load_audio(tensor), np.array([-1.0, 0.0, 0.5], np.float32))


@pytest.mark.parametrize("channels", [1, 2, 6, 8])
def test_channels_may_be_either_axis(samples, channels):
    rows = np.stack([samples * (index + 1) / 10 for index in range(channels)])
    expected = rows.mean(0)
    np.testing.assert_allclose(load_audio(rows), expected, atol=ROUNDING)
    np.testing.assert_allclose(load_audio(rows.T), expected, atol=ROUNDING)
    np.testing.assert_allclose(load_audio(np.asfortranarray(rows)), expected, atol=ROUNDING)


def test_where_both_axes_are_short_the_first_is_the_channels():
    tiny = np.array([[0.0, 0.2], [0.4, 0.6], [0.8, 1.0]])  # 3 channels of 2 samples, or 2 of 3
    np.testing.assert_allclose(load_audio(tiny), [0.4, 0.6], atol=ROUNDING)


@pytest.mark.parametrize("key", ["array", "raw"])
@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy, np.ndarray.tolist])
def test_dicts_with_samples_are_resampled(reference, key, convert):
    source = {key: convert(reference(8000, 2.0)), "sampling_rate": 8000, "path": None, "stride": (0, 0)}
    samples = load_audio(source)
    np.testing.assert_allclose(samples[500:-500], reference(16000, 2.0)[500:-500], atol=1e-3)


def test_dicts_of_datasets_are_read(tmp_path, wav, samples):
    path = tmp_path / "a.wav"
    path.write_bytes(wav)
    expected = load_audio(wav)
    for source in (
        {"path": str(path)},
        {"path": path},
        {"bytes": wav},
        {"path": "elsewhere.wav", "bytes": wav},
        {"path": str(path), "bytes": None},
        {"path": str(path), "array": None, "sampling_rate": None},
    ):
        np.testing.assert_array_equal(load_audio(source), expected)
    source = {"path": "elsewhere.wav", "array": samples, "sampling_rate": 16000}
    audio = open_audio(source)
    assert audio.name == "elsewhere.wav"
    np.testing.assert_array_equal(audio.read(), samples)


def test_decoders_with_get_all_samples_are_read(reference):
    held = SimpleNamespace(data=torch.from_numpy(reference(8000, 2.0)).expand(2, -1), sample_rate=8000)
    samples = load_audio(SimpleNamespace(get_all_samples=lambda: held))
    np.testing.assert_allclose(samples[500:-500], reference(16000, 2.0)[500:-500], atol=1e-3)


def test_nothing_that_the_caller_passes_is_changed(samples):
    rows = np.stack([samples, -samples])
    rows.flags.writeable = False
    source = {"array": rows, "sampling_rate": 8000, "path": "a.wav", "note": ["kept"]}
    before = copy.deepcopy(source)
    first = load_audio(source)
    np.testing.assert_array_equal(load_audio(source), first)
    assert source.keys() == before.keys()
    assert source["array"] is rows
    np.testing.assert_array_equal(rows, before["array"])
    assert source["note"] == before["note"]


def test_what_is_returned_is_not_the_callers_memory(samples):
    samples_before = samples.copy()
    returned = load_audio(samples)
    returned[:] = 0
    next(open_audio(samples).blocks())[:] = 0
    np.testing.assert_array_equal(samples, samples_before)


def test_floats_in_another_unit_are_reported(samples):
    audio = open_audio(samples * 32768)
    audio.read()
    assert "full scale is 1.0" in audio.warnings[0]
    quiet = open_audio(samples)
    quiet.read()
    assert quiet.warnings == []


def test_audio_is_read_without_torch(tmp_path: Path, wav: bytes):
    import subprocess

    path = tmp_path / "a.wav"
    path.write_bytes(wav)
    script = (
        "import sys; from auricle.audio.decode import load_audio; load_audio(sys.argv[1]); "
        "assert not {'torch', 'httpx'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)


def test_a_leading_tilde_is_the_users_home(tmp_path, wav, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.wav").write_bytes(wav)
    assert load_audio("~/a.wav").size
    with pytest.raises(AudioNotFoundError, match=r"did you mean .*/a\.wav"):
        open_audio("~/aa.wav")


def test_text_that_is_no_path_is_not_repeated_in_full():
    with pytest.raises(AudioNotFoundError, match=r"300000 characters.*base64") as caught:
        open_audio("UklG" * 75_000)
    assert len(str(caught.value)) < 400
