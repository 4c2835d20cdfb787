"""Jobs under attack as a state machine: whatever an attacker does, each job ends as without him.

The attacker reads and writes queue, dead-letter queue and bucket, and holds keys
of his own. He acts between any two steps of the jobs. The books say beforehand
how each job ends; only a job whose genuine message he destroyed may stay open,
and then the sweep names it.
"""

from __future__ import annotations

import json
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from sealwax.envelope import Context, Purpose, SigningKey, peek, seal
from sealwax.job import Job
from sealwax.keys.provenance import by_record
from sealwax.ledger import JobState, LedgerEntry
from sealwax.outbox.payloads import is_reference
from sealwax.outcomes import Reason, Rejected, Transient
from sealwax.producer.submit import Submitter
from sealwax.runtime import Runtime
from sealwax.steward.collect import DeadLetterCollector
from sealwax.steward.sweep import Sweep
from support.attacker import Message, garbage, letter_attribute
from support.hand_worker import LANE, HandWorker
from support.hostile import flipped
from support.job_bench import Bench, Number

__all__ = ["FORGERIES", "AttackedJobs", "AttackerMachine"]

#: What each attempt of a job meets, by the job's kind.
KINDS: dict[str, tuple[str, ...]] = {
    "good": ("ok",),
    "flaky": ("transient", "ok"),
    "refused": ("rejected",),
    "down": ("transient",) * 3,
    "cancelled": (),
}

#: What the attacker forges: see `AttackerMachine.forged`.
FORGERIES = (
    "flip", "truncate", "swap", "forge", "two", "keyword", "links", "task", "generation", "later",
    "older", "deep", "times", "garbage", "other-id", "surrogate", "reference",
)  # fmt: skip

#: Jobs whose messages or payloads the attacker destroys: the others' ends are beyond doubt.
LOST = range(5, 8)

#: Characters that make an envelope too big for a message.
BIG = 6_000


@dataclass
class Book:
    """What is known of a job beforehand, and what became of its message."""

    job: str
    kind: str
    number: int
    message: Message | None = None
    #: The attacker has destroyed its message, or the payload that it refers to.
    destroyed: bool = False
    runs: list[int] = field(default_factory=list)

    @property
    def end(self) -> JobState:
        """How it ends."""
        if self.kind == "cancelled":
            return JobState.CANCELLED
        return JobState.SUCCEEDED if KINDS[self.kind][-1] == "ok" else JobState.DEAD


@dataclass
class AttackedJobs:
    """What the machine attacks; made once for all of its runs."""

    bench: Bench
    worker: HandWorker
    submitter: Submitter
    steward: Runtime
    #: Jobs of all runs, by id: the task asks them what to do.
    books: dict[str, Book] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bench.does[0] = self.run_task
        settings, steward = self.bench.settings, self.steward
        evidence, sqs = by_record(steward.evidence), steward.stores.sqs
        self.bucket = settings.bucket_name
        name = settings.dead_letter_queue_name(LANE)
        self.dead_url = self.worker.sqs.get_queue_url(QueueName=name)["QueueUrl"]
        self.collector = DeadLetterCollector(
            settings, sqs, steward.letters, steward.ledger, evidence, clock=steward.clock
        )
        self.sweep = Sweep(
            settings,
            steward.ledger,
            steward.outbox,
            steward.letters,
            sqs,
            evidence=evidence,
            fair_group=str,
            after=1.0,
            clock=lambda: steward.clock() + 3_600,
        )

    def run_task(self, payload: Number, job: Job) -> Any:
        """Do what the job's kind says of this attempt."""
        book = self.books[job.id]
        book.runs.append(payload.n)
        plan = KINDS[book.kind]
        step = plan[min(job.attempt, len(plan)) - 1]
        if step == "transient":
            raise Transient("busy")
        if step == "rejected":
            raise Rejected("never")
        return {"n": payload.n}

    def submit(self, kind: str, *, big: bool) -> Book:
        """Accept a job; its message is in the queue then."""
        number = len(self.books)
        # A book before there is a message that may run.
        payload = {"n": number, "pad": "x" * (BIG if big else 0)}
        job = self.submitter.submit(self.bench.definition, payload, tenant="acme").entry.id
        book = self.books[job] = Book(job, kind, number)
        return book

    def collect(self) -> None:
        """Have the steward empty the dead-letter queue."""
        self.collector.turn(SimpleNamespace(held=lambda: True))

    def deliver(self, received: list[dict[str, Any]]) -> None:
        """Have the worker deal with messages, not before SQS's own time."""
        self.bench.clock.now = max(self.bench.clock.now, time.time())
        self.worker.deliver(received)


class AttackerMachine(RuleBasedStateMachine):
    """Give `jobs` a fixture's `AttackedJobs`."""

    jobs: ClassVar[AttackedJobs]
    #: What was done, over all runs: a test looks whether all was tried.
    done: ClassVar[Counter[str]]

    def __init__(self) -> None:
        super().__init__()
        self.books: list[Book] = []
        self.stolen: list[Book] = []
        self.sqs: Any = self.jobs.worker.sqs
        self.url = self.jobs.worker.url

    # -- the jobs' own steps -----------------------------------------------------------

    @initialize(
        kinds=st.lists(st.sampled_from(sorted(KINDS)), min_size=8, max_size=8),
        bigs=st.lists(st.booleans(), min_size=8, max_size=8),
        seed=st.integers(0, 2**32),
    )
    def accept(self, kinds: list[str], bigs: list[bool], seed: int) -> None:
        for kind, big in zip(kinds, bigs, strict=True):
            book = self.jobs.submit(kind, big=big)
            self.books.append(book)
            if kind == "cancelled":
                self.jobs.bench.api.ledger.cancel(book.job)
        self.read()
        # However few steps follow: before the first and before the second attempts.
        for _ in range(2):
            self.the_worker_works(seed)
            self.time_passes(60)

    @rule(seed=st.integers(0, 2**16))
    def the_worker_works(self, seed: int) -> None:
        self.the_attacker_acts(seed)
        received = self.jobs.worker.receive()
        random.Random(seed).shuffle(received)
        self.jobs.deliver(received)

    @rule()
    def the_steward_works(self) -> None:
        if self.depth(self.jobs.dead_url):
            self.jobs.collect()

    @rule(seconds=st.sampled_from([1, 15, 60]))
    def time_passes(self, seconds: int) -> None:
        self.jobs.bench.clock.now += seconds
        self.jobs.worker.show_all()

    # -- the attacker's ----------------------------------------------------------------

    @rule(seed=st.integers(0, 2**32))
    def the_attacker_acts(self, seed: int) -> None:
        """Do something to each job at once."""
        chance = random.Random(seed)
        self.read()
        for at, book in enumerate(self.books):
            act = chance.choice((*(["forge"] * 4), "replay", "headers", "destroy", "nothing"))
            if act == "forge":
                self.forge(book, chance)
            elif act == "replay":
                self.replay(book, times=chance.randint(1, 3))
            elif act == "headers":
                self.copy_with_headers(book, dead=chance.random() < 0.3)
            elif act == "destroy" and at in LOST:
                self.destroy(book, chance)

    def read(self) -> None:
        """Receive what is visible, keep a copy, and leave it there."""
        for message in self.received():
            body = Message(message["Body"])
            job = body.body["headers"].get("id") if isinstance(body.body, dict) else None
            book = self.book(job)
            if book is not None and book.message is None and self.is_genuine(book, body):
                book.message = body
                self.stolen.append(book)
            self.show(message)

    def replay(self, book: Book, *, times: int) -> None:
        for _ in range(times):
            self.put(self.genuine(book))
        self.done["replay"] += 1

    def forge(self, book: Book, chance: random.Random) -> None:
        """Forge something in the job's name; some with a letter's attribute, some past workers."""
        how = chance.choice(FORGERIES)
        said = letter_attribute(
            reason="rejected", cause="never", job=book.job, own=True, generation=0,
            queue=self.jobs.worker.queue, attempts=1,
        )  # fmt: skip
        self.put(
            self.forged(book, how, chance),
            attributes=said if chance.random() < 0.5 else None,
            dead=chance.random() < 0.3,
        )
        self.done["forged"] += 1
        self.done[how] += 1

    def copy_with_headers(self, book: Book, *, dead: bool) -> None:
        """Send the genuine envelope with headers that nobody has signed."""
        changed = self.genuine(book).changed(
            headers={"eta": "9990-01-01T00:00:00+00:00", "expires": "2020-01-01T00:00:00+00:00",
                     "retries": 7, "timelimit": [1e-9, 1e-9], "argsrepr": "x" * 1_000}
        )  # fmt: skip
        changed.body["properties"]["priority"] = 255
        self.put(changed, dead=dead)
        self.done["headers"] += 1

    def destroy(self, book: Book, chance: random.Random) -> None:
        """Delete the job's messages that are visible now, or spoil what they refer to."""
        keys = self.keys(book)
        if not keys or chance.random() < 0.5:
            self.delete(book)
            return
        how = chance.choice(["swap", "truncate", "delete", "add"])
        others = [key for each in self.books if each is not book for key in self.keys(each)]
        s3, bucket = self.jobs.bench.worker.aws.client("s3"), self.jobs.bucket
        for key in keys:
            if how == "add":
                s3.put_object(Bucket=bucket, Key=f"{key[:-1]}-", Body=b"mine")
                continue
            book.destroyed = True
            if how == "swap" and others:
                source: Any = {"Bucket": bucket, "Key": chance.choice(others)}
                s3.copy_object(Bucket=bucket, Key=key, CopySource=source)
            elif how == "delete":
                s3.delete_object(Bucket=bucket, Key=key)
            else:
                s3.put_object(Bucket=bucket, Key=key, Body=b"swx1.")
        self.done[f"bucket-{how}"] += 1

    def delete(self, book: Book) -> None:
        for message in self.received():
            headers = json.loads(message["Body"]).get("headers") or {}
            if headers.get("id") != book.job:
                self.show(message)
                continue
            self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
            if self.is_genuine(book, Message(message["Body"])):
                book.destroyed = True
                self.done["delete"] += 1

    # -- the end -----------------------------------------------------------------------

    def teardown(self) -> None:
        if not self.books:
            return
        for _ in range(60):
            received = self.jobs.worker.receive()
            self.jobs.deliver(received)
            if received:
                continue
            if self.depth(self.jobs.dead_url):
                self.jobs.collect()
            if self.depth(self.url) == 0:
                break
            self.jobs.bench.clock.now += 60
            self.jobs.worker.show_all()
        assert self.depth(self.url) == 0, "the queue does not come to rest"
        named = self.named()
        for book in self.books:
            self.compare(book, self.jobs.bench.entry(book.job), named)
        self.done["jobs"] += len(self.books)

    def compare(self, book: Book, entry: LedgerEntry, named: set[str]) -> None:
        """Compare how a job has ended with what was known beforehand."""
        plan = KINDS[book.kind]
        # Nothing but its own payload has ever run, and never more often than without him.
        assert set(book.runs) <= {book.number}
        assert len(book.runs) <= len(plan)
        assert entry.attempts == len(book.runs)
        # A payload that is gone is the job's death, as verified as its message.
        gone = entry.state is JobState.DEAD and entry.reason == Reason.UNOPENABLE
        if book.destroyed and (gone or entry.state is not book.end):
            assert gone or not entry.final, f"{book.kind} is {entry.state}: {entry.cause}"
            assert gone or book.job in named
            return
        assert entry.state is book.end, f"{book.kind} is {entry.state}: {entry.cause}"
        assert len(book.runs) == len(plan)
        assert (entry.crashes, entry.suspicions, entry.generation) == (0, 0, 0)
        letters = self.jobs.steward.letters.archive.of_job(book.job)
        if entry.state is not JobState.DEAD:
            assert letters == []
            return
        # In its place stands its own letter, with its own envelope, and no other does.
        assert {letter.id for letter in letters} >= {f"{book.job}.0"}
        for letter in letters:
            body = self.jobs.steward.letters.archive.body(letter.id).body
            assert Message(body.decode()).argument == self.genuine(book).argument
            # A copy past the workers has no reason of its own; one whose payload is
            # gone says that.
            reasons = {entry.reason, Reason.BACKSTOP, *([Reason.UNOPENABLE] * book.destroyed)}
            assert letter.reason in reasons
            assert letter.conflict == (letter.id != f"{book.job}.0")

    def named(self) -> set[str]:
        """Return the jobs that the sweep cannot account for."""
        return {each.job for each in self.jobs.sweep.all() if each.where == "unaccounted"}

    # -- tools -------------------------------------------------------------------------

    def book(self, job: object) -> Book | None:
        return next((book for book in self.books if book.job == job), None)

    def is_genuine(self, book: Book, message: Message) -> bool:
        """Whether a message with a job's id is the one that the producer sent."""
        try:
            argument = message.argument
            if is_reference(argument):
                return True
            return peek(argument).context.job == book.job
        except Exception:  # noqa: BLE001 - whatever is wrong with it
            return False

    def genuine(self, book: Book) -> Message:
        """Return the job's message, which the attacker has read as soon as it was sent."""
        assert book.message is not None
        return book.message

    def received(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            answer = self.sqs.receive_message(
                QueueUrl=self.url, MaxNumberOfMessages=10, VisibilityTimeout=30
            ).get("Messages", [])
            if not answer:
                return found
            found += answer

    def show(self, message: dict[str, Any]) -> None:
        self.sqs.change_message_visibility(
            QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
        )

    def put(self, message: Message | str, *, attributes: Any = None, dead: bool = False) -> None:
        self.sqs.send_message(
            QueueUrl=self.jobs.dead_url if dead else self.url,
            MessageBody=message if isinstance(message, str) else message.text,
            **({"MessageAttributes": attributes} if attributes else {}),
        )

    def depth(self, url: str) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)

    def keys(self, book: Book) -> list[str]:
        return self.jobs.bench.worker.payloads.objects(book.job)

    def forged(self, book: Book, how: str, chance: random.Random) -> Message | str:
        """Return a message that bears the job's id and is not its own."""
        genuine = self.genuine(book)
        argument = genuine.argument
        other = chance.choice([each for each in self.stolen if each is not book])
        makers: dict[str, Callable[[], Message | str]] = {
            "flip": lambda: genuine.changed(
                args=[argument[::-1] if is_reference(argument) else flipped(argument)]
            ),
            "truncate": lambda: genuine.changed(args=[argument[:-5]]),
            "swap": lambda: (
                genuine.changed(args=[self.genuine(other).argument])
                if other is not book
                else garbage(book.job)
            ),
            "forge": lambda: genuine.changed(args=[self.own_envelope(book)]),
            "two": lambda: genuine.changed(args=[argument, argument]),
            "keyword": lambda: genuine.changed(kwargs={"self": 1}),
            "links": lambda: genuine.changed(embed={"callbacks": [{"task": "test.number"}]}),
            "task": lambda: genuine.changed(headers={"task": f"no.such_{secrets.token_hex(2)}"}),
            "generation": lambda: genuine.changed(headers={"generation": 10**9}),
            "later": lambda: genuine.changed(headers={"generation": 1}),
            "older": lambda: genuine.changed(headers={"generation": -1}),
            "deep": lambda: genuine.changed(headers={"mark": json.loads("[" * 98 + "]" * 98)}),
            "times": lambda: genuine.changed(headers={"eta": "soon", "retries": -1}),
            "garbage": lambda: garbage(book.job, task="test.number"),
            "other-id": lambda: genuine.changed(headers={"id": other.job}),
            "surrogate": lambda: genuine.changed(headers={"lang": "\ud800"}),
            "reference": lambda: genuine.changed(args=["swxc1." + "0" * 64 + ".5"]),
        }
        return makers[how]()

    def own_envelope(self, book: Book) -> str:
        """Seal for the job, to the worker's public key, signed with a key of the attacker's own."""
        keyring = self.jobs.bench.api.keyring
        entry = self.jobs.bench.entry(book.job)
        context = Context(
            purpose=Purpose.JOB, task=entry.task, job=book.job,
            tenant=entry.tenant, contract=1, issued_at=int(entry.created),
            not_after=entry.not_after,
        )  # fmt: skip
        return seal(
            b'{"n": -1}', context, recipient=keyring.recipient("worker", LANE),
            signer=SigningKey(b"\x07" * 32),
        )  # fmt: skip
