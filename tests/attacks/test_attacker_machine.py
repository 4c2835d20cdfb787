"""Whatever an attacker does between any two steps of jobs, each ends as without him.

By hypothesis; see `support.attacker_machine`. Queues, bucket and tables are an
emulated AWS's, the worker is ours from transport to ledger.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from support.attacker_machine import FORGERIES, AttackedJobs, AttackerMachine
from support.hand_worker import HandWorker
from support.job_bench import make_bench

from sealwax.aws.clients import Aws
from sealwax.producer.celery_app import make_producer
from sealwax.producer.publish import CeleryPublisher
from sealwax.producer.submit import Submitter
from sealwax.provision import provision
from sealwax.runtime import Runtime
from sealwax.settings import Settings, load_settings


@pytest.fixture
def attacked(aws_env: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[AttackedJobs]:
    limits = {"message_bytes": 4_096, "unknown_task_seconds": 0, "unknown_key_seconds": 0}
    monkeypatch.setenv("SEALWAX_LIMITS", json.dumps(limits))
    ours = load_settings()
    provision(ours, Aws())
    bench = make_bench(ours, attempts=3)
    worker = HandWorker(ours, {bench.definition.name: bench.definition}, bench.worker)
    producer = make_producer(ours)
    submitter = Submitter(bench.api, CeleryPublisher(producer, ours))
    steward = Runtime(ours, "steward", {}, clock=bench.clock)
    yield AttackedJobs(bench, worker, submitter, steward)
    worker.close()
    producer.close()
    steward.close()
    bench.api.close()
    bench.worker.close()


def run(attacked: AttackedJobs, examples: int, steps: int, **more: Any) -> Counter[str]:
    class Machine(AttackerMachine):
        jobs, done = attacked, Counter()

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            print_blob=True,
            # Each run costs a second: a failure is told as it was found.
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            **more,
        ),
    )
    return Machine.done


@pytest.mark.long
def test_no_attack_changes_how_a_job_ends(attacked: AttackedJobs) -> None:
    # The same runs each time: what others find is the long test's.
    done = run(attacked, 3, 5, derandomize=True)
    assert done["jobs"] >= 24
    assert done["forged"] >= 20


@pytest.mark.long
def test_no_attack_changes_how_one_of_200_jobs_ends(attacked: AttackedJobs) -> None:
    done = run(attacked, 25, 7)
    assert done["jobs"] >= 200
    assert done["delete"]
    assert not set(FORGERIES) - set(done)
