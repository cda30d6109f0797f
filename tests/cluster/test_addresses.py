"""The address of a cluster is looked at before Ray is: whoever mistypes it is not kept waiting for minutes."""

from __future__ import annotations

import socket
import time

import pytest

from auricle.cluster.addresses import ANSWERS_S, check_address
from auricle.errors import AuricleError, OptionError

DEADLINE_S = ANSWERS_S + 5.0  # Ray itself takes more than a minute


@pytest.mark.parametrize("address", ["head", "head:", ":6379", "head:port", "head:70000", "6379", ""])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(OptionError, match=r"expected auto, .* or its head as HOST:6379"):
        check_address(address)


def test_the_client_protocol_is_refused_with_what_to_do_instead() -> None:
    with pytest.raises(OptionError, match="machine of the cluster"):
        check_address("ray://head:10001")


def test_an_address_where_nothing_listens_is_told_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(AuricleError, match=f"{address} cannot be joined: Connection refused; see that its head"):
            check_address(address)
    assert time.monotonic() - began < DEADLINE_S


def test_an_unknown_host_is_told() -> None:
    with pytest.raises(AuricleError, match=r"no\.such\.invalid:6379 cannot be joined"):
        check_address("no.such.invalid:6379")


def test_a_head_that_listens_and_what_ray_finds_by_itself_pass() -> None:
    with socket.socket() as head:
        head.bind(("127.0.0.1", 0))
        head.listen()
        check_address(f"127.0.0.1:{head.getsockname()[1]}")
    check_address("auto")
    check_address(None)
