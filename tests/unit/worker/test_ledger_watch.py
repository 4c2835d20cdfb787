from __future__ import annotations

from sealwax.ledger import LedgerUnreachable
from sealwax.transport.pauses import ConsumerPauses
from sealwax.worker.ledger_watch import POLL_SECONDS, PROBE_SECONDS, REASON, LedgerWatch


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


def test_the_queue_is_paused_while_the_ledger_is_away_and_probed_only_when_somebody_failed():
    runtime, pauses = FakeRuntime(), ConsumerPauses()
    watch = LedgerWatch(runtime, pauses, "q")  # type: ignore[arg-type]
    assert watch.check() == POLL_SECONDS
    assert runtime.asked == 0
    runtime.failures = 1
    assert watch.check() == POLL_SECONDS  # one attempt's bad luck pauses nothing
    assert (runtime.asked, pauses.reasons("q")) == (1, frozenset())
    runtime.failures, runtime.away = 2, True
    assert watch.check() >= PROBE_SECONDS / 2
    assert pauses.reasons("q") == {REASON}
    watch.check()
    assert runtime.asked == 3  # asked on, though nobody fails any more
    runtime.away = False
    assert watch.check() == POLL_SECONDS
    assert pauses.reasons("q") == frozenset()
