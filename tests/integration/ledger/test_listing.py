"""Lists of jobs by watch, lane and tenant."""

from __future__ import annotations

from support.ledger import Clock, new_job, numbered, watched

from sealwax.ledger import (
    Ledger,
)


def test_open_jobs_are_found_by_lane_until_they_end_and_dead_ones_until_replayed(
    ledger: Ledger, clock: Clock
) -> None:
    for n in range(4):
        clock.now += 1
        ledger.accept(new_job(clock, numbered(n)))
        ledger.claim(numbered(n), token="t", lease=30)
    assert watched(ledger, "open#default") == [numbered(n) for n in range(4)]
    assert watched(ledger, "open#slow") == []
    ledger.succeed(numbered(0), token="t", result=None)
    ledger.retry(numbered(1), token="t", due=clock.now + 5, cause="x", error="E")
    ledger.die(numbered(2), token="t", reason="rejected", cause="x", error="E")
    assert watched(ledger, "open#default") == [numbered(1), numbered(3)]
    assert watched(ledger, "dead") == [numbered(2)]
    assert ledger.expire(numbered(1))
    assert ledger.replay(numbered(2), generation=0)
    assert watched(ledger, "open#default") == [numbered(2), numbered(3)]
    assert watched(ledger, "dead") == []


def test_jobs_are_listed_in_pages_that_end(ledger: Ledger, clock: Clock) -> None:
    for n in range(5):
        clock.now += 1
        ledger.accept(new_job(clock, numbered(n)))
    seen: list[str] = []
    after = None
    for _ in range(4):
        page = ledger.of_tenant("ab" * 16, after, limit=2)
        seen += [entry.id for entry in page.entries]
        after = page.after
        if after is None:
            break
    assert after is None
    assert seen == [numbered(n) for n in (4, 3, 2, 1, 0)]
    oldest_first = ledger.of_tenant("ab" * 16, limit=2, newest_first=False).entries
    assert [entry.id for entry in oldest_first] == [numbered(0), numbered(1)]
    assert ledger.of_tenant("cd" * 16).entries == ()


def test_the_oldest_of_a_lane_has_waited_longest_since_its_acceptance_or_replay(
    ledger: Ledger, clock: Clock
) -> None:
    assert ledger.oldest("default") is None
    ledger.accept(new_job(clock, numbered(1)))
    clock.now += 10
    ledger.accept(new_job(clock, numbered(2)))
    oldest = ledger.oldest("default")
    assert oldest is not None
    assert oldest.id == numbered(1)
    ledger.die(numbered(1), token=None, reason="rejected", cause="x", error="E")
    clock.now += 10
    ledger.replay(numbered(1), generation=0)
    oldest = ledger.oldest("default")
    assert oldest is not None
    assert (oldest.id, oldest.since) == (numbered(2), clock.now - 10)
