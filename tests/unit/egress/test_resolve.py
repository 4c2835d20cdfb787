"""Name resolution that ends in time, and leaves few threads behind."""

from __future__ import annotations

import threading
from ipaddress import ip_address
from typing import Any

import pytest

from sealwax.egress.resolve import SystemResolver


def answer(*texts: str) -> list[Any]:
    return [(2, 1, 6, "", (text, 443)) for text in texts]


def test_addresses_keep_the_resolvers_order_without_repeats() -> None:
    found = answer("10.0.0.2", "10.0.0.1", "10.0.0.2", "fe80::1%eth0")
    resolve = SystemResolver(getaddrinfo=lambda *_, **__: found)
    assert resolve("h", 443, 5) == [
        ip_address("10.0.0.2"), ip_address("10.0.0.1"), ip_address("fe80::1"),
    ]  # fmt: skip


@pytest.mark.parametrize("error", [OSError("none"), UnicodeError("label too long")])
def test_a_name_that_is_not_found_is_an_oserror(error: Exception) -> None:
    def fail(*_: object, **__: object) -> object:
        raise error

    with pytest.raises(OSError, match="not resolved"):
        SystemResolver(getaddrinfo=fail)("h", 443, 5)


def test_a_resolver_that_hangs_costs_its_time_and_a_bounded_number_of_threads() -> None:
    hanging, answered = threading.Event(), threading.Event()

    def hang(*_: object, **__: object) -> object:
        hanging.wait(30)
        answered.set()
        return answer("10.0.0.1")

    resolve = SystemResolver(lookups=1, getaddrinfo=hang)
    with pytest.raises(TimeoutError):
        resolve("h", 443, 0.01)
    with pytest.raises(OSError, match="too many"):
        resolve("h", 443, 0.01)
    hanging.set()
    assert answered.wait(30)
