"""One in-memory SQS for each test process, one queue for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.sqs_lab import Lab, sqs_server


@pytest.fixture(scope="session")
def sqs_url() -> Iterator[str]:
    with sqs_server() as url:
        yield url


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
