"""Deliveries in flight: each settled once, slots counted, leases due."""

from __future__ import annotations

import threading

from support.deliveries import delivery

from sealwax.transport.in_flight import InFlight, MessageState


def test_a_delivery_is_settled_once_and_frees_its_slot_at_once() -> None:
    in_flight = InFlight()
    in_flight.limit = 2
    assert in_flight.reserve(10, 0) == 2
    in_flight.add([delivery("a"), delivery("b")], 2)
    assert in_flight.free() == 0
    assert in_flight.settle("a") is not None
    assert in_flight.settle("a") is None
    assert in_flight.free() == 1


def test_reserved_slots_count_until_they_are_given_back() -> None:
    in_flight = InFlight()
    in_flight.limit = 3
    assert in_flight.reserve(10, 0) == 3
    assert in_flight.reserve(10, 0) == 0
    in_flight.return_slots(3)
    assert in_flight.free() == 3


def test_a_receive_waits_briefly_for_a_full_batch() -> None:
    in_flight = InFlight()
    in_flight.limit = 20
    in_flight.add([delivery(str(n)) for n in range(11)], 0)
    threading.Timer(0.1, lambda: in_flight.settle("0")).start()
    assert in_flight.reserve(10, 2) == 10


def test_a_started_delivery_is_not_given_back() -> None:
    in_flight = InFlight()
    in_flight.add([delivery("a"), delivery("b")], 0)
    assert in_flight.start("a")
    assert [d.token for d in in_flight.settle_unstarted()] == ["b"]
    assert not in_flight.start("b")


def test_leases_of_settling_deliveries_are_due_until_they_are_done() -> None:
    in_flight = InFlight(clock=lambda: 100.0)
    in_flight.add([delivery("a", lease_until=105.0)], 0)
    settled = in_flight.settle("a")
    assert in_flight.due(10) == [settled]
    assert settled is not None
    in_flight.done(settled)
    assert in_flight.due(10) == []
    assert settled.state is MessageState.GONE
