"""A known outcome is recorded again until the ledger has answered, or time is up."""

from __future__ import annotations

import pytest
import structlog
from billiard.exceptions import SoftTimeLimitExceeded
from botocore.exceptions import ClientError

from sealwax.ledger import ClaimLost, LedgerDenied, LedgerError, LedgerUnreachable
from sealwax.worker.recording import LONGEST_WAIT, OutcomeRecorder


class Recording:
    """A recorder whose time passes only while it waits."""

    def __init__(self, *, until: float = 1e9, seconds: float = 600.0) -> None:
        self.now = 0.0
        self.waits: list[float] = []
        self.failures = 0
        self.calls = 0
        self.recorder = OutcomeRecorder(
            until=until,
            seconds=seconds,
            failed=self._failed,
            log=structlog.get_logger("test"),
            monotonic=lambda: self.now,
            pause=self._pause,
        )

    def _failed(self) -> None:
        self.failures += 1

    def _pause(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    def record(self, *answers: BaseException | bool) -> bool:
        """Record what fails with each of the errors, and then with the last for ever."""

        def write() -> bool:
            answer = answers[min(self.calls, len(answers) - 1)]
            self.calls += 1
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return self.recorder.record(write)


def test_a_record_is_repeated_with_growing_waits_until_it_is_taken() -> None:
    made = Recording()
    assert made.record(*[LedgerUnreachable()] * 20, True)
    assert made.calls == 21
    assert made.failures == 20
    assert made.waits[0] < 0.2
    assert max(made.waits) <= LONGEST_WAIT
    assert made.waits[-1] >= LONGEST_WAIT / 2


def test_a_role_that_is_refused_now_may_not_be_so_later() -> None:
    made = Recording()
    assert made.record(LedgerDenied(), True)
    assert made.calls == 2


@pytest.mark.parametrize("bounds", [{"until": 50.0}, {"seconds": 50.0}])
def test_it_gives_up_at_its_bound_and_not_before(bounds: dict[str, float]) -> None:
    made = Recording(**bounds)
    with pytest.raises(LedgerUnreachable):
        made.record(LedgerUnreachable())
    assert 50.0 - LONGEST_WAIT <= made.now <= 50.0


def test_a_lost_claim_is_an_answer() -> None:
    made = Recording()
    with pytest.raises(ClaimLost):
        made.record(LedgerUnreachable(), ClaimLost())
    assert made.calls == 2


def refused(code: str, status: int = 400) -> LedgerDenied:
    response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error = LedgerDenied()
    error.__cause__ = ClientError(response, "UpdateItem")  # type: ignore[arg-type]
    return error


@pytest.mark.parametrize(
    "error", [refused("ValidationException"), refused("Whatever", 413)], ids=["content", "size"]
)
def test_refused_content_is_not_repeated(error: LedgerDenied) -> None:
    made = Recording()
    with pytest.raises(LedgerDenied):
        made.record(error)
    assert made.calls == 1


def test_a_soft_time_limit_is_one_more_failed_try() -> None:
    made = Recording()
    assert made.record(SoftTimeLimitExceeded(), True)
    assert made.calls == 2
    last = Recording(seconds=0)
    with pytest.raises(LedgerError):
        last.record(SoftTimeLimitExceeded())


def test_a_soft_time_limit_that_meets_a_wait_ends_the_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = Recording()

    def interrupted(_: float) -> None:
        raise SoftTimeLimitExceeded

    monkeypatch.setattr(made.recorder, "_pause", interrupted)
    assert made.record(LedgerUnreachable(), True)


def test_a_fault_of_ours_is_not_repeated() -> None:
    made = Recording()
    with pytest.raises(ZeroDivisionError):
        made.record(ZeroDivisionError())
    assert made.calls == 1
