"""Whatever is no recording gets one error of ours that says what arrived."""

from __future__ import annotations

import io
import os
import re
import socket
import struct
import sys
import time
import zlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from auricle.audio.decode import AudioLimits, load_audio, open_audio
from auricle.errors import (
    AudioError,
    AudioFormatError,
    AudioInputError,
    AudioNotFoundError,
    AudioTooLargeError,
    AudioURLError,
    OptionError,
)


def wav_header(rate: int = 16000, channels: int = 1, n_bytes: int = 3200, bits: int = 16) -> bytes:
    """A WAV header with any claim, true or not."""
    block = channels * bits // 8 & 0xFFFF
    layout = struct.pack("<IHHIIHH", 16, 1, channels, rate, rate * block & 0xFFFFFFFF, block, bits)
    return (b"RIFF" + struct.pack("<I", min(n_bytes + 36, 2**32 - 1)) + b"WAVEfmt " + layout + b"data") + struct.pack(
        "<I", n_bytes
    )


PNG = b"\x89PNG\r\n\x1a\n" + b"".join(
    struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    for kind, body in (
        (b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0\0")),
        (b"IEND", b""),
    )
)
BODY = bytes(3200)

BAD_BYTES: dict[str, tuple[bytes, type[AudioError], str]] = {
    "empty": (b"", AudioFormatError, "empty (0 bytes)"),
    "text": (b"This is no recording.\n" * 50, AudioFormatError, "text that begins 'This is no"),
    "html": (b"<!DOCTYPE html><html></html>", AudioFormatError, "a web page (HTML)"),
    "json": (b'{"error": "not found"}', AudioFormatError, 'text that begins \'{"error"'),
    "png": (PNG, AudioFormatError, "a PNG image"),
    "pdf": (b"%PDF-1.7\n" + bytes(range(256)), AudioFormatError, "a PDF document"),
    "zip": (b"PK\x03\x04" + bytes(200), AudioFormatError, "a ZIP archive"),
    "playlist": (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", AudioFormatError, "a playlist"),
    "ffconcat": (b"ffconcat version 1.0\nfile '/etc/passwd'\n", AudioFormatError, "text that begins"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\n", AudioFormatError, "git lfs pull"),
    "zeros": (bytes(100_000), AudioFormatError, "nothing but zero bytes"),
    "raw": (np.random.default_rng(0).bytes(5000), AudioFormatError, "must be passed as a numpy array"),
    "one byte": (b"R", AudioFormatError, "cannot be decoded"),
    "half a header": (wav_header()[:20], AudioFormatError, "damaged or cut off"),
    "header only": (wav_header(), AudioFormatError, "holds no samples"),
    "no samples": (wav_header(n_bytes=0), AudioFormatError, "holds no samples"),
    "0 Hz": (wav_header(rate=0) + BODY, AudioFormatError, "at 0 Hz"),
    "1e9 Hz": (wav_header(rate=10**9) + BODY, AudioFormatError, "states 1000000000 Hz"),
    "0 channels": (wav_header(channels=0) + BODY, AudioFormatError, "0 channels"),
    "65535 channels": (wav_header(channels=65535) + BODY, AudioTooLargeError, "states 65535 channels"),
    "600 channels": (wav_header(channels=600) + BODY, AudioTooLargeError, "states 600 channels"),
    "0 bits": (wav_header(bits=0) + BODY, AudioFormatError, "an unknown codec"),
    "255 bits": (wav_header(bits=255) + BODY, AudioFormatError, "an unknown codec"),
}


def broken_file() -> io.BytesIO:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    return Broken(b"RIFF")


async def coroutine() -> bytes:
    return b""


def endless() -> Any:
    return SimpleNamespace(read=lambda size: bytes(min(size, 2**20)), seekable=lambda: False)


BAD_OBJECTS: dict[str, tuple[Callable[[], Any], type[AudioError], str]] = {
    "None": (lambda: None, AudioInputError, "NoneType arrived"),
    "number": (lambda: 3, AudioInputError, "int arrived"),
    "list": (lambda: [0.0, 0.1], AudioInputError, "a list of 2 arrived"),
    "tuple": (lambda: ("a.wav", "b.wav"), AudioInputError, "a tuple of 2 arrived"),
    "bool array": (lambda: np.zeros(9, bool), AudioInputError, "dtype bool"),
    "complex array": (lambda: np.zeros(9, complex), AudioInputError, "dtype complex128"),
    "object array": (lambda: np.array([None] * 9), AudioInputError, "dtype object"),
    "text array": (lambda: np.array(["a"] * 9), AudioInputError, "dtype <U1"),
    "int64 array": (lambda: np.zeros(9, np.int64), AudioInputError, ".astype(np.int16)"),
    "scalar array": (lambda: np.array(1.0), AudioInputError, "shape ()"),
    "batch": (lambda: np.zeros((2, 1, 9)), AudioInputError, "shape (2, 1, 9)"),
    "matrix": (lambda: np.zeros((80, 300)), AudioInputError, "at most 8"),
    "no samples": (lambda: np.zeros(0), AudioInputError, "holds no samples"),
    "no samples of two channels": (lambda: np.zeros((2, 0)), AudioInputError, "holds no samples"),
    "NaN": (lambda: np.array([0.0, np.nan] * 99), AudioFormatError, "NaN or infinite"),
    "infinity": (lambda: np.array([0.0, np.inf] * 99), AudioFormatError, "NaN or infinite"),
    "beyond float32": (lambda: np.array([0.0, 1e300] * 99), AudioFormatError, "NaN or infinite"),
    "beyond all arithmetic": (lambda: np.array([0.0, 1e19] * 99, np.float32), AudioFormatError, "reach 1e+19"),
    "too loud, resampled": (
        lambda: {"array": np.full(999, 1e29), "sampling_rate": 8000},
        AudioFormatError,
        "full scale is 1.0",
    ),
    "NaN, resampled": (
        lambda: {"array": np.full(999, np.nan), "sampling_rate": 8000},
        AudioFormatError,
        "NaN",
    ),
    "bool tensor": (lambda: torch.zeros(9, dtype=torch.bool), AudioInputError, "dtype bool"),
    "complex tensor": (lambda: torch.zeros(9, dtype=torch.complex64), AudioInputError, "complex64"),
    "sparse tensor": (lambda: torch.zeros(9).to_sparse(), AudioInputError, "sparse"),
    "empty dict": (dict, AudioInputError, "(none)"),
    "other dict": (lambda: {"text": "a", "file": "b"}, AudioInputError, "'text', 'file'"),
    "dict without a rate": (lambda: {"array": np.zeros(9)}, AudioInputError, "needs 'sampling_rate'"),
    "rate as text": (lambda: {"raw": np.zeros(9), "sampling_rate": "16k"}, AudioInputError, "'16k'"),
    "rate 0": (lambda: {"raw": np.zeros(9), "sampling_rate": 0}, AudioInputError, "rate is 0"),
    "rate NaN": (lambda: {"raw": np.zeros(9), "sampling_rate": float("nan")}, AudioInputError, "nan"),
    "rate True": (lambda: {"raw": np.zeros(9), "sampling_rate": True}, AudioInputError, "True"),
    "rate too high": (lambda: {"raw": np.zeros(9), "sampling_rate": 10**9}, AudioInputError, "768000"),
    "ragged lists": (
        lambda: {"array": [[0.0], [0.0, 1.0]], "sampling_rate": 8000},
        AudioInputError,
        "no array",
    ),
    "text file object": (lambda: io.StringIO("text"), AudioInputError, "gives str, not bytes"),
    "async file object": (lambda: SimpleNamespace(read=lambda n: coroutine()), AudioInputError, "coroutine"),
    "failing file object": (broken_file, AudioInputError, "Input/output error"),
    "endless stream": (endless, AudioTooLargeError, "more than 8388608 bytes"),
    "ftp": (lambda: "ftp://example.org/a.wav", AudioURLError, "scheme 'ftp'"),
    "file URL": (lambda: "file:///etc/passwd", AudioURLError, "scheme 'file'"),
    "data URL": (lambda: "data:audio/wav;base64,UklGRg==", AudioURLError, "scheme 'data'"),
    "empty path": (lambda: "", AudioNotFoundError, "an empty path"),
    "zero byte in a path": (lambda: "a\0.wav", AudioNotFoundError, "null byte"),
    "very long path": (lambda: "a" * 10_000, AudioNotFoundError, "too long"),
    "no such folder": (lambda: "/no/such/folder/a.wav", AudioNotFoundError, "folder /no/such/folder"),
    "one sample": (lambda: {"raw": np.ones(1), "sampling_rate": 48000}, AudioFormatError, "one sample"),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", BAD_BYTES)
def test_bad_bytes_get_one_clear_error(tmp_path, name):
    content, kind, message = BAD_BYTES[name]
    path = tmp_path / "recording.wav"
    path.write_bytes(content)
    for source in (content, path, io.BytesIO(content)):
        with pytest.raises(AudioError, match=re.escape(message)) as caught:
            load_audio(source)
        assert caught.type is kind
    assert "Traceback" not in str(caught.value)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", BAD_OBJECTS)
def test_bad_objects_get_one_clear_error(name):
    make, kind, message = BAD_OBJECTS[name]
    with pytest.raises(AudioError, match=re.escape(message)) as caught:
        load_audio(make(), limits=AudioLimits(max_bytes=8 * 2**20))
    assert caught.type is kind


@pytest.mark.timeout(20)
def test_a_large_file_of_zeros_is_refused_without_reading_it_all(tmp_path):
    path = tmp_path / "recording.mp3"
    with open(path, "wb") as file:
        file.truncate(4 * 2**30)  # a hole on disk; reading it whole takes half a minute
    started = time.monotonic()
    with pytest.raises(AudioFormatError, match="nothing but zero bytes"):
        open_audio(path)
    assert time.monotonic() - started < 2


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="a file that cannot be read, though it opens")
def test_a_file_that_fails_when_it_is_read_is_refused():
    with pytest.raises(AudioFormatError, match="/proc/self/mem: reading failed: Input/output error"):
        open_audio("/proc/self/mem")


def test_link_to_nothing_is_told_as_one(tmp_path):
    (tmp_path / "talk.wav").symlink_to("moved.wav")
    with pytest.raises(AudioNotFoundError, match=r"talk\.wav is a link to moved\.wav, which does not exist"):
        open_audio(tmp_path / "talk.wav")


def test_a_missing_file_suggests_its_nearest_names(tmp_path):
    (tmp_path / "Interview-1.wav").touch()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(AudioNotFoundError, match=r"did you mean .*Interview-1\.wav\?"):
        open_audio(tmp_path / "interview_1.wav")


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(AudioNotFoundError, match="is a directory"):
        open_audio(tmp_path)


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no device files here")
def test_a_device_is_refused():
    with pytest.raises(AudioNotFoundError, match="/dev/zero is a device"):
        open_audio("/dev/zero")


def test_a_socket_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the path of a socket may have 107 bytes
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        with pytest.raises(AudioNotFoundError, match="socket is a device or socket"):
            open_audio("socket")


def test_a_file_without_permission_is_refused(monkeypatch, tmp_path, wav):
    path = tmp_path / "a.wav"
    path.write_bytes(wav)

    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "stat", refuse)  # root may read everything, so a mode of 000 proves nothing
    with pytest.raises(AudioError, match="may not be read by this user"):
        open_audio(str(path))


@pytest.mark.timeout(20)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_that_nobody_writes_to_is_given_up(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(AudioError, match=r"gave nothing for 0\.05 s"):
        open_audio(path, limits=AudioLimits(pipe_timeout=0.05))


def test_a_terminal_is_no_recording(monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(), isatty=lambda: True))
    with pytest.raises(AudioInputError, match="nothing is piped into it"):
        open_audio("-")


def test_a_closed_file_object_is_refused(wav):
    file = io.BytesIO(wav)
    file.close()
    with pytest.raises(AudioInputError, match="cannot be read"):
        open_audio(file)


def test_a_video_without_sound_names_its_streams():
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as output:
        stream = output.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for _ in range(3):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")))
        output.mux(stream.encode(None))
    with pytest.raises(AudioFormatError, match="no audio stream; its streams: video"):
        open_audio(buffer.getvalue())


def test_a_header_that_claims_4_gigabytes_allocates_nothing():
    started = time.monotonic()
    audio = open_audio(wav_header(n_bytes=2**32 - 1000) + BODY)
    assert audio.duration == pytest.approx(0.1)
    assert audio.read().size == 1600
    assert time.monotonic() - started < 1
    assert "was cut off: its header promises" in audio.warnings[0]


def test_a_wav_whose_writer_could_not_know_its_length_is_whole():
    for unknown in (2**32 - 1, 0):
        audio = open_audio(wav_header(n_bytes=unknown) + BODY)
        if unknown:
            assert audio.read().size == 1600
            assert audio.warnings == []


@pytest.mark.parametrize(
    ("container", "codec", "sample_rate"),
    [
        ("wav", "pcm_s16le", 16000),
        ("flac", "flac", 16000),
        ("mp3", "libmp3lame", 44100),
        ("ogg", "libopus", 48000),
        ("webm", "libopus", 48000),
        ("aiff", "pcm_s16be", 16000),
    ],
)
def test_a_truncated_recording_gives_what_is_there_and_a_warning(encode, container, codec, sample_rate):
    whole = encode(container, codec, sample_rate=sample_rate, seconds=5.0)
    audio = open_audio(whole[: len(whole) * 6 // 10])
    samples = audio.read()
    assert 1.5 < samples.size / 16000 < 3.5
    assert audio.duration == samples.size / 16000
    assert any("was cut off" in warning for warning in audio.warnings)


def test_a_truncated_m4a_says_that_its_index_is_missing(encode):
    whole = encode("ipod", "aac", sample_rate=44100)
    with pytest.raises(AudioFormatError, match=r"index \(moov\) is missing"):
        open_audio(whole[: len(whole) // 2])


@pytest.mark.parametrize(
    ("container", "codec"), [("flac", "flac"), ("ipod", "aac"), ("ogg", "libopus"), ("matroska", "libopus")]
)
def test_damage_inside_a_recording_moves_nothing_behind_it(encode, container, codec):
    noise = np.random.default_rng(0).normal(0, 0.02, 80000)
    noise[72000:] *= 15  # from 0.02 to 0.3: what must stay at its time
    # Matroska finds its way again with the next cluster; the others with the next packet.
    options = {"cluster_time_limit": "500"} if container == "matroska" else {}
    whole = bytearray(encode(container, codec, samples=noise, options=options))
    middle = len(whole) // 2
    whole[middle : middle + 3000] = bytes(3000)
    audio = open_audio(bytes(whole))
    samples = audio.read()
    loudness = np.sqrt((samples[: samples.size // 400 * 400].reshape(-1, 400) ** 2).mean(1))
    quiet = np.flatnonzero(loudness[:190] < 0.1)[-1] + 1  # the codec may add a loud burst at the damage itself
    assert quiet * 400 == pytest.approx(72000, abs=1200)  # 75 ms: below 0.1 s nothing is filled in
    assert any("silence is in their place" in warning for warning in audio.warnings)


def test_a_stream_of_damaged_packets_is_an_error(encode):
    whole = encode("matroska", "aac", sample_rate=16000)
    start = whole.find(b"\x1f\x43\xb6\x75")  # the first cluster of Matroska
    noise = np.random.default_rng(0).bytes(len(whole) - start - 100)
    with pytest.raises(AudioFormatError, match=r"matroska.* with aac.* holds no samples"):
        load_audio(whole[: start + 100] + noise)


def test_limits_name_themselves(wav):
    samples = np.zeros(32000, np.float32)
    for source in (wav, samples):
        with pytest.raises(AudioTooLargeError, match=r"longer than 1 s, .*AudioLimits\.max_duration"):
            load_audio(source, limits=AudioLimits(max_duration=1.0))
        assert load_audio(source, limits=AudioLimits(max_duration=2.0)).size == 32000
        with pytest.raises(AudioTooLargeError, match=r"AudioLimits\.max_read_duration"):
            load_audio(source, limits=AudioLimits(max_read_duration=1.0))
        blocks = open_audio(source, limits=AudioLimits(max_read_duration=1.0)).blocks()
        assert sum(block.size for block in blocks) == 32000


def test_a_stated_duration_beyond_the_limit_is_refused_before_reading(encode):
    with pytest.raises(AudioTooLargeError, match="longer than 1 s"):
        open_audio(encode("flac", "flac"), limits=AudioLimits(max_duration=1.0))


def test_an_endless_standard_input_ends_at_the_limit(monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=endless(), isatty=lambda: False))
    with pytest.raises(AudioTooLargeError, match="<stdin> gives more than"):
        open_audio("-", limits=AudioLimits(max_bytes=2**21))


def test_impossible_limits_and_rates_are_refused(wav):
    with pytest.raises(OptionError, match="max_bytes"):
        AudioLimits(max_bytes=-1)
    with pytest.raises(OptionError, match="url_timeout"):
        AudioLimits(url_timeout=float("nan"))
    with pytest.raises(OptionError, match="sample_rate is 0"):
        open_audio(wav, 0)


def test_ffmpeg_prints_nothing(capfd):
    for content, _, _ in BAD_BYTES.values():
        with pytest.raises(AudioError):
            load_audio(content)
    assert capfd.readouterr() == ("", "")
