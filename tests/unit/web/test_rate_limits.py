import threading
from functools import partial

from support.waiting import wait_for

from sealwax.web.rate_limits import ALONE, WAITING, LargeBodies, RateLimiter, RequestsUnderWay


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_is_allowed_then_the_rate() -> None:
    clock = Clock()
    limiter = RateLimiter(2, 3, clock)
    assert [limiter.take("a") for _ in range(4)] == [None, None, None, 1]
    assert limiter.take("b") is None
    clock.now = 0.5
    assert limiter.take("a") is None
    assert limiter.take("a") == 1


def test_a_rate_of_zero_sets_no_limit() -> None:
    limiter = RateLimiter(0, 1)
    assert {limiter.take("a") for _ in range(100)} == {None}


def test_a_slow_rate_says_how_long_to_wait() -> None:
    limiter = RateLimiter(0.1, 1, Clock())
    limiter.take("a")
    assert limiter.take("a") == 10


def test_a_look_takes_nothing() -> None:
    clock = Clock()
    limiter = RateLimiter(2, 2, clock)
    assert [limiter.wait("a") for _ in range(5)] == [None] * 5
    assert [limiter.take("a") for _ in range(2)] == [None, None]
    assert [limiter.wait("a") for _ in range(5)] == [1] * 5
    clock.now = 0.5
    assert limiter.wait("a") is None
    assert RateLimiter(0, 1).wait("a") is None


def test_a_tenant_has_so_many_requests_under_way_and_others_theirs() -> None:
    under_way = RequestsUnderWay(2)
    assert under_way.enter("b")
    under_way.leave("b")
    assert [under_way.enter("a") for _ in range(3)] == [True, True, False]
    assert under_way.enter("b")
    under_way.leave("a")
    assert [under_way.enter("a") for _ in range(2)] == [True, False]


def test_none_is_counted_where_there_is_no_limit() -> None:
    under_way = RequestsUnderWay(0)
    assert {under_way.enter("a") for _ in range(100)} == {True}
    for _ in range(100):
        under_way.leave("a")


def test_a_lone_tenant_has_them_all_until_another_comes() -> None:
    clock = Clock()
    under_way = RequestsUnderWay(2, clock)
    assert {under_way.enter("a") for _ in range(5)} == {True}
    assert under_way.enter("b")
    assert not under_way.enter("a")
    clock.now = ALONE - 0.1
    assert not under_way.enter("a")
    clock.now = ALONE
    assert under_way.enter("a")


def test_full_tells_what_enter_would_say_and_counts_nothing() -> None:
    clock = Clock()
    under_way = RequestsUnderWay(2, clock)
    assert under_way.enter("a")
    assert under_way.enter("a")
    assert not under_way.full("a")  # alone
    assert under_way.full("a") is not under_way.enter("a")
    under_way.leave("a")
    assert under_way.enter("b")
    assert [under_way.full("a"), under_way.full("b")] == [True, False]
    assert not under_way.enter("a")
    under_way.leave("a")
    assert not under_way.full("a")
    assert under_way.enter("a")
    assert not RequestsUnderWay(0).full("a")


def _has_grown(ended: list[bool], so_far: int) -> bool:
    return len(ended) > so_far


def test_so_many_large_bodies_wait_and_the_next_is_refused_at_once() -> None:
    large = LargeBodies()
    ended: list[bool] = []
    assert large.enter(0)
    threads = [
        threading.Thread(target=lambda: ended.append(large.enter(60))) for _ in range(WAITING + 1)
    ]
    for each in threads:
        each.start()
    # One of them finds no place to wait, whatever their order.
    wait_for(lambda: ended == [False])
    for so_far in range(1, WAITING + 1):
        large.leave()
        wait_for(partial(_has_grown, ended, so_far))
    for each in threads:
        each.join(10)
    assert ended == [False, *[True] * WAITING]
    large.leave()
    assert large.enter(0)
