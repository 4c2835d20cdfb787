"""Which letters a worker opens: signed by a worker, its job's own, dead in its very generation."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from support.job_bench import Bench
from support.revealing import archive, message_body, said_of

from sealwax.deadletters.errors import RevealRefused
from sealwax.envelope import SigningKey
from sealwax.outcomes import DeadLetter, Rejected
from sealwax.worker.reveal_letter import letter_to_open


@dataclass
class Scene:
    """A job of the bench, its message, and its letter."""

    bench: Bench
    job: str
    body: bytes
    queue: str

    @property
    def signer(self) -> SigningKey:
        return self.bench.worker.keyring.signer

    def said(self, body: bytes | None = None, **changes: Any) -> str:
        given: dict[str, Any] = {"queue": self.queue, "signer": self.signer} | changes
        return said_of(body or self.body, given.pop("job", self.job), **given)

    def put(self, said: str | None, *, body: bytes | None = None, **changes: Any) -> str:
        given = {"queue": self.queue} | changes
        return archive(self.bench.worker.letters, self.job, body or self.body, said, **given)

    def open(self, letter: str, *, queue: str | None = None) -> Any:
        runtime = self.bench.worker
        return letter_to_open(
            runtime,
            runtime.letters.archive,
            letter,
            keyring=runtime.public_keyring,
            queue=queue or self.queue,
        )

    def cause(self, letter: str, **changes: Any) -> str:
        with pytest.raises(RevealRefused) as refused:
            self.open(letter, **changes)
        return refused.value.cause


def reject(*_: Any) -> None:
    raise Rejected("http-400")


@pytest.fixture
def make(shared_bench: Bench) -> Callable[..., Scene]:
    """Return what submits a job; it has died unless `dead` says otherwise."""

    bench = shared_bench

    def made(*, dead: bool = True, n: int = 1) -> Scene:
        job = bench.submit(n)
        if dead:
            bench.does[0] = reject
            assert isinstance(bench.run(job), DeadLetter)
        body = message_body(job, bench.deliver(job).envelope, task="test.number")
        return Scene(bench, job, body, bench.settings.queue_name("default"))

    return made


def test_a_dead_jobs_own_letter_may_be_opened(make: Callable[..., Scene]) -> None:
    scene = make()
    found = scene.open(scene.put(scene.said()))
    assert (found.context.job, found.generation) == (scene.job, 0)


def test_a_letter_that_no_worker_signed_as_it_stands_is_refused(
    make: Callable[..., Scene],
) -> None:
    scene = make()
    changed = json.dumps(json.loads(scene.said()) | {"reason": "exhausted"})
    other = message_body(scene.job, "swx1.x.y.z", task="test.number")
    api = scene.bench.api.keyring.signer
    for number, (said, cause) in enumerate(
        {
            None: "unsigned",
            '{"reason": "rejected"}': "unsigned",
            changed: "signature-invalid",
            scene.said(signer=api): "not-a-worker",
            scene.said(signer=SigningKey(b"e" * 32)): "unknown-signer",
            scene.said(queue="another"): "wrong-queue",
            scene.said(body=other): "wrong-body",
            scene.said(own=False): "stray",
        }.items()
    ):
        letter = scene.put(said, name=f"{scene.job}.0.{number:08x}")
        assert scene.cause(letter) == cause


def test_what_was_recorded_of_a_job_that_lives_or_ended_well_is_refused(
    make: Callable[..., Scene],
) -> None:
    """Even signed: a worker's signature is of when it died, the ledger's word is of now."""
    queued = make(dead=False)
    assert queued.cause(queued.put(queued.said())) == "job-not-dead"
    running = make(dead=False)
    running.bench.worker.ledger.claim(running.job, token="t", lease=30)
    assert running.cause(running.put(running.said())) == "job-not-dead"
    done = make(dead=False)
    done.bench.does[0] = lambda payload, _: {"n": payload.n}
    done.bench.run(done.job)
    assert done.bench.entry(done.job).state == "succeeded"
    assert done.cause(done.put(done.said())) == "job-not-dead"


def test_a_letter_of_an_older_generation_is_refused_until_that_dies_too(
    make: Callable[..., Scene],
) -> None:
    scene = make()
    first = scene.put(scene.said())
    scene.bench.worker.ledger.replay(scene.job, generation=0)
    assert scene.cause(first) == "job-not-dead"
    assert isinstance(scene.bench.run(scene.job, generation=1), DeadLetter)
    # Dead again, but in the generation that came after the letter's.
    assert scene.cause(first) == "job-not-dead"
    body = message_body(
        scene.job, scene.bench.deliver(scene.job).envelope, task="test.number", generation=1
    )
    second = scene.put(scene.said(body, generation=1), body=body, name=f"{scene.job}.1")
    assert scene.open(second).generation == 1
    # The signature's generation and the message's are one.
    mixed = scene.put(scene.said(body, generation=0), body=body, name=f"{scene.job}.0.00000001")
    assert scene.cause(mixed) == "context-mismatch"


def test_a_job_that_the_ledger_does_not_know_is_refused(make: Callable[..., Scene]) -> None:
    scene = make()
    letter = scene.put(scene.said())
    scene.bench.worker.aws.client("dynamodb").delete_item(
        TableName=scene.bench.settings.table_name("jobs"), Key={"id": {"S": scene.job}}
    )
    assert scene.cause(letter) == "unknown-job"


def test_a_message_that_is_not_the_jobs_own_is_refused_whoever_signed_its_letter(
    make: Callable[..., Scene],
) -> None:
    scene, other = make(), make(n=2)
    envelope = scene.bench.deliver(other.job).envelope
    for number, (body, cause) in enumerate(
        {
            message_body(scene.job, envelope, task="test.number"): "context-mismatch",
            message_body(scene.job, "swx1.forged", task="test.number"): "envelope-malformed",
            b"not a message": "not-json",
            b"\xff\xfe": "malformed",
        }.items()
    ):
        letter = scene.put(scene.said(body), body=body, name=f"{scene.job}.0.{number:08x}")
        assert scene.cause(letter) == cause


def test_the_name_that_the_audit_log_gets_is_the_one_of_what_is_opened(
    make: Callable[..., Scene],
) -> None:
    scene, other = make(), make(n=2)
    said = other.said()
    # Another dead job's genuine letter, put under this one's name.
    letter = archive(scene.bench.worker.letters, scene.job, other.body, said, queue=scene.queue)
    assert scene.cause(letter) == "wrong-place"
    assert scene.cause(f"{'0' * 32}.0") == "no-such-letter"


def test_a_worker_opens_no_letter_of_another_queue(make: Callable[..., Scene]) -> None:
    scene = make()
    letter = scene.put(scene.said())
    assert scene.cause(letter, queue="another") == "wrong-lane"


def test_a_row_that_no_steward_wrote_is_refused(make: Callable[..., Scene]) -> None:
    scene = make()
    scene.bench.worker.aws.client("dynamodb").put_item(
        TableName=scene.bench.settings.table_name("letters"),
        Item={"id": {"S": scene.job}, "sort": {"S": "letter.0"}, "state": {"S": "made-up"}},
    )
    assert scene.cause(f"{scene.job}.0") == "malformed"


def test_what_was_erased_stays_closed_whoever_writes_the_ledger(
    make: Callable[..., Scene],
) -> None:
    scene = make()
    letter = scene.put(scene.said())
    scene.bench.worker.ledger.erase(scene.job)
    assert scene.cause(letter) == "erased"
    scene.bench.worker.aws.client("dynamodb").update_item(
        TableName=scene.bench.settings.table_name("jobs"),
        Key={"id": {"S": scene.job}},
        UpdateExpression="SET #state = :dead",
        ExpressionAttributeNames={"#state": "state"},
        ExpressionAttributeValues={":dead": {"S": "dead"}},
    )
    assert scene.cause(letter) == "erased"
