from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest

from sealwax.egress.client import OutgoingClient, OutgoingResponse
from sealwax.egress.errors import (
    DownstreamBusy,
    DownstreamStatus,
    DownstreamTimeout,
    DownstreamUnreachable,
)
from sealwax.egress.rules import HttpRule
from sealwax.egress.shares import FAILURES, PAUSE, SystemShares

RULE = HttpRule(hosts=("a.example", "b.example"), total=8, connect=3)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Scripted(OutgoingClient):
    """Answers as it was told; keeps the rules that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.rules: list[HttpRule] = []
        self.fails: Exception | None = None

    def request(self, method: str, url: str, *, rule: HttpRule, **_: object) -> OutgoingResponse:  # type: ignore[override]
        self.rules.append(rule)
        if self.fails is not None:
            raise self.fails
        return OutgoingResponse(status=200, headers={}, body=b"", host="a.example")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def scripted() -> Scripted:
    return Scripted()


def shares_of(share: int, scripted: Scripted, clock: Clock) -> SystemShares:
    return SystemShares(share, scripted, monotonic=clock)


def ask(shares: SystemShares, *, tenant: str = "acme", host: str = "a.example") -> None:
    shares.client(tenant=tenant, seconds=10).request("GET", f"https://{host}/x", rule=RULE)


@pytest.mark.parametrize(("share", "of_one"), [(1, 1), (2, 1), (3, 2), (4, 2), (16, 8)])
def test_a_tenant_has_half_of_a_systems_share_and_all_have_the_share(
    share: int, of_one: int, scripted: Scripted, clock: Clock
) -> None:
    shares = shares_of(share, scripted, clock)
    with ExitStack() as stack:
        for _ in range(of_one):
            stack.enter_context(shares.entered("a.example", "greedy"))
        with pytest.raises(DownstreamBusy) as refused:
            ask(shares, tenant="greedy")
        assert (refused.value.cause, refused.value.retry_after) == ("downstream-share", 1.0)
        assert scripted.rules == []  # nothing was sent
        ask(shares, tenant="greedy", host="b.example")
        for number in range(share - of_one):
            stack.enter_context(shares.entered("a.example", f"tenant-{number}"))
        with pytest.raises(DownstreamBusy):
            ask(shares, tenant="late")
    ask(shares, tenant="late")
    ask(shares, tenant="greedy")


@pytest.mark.parametrize("error", [DownstreamTimeout("a"), DownstreamUnreachable("a", "reset")])
def test_a_system_that_stays_silent_is_left_alone_by_the_tenant_that_met_it(
    error: Exception, scripted: Scripted, clock: Clock
) -> None:
    shares = shares_of(4, scripted, clock)
    scripted.fails = error
    for _ in range(FAILURES):
        with pytest.raises(type(error)):
            ask(shares)
    with pytest.raises(DownstreamBusy) as refused:
        ask(shares)
    assert (refused.value.cause, refused.value.retry_after) == ("downstream-silent", PAUSE)
    assert len(scripted.rules) == FAILURES
    # Another tenant finds out by itself, and so does another system.
    with pytest.raises(type(error)):
        ask(shares, tenant="other")
    scripted.fails = None
    ask(shares, host="b.example")
    with pytest.raises(DownstreamBusy):
        ask(shares)
    clock.now += PAUSE
    ask(shares)
    ask(shares)


def test_one_request_tries_and_the_others_are_refused_meanwhile(
    scripted: Scripted, clock: Clock
) -> None:
    shares = shares_of(4, scripted, clock)
    scripted.fails = DownstreamTimeout("a")
    for _ in range(FAILURES):
        with pytest.raises(DownstreamTimeout):
            ask(shares)
    clock.now += PAUSE
    with shares.entered("a.example", "acme"), pytest.raises(DownstreamBusy):
        ask(shares)
    scripted.fails = None
    ask(shares)
    # One failure after that does not close it again, FAILURES do.
    scripted.fails = DownstreamTimeout("a")
    for _ in range(FAILURES):
        with pytest.raises(DownstreamTimeout):
            ask(shares)
    clock.now += PAUSE
    with pytest.raises(DownstreamTimeout):  # the one that tries
        ask(shares)
    with pytest.raises(DownstreamBusy):
        ask(shares)


def test_error_statuses_are_answers(scripted: Scripted, clock: Clock) -> None:
    shares = shares_of(4, scripted, clock)
    scripted.fails = DownstreamStatus("a", 500, transient=True)
    for _ in range(3 * FAILURES):
        with pytest.raises(DownstreamStatus):
            ask(shares)


def test_all_requests_of_an_enrichment_end_by_one_deadline(
    scripted: Scripted, clock: Clock
) -> None:
    client = shares_of(4, scripted, clock).client(tenant="acme", seconds=10)
    for wait, total, connect in ((0, 8, 3), (5, 5, 3), (3, 2, 2)):
        clock.now += wait
        client.request("GET", "https://a.example/x", rule=RULE)
        assert (scripted.rules[-1].total, scripted.rules[-1].connect) == (total, connect)
    clock.now += 2
    with pytest.raises(DownstreamTimeout):
        client.request("GET", "https://a.example/x", rule=RULE)
    assert len(scripted.rules) == 3


def test_many_threads_never_exceed_the_share(scripted: Scripted, clock: Clock) -> None:
    shares, most, now = shares_of(3, scripted, clock), [0], [0]
    lock = threading.Lock()

    def run(tenant: str) -> None:
        for _ in range(200):
            try:
                with shares.entered("a.example", tenant):
                    with lock:
                        now[0] += 1
                        most[0] = max(most[0], now[0])
                    with lock:
                        now[0] -= 1
            except DownstreamBusy:
                pass

    threads = [threading.Thread(target=run, args=(f"t{n}",)) for n in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert 1 <= most[0] <= 3
    ask(shares)
