"""One stack for the tests that leave it as they found it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.stack import LiveStack


@pytest.fixture(scope="session")
def stack(make_stack: Callable[..., LiveStack]) -> LiveStack:
    """One stack for all tests of this process; leave it running, as you found it."""
    return make_stack()
