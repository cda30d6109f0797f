"""Microphone, pipes and blocks: what comes in is heard as it comes, and the same as from a file."""

from __future__ import annotations

import io
import os
import sys
import threading
import types
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from auricle.audio.limits import AudioLimits
from auricle.audio.live import open_live
from auricle.errors import (
    AudioError,
    AudioFormatError,
    AudioInputError,
    AudioTooLargeError,
    MissingExtraError,
    OptionError,
)

RATE = 16000


def sound(seconds: float = 2.0, rate: int = RATE) -> np.ndarray:
    return (0.5 * np.sin(np.arange(round(seconds * rate)) * 2 * np.pi * 300 / rate)).astype(np.float32)


def pcm(samples: np.ndarray) -> bytes:
    return np.round(samples * 32768).astype("<i2").tobytes()


def wav(samples: np.ndarray, rate: int = RATE, channels: int = 1) -> bytes:
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm(np.repeat(samples, channels)))
    return written.getvalue()


def encoded(form: str, codec: str) -> bytes:
    written = io.BytesIO()
    with av.open(written, "w", format=form) as container:
        stream = container.add_stream(codec, rate=48000 if codec == "libopus" else RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.frombuffer(pcm(sound()), "<i2")[None], format="s16", layout="mono")
        frame.sample_rate = RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return written.getvalue()


def heard(source: Any, **options: Any) -> np.ndarray:
    return np.concatenate(list(open_live(source, RATE, **options).blocks()))


class OneWay(io.RawIOBase):
    """A file that cannot seek and gives at most `most` bytes at once; it notes what was read of it."""

    def __init__(self, content: bytes, most: int = 1000) -> None:
        self.content, self.most, self.place = content, most, 0

    def read(self, size: int = -1) -> bytes:
        size = len(self.content) if size < 0 else size
        found = self.content[self.place : self.place + min(size, self.most)]
        self.place += len(found)
        return found


@pytest.fixture
def pipe() -> Iterator[Callable[[bytes], Any]]:
    """A real pipe into which a thread writes."""
    files: list[Any] = []

    def make(content: bytes) -> Any:
        end, begin = os.pipe()

        def write() -> None:
            with os.fdopen(begin, "wb") as file:
                file.write(content)

        thread = threading.Thread(target=write)
        thread.start()
        files.append((os.fdopen(end, "rb"), thread))
        return files[-1][0]

    yield make
    for file, thread in files:
        thread.join()
        file.close()


def test_raw_samples_are_heard_wherever_chunks_cut_them(tmp_path: Path) -> None:
    samples = sound()
    content = pcm(samples)
    (tmp_path / "a.raw").write_bytes(content)
    sources: list[Any] = [
        content, str(tmp_path / "a.raw"), tmp_path / "a.raw", io.BytesIO(content), OneWay(content, most=333),
        [content[at : at + 777] for at in range(0, len(content), 777)],
    ]  # fmt: skip
    for source in sources:
        assert np.abs(heard(source, raw=True, sampling_rate=RATE) - samples).max() < 1e-4


def test_raw_samples_at_another_rate_are_resampled() -> None:
    found = heard(pcm(sound(rate=8000)), raw=True, sampling_rate=8000)
    assert len(found) == 2 * RATE
    assert np.abs(found - sound())[1000:-1000].max() < 0.01


@pytest.mark.parametrize(
    ("form", "codec", "tolerance"),
    [("wav", "pcm_s16le", 1e-4), ("flac", "flac", 1e-4), ("ogg", "libopus", None), ("webm", "libopus", None),
     ("mp3", "libmp3lame", None)],
)  # fmt: skip
def test_containers_from_a_pipe_are_those_from_a_file(
    form: str, codec: str, tolerance: float | None, pipe: Callable[[bytes], Any]
) -> None:
    content = encoded(form, codec)
    found = heard(pipe(content))
    assert abs(len(found) - 2 * RATE) <= 0.1 * RATE
    if tolerance is not None:
        assert np.abs(found - sound()).max() < tolerance
    else:
        assert np.sqrt(np.square(found).mean()) == pytest.approx(0.5 / np.sqrt(2), rel=0.1)


def test_channels_of_a_stream_are_averaged() -> None:
    assert np.abs(heard(OneWay(wav(sound(), channels=2))) - sound()).max() < 1e-4


def test_a_stream_is_heard_before_it_ends() -> None:
    source = OneWay(wav(sound(600.0)))
    blocks = open_live(source, RATE).blocks()
    n_heard = 0
    for block in blocks:
        n_heard += len(block)
        if n_heard >= RATE:
            break
    assert len(block) <= 0.2 * RATE
    assert source.place < 10 * 2 * RATE
    raw = OneWay(pcm(sound(600.0)))
    next(open_live(raw, RATE, raw=True, sampling_rate=RATE).blocks())
    assert raw.place <= 4096


@pytest.mark.parametrize("options", [{}, {"raw": True, "sampling_rate": RATE}])
def test_ctrl_c_while_waiting_for_bytes_passes_through_the_decoder(options: dict[str, Any]) -> None:
    class Interrupted(OneWay):
        def read(self, size: int = -1) -> bytes:
            if self.place >= RATE * 2:
                raise KeyboardInterrupt
            return super().read(size)

    found: list[np.ndarray] = []
    with pytest.raises(KeyboardInterrupt):
        # extend() keeps what came before the error.
        found.extend(open_live(Interrupted(wav(sound())), RATE, **options).blocks())
    assert sum(map(len, found)) >= 0.9 * RATE


def test_a_stream_whose_length_is_not_stated_is_heard_to_its_end() -> None:
    content = bytearray(wav(sound()))
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    assert len(heard(OneWay(bytes(content)))) == 2 * RATE


def test_named_pipe_is_live_and_a_file_is_not(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav(sound()))
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(wav(sound())))
    writer.start()
    live = open_live(tmp_path / "pipe", RATE)
    found = np.concatenate(list(live.blocks()))
    writer.join()
    assert live.in_real_time
    file = open_live(tmp_path / "a.wav", RATE)
    assert not file.in_real_time
    file.close()
    assert np.array_equal(found, heard(tmp_path / "a.wav"))


def test_standard_input_may_be_a_pipe_or_a_file(
    pipe: Callable[[bytes], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = wav(sound())
    (tmp_path / "a.wav").write_bytes(content)
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=pipe(content), isatty=lambda: False))
    live = open_live("-", RATE)
    assert live.in_real_time
    assert len(np.concatenate(list(live.blocks()))) == 2 * RATE
    with (tmp_path / "a.wav").open("rb") as file:
        monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=file, isatty=lambda: False))
        assert open_live("-", RATE).name == "<stdin>"
        assert len(heard("-")) == 2 * RATE
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=None, isatty=lambda: True))
    with pytest.raises(AudioInputError, match="nothing is piped into it"):
        open_live("-", RATE)


def test_blocks_of_any_dtype_rate_and_channels_are_one_stream() -> None:
    samples = sound(1.0)
    whole = np.round(samples * 32768).astype(np.int16)
    blocks: list[Any] = [
        whole[:4000],
        np.zeros(0, np.int16),
        np.stack([samples[4000:8000]] * 2),
        {"array": samples[8000:12000].astype(np.float64), "sampling_rate": RATE},
        {"raw": samples[12000:], "sampling_rate": RATE},
    ]
    assert np.abs(heard(iter(blocks)) - samples).max() < 1e-4
    slow = sound(1.0, 8000)
    resampled = heard((slow[at : at + 100] for at in range(0, 8000, 100)), sampling_rate=8000)
    assert np.abs(resampled - samples)[1000:-1000].max() < 0.01


def test_one_array_is_a_recording() -> None:
    assert np.array_equal(heard(sound()), sound())
    assert len(heard(sound(2.0, 8000), sampling_rate=8000)) == 2 * RATE
    assert len(heard({"array": sound(2.0, 8000), "sampling_rate": 8000})) == 2 * RATE


@pytest.mark.parametrize(
    ("source", "options", "error", "message"),
    [
        ("mic", {"raw": True, "sampling_rate": RATE}, OptionError, "raw=True is for bytes"),
        (np.zeros(9), {"raw": True, "sampling_rate": RATE}, OptionError, "raw=True is for bytes"),
        (b"", {"raw": True}, OptionError, "raw=True needs sampling_rate"),
        ("a.wav", {"sampling_rate": 8000}, OptionError, "sampling_rate=8000 is of no use"),
        ([], {"sampling_rate": 8.5}, AudioError, "must be a whole number of hertz"),
        ("absent.wav", {}, AudioError, "there is no file absent.wav"),
        ("absent.raw", {"raw": True, "sampling_rate": RATE}, AudioError, "absent.raw cannot be opened"),
        (7, {"raw": True, "sampling_rate": RATE}, OptionError, "raw=True takes a path"),
        (7, {}, AudioInputError, "int arrived where a recording was expected"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_read(
    source: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        open_live(source, RATE, **options)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ([np.array([0.0, np.nan])], {}, "NaN or infinite"),
        ([np.full(100, 20000.0)], {}, "if they are 16-bit values"),
        ([{"array": np.zeros(5)}], {}, "is a dict needs 'array'"),
        ([b"ab"], {}, "with raw=True"),
        ([np.zeros(5)], {"raw": True, "sampling_rate": RATE}, "expected bytes of 16-bit samples"),
        (OneWay(b"no recording at all " * 100), {}, "cannot be decoded while it comes in"),
        (OneWay(b""), {}, r"cannot be decoded while it comes in: nothing arrived \(0 bytes\)"),
    ],
)
def test_blocks_that_are_no_sound_are_refused(source: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(AudioError, match=message):
        heard(source, **options)


def test_index_at_the_end_of_a_stream_is_one_sentence() -> None:
    with pytest.raises(AudioFormatError, match="save it to a file first"):
        heard(OneWay(encoded("mp4", "aac"), most=1 << 16))


# The microphone


class FakeStream:
    """A device that gives three blocks when it is started, and is then unplugged."""

    opened: dict[str, Any]
    closed = False
    status = ""

    def __init__(self, **options: Any) -> None:
        FakeStream.opened, FakeStream.closed = options, False

    def __enter__(self) -> FakeStream:
        size, rate = FakeStream.opened["blocksize"], FakeStream.opened["samplerate"]
        frames = sound(3 * size / rate, rate)[:, None]
        for at in range(3):
            FakeStream.opened["callback"](frames[at * size : (at + 1) * size], size, None, FakeStream.status)
        FakeStream.opened["finished_callback"]()
        return self

    def __exit__(self, *_: object) -> None:
        FakeStream.closed = True


class FakePortAudioError(Exception):
    pass


def fake_sounddevice(monkeypatch: pytest.MonkeyPatch, **parts: Any) -> None:
    module = types.ModuleType("sounddevice")
    whole = {
        "PortAudioError": FakePortAudioError,
        "query_devices": lambda kind: {"default_samplerate": 48000.0, "name": "fake"},
        "InputStream": FakeStream,
        **parts,
    }
    for name, part in whole.items():
        setattr(module, name, part)
    monkeypatch.setitem(sys.modules, "sounddevice", module)


def test_microphone_gives_all_that_waits_as_one_block_at_the_rate_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_sounddevice(monkeypatch)
    live = open_live("mic", RATE)
    assert live.in_real_time
    found = np.concatenate(list(live.blocks()))
    assert FakeStream.opened["samplerate"] == 48000
    assert FakeStream.closed
    assert len(found) == round(0.15 * RATE)
    assert np.abs(found - sound(0.15))[300:-300].max() < 0.01


def test_sound_that_the_microphone_lost_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fake_sounddevice(monkeypatch)
    monkeypatch.setattr(FakeStream, "status", "input overflow")
    heard("mic")
    assert caplog.messages == ["the microphone: input overflow; some sound is lost"] * 3


def test_what_lasts_longer_than_the_limit_is_refused_there(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_sounddevice(monkeypatch)
    limits = AudioLimits(max_duration=0.1)
    for source in ("mic", OneWay(wav(sound())), [sound()]):
        with pytest.raises(AudioTooLargeError, match=r"lasts longer than 0\.1 s"):
            list(open_live(source, RATE, limits=limits).blocks())


def test_microphone_that_is_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(kind: str) -> None:
        raise FakePortAudioError("Error querying device -1")

    fake_sounddevice(monkeypatch, query_devices=none)
    with pytest.raises(AudioInputError, match="there is no microphone: Error querying device -1"):
        open_live("mic", RATE)


def test_microphone_that_is_taken_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(**_: Any) -> None:
        raise FakePortAudioError("Device unavailable")

    fake_sounddevice(monkeypatch, InputStream=taken)
    with pytest.raises(AudioInputError, match="cannot be used: Device unavailable"):
        heard("mic")


def test_microphone_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'auricle\[mic\]'"):
        open_live("mic", RATE)
