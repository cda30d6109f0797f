"""Channels one by one: from files, streams and arrays, in any order, and refused by number."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from auricle.audio.decode import load_audio, open_audio, open_channels
from auricle.audio.spool import shared
from auricle.errors import AudioInputError

HALF_A_STEP = 0.5 / 32768 + 1e-6  # 16-bit files


class OneWay(io.RawIOBase):
    """A stream that cannot seek."""

    def __init__(self, content: bytes) -> None:
        self.rest = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def read(self, size: int = -1) -> bytes:
        return self.rest.read(size)


@pytest.fixture(scope="module")
def planes() -> np.ndarray:
    """Three seconds of two voices that have nothing in common: (2, 48000)."""
    return np.random.default_rng(0).uniform(-0.9, 0.9, (2, 48000)).astype(np.float32)


@pytest.fixture(scope="module")
def stereo(encode: Any, planes: np.ndarray) -> bytes:
    return encode("wav", "pcm_s16le", channels=2, samples=planes.T)


def sources(stereo: bytes, planes: np.ndarray, path: Path) -> list[Any]:
    path.write_bytes(stereo)
    return [path, stereo, io.BytesIO(stereo), OneWay(stereo), planes, planes.T, torch.from_numpy(planes),
            {"array": planes, "sampling_rate": 16000}, {"bytes": stereo}]  # fmt: skip


def test_a_channel_of_every_kind_of_source_is_heard_alone(stereo: bytes, planes: np.ndarray, tmp_path: Path) -> None:
    for channel in (0, 1):
        for source in sources(stereo, planes, tmp_path / "a.wav"):
            heard = open_audio(source, channel=channel).read()
            np.testing.assert_allclose(heard, planes[channel], atol=HALF_A_STEP)


def test_channels_of_every_kind_of_source_are_read_at_any_pace(
    stereo: bytes, planes: np.ndarray, tmp_path: Path
) -> None:
    for source in sources(stereo, planes, tmp_path / "a.wav"):
        left, right = open_channels(source)
        assert (left.channel, right.channel) == (0, 1)
        first = next(blocks := right.blocks())  # the second channel runs ahead
        np.testing.assert_allclose(left.read(), planes[0], atol=HALF_A_STEP)
        rest = [first, *blocks]
        np.testing.assert_allclose(np.concatenate(rest), planes[1], atol=HALF_A_STEP)


def test_every_kind_of_source_can_be_read_again_in_the_same_channel(
    stereo: bytes, planes: np.ndarray, tmp_path: Path
) -> None:
    for source in sources(stereo, planes, tmp_path / "a.wav"):
        first = open_audio(source, channel=1)
        second = open_audio(first.again())
        np.testing.assert_allclose(first.read(), planes[1], atol=HALF_A_STEP)
        first.close()
        np.testing.assert_allclose(second.read(), planes[1], atol=HALF_A_STEP)
        second.close()


def test_channels_that_are_read_apart_can_be_read_again(stereo: bytes, planes: np.ndarray) -> None:
    opened = open_channels(OneWay(stereo))
    again = [open_audio(one.again()) for one in opened]
    for one in opened:
        one.read()
        one.close()
    for plane, one in zip(planes, again, strict=True):
        np.testing.assert_allclose(one.read(), plane, atol=HALF_A_STEP)


def test_shared_file_is_let_go_of_once_and_by_the_last() -> None:
    released: list[int] = []
    first, second = shared(lambda: released.append(1), 2)
    first()
    first()
    assert not released
    second()
    second()
    assert released == [1]


def test_compressed_channels_are_resampled_each_by_itself(encode: Any) -> None:
    time = np.arange(96000) / 48000
    tones = np.stack([np.sin(2 * np.pi * 440 * time), np.sin(2 * np.pi * 1000 * time)], 1) * 0.5
    content = encode("ogg", "libopus", sample_rate=48000, channels=2, samples=tones)
    for audio, hertz in zip(open_channels(content), (440, 1000), strict=True):
        spectrum = np.abs(np.fft.rfft(audio.read()[:16000]))
        assert int(spectrum.argmax()) == hertz


def test_file_object_is_put_back_when_the_last_channel_is_closed(stereo: bytes) -> None:
    file = io.BytesIO(stereo)
    file.seek(99)
    left, right = open_channels(file)
    left.read()
    right.read()
    assert file.tell() == 99
    assert not file.closed


def test_files_of_channels_are_closed_with_the_last_of_them(stereo: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(stereo)
    for audio in open_channels(tmp_path / "a.wav"):
        audio.close()  # ResourceWarning is an error here if the file is left open


def test_mono_has_one_channel(wav: bytes) -> None:
    (only,) = open_channels(wav)
    np.testing.assert_array_equal(only.read(), load_audio(wav))
    assert only.warnings == []


@pytest.mark.parametrize("as_file", [True, False])
def test_equal_channels_come_once_with_a_warning(encode: Any, planes: np.ndarray, as_file: bool) -> None:
    both = np.stack([planes[0], planes[0]], 1)
    (only,) = open_channels(encode("flac", "flac", channels=2, samples=both) if as_file else both)
    np.testing.assert_allclose(only.read(), planes[0], atol=HALF_A_STEP)
    assert "2 channels with the same samples" in only.warnings[0]


@pytest.mark.parametrize("channel", [2, -1])
def test_channel_that_is_not_there_is_refused_with_how_many_there_are(
    stereo: bytes, planes: np.ndarray, channel: int
) -> None:
    for source in (stereo, planes):
        with pytest.raises(AudioInputError, match=rf"channel {channel} of .* which has 2, .*give 0 or 1"):
            open_audio(source, channel=channel)


def test_where_a_joined_part_has_fewer_channels_the_missing_one_is_silent(encode: Any, planes: np.ndarray) -> None:
    parts = [encode("ogg", "flac", channels=2, samples=planes.T), encode("ogg", "flac", samples=planes[0])]
    left, right = open_channels(b"".join(parts))
    samples = right.read()
    assert np.abs(left.read()[50000:]).max() > 0.5
    assert np.abs(samples[50000:]).max() == 0
    assert "1 channels instead of 2" in right.warnings[0]


def test_digest_is_of_the_files_bytes_or_of_float32_samples(stereo: bytes, planes: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(stereo)
    expected = hashlib.sha256(stereo).hexdigest()
    for source in (tmp_path / "a.wav", stereo, io.BytesIO(stereo), OneWay(stereo)):
        with open_audio(source) as audio:
            assert audio.sha256() == expected
    with open_audio(planes[0]) as audio:
        assert audio.sha256() == hashlib.sha256(planes[0].tobytes()).hexdigest()
    assert open_audio(planes).sha256() == open_audio(planes.T).sha256() != open_audio(planes[::-1]).sha256()


def test_taking_the_digest_does_not_disturb_reading(stereo: bytes) -> None:
    audio = open_audio(stereo)
    blocks = [next(reading := audio.blocks())]
    audio.sha256()
    blocks += reading
    np.testing.assert_array_equal(np.concatenate(blocks), load_audio(stereo))
