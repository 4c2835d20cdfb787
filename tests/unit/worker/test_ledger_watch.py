from __future__ import annotations

from sealwax.ledger import LedgerUnreachable
from sealwax.transport.pauses import ConsumerPauses
from sealwax.worker.ledger_watch import ASK, LOOK, REASON, LedgerWatch


class FakeRuntime:
    def __init__(self) -> None:
        self.failures = 0
        self.away = False
        self.asked = 0
        self.ledger = self

    def ledger_failures(self) -> int:
        return self.failures

    def get(self, job_id: str) -> None:
        self.asked += 1
        if self.away:
            raise LedgerUnreachable


def test_the_queue_is_held_while_the_ledger_is_away_and_asked_only_when_somebody_failed():
    runtime, holds = FakeRuntime(), ConsumerPauses()
    lookout = LedgerWatch(runtime, holds, "q")  # type: ignore[arg-type]
    assert lookout.look() == LOOK
    assert runtime.asked == 0
    runtime.failures = 1
    assert lookout.look() == LOOK  # one attempt's bad luck holds nothing
    assert (runtime.asked, holds.reasons("q")) == (1, frozenset())
    runtime.failures, runtime.away = 2, True
    assert lookout.look() >= ASK / 2
    assert holds.reasons("q") == {REASON}
    lookout.look()
    assert runtime.asked == 3  # asked on, though nobody fails any more
    runtime.away = False
    assert lookout.look() == LOOK
    assert holds.reasons("q") == frozenset()
