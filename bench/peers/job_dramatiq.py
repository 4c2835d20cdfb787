"""dramatiq_sqs with what a team bolts on: Fernet, results in DynamoDB, Powertools.

dramatiq has no result backend for DynamoDB; this is the little that a team writes.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import bolted
import dramatiq
import job_common
from dramatiq.middleware import CurrentMessage
from dramatiq.results import ResultBackend, Results
from dramatiq_sqs import SQSBroker


class Stored(ResultBackend):
    """Results as rows of a table."""

    def _store(self, message_key: str, result: Any, ttl: int) -> None:
        bolted.client().put_item(
            TableName="results",
            Item={
                "id": {"S": message_key},
                "result": {"S": json.dumps(result)},
                "ttl": {"N": str(int(time.time()) + ttl // 1_000)},
            },
        )


backend = Stored()
broker = SQSBroker(dead_letter=True, visibility_timeout=60)
broker.add_middleware(CurrentMessage())
broker.add_middleware(Results(backend=backend, store_results=True))
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name=os.environ["BENCH_QUEUE"], time_limit=bolted.LIMIT_MS)
def job(payload: str) -> Any:
    message = CurrentMessage.get_current_message()
    return bolted.run_once(message.message_id, payload)


def submit(sent: float) -> str:
    """Return the row of the result."""
    return str(backend.build_message_key(job.send(bolted.seal(sent))))


if __name__ == "__main__":
    _, threads, jobs, rate, file = sys.argv[1:]
    job_common.send(submit, int(threads), int(jobs), float(rate), file)
