from __future__ import annotations

from sealwax.producer.circuit_breaker import CircuitBreaker


def test_a_failure_opens_it_and_one_caller_tries_after_the_time():
    now = [0.0]
    circuit = CircuitBreaker(2.0, monotonic=lambda: now[0])
    assert circuit.enter()
    assert circuit.enter()  # closed: any number at once
    assert circuit.closed
    circuit.leave(reached=False)
    assert not circuit.closed
    assert not circuit.enter()
    now[0] = 2.0
    assert circuit.enter()
    assert not circuit.enter()  # one tries for all
    circuit.leave(reached=False)
    now[0] = 3.9
    assert not circuit.enter()
    now[0] = 4.0
    assert circuit.enter()
    assert not circuit.closed
    circuit.leave(reached=True)
    assert circuit.closed
    assert circuit.enter()
    assert circuit.enter()
