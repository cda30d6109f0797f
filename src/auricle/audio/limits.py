"""What a recording may cost before it is refused."""

from __future__ import annotations

from dataclasses import dataclass, fields

from auricle.errors import OptionError

MIN_SAMPLE_RATE = 1_000  # hertz; below this no speech is left
MAX_SAMPLE_RATE = 768_000  # hertz; the fastest converters on sale
# Samples as float, where 1.0 is full scale: integers of 32 bits that were only cast stay below it, and the power of
# such sound is still a float32.
MAX_SAMPLE = 2.0**32


@dataclass(frozen=True)
class AudioLimits:
    """Bounds on what is read; a recording beyond one of them is refused with an error that names it."""

    # Bytes taken from a URL, a pipe or a file object that cannot seek; beyond 32 MiB they lie on disk.
    max_bytes: int = 4 * 2**30
    # Seconds of audio in one recording; None sets no bound, since `Audio.blocks` needs constant memory.
    max_duration: float | None = None
    # Seconds that `Audio.read` may hold in memory at once (at 16 kHz, 12 hours are 2.8 GB).
    max_read_duration: float = 12 * 3600.0
    # Channels of a file or stream.
    max_channels: int = 64
    # Seconds from asking for a URL to its last byte, redirects included.
    url_timeout: float = 600.0
    # Seconds that a server may stay silent.
    url_stall_timeout: float = 30.0
    # Redirects that are followed.
    max_redirects: int = 5
    # Seconds that a named pipe may give nothing; standard input waits as long as its writer does.
    pipe_timeout: float = 120.0
    # Whether URLs may lead to loopback, private, link-local and reserved addresses, and through a proxy
    # that the environment names. Leave False wherever the URL comes from somebody else.
    allow_private_urls: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "allow_private_urls" or (field.name == "max_duration" and value is None):
                continue
            lowest = 0 if field.name == "max_redirects" else 1e-3
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= lowest:
                raise OptionError(f"AudioLimits.{field.name} is {value!r}; it must be a positive number")


DEFAULT_LIMITS = AudioLimits()
