"""The API dies after each of its steps, and the caller repeats with the same key."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from copy import copy
from typing import Any

import pytest
from support.job_bench import Bench

from sealwax.ledger import JobState
from sealwax.outcomes import Ack, Retry
from sealwax.producer.publish import QueuedJob
from sealwax.producer.submit import IdempotencyConflict, JobInFlux, QueueUnavailable, Submitter
from sealwax.transport.errors import QueueUnreachable
from sealwax.worker.attempt import Attempt


class Killed(BaseException):
    """The process is gone: nothing after it runs."""


class Dying:
    """Lets a process live for a number of calls to what is outside it."""

    def __init__(self, calls: int) -> None:
        self.left = calls
        self.died = False

    def step(self, call: Callable[..., Any], *args: Any, **options: Any) -> Any:
        if self.left == 0:
            self.died = True
            raise Killed
        self.left -= 1
        return call(*args, **options)


class Dynamo:
    """DynamoDB, as long as the process lives."""

    def __init__(self, client: Any, dying: Dying) -> None:
        self._client, self._dying = client, dying

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._client, name)
        return lambda **options: self._dying.step(call, **options)


class Queue:
    """The queue, as long as the process lives."""

    def __init__(self, bench: Bench, dying: Dying, *, answers: bool) -> None:
        self._bench, self._dying, self._answers = bench, dying, answers

    def publish(self, job: QueuedJob) -> None:
        self._dying.step(lambda: self._bench.publish(job))
        if not self._answers:
            raise QueueUnreachable("The message arrived, the answer did not.")


def request(bench: Bench, key: str, calls: int, *, answers: bool = True) -> tuple[str | None, bool]:
    """Send the request to a process that lives for so many calls.

    Returns the job's id where the caller was promised that it runs, and whether
    the process died.
    """
    from sealwax.ledger import Ledger

    dying = Dying(calls)
    api = copy(bench.api)
    api.ledger = Ledger(
        Dynamo(bench.api.aws.client("dynamodb"), dying),
        bench.settings.table_name("jobs"),
        clock=bench.clock,
    )
    submitter = Submitter(api, Queue(bench, dying, answers=answers))
    try:
        accepted = submitter.submit(bench.definition, {"n": 1}, tenant="acme", idempotency_key=key)
    except (Killed, QueueUnavailable, JobInFlux):
        return None, dying.died
    return accepted.entry.id, dying.died


def drain(bench: Bench) -> None:
    """Deliver every message until none comes back."""
    for job_id, _ in list(bench.sent):
        while isinstance(bench.run(job_id), Retry):
            bench.clock.now += 40
    bench.sent.clear()


@pytest.mark.parametrize("answers", [True, False], ids=["queue-answers", "answer-lost"])
def test_nothing_is_lost_or_doubled_wherever_the_process_dies(bench: Bench, answers: bool) -> None:
    effects: list[str] = []
    bench.does[0] = lambda payload, job: effects.append(job.id)
    deaths, runs = 0, 0
    for first, second, early in itertools.product(range(5), range(5), (True, False)):
        key = f"k{first}-{second}-{early}"
        for calls in (first, second):
            _, died = request(bench, key, calls, answers=answers)
            deaths += died
            if early:
                drain(bench)  # a worker is quicker than the caller's repeat
        job_id, _ = request(bench, key, 100)
        assert job_id is not None
        drain(bench)
        entry = bench.entry(job_id)
        assert (entry.state, effects.count(job_id)) == (JobState.SUCCEEDED, 1), key
        runs += 1
    assert runs == len(effects) == 50
    assert deaths > 20


def test_a_hundred_requests_with_one_key_make_one_job_and_one_effect(bench: Bench) -> None:
    effects: list[str] = []
    bench.does[0] = lambda payload, job: effects.append(job.id)
    start = threading.Barrier(100)
    answers: list[str] = []

    def ask() -> None:
        start.wait(60)
        while True:
            try:
                answers.append(bench.submit(idempotency_key="one"))
            except JobInFlux:
                continue
            return

    threads = [threading.Thread(target=ask) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 100
    (job_id,) = set(answers)
    deliveries = [bench.deliver(job_id) for _ in bench.sent]
    assert len(deliveries) >= 1
    workers = [
        threading.Thread(target=Attempt(bench.worker, bench.definition, delivery, lease=30).run)
        for delivery in deliveries
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    entry = bench.entry(job_id)
    assert (entry.state, entry.fence, effects) == (JobState.SUCCEEDED, 1, [job_id])


def test_success_leaves_no_payload_behind_of_a_request_that_died_and_was_repeated(
    bench: Bench,
) -> None:
    job_id, payloads = bench.submit(large=True), bench.worker.payloads
    reference = bench.sent[-1][1]
    envelope = payloads.fetch(job_id, reference)
    payloads.put(job_id, "sealed by a request that died before it was recorded")
    assert bench.run(job_id) == Ack()
    assert payloads.objects(job_id) == []
    # Nor does a copy of its message that comes late.
    payloads.put(job_id, envelope)
    assert bench.run(job_id) == Ack()
    assert payloads.objects(job_id) == []


def test_a_repeated_request_stores_nothing_for_a_job_that_has_begun(bench: Bench) -> None:
    payloads = bench.worker.payloads

    def ask(n: int) -> str:
        return bench.submit(n, large=True, idempotency_key="large")

    job_id = ask(1)
    assert len(payloads.objects(job_id)) == 1
    assert (ask(1), len(payloads.objects(job_id))) == (job_id, 2)  # perhaps the first was not sent
    assert bench.run(job_id) == Ack()
    assert (ask(1), payloads.objects(job_id)) == (job_id, [])
    with pytest.raises(IdempotencyConflict):
        ask(2)
    assert payloads.objects(job_id) == []
