"""How long a delivery may still be invisible."""

from __future__ import annotations

from support.deliveries import delivery

from sealwax.transport.leases import visibility_left
from sealwax.transport.options import MAX_VISIBILITY


def test_visibility_ends_twelve_hours_after_the_receive() -> None:
    assert visibility_left(delivery("a", received_at=0.0), 0.0) < MAX_VISIBILITY
    assert visibility_left(delivery("a", received_at=0.0), MAX_VISIBILITY) == 0
