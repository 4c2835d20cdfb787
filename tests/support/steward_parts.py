"""A ledger, an outbox and an archive with jobs in whatever state a steward's test wants."""

from __future__ import annotations

import json
import time
from typing import Any

from sealwax.deadletters import make_letters
from sealwax.deadletters.letter import Letter, LetterState, LetterText
from sealwax.ledger import Ledger, NewJob
from sealwax.outbox.store import Outbox
from sealwax.steward.sweep import Sweep

__all__ = ["Parts"]


class Parts:
    def __init__(self, settings, aws) -> None:
        self.settings = settings
        self.sqs = aws.client("sqs")
        self.dynamodb = aws.client("dynamodb")
        self.ledger = self.ledger_at(0.0)
        self.outbox = Outbox(self.dynamodb, settings.table_name("outbox"))
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
            **{"tenant": "t", **more},
        )
        self.ledger_at(-age).accept(job)
        return job.id

    def letter(self, job: str, reason: str) -> None:
        headers = {"id": job, "task": "test.mark"}
        letter = Letter(
            id=f"{job}.0",
            state=LetterState.OPEN,
            group="g",
            queue=self.queue,
            reason=reason,
            at=1.0,
            first=1.0,
            last=1.0,
            job=job,
            task="test.mark",
            digest="d" * 64,
        )
        body = json.dumps({"body": "[]", "headers": headers, "properties": {}}).encode()
        self.letters.archive.put([(letter, LetterText(body, {}, None))])

    def sweep(self) -> Sweep:
        return Sweep(
            self.settings,
            self.ledger,
            self.outbox,
            self.letters,
            self.sqs,
            fair_group=lambda tenant: f"fair-{tenant}",
        )

    def waiting(self) -> list[dict[str, object]]:
        url = self.sqs.get_queue_url(QueueName=self.queue)["QueueUrl"]
        answer = self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)
        return [json.loads(message["Body"]) for message in answer.get("Messages", [])]
