"""What a queue must have before it is consumed."""

from __future__ import annotations

import pytest

from sealwax.transport.checks import check_attributes
from sealwax.transport.errors import (
    DeadLetterQueueMissing,
)


def test_a_queue_without_a_dead_letter_queue_is_refused() -> None:
    with pytest.raises(DeadLetterQueueMissing):
        check_attributes("q", {}, has_dead_letter_queue=False)
    check_attributes("q", {}, has_dead_letter_queue=True)


@pytest.mark.parametrize(("takes", "warned"), [(262_143, True), (262_144, False), (None, False)])
def test_a_queue_that_takes_less_than_is_sent_is_named(takes, warned, caplog):
    """Queues that were made before August 2025 take 262,144 bytes unless told otherwise."""
    attributes = {"RedrivePolicy": '{"deadLetterTargetArn": "d", "maxReceiveCount": 1000}'}
    if takes is not None:
        attributes["MaximumMessageSize"] = str(takes)
    check_attributes("q", attributes, has_dead_letter_queue=True, message_bytes=262_144)
    assert ("MaximumMessageSize" in caplog.text) is warned
