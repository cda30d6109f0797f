"""Encoded recordings: any container and codec that PyAV's own FFmpeg decodes, frame by frame.

Rules for damage, the same for every format:
- what decodes is given, and `warnings` says what is missing: packets that were damaged and left out, gaps
  (filled with silence, so that later times stay true), or an end that comes before the one the header states;
- a file that gives no sample at all is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, BinaryIO

import av
import numpy as np
from av.stream import Discard

from auricle.audio.limits import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE, AudioLimits
from auricle.audio.sniff import HEAD_BYTES, describe, ends_unfinished, wav_header
from auricle.audio.spool import CHUNK_BYTES, FileView, shared
from auricle.errors import AudioError, AudioFormatError, AudioTooLargeError

# Demuxers that hold their own audio. Left out on purpose: playlists and scripts that make FFmpeg open further
# files or addresses (hls, concat, dash, sdp, image sequences), images, and raw samples without a header.
FORMATS = (
    "3g2,3gp,aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,dts,eac3,flac,flv,gsm,ircam,loas,m4a,matroska,mov,mp3,mp4,"
    "mpc,mpc8,mpeg,mpegts,mxf,nistsphere,nut,ogg,oma,qcp,rm,sox,tak,tta,truehd,voc,w64,wav,webm,wv,xwma"
)
_EXPECTED = "give wav, flac, mp3, ogg, opus, webm, m4a, mp4, mkv or another format that FFmpeg decodes"
# Containers that store the time of their packets; in the others it is only counted up from the start.
_KEEPS_TIME = {"flac", "ogg", "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "asf", "flv", "mpegts", "mpeg", "nut"}
_BLOCK_SAMPLES = 65536
_READ_BYTES = 1 << 18  # one Python call per 256 KiB of file
MAX_DAMAGED_IN_A_ROW = 500  # about 10 s of AAC or Opus; past that the rest is taken for lost
_MAX_DRIFT = 0.1  # seconds between a frame's own time and its place; less is rounding and interleaving
_MAX_JITTER = 1.0  # seconds that time may go backwards before it is taken for a new count
_MAX_SILENCE = 3600.0  # seconds that are filled in where sound is missing, so that a few bytes cannot make days

# Containers whose header states the length; others only let it be guessed from the size and the bit rate.
_STATES_LENGTH = {"flac", "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "aiff", "au", "caf", "tta", "wv"}


class ContainerRecording:
    """One audio stream of an opened file: mono float32 blocks at the stream's own rate."""

    def __init__(
        self, file: BinaryIO, name: str, limits: AudioLimits, release: Callable[[], Any] = lambda: None
    ) -> None:
        """Open the default audio stream, or the first one if none is marked.

        `release` is called once the file is done with, an error here included.

        Raises: AudioFormatError, AudioTooLargeError
        """
        self.name = name
        self.warnings: list[str] = []
        self.channel: int | None = None  # the one that is heard, from 0; None: the mean of all
        # The decoder's own place in the file: further readers of it do not move that.
        self._source, self._file = file, FileView(file)
        self._limits, self._release = limits, release
        self._container: Any = None
        self._head = b""
        try:
            self._head = self._file.read(HEAD_BYTES)
            self._file.seek(0)
            if not self._head:
                raise AudioFormatError(f"{name} is empty (0 bytes); a recording was expected")
            self._container = av.open(
                # Without its name, so that FFmpeg goes by the content alone, whatever the name ends in.
                SimpleNamespace(read=self._file.read, seek=self._file.seek, tell=self._file.tell),
                mode="r",
                metadata_errors="ignore",
                buffer_size=_READ_BYTES,
                container_options={"format_whitelist": FORMATS, "protocol_whitelist": ""},
            )
            self._stream = self._pick_stream()
        except AudioError:
            self.close()
            raise
        except (av.error.FFmpegError, OSError, ValueError) as error:
            refusal = AudioFormatError(self._why_unopened(error)) if self._head else translate(error, name)
            self.close()
            raise refusal from error
        self.duration, self.stated = self._measure()
        self._decoded = self._filled = 0.0  # seconds of sound, and of silence put where sound is missing
        self._clock = (self._container.start_time or 0) / av.time_base  # the time that the next frame should have

    @property
    def description(self) -> str:
        """The container and codec, for messages: "wav with pcm_s16le"."""
        return f"{self._container.format.name} with {self._stream.codec_context.name}"

    @property
    def n_channels(self) -> int:
        """How many channels there are, as the header says; where it does not, as the first frame has."""
        header = wav_header(self._head)
        stated = header.channels if header else self._stream.codec_context.channels
        if stated:
            return int(stated)
        return next((len(planes) for planes, _ in self._once_more()), 0)

    def apart(self) -> list[ContainerRecording]:
        """Give a recording for each channel in the place of this one, which is read no further.

        Each decodes the whole file for itself, so that no channel has to wait for another.
        """
        holders = shared(self._release, self.n_channels)
        found = [ContainerRecording(self._source, self.name, self._limits, holder) for holder in holders]
        for channel, recording in enumerate(found):
            recording.channel = channel
        self._container.close()
        return found

    def again(self) -> ContainerRecording:
        """Give a further reader of the file, of the same channel, from its beginning; this one stays as it is.

        The file is let go of when both are closed. Before this one is.
        """
        self._release, holder = shared(self._release, 2)
        found = ContainerRecording(self._source, self.name, self._limits, holder)
        found.channel = self.channel
        return found

    def has_equal_channels(self) -> bool:
        """Say whether all channels hold the same samples; it reads up to the first that differs."""
        return all(bool((planes == planes[0]).all()) for planes, _ in self._once_more())

    def content(self) -> Iterator[bytes]:
        """Give the file's bytes, which identify the recording."""
        file = FileView(self._source)
        while chunk := file.read(CHUNK_BYTES):
            yield chunk

    def blocks(self) -> Iterator[tuple[np.ndarray, int]]:
        """Decode, mix to mono or pick a channel, and give blocks of up to 65536 samples with their rate.

        The rate may change inside a file, for instance where two recordings were joined.

        Raises: AudioFormatError, AudioTooLargeError
        """
        n_channels = self.n_channels if self.channel is not None else 0
        for planes, rate in self.planes():
            if self.channel is not None and len(planes) != n_channels:
                self.warnings.append(
                    f"{self.name} ({self.description}) has {len(planes)} channels instead of {n_channels} from "
                    f"{self._decoded:.2f} s on; a channel that is missing there is heard as silence"
                )
                n_channels = len(planes)
            yield _heard(planes, self.channel), rate

    def planes(self) -> Iterator[tuple[np.ndarray, int]]:
        """Decode and give (channels, samples) float32 with their rate.

        Raises: AudioFormatError, AudioTooLargeError
        """
        converter: Any = None
        key = None
        keeps_time = self._container.format.name in _KEEPS_TIME
        for frame in self._frames():
            rate = frame.sample_rate
            if key != (rate, frame.layout.name, frame.format.name):
                for piece in converter.resample(None) if converter else ():
                    yield _planes(piece), piece.sample_rate
                key = (rate, frame.layout.name, frame.format.name)
                self._check_shape(rate, frame.layout.nb_channels)
                # Same rate and layout: this makes float32 samples and gathers the frames into large ones.
                converter = av.AudioResampler("flt", frame.layout, rate, frame_size=_BLOCK_SAMPLES)
            time = frame.time if keeps_time else None
            if time is not None and abs(time - self._clock) > _MAX_DRIFT:
                for piece in converter.resample(None):
                    yield _planes(piece), rate
                yield self._bridge(frame), rate
                converter = av.AudioResampler("flt", frame.layout, rate, frame_size=_BLOCK_SAMPLES)
            self._decoded += frame.samples / rate
            self._clock += frame.samples / rate
            for piece in converter.resample(frame):
                yield _planes(piece), rate
        for piece in converter.resample(None) if converter else ():
            yield _planes(piece), piece.sample_rate
        self._check_end()

    def close(self) -> None:
        """Close the decoder, then whatever the file was opened from."""
        if self._container is not None:
            self._container.close()
        self._release()

    def _once_more(self) -> Iterator[tuple[np.ndarray, int]]:
        """Give the planes of another reader of the file."""
        again = ContainerRecording(self._source, self.name, self._limits)
        try:
            yield from again.planes()
        finally:
            again.close()

    def _frames(self) -> Iterator[Any]:
        """Decode packet by packet; damaged packets are left out, counted and reported."""
        damaged, in_a_row, first = 0, 0, ""
        packets = self._container.demux(self._stream)
        while in_a_row < MAX_DAMAGED_IN_A_ROW:
            packet, frames = None, []
            try:
                packet = next(packets, None)
                if packet is None:
                    break
                frames = packet.decode()
            except av.error.EOFError:
                break
            except (av.error.FFmpegError, IndexError) as error:  # IndexError: a stream that began late
                reason = getattr(error, "strerror", None) or "a packet of no known stream"
                first = first or f"{reason} after {self._decoded:.2f} s"
                damaged, in_a_row = damaged + 1, in_a_row + 1
                if packet is None:  # the demuxer stumbled, which ended its generator; ask it to go on
                    packets = self._container.demux(self._stream)
            for frame in frames:
                in_a_row = 0
                if frame.samples and frame.sample_rate:
                    yield frame
        if not self._decoded:
            raise AudioFormatError(
                f"{self.name} ({self.description}) holds no samples that can be decoded"
                f"{': ' if first else ''}{first}; a recording with sound was expected: check that it plays"
            )
        if self._filled:
            self.warnings.append(
                f"{self.name} ({self.description}): {self._filled:.2f} s are missing inside; silence is in their place"
            )
        if damaged:
            rest = ", and the rest is unreadable" if in_a_row >= MAX_DAMAGED_IN_A_ROW else ""
            self.warnings.append(
                f"{self.name} ({self.description}): {damaged} damaged packets were left out{rest}: {first}"
            )

    def _pick_stream(self) -> Any:
        """Choose the default audio stream, else the first, and make the demuxer drop the others."""
        streams = self._container.streams
        usable = [stream for stream in streams.audio if stream.codec_context is not None]
        if not usable:
            kinds = ", ".join(sorted({stream.type for stream in streams})) or "none"
            found = "an audio stream of an unknown codec" if streams.audio else "no audio stream"
            raise AudioFormatError(
                f"{self.name} ({self._container.format.name}) has {found}; its streams: "
                f"{kinds}; a recording or a video with sound was expected"
            )
        defaults = [stream for stream in usable if stream.disposition & stream.disposition.default]
        chosen = (defaults or usable)[0]
        context = chosen.codec_context
        header = wav_header(self._head)
        # FFmpeg gives 0 for more channels than it decodes; some codecs tell them only with the first packet.
        if header or (context.channels and context.sample_rate):
            self._check_shape(context.sample_rate, header.channels if header else context.channels)
        for stream in streams:
            if stream is not chosen:
                stream.discard = Discard.all
        return chosen

    def _measure(self) -> tuple[float | None, float]:
        """Find the duration, and how much of it the header promises (0 if it is a guess), in seconds."""
        stream, container = self._stream, self._container
        tag = re.fullmatch(r"(\d+):(\d+):([\d.]+)", stream.metadata.get("DURATION", ""))
        duration = None
        if stream.duration and stream.time_base:
            duration = float(stream.duration * stream.time_base)
        elif tag:
            duration = int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3])
        elif container.duration:
            duration = container.duration / av.time_base
        if duration is None or duration <= 0:
            return None, 0.0
        states = container.format.name in _STATES_LENGTH or (
            container.format.name == "mp3" and any(mark in self._head for mark in (b"Xing", b"Info", b"VBRI"))
        )
        # Without the tag, Matroska states one length for all streams; a video's sound may rightly end earlier.
        states = states and bool(stream.duration or tag or len(container.streams) == 1)
        return duration, duration if states else 0.0

    def _check_shape(self, rate: int, channels: int) -> None:
        if not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE:
            raise AudioFormatError(
                f"{self.name}: its header states {rate} Hz; from {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz "
                "were expected: the header is damaged, or the file is no audio"
            )
        if channels < 1:
            raise AudioFormatError(f"{self.name}: its header states 0 channels; at least 1 was expected")
        if channels > self._limits.max_channels:
            raise AudioTooLargeError(
                f"{self.name}: its header states {channels} channels; at most {self._limits.max_channels} are "
                "expected: the header is damaged, or raise AudioLimits.max_channels"
            )

    def _bridge(self, frame: Any) -> np.ndarray:
        """Give the silence that keeps what follows a gap, or a picture's start, at its own time.

        Where time goes backwards nothing is cut; a jump is taken for a new count, as in joined recordings.
        """
        gap = frame.time - self._clock
        begins = self._decoded == 0
        fill = 0.0
        if gap > 0 and gap <= _MAX_SILENCE - self._filled and not (begins and not self._container.streams.video):
            fill = gap
        if gap > 0 or gap < -_MAX_JITTER:
            self._clock = frame.time
        if not begins:
            self._filled += fill
        return np.zeros((frame.layout.nb_channels, round(fill * frame.sample_rate)), np.float32)

    def _check_end(self) -> None:
        """Warn where the file ends before its header says; padding explains up to 1 % or 0.2 s."""
        header = wav_header(self._head)
        size = self._file.seek(0, 2)
        missing = ""
        if header and header.data_end is not None and header.data_end > size:
            missing = f"its header promises {header.data_end} bytes and {size} are there"
        elif self.stated - self._decoded - self._filled > max(0.2, 0.01 * self.stated):
            missing = f"its header promises {self.stated:.2f} s and {self._decoded:.2f} s could be decoded"
        elif self._container.format.name == "ogg":
            self._file.seek(max(0, size - 2**17))  # an Ogg page has at most 65307 bytes
            if ends_unfinished(self._file.read(2**17)):
                missing = "it ends without the mark that ends an Ogg stream"
        if missing:
            self.warnings.append(f"{self.name} ({self.description}) was cut off: {missing}; what is there is used")

    def _why_unopened(self, error: Exception) -> str:
        """Say what arrived instead of a recording."""
        header = wav_header(self._head)
        size = self._file.seek(0, 2)
        looks = describe(self._head)
        if header and not (header.sample_rate and header.channels):
            reason = f"its header states {header.channels} channels at {header.sample_rate} Hz"
        elif b"ftyp" in self._head[:16] and isinstance(error, av.error.InvalidDataError):
            reason = "its index (moov) is missing, as if it was cut off; copy it again or record it again"
        elif looks.endswith("file"):
            reason = f"{getattr(error, 'strerror', None) or error}: the header is damaged or cut off"
        elif looks.startswith("of an unknown"):
            reason = "samples without a header must be passed as a numpy array with their rate"
        else:
            reason = "it holds no audio"
        return f"{self.name} is {looks} ({size} bytes) that cannot be decoded: {reason}; {_EXPECTED}"


def _planes(frame: Any) -> np.ndarray:
    """Turn interleaved float samples to (channels, samples)."""
    # Interleaved, not planar: from 8 planes on, PyAV 18 reads past the end of FFmpeg's list of planes.
    planes: np.ndarray = frame.to_ndarray().reshape(-1, frame.layout.nb_channels).T
    return planes


@np.errstate(invalid="ignore", over="ignore")  # damaged float samples, which the reader refuses by name
def _heard(planes: np.ndarray, channel: int | None) -> np.ndarray:
    """Average (channels, samples), or pick one of them; one that is not there is silence."""
    if channel is not None:
        silence = np.zeros(planes.shape[1], np.float32)
        return np.ascontiguousarray(planes[channel]) if channel < len(planes) else silence
    if len(planes) == 1:
        return planes[0]
    total = planes[0] + planes[1]  # column by column is 5 times faster than mean(0) on this layout
    for plane in planes[2:]:
        total += plane
    return total / np.float32(len(planes))


def translate(error: Exception, name: str) -> AudioError:
    """Turn an error that FFmpeg or a file object raised while it was read into ours."""
    reason = getattr(error, "strerror", None) or error
    return AudioFormatError(f"{name}: reading failed: {reason}; {_EXPECTED}")
