"""Each test: an SQS server, a fault proxy before it, a queue, real workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from proxy import FaultProxy
from support.sqs_lab import Lab, sqs_server


@pytest.fixture(scope="session")
def sqs_url() -> Iterator[str]:
    with sqs_server() as url:
        yield url


@pytest.fixture
def proxy(sqs_url: str) -> Iterator[FaultProxy]:
    made = FaultProxy(sqs_url)
    yield made
    made.close()


@pytest.fixture
def lab(sqs_url: str, tmp_path: Path) -> Iterator[Lab]:
    made = Lab(sqs_url, tmp_path)
    yield made
    made.close()
