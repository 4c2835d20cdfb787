"""A ledger, an outbox and an archive with jobs in whatever state a steward's test wants."""

from __future__ import annotations

import json
import time
from typing import Any

from sealwax.control.table import ControlTable
from sealwax.deadletters import make_letters
from sealwax.deadletters.letter import read
from sealwax.ledger import Ledger, NewJob
from sealwax.outbox.store import Outbox
from sealwax.outcomes import Reason
from sealwax.steward.sweep import Sweep
from sealwax.steward.sweep_notes import SweepNotes
from support.letters import EVIDENCE, PUBLIC, TENANT, body_of, said_by_a_worker, sealed

__all__ = ["Parts"]


class Parts:
    def __init__(self, settings, aws) -> None:
        self.settings = settings
        self.sqs = aws.client("sqs")
        self.dynamodb = aws.client("dynamodb")
        self.ledger = self.ledger_at(0.0)
        self.outbox = Outbox(self.dynamodb, settings.table_name("outbox"))
        control = ControlTable(self.dynamodb, settings.table_name("control"))
        self.notes = SweepNotes(control)
        self.letters = make_letters(settings, aws)
        self.queue = settings.queue_name("default")

    def ledger_at(self, offset: float) -> Ledger:
        table = self.settings.table_name("jobs")
        return Ledger(self.dynamodb, table, clock=lambda: time.time() + offset)

    def job(self, digit: str, *, age: float, **more: Any) -> str:
        now = time.time() - age
        job = NewJob(
            id=digit * 32,
            task="test.mark",
            lane="default",
            contract=1,
            created=now,
            not_after=int(now + 86_400),
            expires=int(now + 2 * 86_400),
            **{"tenant": TENANT, **more},
        )
        self.ledger_at(-age).accept(job)
        return job.id

    def letter(self, job: str, reason: str, *, body: str | None = None) -> str:
        """Archive a letter as a worker dead-letters it; return its id."""
        text = body or self.body(job)
        said = {"reason": reason, "cause": "why", "job": job, "task": "test.mark", "at": 1.0}
        own = reason != Reason.STRAY
        message = {
            "MessageId": "m",
            "Body": text,
            "MessageAttributes": {
                "sealwax-dead-letter": {
                    "DataType": "String",
                    "StringValue": said_by_a_worker(said, text, queue=self.queue, own=own),
                }
            },
        }
        made = read(message, queue=self.queue, lane="default", now=1.0, verifier=PUBLIC)
        self.letters.archive.put([made])
        return made[0].id

    def body(self, job: str, argument: str | None = None) -> str:
        """Return a job's own message; `argument` instead of its envelope."""
        return body_of(job, argument, task="test.mark")

    def sealed(self, job: str) -> str:
        """Return a job's envelope."""
        return sealed(job, "test.mark")

    def sweep(self) -> Sweep:
        return Sweep(
            self.settings,
            self.ledger,
            self.outbox,
            self.letters,
            self.sqs,
            evidence=EVIDENCE,
            fair_group=lambda tenant: f"fair-{tenant}",
        )

    def waiting(self) -> list[dict[str, object]]:
        url = self.sqs.get_queue_url(QueueName=self.queue)["QueueUrl"]
        answer = self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)
        return [json.loads(message["Body"]) for message in answer.get("Messages", [])]
