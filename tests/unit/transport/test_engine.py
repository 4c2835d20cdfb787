"""The calls of a queue."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

from sealwax.aws.sqs import BATCH_ENTRIES
from sealwax.telemetry.counters import Counters
from sealwax.transport.batching import BatchEntry, EntryResult
from sealwax.transport.engine import QueueCalls
from sealwax.transport.options import TransportOptions


def test_as_many_deletes_are_under_way_as_there_are_receives() -> None:
    class Endpoint:
        """Answers no delete before three have been asked for at once."""

        def __init__(self) -> None:
            self.lock = threading.Lock()
            self.under_way = 0
            self.together = threading.Event()

        def delete_message_batch(self, *, Entries: list[dict[str, str]], **_: object) -> object:  # noqa: N803 - boto3's name
            with self.lock:
                self.under_way += 1
                if self.under_way == 3:
                    self.together.set()
            # How many entries each batch got depends on the machine's load; with
            # smaller ones there are more calls, which are answered like the others.
            assert self.together.wait(20)
            with self.lock:
                self.under_way -= 1
            return {"Successful": [{"Id": each["Id"]} for each in Entries]}

    engine = SimpleNamespace(
        options=TransportOptions(receivers=3), counters=Counters(), quick=Endpoint(), polling=None
    )
    calls = QueueCalls(engine, "https://sqs.test/1/q")  # type: ignore[arg-type]
    outcomes: list[EntryResult] = []
    for number in range(3 * BATCH_ENTRIES):
        fields = {"ReceiptHandle": str(number)}
        calls.delete.submit(
            BatchEntry(fields, done=outcomes.append, deadline=time.monotonic() + 60)
        )

    assert calls.delete.flush(30)
    assert [each.ok for each in outcomes] == [True] * 3 * BATCH_ENTRIES
    calls.delete.close()
