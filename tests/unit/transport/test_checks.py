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
