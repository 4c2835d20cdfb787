from __future__ import annotations

import pytest

from sealwax.local import ports


@pytest.fixture
def taken(monkeypatch):
    numbers: set[int] = set()
    monkeypatch.setattr(ports, "is_free", lambda port: port not in numbers)
    return numbers


def test_a_free_default_is_used(taken):
    assert ports.choose_port(8080, None, what="the API") == 8080


def test_a_taken_default_moves_on(taken):
    taken |= {8080, 8081}
    assert ports.choose_port(8080, None, what="the API", taken=frozenset({8082})) == 8083


def test_an_explicit_port_is_never_changed(taken):
    taken.add(9000)
    assert ports.choose_port(8080, 9001, what="the API") == 9001
    with pytest.raises(ports.PortTaken, match="9000 for the API"):
        ports.choose_port(8080, 9000, what="the API")


def test_no_free_port_is_an_error(taken):
    taken |= set(range(8080, 8180))
    with pytest.raises(ports.PortTaken, match="8080 to 8179"):
        ports.choose_port(8080, None, what="the API")
