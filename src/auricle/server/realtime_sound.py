"""Sound as it comes in the messages of a realtime session: base64 of 16-bit samples, or of a telephone's 8-bit ones.

Source: ITU-T G.711, the tables of μ-law and A-law.
"""

from __future__ import annotations

import base64
import binascii
from functools import cache
from typing import TYPE_CHECKING

from auricle.server.errors import Refused
from auricle.server.realtime_settings import ALAW, PCM

if TYPE_CHECKING:
    import numpy as np


def samples_of(audio: object, encoding: str) -> bytes:
    """Return 16-bit samples of what a message carries.

    Raises:
        Refused: 400, it is no base64.
    """
    if not isinstance(audio, str):
        raise Refused(400, "audio is missing; expected the samples in base64", code="invalid_value", param="audio")
    try:
        data = base64.b64decode(audio, validate=True)
    except (binascii.Error, ValueError):
        raise Refused(
            400, f"audio is no base64 (it begins {audio[:16]!r})", code="invalid_value", param="audio"
        ) from None
    if encoding == PCM:
        return data
    import numpy as np

    return _table(encoding == ALAW)[np.frombuffer(data, np.uint8)].tobytes()


@cache
def _table(is_alaw: bool) -> np.ndarray:
    """Return the 16-bit sample of every byte."""
    import numpy as np

    code = np.arange(256)
    if is_alaw:
        code = code ^ 0x55
        exponent, mantissa = code >> 4 & 7, code & 15
        size = np.where(exponent > 0, (mantissa * 16 + 264) << np.maximum(exponent - 1, 0), mantissa * 16 + 8)
        is_negative = code & 0x80 == 0
    else:
        code = ~code & 0xFF
        exponent, mantissa = code >> 4 & 7, code & 15
        size = ((mantissa * 8 + 132) << exponent) - 132
        is_negative = code & 0x80 != 0
    return np.where(is_negative, -size, size).astype("<i2")
