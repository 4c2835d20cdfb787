"""Unit tests open no sockets: what tries to, fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_socket import disable_socket, enable_socket

UNIT = Path(__file__).parent.parent / "unit"


@pytest.fixture(autouse=True)
def _no_sockets_in_unit_tests(request: pytest.FixtureRequest) -> Iterator[None]:
    if UNIT not in request.path.parents:
        yield
        return
    # Socket pairs and Unix sockets stay: event loops and multiprocessing use them.
    disable_socket(allow_unix_socket=True)
    yield
    enable_socket()
