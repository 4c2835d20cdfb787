"""Transport options: bounded, and known by name."""

from __future__ import annotations

import pytest

from sealwax.transport.errors import (
    TransportOptionInvalid,
)
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
            "predefined_queues": {"q": {"url": "https://q", "access_key_id": "x"}},
            "visibility_timeout": 60,
            "polling_interval": 1,
            "max_retries": 3,
        }
    )
    assert options.queue("q").url == "https://q"
    assert options.lease == 60
