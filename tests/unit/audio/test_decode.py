"""What comes out is the sound that went in, whatever it was packed in."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from auricle.audio.decode import open_audio

EDGE = 400  # samples at each end (25 ms) where resampling and codecs ring against the sudden start
# Quantising to n bits leaves 6.02 n dB below full scale; the tones' power is 13 dB below it. 10 dB are for rounding.
PCM_SNR = {"u8": 25.0, "s16": 75.0, "s24": 90.0, "s32": 90.0, "f32": 90.0, "f64": 90.0}
LOSSY_SNR = 15.0  # decibels: lossy codecs keep the sound, not the samples; 1 ms of delay would give under 0 dB


def snr(got: np.ndarray, wanted: np.ndarray) -> float:
    n = min(len(got), len(wanted))
    got, wanted = got[EDGE : n - EDGE], wanted[EDGE : n - EDGE]
    return float(10 * np.log10(np.sum(wanted**2) / np.sum((got - wanted) ** 2)))


@pytest.mark.parametrize("sample_rate", [8000, 11025, 16000, 22050, 44100, 48000, 96000])
def test_every_rate_becomes_the_target_rate_sample_by_sample(encode, reference, sample_rate):
    audio = open_audio(encode("wav", "pcm_s16le", sample_rate=sample_rate))
    samples = audio.read()
    assert samples.dtype == np.float32
    assert abs(len(samples) - 32000) <= 1
    assert snr(samples, reference(16000, 2.0)) > 65  # 16 bits, less soxr's pass band near 4 kHz


def test_the_target_rate_may_be_another(encode, reference):
    audio = open_audio(encode("wav", "pcm_s16le", sample_rate=44100), 24000)
    assert audio.sample_rate == 24000
    assert snr(audio.read(), reference(24000, 2.0)) > 65


@pytest.mark.parametrize(
    ("codec", "kind"),
    [
        ("pcm_u8", "u8"),
        ("pcm_s16le", "s16"),
        ("pcm_s24le", "s24"),
        ("pcm_s32le", "s32"),
        ("pcm_f32le", "f32"),
        ("pcm_f64le", "f64"),
    ],
)
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_every_sample_format_of_wav_has_full_scale_one(encode, reference, codec, kind, channels):
    samples = open_audio(encode("wav", codec, channels=channels)).read()
    assert len(samples) == 32000
    assert snr(samples, reference(16000, 2.0)) > PCM_SNR[kind]


@pytest.mark.parametrize(
    ("container", "codec", "sample_rate", "channels", "video"),
    [
        ("flac", "flac", 16000, 1, False),
        ("ogg", "flac", 44100, 2, False),
        ("aiff", "pcm_s16be", 22050, 2, False),
        ("w64", "pcm_s16le", 16000, 1, False),
        ("ipod", "alac", 44100, 2, False),
        ("matroska", "pcm_s16le", 48000, 6, True),
    ],
)
def test_lossless_formats_keep_the_samples(encode, reference, container, codec, sample_rate, channels, video):
    audio = open_audio(encode(container, codec, sample_rate=sample_rate, channels=channels, video=video))
    assert snr(audio.read(), reference(16000, 2.0)) > 65
    assert audio.warnings == []
    assert audio.duration == pytest.approx(2.0, abs=1e-3)


@pytest.mark.parametrize(
    ("container", "codec", "sample_rate", "channels", "video"),
    [
        ("mp3", "libmp3lame", 44100, 2, False),
        ("mp3", "libmp3lame", 16000, 1, False),
        ("ogg", "libopus", 48000, 1, False),
        ("webm", "libopus", 48000, 2, False),
        ("ipod", "aac", 44100, 1, False),  # m4a
        ("mp4", "aac", 48000, 2, True),
        ("matroska", "libopus", 48000, 6, True),
        ("avi", "libmp3lame", 44100, 2, True),
        ("mpegts", "aac", 16000, 2, True),
        ("adts", "aac", 16000, 1, False),
        ("wav", "pcm_mulaw", 16000, 1, False),
    ],
)
def test_lossy_formats_keep_the_sound_in_its_place(encode, reference, container, codec, sample_rate, channels, video):
    audio = open_audio(encode(container, codec, sample_rate=sample_rate, channels=channels, video=video))
    samples = audio.read()
    if container in ("avi", "mpegts", "adts"):  # these cannot say how many samples the encoder put in front
        samples = samples[int(np.argmax(np.correlate(samples[:4000], reference(16000, 0.1), "valid"))) :]
    assert snr(samples[:30000], reference(16000, 2.0)[:30000]) > LOSSY_SNR
    assert abs(len(samples) - 32000) < 1000
    assert audio.warnings == []


def test_channels_are_averaged(encode):
    left, right = np.full(16000, 0.5), np.full(16000, -0.1)
    samples = open_audio(encode("wav", "pcm_f32le", channels=2, samples=np.stack([left, right], 1))).read()
    np.testing.assert_allclose(samples, 0.2, atol=1e-6)


def test_six_channels_are_averaged_with_equal_weight(encode):
    levels = np.tile(np.arange(6) / 10, (16000, 1))
    samples = open_audio(encode("wav", "pcm_f32le", channels=6, samples=levels)).read()
    np.testing.assert_allclose(samples, 0.25, atol=1e-6)


@pytest.mark.parametrize("channels", [7, 8, 9, 16, 64])
def test_many_channels_are_averaged(channels):
    n_bytes = 16000 * channels * 2
    header = b"RIFF" + struct.pack("<I", n_bytes + 36) + b"WAVEfmt "
    header += struct.pack("<IHHIIHH", 16, 1, channels, 16000, 32000 * channels, 2 * channels, 16)
    values = np.tile(np.arange(channels) * 100, (16000, 1)).astype("<i2")
    samples = open_audio(header + b"data" + struct.pack("<I", n_bytes) + values.tobytes()).read()
    np.testing.assert_allclose(samples, 50 * (channels - 1) / 32768, atol=1e-6)
    assert samples.size == 16000


def test_blocks_and_read_give_the_same(encode):
    recording = encode("flac", "flac", sample_rate=44100, seconds=5.0)
    blocks = list(open_audio(recording).blocks())
    assert len(blocks) > 1
    np.testing.assert_array_equal(np.concatenate(blocks), open_audio(recording).read())


def test_silence_is_a_recording(encode):
    audio = open_audio(encode("wav", "pcm_s16le", samples=np.zeros(16000)))
    assert not audio.read().any()
    assert audio.warnings == []


def test_the_first_audio_stream_is_taken_unless_another_is_the_default():
    def film(default: int) -> bytes:
        buffer = io.BytesIO()
        with av.open(buffer, "w", format="matroska") as output:
            streams = [output.add_stream("pcm_s16le", rate=16000) for _ in range(2)]
            for index, stream in enumerate(streams):
                stream.codec_context.layout = "mono"
                stream.disposition = 1 if index == default else 0
            for level, stream in zip((1000, 2000), streams, strict=True):
                frame = av.AudioFrame.from_ndarray(np.full((1, 1600), level, np.int16), "s16", "mono")
                frame.sample_rate, frame.pts = 16000, 0
                output.mux(stream.encode(frame))
                output.mux(stream.encode(None))
        return buffer.getvalue()

    assert open_audio(film(0)).read().max() == pytest.approx(1000 / 32768)
    assert open_audio(film(1)).read().max() == pytest.approx(2000 / 32768)


def test_the_sound_of_a_video_keeps_its_own_time(encode):
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as output:
        pictures, sound = output.add_stream("mpeg4", rate=10), output.add_stream("pcm_s16le", rate=16000)
        pictures.width, pictures.height, pictures.pix_fmt = 32, 32, "yuv420p"
        sound.codec_context.layout = "mono"
        for _ in range(30):
            picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            output.mux(pictures.encode(picture))
        output.mux(pictures.encode(None))
        frame = av.AudioFrame.from_ndarray(np.full((1, 16000), 16384, np.int16), "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = 16000, 24000, Fraction(1, 16000)
        output.mux(sound.encode(frame))
        output.mux(sound.encode(None))
    samples = open_audio(buffer.getvalue()).read()
    assert samples.nonzero()[0][0] == 24000  # the sound begins 1.5 s after the picture
    assert samples.size == 40000


def test_two_joined_recordings_of_different_rates_are_read_to_the_end(encode):
    joined = encode("adts", "aac", sample_rate=16000) + encode("adts", "aac", sample_rate=44100)
    assert open_audio(joined).read().size / 16000 == pytest.approx(4.0, abs=0.2)


def test_a_recording_is_read_once(wav):
    audio = open_audio(wav)
    audio.read()
    with pytest.raises(ValueError, match="was read already; open it again"):
        audio.read()


def test_duration_is_known_before_reading(encode, wav):
    assert open_audio(wav).duration == 2.0
    assert open_audio(encode("webm", "libopus", sample_rate=48000)).duration == pytest.approx(2.0, abs=0.02)
    assert open_audio(np.zeros(8000, np.float32)).duration == 0.5


def test_a_closed_recording_leaves_no_open_file(tmp_path, wav):
    path = tmp_path / "a.wav"
    path.write_bytes(wav)
    with open_audio(path) as audio:
        next(audio.blocks())  # ResourceWarning is an error here if the file is left open


MEMORY_SCRIPT = """
import resource, sys
from auricle.audio.decode import open_audio
next(open_audio(sys.argv[1]).blocks())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
seconds = sum(block.size for block in open_audio(sys.argv[2]).blocks()) / 16000
print(seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has another unit elsewhere")
def test_an_hour_is_read_in_constant_memory(tmp_path: Path, wav: bytes):
    short, long = tmp_path / "short.wav", tmp_path / "long.wav"
    short.write_bytes(wav)
    n_bytes = 3600 * 44100 * 2
    header = b"RIFF" + (n_bytes + 36).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    header += b"\1\0\1\0" + (44100).to_bytes(4, "little") + (88200).to_bytes(4, "little") + b"\2\0\x10\0data"
    with open(long, "wb") as file:
        file.write(header + n_bytes.to_bytes(4, "little"))
        file.truncate(44 + n_bytes)  # a hole on disk that reads as silence
    command = [sys.executable, "-c", MEMORY_SCRIPT, str(short), str(long)]
    seconds, mebibytes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert float(seconds) == 3600
    assert float(mebibytes) < 16  # the file has 303 MiB, its samples as float32 220 MiB
