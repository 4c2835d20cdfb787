"""Each test: an SQS server, a fault proxy before it, a queue, real workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.fault_proxy import FaultProxy
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
def make_lab(sqs_url: str, tmp_path: Path) -> Iterator[Callable[..., Lab]]:
    labs: list[Lab] = []

    def make(**options: Any) -> Lab:
        folder = tmp_path / str(len(labs))
        folder.mkdir()
        labs.append(Lab(sqs_url, folder, **options))
        return labs[-1]

    yield make
    for lab in labs:
        lab.close()


@pytest.fixture
def lab(make_lab: Callable[..., Lab]) -> Lab:
    return make_lab()
