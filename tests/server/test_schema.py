"""What /openapi.json says may be asked, asked at random: whatever comes, no reply is a fault of the server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

EXAMPLES = 6  # of each operation
TIMEOUT_S = 60.0
# Replies that end when somebody ends them.
ENDLESS = r"/events$"
# A model is being loaded, the server ends, the disk is full: told, and no failure.
TOLD = frozenset({501, 503, 507})


@schemathesis.serializer("application/offset+octet-stream")
def as_it_is(context: Any, value: Any) -> Any:
    """Send the pieces of an upload as the bytes that they are."""
    return value.data if hasattr(value, "data") else value


def asked_at_random(operation: Any) -> Callable[[], None]:
    """Return a function that makes requests of an operation and raises for the first that the server fails at."""

    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        response = case.call(timeout=TIMEOUT_S)
        is_fine = response.status_code < 500 or response.status_code in TOLD
        assert is_fine, f"{case.as_curl_command()}: {response.status_code} {response.text[:300]}"

    return ask


@pytest.mark.timeout(600)
def test_no_request_makes_the_server_fail(live_server: Any) -> None:
    schema = schemathesis.openapi.from_url(f"{live_server.url}/openapi.json").exclude(path_regex=ENDLESS)
    operations = [found.ok() for found in schema.get_all_operations()]
    failures = []
    for operation in operations:
        try:
            asked_at_random(operation)()
        except AssertionError as error:
            failures.append(f"{operation.label}: {error}")
    assert len(operations) > 30
    assert not failures, "\n".join(failures)
