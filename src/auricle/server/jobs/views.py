"""What clients see of jobs and segments: plain values, without secrets."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from auricle.audio.fetch import shown
from auricle.server.errors import Refused
from auricle.server.jobs.store import DONE, Job
from auricle.server.openai_replies import plain
from auricle.server.speakers import without_recordings


def job_view(
    job: Job, root: str = "", position: int | None = None, deliveries: Sequence[Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """Return a job as JSON values; `root` is what a proxy puts before all paths."""
    here = f"{root}/jobs/{job.id}"
    order = job.order
    view: dict[str, Any] = {
        "id": job.id,
        "status": job.status,
        "model": job.outcome.get("model", order.model),
        "name": order.name,
        "url": None if order.url is None else shown(order.url),
        "size": order.size,
        "parameters": plain(without_recordings(order.parameters)),
        "progress": {"done": job.done, "duration": job.duration},
        "position": position,
        "created": timestamp(job.created),
        "started": timestamp(job.started),
        "finished": timestamp(job.finished),
        "error": job.error,
        "outcome": job.outcome or None,
        "webhook": None,
        "links": {
            "self": here,
            "events": f"{here}/events",
            "cancel": f"{here}/cancel",
            "result": f"{here}/result" if job.status == DONE else None,
        },
    }
    if order.webhook is not None:
        view["webhook"] = {"url": shown(order.webhook["url"]), "events": order.webhook["events"]}
        if deliveries is not None:
            view["webhook"]["deliveries"] = [_delivery(one) for one in deliveries]
    return view


def segment_view(segment: Mapping[str, Any]) -> dict[str, Any]:
    """Return a segment as the events tell it: what a caption needs."""
    view = {name: segment[name] for name in ("text", "start", "end", "confidence", "language")}
    if segment["channel"] is not None:
        view["channel"] = segment["channel"]
    view["words"] = [
        {"word": word["text"], "start": word["start"], "end": word["end"], "confidence": word["confidence"]}
        for word in segment["words"]
    ]
    return view


def timestamp(seconds: float | None) -> str | None:
    """Return a moment as ISO 8601 in UTC, to the millisecond.

    >>> timestamp(0.25)
    '1970-01-01T00:00:00.250Z'
    """
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def cursor_of(job: Job) -> str:
    """Return what a list goes on with behind this job."""
    return base64.urlsafe_b64encode(f"seq:{job.seq}".encode()).decode().rstrip("=")


def read_cursor(cursor: str | None) -> int | None:
    """Return the row that a cursor stands for.

    Raises:
        Refused: 400, it is none of ours.
    """
    if cursor is None:
        return None
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        if text.startswith("seq:") and len(text) < 20:  # SQLite's numbers have eighteen digits, and some more
            return int(text.removeprefix("seq:"))
    except (binascii.Error, ValueError):
        pass
    raise Refused(
        400, f"cursor {cursor[:40]!r} is none that this list gave; leave it out to begin anew", param="cursor"
    )


def _delivery(one: Mapping[str, Any]) -> dict[str, Any]:
    attempts = [{**attempt, "at": timestamp(attempt["at"])} for attempt in one["attempts"]]
    return {**one, "next": timestamp(one["next"]), "attempts": attempts}
