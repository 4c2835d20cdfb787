from __future__ import annotations

from sealwax.circuit_breaker import CircuitBreaker


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


def test_so_many_failures_in_a_row_open_it():
    now = [0.0]
    circuit = CircuitBreaker(2.0, failures=3, monotonic=lambda: now[0])
    for reached in (False, False, True, False, False):
        assert circuit.enter()
        circuit.leave(reached=reached)
    assert (circuit.closed, circuit.wait) == (True, 0.0)
    assert circuit.enter()
    circuit.leave(reached=False)
    assert (circuit.closed, circuit.enter(), circuit.wait) == (False, False, 2.0)
    # The one that tries decides alone.
    now[0] = 2.0
    assert (circuit.wait, circuit.enter()) == (0.0, True)
    circuit.leave(reached=False)
    assert (circuit.enter(), circuit.wait) == (False, 2.0)
