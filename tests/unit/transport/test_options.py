"""Transport options: bounded, and known by name."""

from __future__ import annotations

import pytest

from sealwax.transport.errors import QueueNotFound, TransportOptionInvalid
from sealwax.transport.options import TransportOptions


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
            "predefined_queues": {"q": {"url": "https://sqs.test/1/q"}},
            "visibility_timeout": 60,
            "polling_interval": 1,
            "max_retries": 3,
        }
    )
    assert options.queue("q").url == "https://sqs.test/1/q"
    assert options.lease == 60


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("vizibility_timeout", "visibility_timeout"),
        ("queue_prefix", "queue_name_prefix"),
        ("endpoint", "endpoint_url"),
        ("predefined_queue", "predefined_queues"),
        ("wait_time_second", "wait_time_seconds"),
        ("client_config", "client-config"),
    ],
)
def test_an_unknown_option_is_refused_with_the_nearest_name(name: str, near: str) -> None:
    with pytest.raises(TransportOptionInvalid, match=f"{name}.*did you mean '{near}'"):
        TransportOptions.parse({name: 1})


@pytest.mark.parametrize("name", ["closed", "notes"])
def test_what_is_derived_cannot_be_given(name: str) -> None:
    with pytest.raises(TransportOptionInvalid, match=name):
        TransportOptions.parse({name: True})


@pytest.mark.parametrize(
    ("options", "queue", "sqs"),
    [
        ({}, "orders", "orders"),
        ({"queue_name_prefix": "dev-"}, "orders", "dev-orders"),
        ({"queue_name_prefix": "dev."}, "orders.high", "dev-orders-high"),
        ({"queue_name_prefix": "dev-"}, "orders.fifo", "dev-orders.fifo"),
        ({}, "orders:low", "orders_low"),
        ({"queue_name_prefix": "dev-", "queues": {"orders": {"queue": "o-1"}}}, "orders", "o-1"),
        ({"queues": {"orders": {"url": "https://sqs.test/1/o2.fifo"}}}, "orders", "o2.fifo"),
        (
            {
                "queue_name_prefix": "dev-",
                "predefined_queues": {"dev-orders": {"url": "https://sqs.test/1/o3"}},
            },
            "orders",
            "o3",
        ),
    ],
)
def test_names_are_made_as_kombu_makes_them(
    options: dict[str, object], queue: str, sqs: str
) -> None:
    assert TransportOptions.parse(options).sqs_name(queue) == sqs


@pytest.mark.parametrize("queue", ["order", "celery", "orders.fifo", "dev-orders", ""])
def test_where_queues_are_predefined_there_are_no_others(queue: str) -> None:
    options = TransportOptions.parse(
        {"predefined_queues": {"orders": {"url": "https://sqs.test/1/o"}}}
    )
    assert options.queue("orders").url
    with pytest.raises(QueueNotFound, match=f"'{queue}' is not in .*predefined_queues.*orders"):
        options.queue(queue)
    more = TransportOptions.parse({"queues": {"orders": {"url": "https://sqs.test/1/o"}}})
    assert more.queue(queue).url is None
