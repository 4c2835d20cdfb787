"""When a route is closed, and for whom; one job tries."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sealwax.job import Asked, RouteClosed
from sealwax.worker.routes import FIRST_PAUSE, TRIAL, RouteBreakers

LONGEST = 12.0
H = Asked("h", "m")


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(tmp_path: Path, clock: Clock) -> Callable[..., RouteBreakers]:
    """Return what makes the breakers of one of the worker's processes."""

    def make(failures: int = 3) -> RouteBreakers:
        return RouteBreakers(
            tmp_path / "routes",
            failures=failures,
            longest=LONGEST,
            monotonic=clock,
            chance=lambda: 0.5,
        )

    return make


def fail(routes: RouteBreakers, *tenants: str, host: str = "h") -> None:
    for tenant in tenants:
        routes.enter("t", Asked(host, "m"), tenant)
        routes.leave("t", Asked(host, "m"), tenant, answer="none")


def wait(routes: RouteBreakers, tenant: str = "a", host: str = "h", task: str = "t") -> float:
    """Return for how long a job is sent away; 0: it may ask."""
    try:
        routes.enter(task, Asked(host, "m"), tenant)
    except RouteClosed as closed:
        return closed.after
    return 0.0


def test_a_route_is_closed_after_failures_in_a_row_and_only_that_one(make) -> None:
    routes = make()
    fail(routes, "a", "a")
    routes.leave("t", H, "a", answer="well")
    fail(routes, "a", "a")
    assert wait(routes) == 0
    routes.leave("t", H, "a", answer="none")
    assert wait(routes) == FIRST_PAUSE * 1.5
    assert wait(routes, host="other") == wait(routes, task="other") == 0
    # Another process of the worker knows it.
    assert wait(make()) > 0


def test_a_tenant_that_fails_closes_a_route_to_itself_and_two_close_it_to_all(make) -> None:
    routes = make()
    fail(routes, "a", "a", "a")
    assert wait(routes, "a") > 0
    assert wait(routes, "b") == 0
    routes.leave("t", H, "b", answer="none")
    assert wait(routes, "c") > 0
    assert {str(each) for each in routes.closed()} == {"t to h for tenant a", "t to h"}


def test_one_job_tries_and_what_it_finds_is_for_all(make, clock) -> None:
    routes = make()
    fail(routes, "a", "a", "a")
    clock.now += FIRST_PAUSE - 0.1
    assert wait(routes) > 0
    clock.now += 0.1
    assert wait(routes) == 0  # this one tries
    assert wait(routes) > 0
    routes.leave("t", H, "a", answer="none")
    clock.now += 2 * FIRST_PAUSE - 0.1
    assert wait(routes) > 0
    clock.now += 0.1
    assert wait(routes) == 0
    routes.leave("t", H, "a", answer="none")
    clock.now += LONGEST
    assert wait(routes) == 0
    routes.leave("t", H, "a", answer="well")
    assert (wait(routes), wait(routes), routes.closed()) == (0, 0, [])


def test_a_job_that_tries_and_is_gone_is_followed_by_another(make, clock) -> None:
    routes = make()
    fail(routes, "a", "a", "a")
    clock.now += FIRST_PAUSE
    assert wait(routes) == 0
    clock.now += TRIAL - 0.1
    assert 0 < wait(routes) <= FIRST_PAUSE * 1.5
    clock.now += 0.1
    assert wait(routes) == 0


def test_what_was_sent_before_it_was_closed_does_not_prolong_it(make, clock) -> None:
    routes = make()
    fail(routes, "a", "a", "a")
    for _ in range(5):
        routes.leave("t", H, "a", answer="none")
    clock.now += FIRST_PAUSE
    assert wait(routes) == 0


def test_without_a_number_no_route_is_closed(make) -> None:
    routes = make(0)
    fail(routes, *"a" * 100)
    assert wait(routes) == 0


def test_a_file_whose_writer_was_killed_counts_as_empty(make, tmp_path: Path) -> None:
    routes = make()
    fail(routes, "a", "a", "a")
    size = (tmp_path / "routes").stat().st_size
    os.truncate(tmp_path / "routes", size // 2)
    assert wait(routes) == 0
    fail(routes, "a", "a", "a")
    assert wait(routes) > 0


def test_routes_that_are_remembered_are_bounded(make) -> None:
    routes = make()
    for number in range(520):
        fail(routes, "a", host=str(number))
    assert len((Path(routes._path)).read_text().split('"failures"')) == 1_001


def test_a_path_in_trouble_is_closed_alone_and_a_host_without_an_answer_with_all(make) -> None:
    routes = make()
    for _ in range(3):
        routes.leave("t", Asked("h", "broken"), "a", answer="trouble")
    with pytest.raises(RouteClosed):
        routes.enter("t", Asked("h", "broken"), "a")
    routes.enter("t", Asked("h", "fine"), "a")
    fail(routes, "a", "a", "a")
    with pytest.raises(RouteClosed):
        routes.enter("t", Asked("h", "fine"), "a")


def test_a_host_that_answers_is_there_whatever_it_says(make) -> None:
    routes = make()
    fail(routes, "a", "a")
    routes.leave("t", H, "a", answer="trouble")
    fail(routes, "a", "a")
    assert wait(routes) == 0
