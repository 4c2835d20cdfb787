"""Fixtures for all tests: no sockets in unit tests, emulated AWS for the others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings

pytest_plugins = ["support.aws", "support.sockets", "support.stacks"]

# How long an example takes, and how long it takes to make one, is the machine's
# load more than the code's: what must be quick has a test that says so.
settings.register_profile(
    "sealwax", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("sealwax")


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Leave no test the logging that a command or a role of the test before configured."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)
