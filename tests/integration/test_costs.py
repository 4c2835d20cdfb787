"""What one job costs in calls to AWS, counted on the wire."""

from __future__ import annotations

import secrets
import time
from collections import Counter

from pydantic import BaseModel

from sealwax.aws.clients import Aws
from sealwax.job import Job
from sealwax.keys.lifecycle import init_keys
from sealwax.outcomes import Ack
from sealwax.producer.publish import QueuedJob
from sealwax.producer.submit import Submitter
from sealwax.runtime import Runtime
from sealwax.secrets.factory import make_source
from sealwax.settings import Settings
from sealwax.task_definition import task
from sealwax.worker.attempt import Attempt, ReceivedJob

JOBS = 20


class Nothing(BaseModel):
    n: int


@task(name="test.nothing", contract=Nothing)
def nothing(payload: Nothing, job: Job):
    return {"n": payload.n}


class KeptMessages:
    """Keeps what would go to the queue: SQS calls are counted elsewhere."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, str]] = []

    def publish(self, job: QueuedJob) -> None:
        self.messages.append((job.job_id, job.envelope))


def test_a_job_that_succeeds_at_once_costs_three_writes_and_asks_no_secrets(
    provisioned: Settings,
) -> None:
    init_keys(provisioned, make_source(provisioned, Aws()))
    served = {nothing.name: nothing}
    api, worker = Runtime(provisioned, "api", served), Runtime(provisioned, "worker", served)
    kept = KeptMessages()
    submitter = Submitter(api, kept)
    before = api.aws.calls + worker.aws.calls
    for n in range(JOBS):
        submitter.submit(nothing, {"n": n}, tenant="acme", idempotency_key=f"k{n}")
    for job_id, envelope in kept.messages:
        delivery = ReceivedJob(
            job_id=job_id,
            task=nothing.name,
            envelope=envelope,
            token=secrets.token_hex(16),
            first_received_at=time.time(),
        )
        worker.refresh_if_old()
        assert Attempt(worker, nothing, delivery, lease=30).run() == Ack()
    used = Counter(api.aws.calls) + Counter(worker.aws.calls)
    used.subtract(before)
    assert {name: count for name, count in used.items() if count} == {
        "dynamodb.PutItem": JOBS,
        "dynamodb.UpdateItem": 2 * JOBS,
    }
