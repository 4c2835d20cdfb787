"""The same Celery programs do the same on stock Celery and on ours, or differ by design."""

from __future__ import annotations

import pytest
from support.dropin import RULES, Comparison, Notes, compare, proof, redis_server, table
from support.sqs_lab import ROOT

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, sqs_url: str) -> dict[str, Comparison]:
    folder = tmp_path_factory.mktemp("dropin")
    with redis_server(folder) as redis:
        return proof(folder, redis=redis, url=sqs_url)


@pytest.mark.parametrize("broker", ["memory", "redis", "redis, other options"])
def test_nothing_differs_from_stock_celery_without_a_reason(
    found: dict[str, Comparison], broker: str
) -> None:
    if broker not in found:
        pytest.skip("there is no redis-server")
    one = found[broker]
    assert one.unexplained == {}, table({broker: one})
    assert len(one.same) >= 85
    assert len(one.same) + len(one.by_design) >= 100


def test_each_reason_stands_in_the_documentation() -> None:
    page = " ".join((ROOT / "docs/transport.md").read_text().split())
    assert [reason for reason in RULES if reason not in page] == []


def ran(**more: object) -> list[dict[str, object]]:
    return [{"event": "ran", "run": "1", "retries": 0, **more}]


@pytest.mark.parametrize(
    ("stock", "ours"),
    [
        (ran(), []),
        ([], ran()),
        (ran(), ran(args=[1])),
        (ran(), ran() + ran()),
        (ran(), [{"event": "ran", "run": "1", "retries": 1}]),
        ([*ran(), {"event": "task_success", "run": "1"}], ran()),
        ([*ran(), {"event": "after_task_publish", "run": "1"}], ran()),
    ],
)
def test_a_difference_that_no_reason_covers_is_found(
    stock: list[dict[str, object]], ours: list[dict[str, object]]
) -> None:
    one: Notes = {"p": stock}
    other: Notes = {"p": ours}
    assert list(compare(one, other).unexplained) == ["p"]
    assert compare(one, one).same == ["p"]
