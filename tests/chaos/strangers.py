"""Messages that somebody with access to the queues puts there, each of a kind that must die.

`suite` sends them straight to the emulated SQS. Each has a body of its own, by
which its letter is known again.
"""

from __future__ import annotations

import base64
import json
import random
import time
import uuid
from typing import Any

from support.sqs_lab import message

from chaos.judge import Foreign
from chaos.plan import FOREIGN, Submission
from sealwax.envelope import Context, Purpose, seal
from sealwax.keys.hmac import KeyedHashes
from sealwax.keys.keyring import Keyring

__all__ = ["Strangers"]


def _garbage(chance: random.Random, mark: str, queue: str, victim: str | None) -> str:
    """Return garbage; most of it bears the id of a job that is genuine."""
    job = victim or uuid.uuid4().hex
    good = json.loads(
        message("webhooks.relay", "x", queue=queue, headers={"id": job, "mark": mark})
    )
    shapes: list[Any] = [
        f"not base64, not JSON: {mark}",
        base64.b64encode(f"rubbish {mark}".encode()).decode(),
        json.dumps({"hello": mark}),
        json.dumps([mark, 1, None]),
        json.dumps(good | {"headers": None, "mark": mark}),
        json.dumps(good | {"headers": [mark]}),
        json.dumps(good | {"properties": [mark]}),
        json.dumps(good | {"body": "{" + mark}),
        json.dumps(good | {"content-type": "application/x-python-serialize"}),
        # What Celery would fail on, run, or wait for.
        json.dumps(good | {"body": json.dumps([["FORGED"], {"self": 1}, {}])}),
        json.dumps(good | {"body": json.dumps([["FORGED"], {}, {"chord": {"task": "x"}}])}),
        json.dumps(good | {"headers": good["headers"] | {"eta": "9990-01-01T00:00:00+00:00"}}),
        json.dumps(good | {"headers": good["headers"] | {"generation": 10**12}}),
        json.dumps(good | {"headers": good["headers"] | {"expires": "2020-01-01T00:00:00+00:00"}}),
    ]
    return str(chance.choice(shapes))


class Strangers:
    """Makes and sends them.

    Parameters
    ----------
    sqs
        A client past the proxy.
    queue_url
        Of the lane that is attacked.
    keyring, hashes, tenant
        Of the API: a stray message is genuine in all but that nobody recorded it.
    """

    def __init__(
        self, sqs: Any, queue_url: str, keyring: Keyring, hashes: KeyedHashes, tenant: str
    ) -> None:
        self._sqs = sqs
        self.queue = queue_url.rpartition("/")[2]
        self._queue_url = queue_url
        self._keyring = keyring
        self._tenant = hashes.tenant_ref(tenant)
        self.sent: list[Foreign] = []

    def send(self, one: Submission, victim: str | None) -> None:
        """Send one; tampered messages and garbage bear the id of `victim`, a genuine job."""
        body = self._body(one, victim)
        self._sqs.send_message(QueueUrl=self._queue_url, MessageBody=body)
        self.sent.append(Foreign(kind=one.kind, expect=FOREIGN[one.kind], body=body))

    def _body(self, one: Submission, victim: str | None) -> str:
        chance = random.Random(one.pick)
        if one.kind == "garbage":
            return _garbage(chance, f"stranger-{one.number}", self.queue, victim)
        own = uuid.uuid4().hex
        if one.kind == "unheard":
            return message("no.such_task", "x", queue=self.queue, headers={"id": own})
        if one.kind == "stray":
            return self._message(own, self._envelope(own))
        job = victim if victim and one.pick % 2 else own
        envelope = self._envelope(job)
        if one.pick % 3 == 0:
            # Genuine, but another job's.
            envelope = self._envelope(uuid.uuid4().hex)
        else:
            at = len(envelope) // 2 + one.pick % 40
            envelope = envelope[:at] + ("A" if envelope[at] != "A" else "B") + envelope[at + 1 :]
        return self._message(job, envelope)

    def _message(self, job: str, argument: Any) -> str:
        return message("webhooks.relay", argument, queue=self.queue, headers={"id": job})

    def _envelope(self, job: str) -> str:
        now = int(time.time())
        context = Context(
            purpose=Purpose.JOB, task="webhooks.relay", job=job, tenant=self._tenant,
            contract=1, issued_at=now, not_after=now + 3600,
        )  # fmt: skip
        payload = json.dumps({"route": "healthy", "event": "stray", "body": {"stray": True}})
        return seal(
            payload.encode(),
            context,
            recipient=self._keyring.recipient("worker", "default"),
            signer=self._keyring.signer,
        )
