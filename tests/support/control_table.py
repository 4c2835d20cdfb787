"""The control table of the shared app, left empty by each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sealwax.control import ControlTable

__all__ = ["settings", "table"]


@pytest.fixture
def settings(shared_app):
    return shared_app.extensions["sealwax"].settings


@pytest.fixture
def table(shared_app, settings) -> Iterator[ControlTable]:
    aws = shared_app.extensions["sealwax"].runtime.aws
    table = ControlTable(aws.client("dynamodb"), settings.table_name("control"))
    yield table
    for kind in ("worker", "pause", "drain"):
        for item in table.all(kind):
            table.delete(kind, item["id"])
