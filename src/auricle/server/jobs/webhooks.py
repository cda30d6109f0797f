"""Webhooks as the Standard Webhooks specification says: signed, sent again until they arrive, and never redirected.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import logging
import random
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from auricle.server.errors import Refused
from auricle.server.jobs.addresses import PRIVATE, checked_url, public_address
from auricle.server.jobs.changes import Changes
from auricle.server.jobs.deliveries import DELIVERED, EVENTS, FAILED, PENDING, Delivery, DeliveryStore

logger = logging.getLogger("auricle.server")

PREFIX = "whsec_"
DUE = "webhooks"  # the name under which news of deliveries is told
_KEY_BYTES = range(16, 65)
_GONE = 410  # the receiver wants no more
_AT_ONCE = 4  # messages on their way: a slow receiver does not hold up the others
_POLL_S = 2.0  # how soon what another process has queued is seen


@dataclass(frozen=True)
class WebhookOptions:
    """How messages are sent."""

    max_tries: int = 8
    first_delay_s: float = 5.0  # before the second try
    factor: float = 4.0  # each delay is this much longer than the one before
    longest_delay_s: float = 6 * 3600.0
    jitter: float = 0.2  # of a delay, by which it is longer or shorter
    timeout_s: float = 15.0  # for one try, from the look-up of the name to the answer's status
    allow_private: bool = False  # whether receivers may be on this machine and its network

    def delay_s(self, n_tries: int, chance: float) -> float:
        """Return how long to wait after this many tries; `chance` is between 0 and 1."""
        plain = min(self.first_delay_s * self.factor ** (n_tries - 1), self.longest_delay_s)
        return plain * (1 + self.jitter * (2 * chance - 1))


def signature(secret: str, message_id: str, timestamp: int, payload: str) -> str:
    """Return the value of webhook-signature."""
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = f"{message_id}.{timestamp}.{payload}".encode()
    return f"v1,{base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()}"


def read_webhook(given: Any) -> dict[str, Any] | None:
    """Return what a client says of its receiver, with a secret made for it where it gives none.

    Raises:
        Refused: 400, it has an unknown part or a wrong value.
    """
    if given is None or given == "":
        return None
    if isinstance(given, str):
        given = {"url": given}
    known = ("url", "secret", "events")
    if not isinstance(given, Mapping) or not given.keys() <= set(known) or "url" not in given:
        told = f"the keys {', '.join(map(str, given))}" if isinstance(given, Mapping) else f"{type(given).__name__}"
        raise _refused(f"webhook has {told}; give an object with url and, if you like, secret and events")
    url = checked_url(given["url"], "webhook.url")
    secret = given.get("secret")
    if secret is None:
        secret = PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()
    return {"url": str(url), "secret": _checked_secret(secret), "events": _checked_events(given.get("events"))}


def _checked_secret(secret: Any) -> str:
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (AttributeError, ValueError, binascii.Error):
        key = b""
    if len(key) not in _KEY_BYTES:
        raise _refused(
            f"webhook.secret must be {PREFIX} and the base64 of {_KEY_BYTES.start} to {_KEY_BYTES.stop - 1} random "
            "bytes; leave it out and one is made for you"
        )
    return str(secret)


def _checked_events(events: Any) -> list[str]:
    if events is None:
        return list(EVENTS)
    if not isinstance(events, Sequence) or isinstance(events, str) or not events or not set(events) <= set(EVENTS):
        raise _refused(f"webhook.events is {events!r}; give a list of {', '.join(EVENTS)}, or leave it out for all")
    return list(events)


def _refused(message: str) -> Refused:
    return Refused(400, message, param="webhook", code="invalid_webhook")


class Sender:
    """Sends what is due, one after the other, until it is stopped."""

    def __init__(self, store: DeliveryStore, options: WebhookOptions, changes: Changes) -> None:
        self.store = store
        self.options = options
        self._changes = changes
        self._chance = random.Random()

    async def run(self) -> None:
        """Send messages for ever; cancel the task to stop."""
        # Nothing of the environment: a proxy would look names up by itself, and reach what is refused here. No
        # connection is used twice: it belongs to an address, and another name there has another certificate.
        async with (
            httpx.AsyncClient(
                trust_env=False, timeout=self.options.timeout_s, limits=httpx.Limits(max_keepalive_connections=0)
            ) as client,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(_AT_ONCE):
                group.create_task(self._send_for_ever(client))

    async def _send_for_ever(self, client: httpx.AsyncClient) -> None:
        with self._changes.watch(DUE) as news:
            while True:
                delivery = await asyncio.to_thread(self.store.claim, 2 * self.options.timeout_s)
                if delivery is None:
                    await news.wait(await self._rest_s())
                    continue
                await self._deliver(client, delivery)
                self._changes.tell(delivery.job)

    async def _rest_s(self) -> float:
        due = await asyncio.to_thread(self.store.next_due)
        return _POLL_S if due is None else min(max(due - self.store.database.clock(), 0.01), _POLL_S)

    async def _deliver(self, client: httpx.AsyncClient, delivery: Delivery) -> None:
        now = self.store.database.clock()
        answer = await self._answer(client, delivery, int(now))
        state, due = self._verdict(delivery, answer)
        attempt = {"at": now, "status": answer.status, "error": answer.error}
        await asyncio.to_thread(self.store.note, delivery.id, state, attempt, due)
        if state == FAILED:
            told = delivery.id, delivery.job, delivery.n_tries, answer.status or answer.error
            logger.warning("webhook %s of %s is given up after %d tries: %s", *told)

    def _verdict(self, delivery: Delivery, answer: _Answer) -> tuple[str, float | None]:
        """Return the message's state, and when it is sent again."""
        if answer.status is not None and 200 <= answer.status < 300:
            return DELIVERED, None
        if answer.is_final or delivery.n_tries >= self.options.max_tries:
            return FAILED, None
        delay_s = max(self.options.delay_s(delivery.n_tries, self._chance.random()), answer.after_s)
        return PENDING, self.store.database.clock() + delay_s

    async def _answer(self, client: httpx.AsyncClient, delivery: Delivery, timestamp: int) -> _Answer:
        """Send a message once and return what became of it."""
        try:
            async with asyncio.timeout(self.options.timeout_s):
                request = await self._request(client, delivery, timestamp)
                response = await client.send(request, stream=True)  # whatever it says beside its status is not read
                await response.aclose()
        except Refused as error:
            return _Answer(error=error.message, is_final=error.code == PRIVATE)
        except (httpx.HTTPError, TimeoutError) as error:
            return _Answer(error=str(error) or type(error).__name__)
        status = response.status_code
        return _Answer(status, is_final=status == _GONE, after_s=_seconds(response.headers.get("retry-after")))

    async def _request(self, client: httpx.AsyncClient, delivery: Delivery, timestamp: int) -> httpx.Request:
        url = checked_url(delivery.url, "webhook.url")
        headers = {
            "content-type": "application/json",
            "user-agent": "auricle",
            "webhook-id": delivery.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(delivery.secret, delivery.id, timestamp, delivery.payload),
        }
        extensions = {}
        if not self.options.allow_private:
            # The connection goes to the address that was checked; the name stays in Host and in TLS.
            headers["host"] = url.netloc.decode("ascii")
            extensions["sni_hostname"] = url.raw_host.decode("ascii")
            url = url.copy_with(host=await public_address(url))
        return client.build_request("POST", url, content=delivery.payload, headers=headers, extensions=extensions)


@dataclass(frozen=True)
class _Answer:
    status: int | None = None
    error: str | None = None
    is_final: bool = False  # another try would end in the same way
    after_s: float = 0.0  # how long the receiver asks to wait


def _seconds(header: str | None) -> float:
    """Read Retry-After in seconds, a day at most; dates are passed over."""
    return min(float(header), 86400.0) if header is not None and header.isdecimal() else 0.0


async def check_receiver(url: str) -> None:
    """Refuse at once what no message could be sent to; a name that cannot be found now may be later.

    Raises:
        Refused: 400, the address is private or reserved.
    """
    try:
        await public_address(checked_url(url, "webhook.url"))
    except Refused as error:
        if error.code == PRIVATE:
            raise
