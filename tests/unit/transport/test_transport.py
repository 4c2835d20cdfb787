"""Arrivals reach the event loop by one wake-up, whatever number there is."""

from __future__ import annotations

import select
from types import SimpleNamespace
from typing import Any

import pytest
from kombu import Connection

import sealwax.transport  # noqa: F401 - makes the URL's scheme known
from sealwax.transport.transport import DELIVERIES_A_TURN, Transport


class Channel:
    """Notes what it is to deliver."""

    def __init__(self) -> None:
        self.delivered: list[Any] = []

    def deliver(self, delivery: Any) -> None:
        self.delivered.append(delivery)


class Loop:
    """Keeps the descriptor and the callback that it is given."""

    def __init__(self) -> None:
        self.readers: dict[int, Any] = {}

    def add_reader(self, descriptor: int, callback: Any) -> None:
        self.readers[descriptor] = callback

    def call_repeatedly(self, seconds: float, callback: Any) -> None:
        """Do nothing: the test turns the loop."""

    def turn(self) -> bool:
        """Call what is readable now; return whether anything was."""
        readable, _, _ = select.select(list(self.readers), [], [], 0)
        for descriptor in readable:
            self.readers[descriptor]()
        return bool(readable)


@pytest.fixture
def transport() -> Any:
    made = Connection("sealwax://", transport_options={"region": "us-east-1"}).transport
    assert isinstance(made, Transport)
    yield made
    made.close_connection(SimpleNamespace(_avail_channels=[]))


def test_all_that_arrives_is_delivered_in_order_fifty_a_turn(transport: Any) -> None:
    loop, channel = Loop(), Channel()
    transport.register_with_event_loop(None, loop)
    assert not loop.turn()
    count = 2 * DELIVERIES_A_TURN + 1
    for number in range(count):
        transport.arrived(channel, [number])
    turns = []
    while loop.turn():
        turns.append(len(channel.delivered))
    assert turns == [DELIVERIES_A_TURN, 2 * DELIVERIES_A_TURN, count]
    assert channel.delivered == list(range(count))


def test_a_turn_that_takes_all_of_them_wakes_nobody_again(transport: Any) -> None:
    loop, channel = Loop(), Channel()
    transport.register_with_event_loop(None, loop)
    transport.arrived(channel, list(range(DELIVERIES_A_TURN)))
    assert loop.turn()
    assert not loop.turn()


def test_what_arrives_while_others_are_delivered_wakes_the_loop(transport: Any) -> None:
    loop, late = Loop(), Channel()
    transport.register_with_event_loop(None, loop)

    class Busy(Channel):
        def deliver(self, delivery: Any) -> None:
            super().deliver(delivery)
            transport.arrived(late, [delivery])

    busy = Busy()
    transport.arrived(busy, list(range(DELIVERIES_A_TURN)))
    assert loop.turn()
    assert (len(busy.delivered), late.delivered) == (DELIVERIES_A_TURN, [])
    assert loop.turn()
    assert late.delivered == busy.delivered


def test_each_turn_is_a_sign_of_life(transport: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    turned: list[bool] = []
    monkeypatch.setattr(transport.liveness, "turned", lambda: turned.append(True))
    assert transport.deliver_ready() == 0
    channel = Channel()
    transport.arrived(channel, ["one"])
    transport.drain_events(None, timeout=5)
    assert (channel.delivered, turned) == (["one"], [True, True])


def test_a_loop_without_descriptors_is_told_that_nothing_came(transport: Any) -> None:
    with pytest.raises(TimeoutError):
        transport.drain_events(None, timeout=0)
