"""What the Hugging Face routes answer: a transcript's text and times, and the headers about how it came to be."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from auricle.server.parameters import Note

if TYPE_CHECKING:
    from auricle.server.recognition import Recognized

_MOST_HEADERS = 10  # of warnings; all of them stand in the body
_HEADER_LETTERS = 500


def reply(found: Recognized, notes: Sequence[Note], cache: str) -> JSONResponse:
    """Answer a transcript; `cache` is "hit", "miss" or "bypass"."""
    response = JSONResponse(body(found, notes), headers=headers(found, cache))
    warn(response, notes)
    return response


def warn(response: Response, notes: Sequence[Note]) -> None:
    """Tell in headers what was not used."""
    for note in notes[:_MOST_HEADERS]:
        # huggingface_hub shows the first one of each topic.
        response.headers.append("x-hf-warning", _line(f"{note.name}; {note.message}"))


def body(found: Recognized, notes: Sequence[Note]) -> dict[str, Any]:
    """Return {"text"}, "chunks" where times were asked for, and "warnings" where there is something to say.

    A chunk has its times twice: `timestamp`, as the API always had it, and `timestamps`, as its document said.
    """
    result = dict(found.result)
    if "chunks" in result:
        result["chunks"] = [_chunk(chunk) for chunk in result["chunks"]]
    of_parameters = [{"kind": "parameter", "message": note.message, "start": None, "end": None} for note in notes]
    warnings = [*of_parameters, *(asdict(warning) for warning in found.transcript.warnings)]
    return {**result, "warnings": warnings} if warnings else result


def headers(found: Recognized, cache: str) -> dict[str, str]:
    """Return what computing took; a result of the cache took no time, by which the Hub's widget knows it."""
    made = {"x-cache": cache}
    if found.is_cached:
        made["x-compute-type"] = "cache"
    else:
        made["x-compute-type"] = "cpu" if found.device.startswith("cpu") else "gpu"
        made["x-compute-time"] = f"{found.compute_s:.3f}"
    if found.transcript.duration is not None:
        made["x-compute-audio-length"] = f"{found.transcript.duration:.3f}"
    return made


def _chunk(chunk: dict[str, Any]) -> dict[str, Any]:
    if "timestamp" not in chunk:
        return chunk
    times = list(chunk["timestamp"])
    return {**chunk, "timestamp": times, "timestamps": times}


def _line(text: str) -> str:
    """Return a text as the value of a header: printable ASCII, one line."""
    return " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", text).encode("ascii", "replace").decode().split())[:_HEADER_LETTERS]
