"""Held deliveries, FIFO groups, liveness, options, publishing, retries: pure parts."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest

from sealwax.outcomes import DeadLetter, Reason
from sealwax.transport.celery.retries import (
    crash_delay,
    is_exhausted,
    mark_exhausted,
    receives_charged,
)
from sealwax.transport.checks import check_attributes
from sealwax.transport.dead_lettering import letter_fields
from sealwax.transport.dead_letters import ATTRIBUTE, attribute_text, read_attribute
from sealwax.transport.errors import (
    DeadLetterQueueMissing,
    MessageTooLarge,
    TransportOptionInvalid,
)
from sealwax.transport.fifo import FifoGroups
from sealwax.transport.in_flight import Delivery, InFlight, MessageState
from sealwax.transport.leases import visibility_left
from sealwax.transport.liveness import Liveness, read_status
from sealwax.transport.options import MAX_VISIBILITY, TransportOptions
from sealwax.transport.parking import should_park
from sealwax.transport.publishing import entry_fields


def delivery(token: str, group: str | None = None, **more: Any) -> Delivery:
    fields: dict[str, Any] = {
        "queue": "q.fifo" if group else "q", "receipt": "r", "message_id": token, "body": "{}",
        "attributes": {}, "receive_count": 1, "sent_at": 0.0, "first_received_at": 0.0,
        "received_at": 0.0, "lease_until": 30.0,
    }  # fmt: skip
    return Delivery(token=token, group=group, **fields | more)


# -- in flight


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


def test_visibility_ends_twelve_hours_after_the_receive() -> None:
    assert visibility_left(delivery("a", received_at=0.0), 0.0) < MAX_VISIBILITY
    assert visibility_left(delivery("a", received_at=0.0), MAX_VISIBILITY) == 0


# -- groups


def test_a_group_runs_one_at_a_time_in_order() -> None:
    groups = FifoGroups()
    first, second, third = (delivery(t, "g") for t in "abc")
    assert groups.admit(first)
    assert not groups.admit(second)
    assert not groups.admit(third)
    assert groups.admit(delivery("x", "other"))
    assert groups.finished(first) is second
    assert groups.finished(second) is third
    assert groups.finished(third) is None
    assert groups.admit(delivery("d", "g"))


def test_a_head_that_goes_back_takes_its_mates_along() -> None:
    groups = FifoGroups()
    first, second = delivery("a", "g"), delivery("b", "g")
    groups.admit(first)
    groups.admit(second)
    assert groups.returned(first) == [second]
    assert groups.admit(delivery("c", "g"))


def test_standard_queues_have_no_groups() -> None:
    groups = FifoGroups()
    assert groups.admit(delivery("a"))
    assert groups.admit(delivery("b"))


# -- options


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("lease", 2, 43_200), ("wait_time", 0, 20), ("message_bytes", 1_024, 1_048_576)],
)
def test_options_are_bounded_at_both_edges(name: str, low: float, high: float) -> None:
    for good in (low, high):
        assert getattr(TransportOptions.parse({name: good}), name) == good
    for bad in (low - 1, high + 1, "x", True):
        with pytest.raises(TransportOptionInvalid, match=name):
            TransportOptions.parse({name: bad})


def test_an_unknown_option_is_refused_and_stock_ones_pass() -> None:
    with pytest.raises(TransportOptionInvalid, match="leese"):
        TransportOptions.parse({"leese": 3})
    options = TransportOptions.parse(
        {
            "predefined_queues": {"q": {"url": "https://q", "access_key_id": "x"}},
            "visibility_timeout": 60,
            "polling_interval": 1,
            "max_retries": 3,
        }
    )
    assert options.queue("q").url == "https://q"
    assert options.lease == 60


# -- publishing


def message(**headers: Any) -> dict[str, Any]:
    return {
        "body": "[[],{},{}]", "headers": {"id": "j", **headers}, "properties": {},
        "content-type": "application/json", "content-encoding": "utf-8",
    }  # fmt: skip


def test_an_eta_becomes_a_delay_of_at_most_fifteen_minutes() -> None:
    fields, _ = entry_fields(
        message(eta="2030-01-01T00:00:00+00:00"), fifo=False, options=TransportOptions(), now=0.0
    )
    assert fields["DelaySeconds"] == 900
    plain, _ = entry_fields(message(), fifo=False, options=TransportOptions(), now=0.0)
    assert "DelaySeconds" not in plain


def test_a_fifo_message_without_a_key_is_a_group_of_its_own() -> None:
    fields, _ = entry_fields(message(), fifo=True, options=TransportOptions(), now=0.0)
    assert fields["MessageGroupId"] == "j"
    keyed = message()
    keyed["properties"] |= {"sealwax-group": "g", "sealwax-dedup": "d"}
    fields, _ = entry_fields(keyed, fifo=True, options=TransportOptions(), now=0.0)
    assert (fields["MessageGroupId"], fields["MessageDeduplicationId"]) == ("g", "d")
    assert "sealwax-group" not in fields["MessageBody"]


@pytest.mark.parametrize("fair", [True, False])
def test_fair_queues_are_a_setting(fair: bool) -> None:
    keyed = message()
    keyed["properties"]["sealwax-group"] = "tenant"
    fields, _ = entry_fields(keyed, fifo=False, options=TransportOptions(fair_queues=fair), now=0.0)
    assert ("MessageGroupId" in fields) is fair


def test_the_size_limit_holds_at_its_edge() -> None:
    _, size = entry_fields(message(), fifo=False, options=TransportOptions(), now=0.0)
    entry_fields(message(), fifo=False, options=TransportOptions(message_bytes=size), now=0.0)
    with pytest.raises(MessageTooLarge):
        entry_fields(
            message(), fifo=False, options=TransportOptions(message_bytes=size - 1), now=0.0
        )


# -- dead letters


def test_a_dead_letter_keeps_the_attributes_and_says_which_were_dropped() -> None:
    many = {f"a{n}": {"DataType": "String", "StringValue": "v"} for n in range(10)}
    fields = letter_fields(
        delivery("m", attributes=many), DeadLetter(reason=Reason.REJECTED), now=1.0, fifo=False
    )
    assert len(fields["MessageAttributes"]) == 10
    letter = json.loads(fields["MessageAttributes"][ATTRIBUTE]["StringValue"])
    assert letter["dropped_attributes"] == ["a9"]
    assert letter["reason"] == "rejected"


@pytest.mark.parametrize(
    "value",
    [
        None,
        5,
        "text",
        "{",
        "[]",
        '{"reason":"else"}',
        '{"error":"x"}',
        '{"reason":[]}',
        '{"reason":"backstop"}',  # the steward's own word: no worker writes it
    ],
)
def test_what_is_no_reason_of_ours_is_none(value: object) -> None:
    assert read_attribute(value) is None


def test_a_letter_survives_its_attribute() -> None:
    letter = DeadLetter(
        reason=Reason.CRASHED, cause="c", error="WorkerLost", place="m.f", attempts=3, job="j",
        details={"fingerprint": "f"},
    )  # fmt: skip
    assert read_attribute(attribute_text(letter)) == letter


def test_the_attributes_text_is_what_older_stewards_read() -> None:
    letter = DeadLetter(reason=Reason.EXHAUSTED, cause="c", error="E", place="m.f", attempts=3)
    assert attribute_text(letter, job="j", task="t", at=1.5, dropped_attributes=None) == (
        '{"cause":"c","place":"m.f","reason":"exhausted","error":"E","attempts":3,"job":"j",'
        '"task":"t","at":1.5}'
    )


def test_fields_of_a_wrong_type_are_left_out_of_a_letter() -> None:
    found = read_attribute('{"reason":"rejected","cause":1,"error":[],"attempts":"x","at":2}')
    assert found == DeadLetter(reason=Reason.REJECTED, details={"at": 2})


# -- checks


def test_a_queue_without_a_dead_letter_queue_is_refused() -> None:
    with pytest.raises(DeadLetterQueueMissing):
        check_attributes("q", {}, has_dead_letter_queue=False)
    check_attributes("q", {}, has_dead_letter_queue=True)


# -- liveness


def test_a_failing_receiver_is_live_but_not_ready(tmp_path: Any) -> None:
    now = [0.0]
    liveness = Liveness(10, clock=lambda: now[0])
    liveness.watch("q")
    assert not liveness.status().ready
    liveness.succeeded("q")
    assert liveness.status().ready
    now[0] = 15
    liveness.turned()
    liveness.failed("q")
    assert (liveness.status().live, liveness.status().ready) == (True, False)
    path = tmp_path / "status.json"
    liveness.write(str(path))
    found = read_status(str(path))
    assert found is not None
    assert found.live
    now[0] = 36
    liveness.turned()
    assert not liveness.status().live


def test_a_stuck_loop_is_not_live() -> None:
    now = [0.0]
    liveness = Liveness(10, loop_timeout=60, clock=lambda: now[0])
    now[0] = 61
    assert not liveness.status().live


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"live": true}'])
def test_a_broken_status_file_is_none(tmp_path: Any, text: str | None) -> None:
    path = tmp_path / "status.json"
    if text is not None:
        path.write_text(text)
    assert read_status(str(path)) is None


# -- retries


@pytest.mark.parametrize(
    ("receives", "eta", "delayed", "charged"),
    [
        (1, None, None, 0),
        (3, None, None, 2),
        (2, 900, 900, 1),  # SQS waited itself: the second receive was a retry
        (2, 3_600, 900, 0),  # the first receive only waited on
        (3, 3_600, 900, 1),
    ],
)
def test_receives_are_charged_but_not_those_that_waited_for_an_eta(
    receives: int, eta: int | None, delayed: int | None, charged: int
) -> None:
    sent = time.time()
    from datetime import UTC, datetime

    text = datetime.fromtimestamp(sent + eta, UTC).isoformat() if eta else None
    metadata = {"receive_count": receives, "sent_at": sent}
    assert receives_charged(metadata, text, delayed=delayed) == charged


def test_crash_delays_grow_to_a_cap() -> None:
    assert [crash_delay(n) for n in (1, 2, 3)] == [1, 2, 4]
    assert crash_delay(1_000) == 300


def test_an_exhausted_exception_keeps_its_mark() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(mark_exhausted(ValueError("x"))))
    assert is_exhausted(error)
    assert not is_exhausted(ValueError("x"))


# -- parking


@pytest.mark.parametrize(
    ("seconds", "crowd", "fifo", "parked"),
    [
        (900, 0, False, False),
        (901, 0, False, True),
        (1, 60_000, False, False),
        (1, 60_001, False, True),
        (43_000, 100_000, True, False),
    ],
)
def test_long_waits_and_crowded_queues_are_parked(
    seconds: int, crowd: int, fifo: bool, parked: bool
) -> None:
    assert should_park(seconds, crowd, fifo=fifo) is parked
