"""Rate limits: a window that moves along, for each caller alone, in headers that the Hub's client reads."""

from __future__ import annotations

import pytest
from huggingface_hub.utils import parse_ratelimit_headers

from auricle.errors import OptionError
from auricle.server.access.principal import ANYBODY, INFER, Principal
from auricle.server.access.rates import Allowance, RateLimits, _caller

LAPTOP = Principal("0123456789ab", "laptop", frozenset({INFER}))
PHONE = Principal("ba9876543210", "phone", frozenset({INFER}))


class Clock:
    """The time of the library's storage and of ours."""

    now = 1_700_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("limits.storage.memory.time", made)
    monkeypatch.setattr("limits.strategies.time", made)
    monkeypatch.setattr("auricle.server.access.rates.time", made)
    return made


def counted(rates: RateLimits, principal: Principal = LAPTOP, address: str | None = "10.0.0.1") -> Allowance:
    allowance = rates.count(principal, address)
    assert allowance is not None
    return allowance


def test_requests_beyond_the_limit_are_refused_until_the_oldest_has_passed(clock: Clock) -> None:
    rates = RateLimits("2/5 minutes")
    seen = []
    for at in (0, 100, 200, 299, 301, 302):
        clock.now = Clock.now + at
        allowance = counted(rates)
        seen.append((allowance.is_allowed, allowance.remaining, allowance.reset))
    assert seen == [
        (True, 1, 300),
        (True, 0, 200),
        (False, 0, 100),
        (False, 0, 1),
        (True, 0, 99),
        (False, 0, 98),
    ]


def test_each_token_and_each_address_has_its_own_count() -> None:
    rates = RateLimits("1/minute")
    callers = [(LAPTOP, "10.0.0.1"), (PHONE, "10.0.0.1"), (ANYBODY, "10.0.0.1"), (ANYBODY, "10.0.0.2")]
    assert [counted(rates, *caller).is_allowed for caller in callers] == [True] * 4
    # A token is one caller wherever it comes from.
    assert not counted(rates, LAPTOP, "10.0.0.9").is_allowed


def test_a_household_of_ipv6_is_one_caller() -> None:
    assert _caller(ANYBODY, "2001:db8::1") == _caller(ANYBODY, "2001:db8::ffff:2")
    assert _caller(ANYBODY, "2001:db8::1") != _caller(ANYBODY, "2001:db8:0:1::1")
    assert _caller(ANYBODY, "::ffff:10.0.0.1") == _caller(ANYBODY, "10.0.0.1")
    assert _caller(ANYBODY, None) == _caller(ANYBODY, None)


def test_two_servers_in_one_process_share_no_count() -> None:
    first, second = RateLimits("1/minute"), RateLimits("1/minute")
    assert counted(first).is_allowed
    assert counted(second).is_allowed


def test_the_hub_s_client_reads_the_headers(clock: Clock) -> None:
    allowance = counted(RateLimits("500/5 minutes"))
    read = parse_ratelimit_headers(allowance.headers())
    assert read is not None
    assert (read.resource_type, read.remaining, read.reset_in_seconds) == ("api", 499, 300)
    assert (read.limit, read.window_seconds) == (500, 300)


def test_a_refusal_says_when_to_come_back(clock: Clock) -> None:
    rates = RateLimits("1/minute")
    counted(rates)
    refused = counted(rates).refusal()
    assert (refused.status, refused.code) == (429, "rate_limited")
    assert refused.headers["retry-after"] == "60"
    assert refused.headers["ratelimit"] == '"api";r=0;t=60'
    assert "1 requests per 60 s" in refused.message


def test_no_limit_counts_nothing() -> None:
    assert RateLimits(None).count(LAPTOP, "10.0.0.1") is None


def test_callers_who_have_gone_are_forgotten(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auricle.server.access.rates._MANY_CALLERS", 10)
    rates = RateLimits("5/minute")
    for number in range(11):
        clock.now += 10.0
        counted(rates, ANYBODY, f"10.0.0.{number}")
    assert len(rates._seen) == 7  # the sixty seconds before the eleventh


@pytest.mark.parametrize("limit", ["", "many", "5", "0/minute", "5/fortnight", "5/minute; 9/hour"])
def test_a_limit_that_cannot_be_read_is_refused(limit: str) -> None:
    with pytest.raises(OptionError, match="500/5 minutes"):
        RateLimits(limit)
