"""What a client asks of a job, from a query, a form or JSON, and the fingerprint that an idempotency key guards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from auricle.errors import nearest
from auricle.server.errors import Refused
from auricle.server.jobs.addresses import checked_url
from auricle.server.parameters import flattened, from_query

# What may stand in JSON; in queries and forms all other names are parameters.
_NAMES = ("inputs", "url", "upload", "model", "parameters", "webhook", "name")
_MAX_KEY = 255


@dataclass(frozen=True)
class Asked:
    """A request for a job, before its recording is looked at."""

    model: str | None
    parameters: Mapping[str, Any]
    webhook: Any  # as the client gave it
    url: str | None
    upload: str | None
    name: str | None
    use_cache: bool = True

    def fingerprint(self, sha256: str | None) -> str:
        """Return the digest of all that makes two requests the same; `sha256` is of a recording that came with it."""
        parts = [
            self.model, self.parameters, self.webhook, self.url, self.upload, self.name, self.use_cache, sha256,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def asked_in_json(data: Any) -> Asked:
    """Read a JSON body.

    Raises:
        Refused: 400, it is no object, or has an unknown name or a wrong value.
    """
    if not isinstance(data, Mapping):
        raise Refused(400, f"the JSON is {type(data).__name__}; give an object with 'url', 'upload' or 'inputs'")
    _check_kept(data)
    for name in data:
        if name not in _NAMES:
            known = f"{nearest(name, _NAMES) or f'; there are {_listed()}'}, and the rest goes into 'parameters'"
            raise Refused(400, f"unknown name {name[:64]!r}{known}", param=name[:64], code="unknown_name")
    return _asked(data)


def asked_in_text(pairs: Iterable[tuple[str, str]]) -> Asked:
    """Read a query and a form: names that mean nothing here are parameters, which the model reads as texts.

    Raises:
        Refused: 400, a value is wrong, or a parameter is given twice.
    """
    values = from_query(pairs)
    known = {name: values.pop(name) for name in _NAMES if name in values}
    for name in ("parameters", "webhook"):
        if str(known.get(name, "")).lstrip().startswith("{"):
            known[name] = _json(name, known[name])
    _check_kept(known)
    asked = _asked(known)
    return replace(asked, parameters=flattened({**values, "parameters": asked.parameters}))


def idempotency_key(given: str | None) -> str | None:
    """Return the value of the header Idempotency-Key, with the quotes of a structured header taken off.

    Raises:
        Refused: 400, it is empty or too long.
    """
    if given is None:
        return None
    key = given.strip().strip('"')
    if not 0 < len(key) <= _MAX_KEY:
        raise Refused(400, f"Idempotency-Key has {len(key)} characters; give 1 to {_MAX_KEY}, such as a UUID")
    return key


def _asked(data: Mapping[str, Any]) -> Asked:
    for name in ("model", "url", "upload", "name"):
        if not isinstance(data.get(name), str | None):
            raise Refused(400, f"{name} is {data[name]!r}; give a text", param=name)
    parameters = data.get("parameters") or {}
    if not isinstance(parameters, Mapping):
        raise Refused(400, f"parameters is {type(parameters).__name__}; give an object", param="parameters")
    if data.get("url") is not None:
        checked_url(data["url"], "url")
    return Asked(
        model=data.get("model") or None,
        parameters=dict(parameters),
        webhook=data.get("webhook"),
        url=data.get("url"),
        upload=data.get("upload"),
        name=data.get("name"),
    )


def _check_kept(data: Any) -> None:
    """Refuse what can be stored and never be told back as JSON: one such job would spoil the list of all.

    Raises:
        Refused: 400.
    """
    try:
        json.dumps(data, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        raise Refused(
            400, "the JSON has half of a character (a lone surrogate); write texts as UTF-8", code="invalid_json"
        ) from None
    except ValueError:
        raise Refused(
            400, "the JSON has a number that is NaN or infinite (1e400 is, too); give finite ones", code="invalid_json"
        ) from None
    except RecursionError:
        raise Refused(400, "the JSON is nested too deeply", code="invalid_json") from None


def _json(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"{name} begins like JSON and is none: {error}", param=name) from None


def _listed() -> str:
    return ", ".join(_NAMES)
