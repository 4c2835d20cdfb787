"""Fixtures of the transport's laboratory: one in-memory SQS a process, one queue a test.

A room's conftest imports those that it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.fault_proxy import FaultProxy
from support.sqs_lab import Lab, sqs_server

__all__ = ["lab", "make_lab", "proxy", "sqs_url"]


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

    def make(url: str = sqs_url, **options: Any) -> Lab:
        folder = tmp_path / str(len(labs))
        folder.mkdir()
        labs.append(Lab(url, folder, **options))
        return labs[-1]

    yield make
    for lab in labs:
        lab.close()


@pytest.fixture
def lab(make_lab: Callable[..., Lab]) -> Lab:
    return make_lab()
