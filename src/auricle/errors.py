"""Everything that auricle raises on purpose.

AuricleError
├── AudioError                 a recording cannot be used
│   ├── AudioNotFoundError     no such file, or it is not a file
│   ├── AudioFormatError       the bytes are no audio we can decode, or are damaged
│   ├── AudioInputError        an object of a kind, shape or dtype that is no recording
│   ├── AudioTooLargeError     a limit on bytes, seconds or channels is exceeded
│   └── AudioURLError          a URL is refused, redirects too often, or does not answer
├── ImageError                 an image cannot be used
│   ├── ImageNotFoundError     no such file, or it is not a file
│   ├── ImageFormatError       the bytes are no picture that can be decoded, or are damaged
│   ├── ImageInputError        an object of a kind, shape or dtype that is no image
│   ├── ImageTooLargeError     a limit on bytes or pixels is exceeded
│   └── ImageURLError          a URL is refused, redirects too often, or does not answer
├── CheckpointError            a folder does not hold a checkpoint we can read
│   ├── ModelNotFoundError     no such model here, in the cache or on the hub
│   ├── ConfigError            config.json or its companions are missing, wrong or unknown
│   └── TensorError            tensors are missing, unexpected, mis-shaped or unsafe to read
├── OptionError                a parameter has an unknown name, a wrong value or a conflict
├── TaskError                  a task that does not exist, or does not fit the model
├── BridgeError                transformers, which runs the model, has failed
└── MissingExtraError          an optional package is needed and absent

Every message says what arrived, what was expected and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AuricleError(Exception):
    """The root: catch this to catch everything that auricle raises on purpose."""


class AudioError(AuricleError, ValueError):
    """A recording cannot be used."""


class AudioNotFoundError(AudioError, FileNotFoundError):
    """The path names no file."""

    # FileNotFoundError formats its arguments as (errno, text); one message is all there is here.
    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class AudioFormatError(AudioError):
    """The bytes are no audio that can be decoded, or are damaged."""


class AudioInputError(AudioError, TypeError):
    """An object is of a kind, shape or dtype that is no recording."""


class AudioTooLargeError(AudioError):
    """A limit on bytes, seconds or channels is exceeded."""


class AudioURLError(AudioError):
    """A URL is refused, redirects too often, or does not answer."""


class ImageError(AuricleError, ValueError):
    """An image cannot be used."""


class ImageNotFoundError(ImageError, FileNotFoundError):
    """The path names no file."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class ImageFormatError(ImageError):
    """The bytes are no picture that can be decoded, or are damaged."""


class ImageInputError(ImageError, TypeError):
    """An object is of a kind, shape or dtype that is no image."""


class ImageTooLargeError(ImageError):
    """A limit on bytes or pixels is exceeded."""


class ImageURLError(ImageError):
    """A URL is refused, redirects too often, or does not answer."""


class CheckpointError(AuricleError):
    """A folder does not hold a checkpoint that can be read."""


class ModelNotFoundError(CheckpointError, FileNotFoundError):
    """No model of this name is here, in the cache or on the hub."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class ConfigError(CheckpointError, ValueError):
    """A configuration file is missing, malformed, or asks for something unknown."""


class TensorError(CheckpointError, ValueError):
    """Tensors are missing, unexpected, mis-shaped or unsafe to read."""


class OptionError(AuricleError, ValueError):
    """A parameter has an unknown name, a wrong value, or conflicts with another."""


class TaskError(AuricleError, KeyError):
    """A task does not exist, or does not fit the model."""

    # KeyError would print the message in quotes.
    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class BridgeError(AuricleError, RuntimeError):
    """transformers, which runs the model, has failed."""


class MissingExtraError(AuricleError, ImportError):
    """An optional package is needed and absent."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x' or 'y'?"`` for the known names closest to `name`, or an empty string."""
    matches = difflib.get_close_matches(name, list(known), n=2, cutoff=0.6)
    return f"; did you mean {' or '.join(repr(match) for match in matches)}?" if matches else ""
