"""How many requests a token, or an address without one, may make in a time; kept in memory, by each process alone."""

from __future__ import annotations

import ipaddress
import math
import time
from dataclasses import dataclass

from limits import RateLimitItem, parse_many
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from auricle.errors import OptionError
from auricle.server.access.principal import Principal
from auricle.server.errors import Refused

_MANY_CALLERS = 10_000  # remembered before those who have gone are looked for


@dataclass(frozen=True)
class Allowance:
    """What a caller has left after a request was counted."""

    is_allowed: bool
    limit: int
    window: int  # seconds
    remaining: int
    reset: int  # seconds until one more request is allowed, or the oldest no longer counts

    def headers(self) -> dict[str, str]:
        """Write it as huggingface_hub reads it (draft-ietf-httpapi-ratelimit-headers)."""
        return {
            "ratelimit": f'"api";r={self.remaining};t={self.reset}',
            "ratelimit-policy": f'"moving window";"api";q={self.limit};w={self.window}',
        }

    def refusal(self) -> Refused:
        """Return the 429 that tells when to come back."""
        return Refused(
            429,
            f"the rate limit of {self.limit} requests per {self.window} s is reached; try again in {self.reset} s",
            code="rate_limited",
            headers={**self.headers(), "retry-after": str(self.reset)},
        )


class RateLimits:
    """Counts requests in a window that moves along, for each caller alone.

    Limit: as "500/5 minutes"; None lets everything pass and counts nothing.

    Raises:
        OptionError: the limit cannot be read.
    """

    def __init__(self, limit: str | None) -> None:
        self._item = None if limit is None else _read(limit)
        self._limiter = MovingWindowRateLimiter(MemoryStorage()) if self._item else None
        self._seen: dict[str, float] = {}
        self._sweep_at = _MANY_CALLERS

    def count(self, principal: Principal, address: str | None) -> Allowance | None:
        """Count a request; None where there is no limit. A request that is not allowed does not count."""
        if self._item is None or self._limiter is None:
            return None
        caller = _caller(principal, address)
        is_allowed = self._limiter.hit(self._item, caller)
        stats = self._limiter.get_window_stats(self._item, caller)
        now = time.time()
        self._remember(caller, now)
        reset = max(1, math.ceil(stats.reset_time - now))
        # A refused caller is told of none left, whatever has run out in the microseconds since.
        remaining = max(0, stats.remaining) if is_allowed else 0
        return Allowance(is_allowed, self._item.amount, self._item.get_expiry(), remaining, reset)

    def _remember(self, caller: str, now: float) -> None:
        """Forget those whose window has passed once there are many: the library keeps an empty list of each."""
        assert self._item is not None
        assert self._limiter is not None
        self._seen[caller] = now
        if len(self._seen) > self._sweep_at:
            oldest = now - self._item.get_expiry()
            gone = [other for other, at in self._seen.items() if at < oldest]
            for other in gone:
                del self._seen[other]
                self._limiter.clear(self._item, other)
            self._sweep_at = max(_MANY_CALLERS, 2 * len(self._seen))


def _read(limit: str) -> RateLimitItem:
    try:
        items = parse_many(limit)
    except ValueError:
        items = []
    if len(items) != 1 or items[0].amount < 1:
        raise OptionError(
            f"rate_limit={limit!r} cannot be read; write one number of requests and a time, such as '500/5 minutes' "
            "or '10/second'"
        )
    return items[0]


def _caller(principal: Principal, address: str | None) -> str:
    if not principal.is_anonymous:
        return f"token {principal.id}"
    try:
        known = ipaddress.ip_address(address or "")
    except ValueError:
        return f"address {address}"  # of a Unix socket or a test
    if isinstance(known, ipaddress.IPv6Address):
        if known.ipv4_mapped is not None:
            return f"address {known.ipv4_mapped}"
        # A household or a host is given 2**64 addresses of IPv6.
        return f"address {ipaddress.ip_network((known.packed[:8] + bytes(8), 64))}"
    return f"address {known}"
