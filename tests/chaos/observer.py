"""What happened, gathered at the end: downstream, journal, tables, queues, logs.

Everything is read past the fault proxy, straight from where it lies.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from chaos.judge import Attempt, Effect, Ended, Letter

__all__ = ["Observer", "forms", "letters", "read_attempts", "read_effects"]

REASON = "sealwax-dead-letter"

#: What a worker called a stray, by the cause that the archive keeps of it.
_REASONS = {"no-ledger-entry": "unknown-job"}


def forms(mark: str) -> list[str]:
    """Return how a mark looks in clear, in base64, and in base64 of base64."""

    def encoded(text: str) -> Iterator[str]:
        for lead in range(3):
            # The ends depend on what stands beside the mark.
            shown = base64.b64encode(b"\0" * lead + text.encode()).decode().rstrip("=")
            yield shown[4:-4]

    once = list(encoded(mark))
    return [mark, *once, *(twice for text in once for twice in encoded(text))]


def read_attempts(journal: Path, sessions: Mapping[int, str]) -> list[Attempt]:
    """Return the attempts of a journal, each with its end where one was written."""
    found: list[tuple[dict[str, Any], float | None]] = []
    open_: dict[tuple[str, int, int], list[int]] = {}
    for line in journal.read_text().splitlines() if journal.exists() else []:
        note = json.loads(line)
        key = (note["job"], note["attempt"], note["pid"])
        if note["event"] == "start":
            open_.setdefault(key, []).append(len(found))
            found.append((note, None))
        elif open_.get(key):
            index = open_[key].pop()
            found[index] = (found[index][0], note["at"])
    return [
        Attempt(
            job=note["job"],
            number=note["attempt"],
            start=note["at"],
            end=end,
            process=sessions.get(note["session"], f"session {note['session']}"),
            pid=note["pid"],
        )
        for note, end in found
    ]


def read_effects(deliveries: Path) -> list[Effect]:
    """Return what the downstream took with success, by the idempotency key it was sent."""
    found = []
    with deliveries.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            record = json.loads(line)
            if record["answered"] == "ok" and record["idempotency_key"]:
                found.append(Effect(job=record["idempotency_key"], at=record["at"]))
    return found


class Observer:
    """Reads one environment of the emulated AWS.

    Parameters
    ----------
    clients
        boto3 clients by service, past the proxy.
    prefix
        Of all names.
    """

    def __init__(self, clients: Mapping[str, Any], prefix: str, mark: str) -> None:
        self._sqs = clients["sqs"]
        self._dynamodb = clients["dynamodb"]
        self._s3 = clients["s3"]
        self._prefix = prefix
        self._forms = forms(mark)

    # -- tables

    def tables(self) -> list[str]:
        """Return the environment's tables."""
        names = self._dynamodb.list_tables()["TableNames"]
        return [name for name in names if name.startswith(f"{self._prefix}-")]

    def items(self, table: str) -> list[dict[str, Any]]:
        """Return all items of a table, in DynamoDB's form."""
        pages = self._dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
        return [item for page in pages for item in page["Items"]]

    def ended(self) -> dict[str, Ended]:
        """Return what the ledger says of each job."""
        return {
            item["id"]["S"]: Ended(
                state=item["state"]["S"],
                reason=item.get("reason", {}).get("S"),
                finished=float(item["finished"]["N"]) if "finished" in item else None,
            )
            for item in self.items(f"{self._prefix}-jobs")
        }

    # -- queues

    def queues(self) -> dict[str, str]:
        """Return the URLs of the environment's queues by name."""
        urls = self._sqs.list_queues(QueueNamePrefix=self._prefix).get("QueueUrls", [])
        return {url.rpartition("/")[2]: url for url in urls}

    def depth(self, url: str) -> int:
        """Return how many messages a queue holds, in sight or not."""
        names = [
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesDelayed",
        ]
        found = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(found.get(name, 0)) for name in names)

    def left(self, *, dead: bool) -> dict[str, int]:
        """Return how many messages each queue of work holds, and the outbox.

        `dead`: dead-letter queues too, where the product empties them.
        """
        found = {
            name: self.depth(url)
            for name, url in self.queues().items()
            if dead or not name.removesuffix(".fifo").endswith("-dlq")
        }
        found["outbox"] = len(self.items(f"{self._prefix}-outbox"))
        return found

    def dead_messages(self) -> list[dict[str, Any]]:
        """Take the messages of all dead-letter queues out of sight and return them."""
        found: dict[str, dict[str, Any]] = {}
        for name, url in self.queues().items():
            if not name.removesuffix(".fifo").endswith("-dlq"):
                continue
            empty = 0
            while empty < 3:
                messages = self._sqs.receive_message(
                    QueueUrl=url,
                    MaxNumberOfMessages=10,
                    VisibilityTimeout=3600,
                    MessageAttributeNames=["All"],
                    MessageSystemAttributeNames=["All"],
                ).get("Messages", [])
                empty = 0 if messages else empty + 1
                found |= {message["MessageId"]: message for message in messages}
        return list(found.values())

    def archived(self) -> list[Letter]:
        """Return the letters of the product's archive, with their bodies.

        Of a stray the archive keeps the cause alone; one tells what the worker called it.
        """
        table = f"{self._prefix}-letters"
        if table not in self.tables():
            return []
        heads, bodies = [], {}
        for item in self.items(table):
            kind, _, rest = item["sort"]["S"].partition(".")
            if kind == "letter":
                heads.append((item["id"]["S"], rest, item))
            elif kind == "body":
                bodies[item["id"]["S"], rest] = self._text(item)
        return [
            Letter(
                reason=_REASONS.get(item.get("cause", {}).get("S", ""), item["reason"]["S"]),
                job=item.get("job", {}).get("S"),
                body=bodies.get((name, rest)),
                place="archive",
            )
            for name, rest, item in heads
        ]

    def _text(self, item: dict[str, Any]) -> str:
        if "body" in item:
            found: bytes = item["body"]["B"]
        else:
            key = item["place"]["S"]
            bucket = f"{self._prefix}-payloads"
            found = self._s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        return found.decode("utf-8", "replace")

    # -- the canary

    def sightings(self, places: Iterable[tuple[str, str]]) -> list[str]:
        """Return the places whose text holds the mark, with what stands before it."""
        found = []
        for place, text in places:
            for form in self._forms:
                at = text.find(form)
                if at >= 0:
                    found.append(f"{place}: …{text[max(0, at - 80) : at]!r}")
                    break
        return found

    def haystacks(self, logs: Path, dead: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
        """Yield everything at rest outside the envelopes, by place."""
        for log in sorted(logs.glob("*.log")):
            if not log.name.startswith(("aws", "sandbox")):
                yield f"log {log.name}", log.read_text(errors="replace")
        for table in self.tables():
            yield f"table {table}", json.dumps(self.items(table), default=str)
        yield "dead-letter queues", json.dumps(dead)
        for bucket in self._s3.list_buckets()["Buckets"]:
            for item in self._objects(bucket["Name"]):
                if not item["Key"].startswith("exports/"):
                    body = self._s3.get_object(Bucket=bucket["Name"], Key=item["Key"])["Body"]
                    yield f"s3 {item['Key']}", body.read().decode("latin-1")

    def _objects(self, bucket: str) -> Iterator[dict[str, Any]]:
        for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            yield from page.get("Contents", [])

    def exported(self) -> list[Effect]:
        """Return the exports that are there whole: those with their manifest."""
        found = []
        for bucket in self._s3.list_buckets()["Buckets"]:
            for item in self._objects(bucket["Name"]):
                match = re.fullmatch(r"exports/.*/([0-9a-f]{32})\.(csv|jsonl)\.json", item["Key"])
                if match:
                    found.append(Effect(job=match[1], at=item["LastModified"].timestamp()))
        return found


def letters(dead: Iterable[dict[str, Any]]) -> list[Letter]:
    """Return the letters that dead messages are."""
    found = []
    for message in dead:
        attribute = message.get("MessageAttributes", {}).get(REASON)
        reason = json.loads(attribute["StringValue"]) if attribute else {}
        found.append(
            Letter(reason=reason.get("reason", "none"), job=reason.get("job"), body=message["Body"])
        )
    return found
