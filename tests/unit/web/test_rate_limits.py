from sealwax.web.rate_limits import RateLimiter


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
