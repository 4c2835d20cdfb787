"""Attacker who reads and writes a stack's queues and bucket, and holds no key of it."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Callable
from typing import Any

import requests

from support.stack import LiveStack
from support.waiting import wait_for

__all__ = ["Attacker", "Message", "digest_of", "fresh_id", "garbage", "letter_attribute"]

#: What no key of the stack has signed, of an envelope's form.
FORGED = "FORGED"


class Message:
    """A task message as it stands in the queue: its body's parts can be changed and sent again."""

    def __init__(self, text: str) -> None:
        self.body: dict[str, Any] = json.loads(text)
        #: The group that it was sent in, where it was received.
        self.group: str | None = None

    @property
    def text(self) -> str:
        """The body as it is sent."""
        return json.dumps(self.body)

    @property
    def argument(self) -> str:
        """The one argument: an envelope, or a reference to one."""
        return str(json.loads(self.body["body"])[0][0])

    def changed(
        self,
        *,
        args: Any = None,
        kwargs: Any = None,
        embed: Any = None,
        headers: dict[str, Any] | None = None,
    ) -> Message:
        """Return a copy with other arguments or headers."""
        made = Message(self.text)
        parts = json.loads(made.body["body"])
        for place, value in enumerate((args, kwargs, embed)):
            if value is not None:
                parts[place] = value
        made.body["body"] = json.dumps(parts)
        made.body["headers"] |= headers or {}
        return made

    def edited_parts(self, edit: Callable[[list[Any]], list[Any]]) -> Message:
        """Return a copy whose body's parts an edit has replaced."""
        made = Message(self.text)
        made.body["body"] = json.dumps(edit(json.loads(made.body["body"])))
        return made


def digest_of(message: Message | str | bytes) -> str:
    """Return the first 64 bits of the SHA-256 of a message as it is sent, in hex."""
    text = message.text if isinstance(message, Message) else message
    data = text if isinstance(text, bytes) else text.encode()
    return hashlib.sha256(data).hexdigest()[:16]


def fresh_id() -> str:
    """Return an id as jobs have."""
    return secrets.token_hex(16)


def garbage(job: str, *, task: str = "webhooks.relay", **headers: Any) -> Message:
    """Return a message that bears a job's id and carries no envelope."""
    return Message(
        json.dumps(
            {
                "body": json.dumps([[FORGED], {}, {}]),
                "headers": {"task": task, "id": job, "root_id": job, **headers},
                "content-type": "application/json",
                "content-encoding": "utf-8",
                "properties": {},
            }
        )
    )


def letter_attribute(**members: Any) -> dict[str, Any]:
    """Return the attribute of a dead letter that no worker has written."""
    return {
        "sealwax-dead-letter": {
            "DataType": "String",
            "StringValue": json.dumps({"at": round(time.time(), 3), **members}),
        }
    }


class Attacker:
    """Acts on a stack's queue, dead-letter queue and bucket."""

    def __init__(self, stack: LiveStack, lane: str = "default", *, suffix: str = "") -> None:
        self.stack = stack
        self.sqs = stack.client("sqs")
        self.queue = stack.queue_url(lane, suffix=suffix)
        self.dead = stack.queue_url(lane, dead=True, suffix=suffix)

    def take_all(self, jobs: set[str]) -> dict[str, Message]:
        """Take the jobs' messages out of the queue, and keep them; no worker may run."""
        found: dict[str, Message] = {}

        def taken() -> bool:
            answer = self.sqs.receive_message(
                QueueUrl=self.queue, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"]
            )
            for each in answer.get("Messages", []):
                message = Message(each["Body"])
                message.group = each.get("Attributes", {}).get("MessageGroupId")
                found[str(message.body["headers"]["id"])] = message
                self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=each["ReceiptHandle"])
            return jobs <= set(found)

        wait_for(taken, seconds=60, what="all messages are taken")
        return {job: found[job] for job in jobs}

    def put(self, *messages: Message | str, attributes: dict[str, Any] | None = None) -> None:
        """Send messages to the queue."""
        for each in messages:
            self.sqs.send_message(
                QueueUrl=self.queue,
                MessageBody=each if isinstance(each, str) else each.text,
                **({"MessageAttributes": attributes} if attributes else {}),
            )

    def put_dead(self, message: Message | str, attributes: dict[str, Any] | None = None) -> None:
        """Send a message to the dead-letter queue, past every worker."""
        self.sqs.send_message(
            QueueUrl=self.dead,
            MessageBody=message if isinstance(message, str) else message.text,
            **({"MessageAttributes": attributes} if attributes else {}),
        )

    def depth(self, url: str) -> int:
        """Return how many messages a queue holds, in flight or not."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)

    def drained(self, *, seconds: float = 60) -> None:
        """Wait until queue and dead-letter queue are empty: everything has been dealt with."""
        wait_for(
            lambda: self.depth(self.queue) == 0 and self.depth(self.dead) == 0,
            seconds=seconds,
            what="both queues are empty",
        )

    # -- what became of it ---------------------------------------------------------------

    def letters(self) -> dict[str, dict[str, Any]]:
        """Return what is said of each archived letter, by `digest_of` its body."""
        found: dict[str, dict[str, Any]] = {}
        for item in self.stack.items("letters"):
            plain = {name: next(iter(value.values())) for name, value in item.items()}
            if "said" not in plain:
                continue
            # Big bodies are in the bucket, under their digest's beginning.
            place = str(plain.get("place", "")).rpartition("/")[2]
            digest = digest_of(bytes(plain["body"])) if "body" in plain else place
            found[digest] = {**plain, "says": json.loads(plain["said"])}
        return found

    def letter_of(self, message: Message | str, *, seconds: float = 60) -> dict[str, Any]:
        """Return the archived letter of just this body, once it is there."""
        digest = digest_of(message)
        return wait_for(
            lambda: self.letters().get(digest), seconds=seconds, what="the message's letter"
        )

    def ops(self, token: str, method: str, path: str, **more: Any) -> Any:
        """Ask the operations API, as an operator."""
        answer = self.stack.request(method, f"/v1/ops/{path}", token=token, **more)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    # -- the downstream ----------------------------------------------------------------

    def downstream(self, route: str, control: dict[str, Any] | None) -> None:
        """Have the sandbox fail on a route, or stop that."""
        url = f"{self.stack.sandbox_url}/control/{route}"
        answer = (
            requests.put(url, json=control, timeout=10)
            if control
            else requests.delete(url, timeout=10)
        )
        assert answer.status_code < 300, answer.text

    def received(self, route: str) -> int:
        """Return how many requests the sandbox has had on a route."""
        answer = requests.get(
            f"{self.stack.sandbox_url}/deliveries/count",
            params={"path": f"/hooks/{route}"},
            timeout=10,
        )
        return int(answer.json()["received"])
