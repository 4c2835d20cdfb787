"""Stock Celery on SQS with what a team bolts on: Fernet, DynamoDB's results, Powertools.

As a module it is the worker's app.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import bolted
import job_common
from celery import Celery

QUEUE = os.environ["BENCH_QUEUE"]

app = Celery("bench", broker="sqs://", backend="dynamodb://@us-east-1/results")
app.conf.update(
    broker_transport_options={
        "region": "us-east-1",
        "visibility_timeout": 60,
        "wait_time_seconds": 20,
        "polling_interval": 0.01,
        "predefined_queues": {QUEUE: {"url": os.environ["BENCH_QUEUE_URL"]}},
    },
    task_default_queue=QUEUE,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_time_limit=bolted.LIMIT_MS // 1_000,
    worker_prefetch_multiplier=int(os.environ.get("BENCH_MULTIPLIER", "1")),
    worker_enable_remote_control=False,
    broker_connection_retry_on_startup=True,
    broker_pool_limit=80,
)


@app.task(name="bench.job", bind=True)
def job(self: Any, payload: str) -> Any:
    return bolted.run_once(self.request.id, payload)


def submit(sent: float) -> str:
    """Return the row of the result backend."""
    done = job.apply_async((bolted.seal(sent),))
    return str(app.backend.get_key_for_task(done.id))  # of bytes: as the backend writes it


if __name__ == "__main__":
    _, threads, jobs, rate, file = sys.argv[1:]
    job_common.send(submit, int(threads), int(jobs), float(rate), file)
