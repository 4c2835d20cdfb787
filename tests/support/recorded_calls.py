"""Calls that the product makes to AWS, each as IAM sees it, without names of one run.

A call is who makes it, the action, what it is made on (`table/jobs/index/by-watch`,
`bucket/letters/*`, `key/ApiKey`, `queue/own`, `dlq/own`, `queue/other`) and the
conditions' values that policies look at. `tools/record_calls.py` writes them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.account import Account
from support.iam_requests import LEADING
from support.templates import Request

__all__ = ["FILE", "Call", "read_calls", "shape", "write_calls"]

FILE = Path(__file__).parent.parent / "data" / "aws-calls.json"

#: Tables whose policies look at the leading key.
KEYED = frozenset({"control", "secrets", "letters", "audit"})

#: What keys in the bucket of payloads begin with.
PREFIXES = ("live", "dead", "letters")


@dataclass(frozen=True, order=True)
class Call:
    """One kind of call; `context` are the conditions' values as sorted pairs."""

    who: str
    action: str
    on: str
    context: tuple[tuple[str, str], ...] = field(default=())

    def __str__(self) -> str:
        said = " ".join(f"{name}={value}" for name, value in self.context)
        return f"{self.who} {self.action} {self.on} {said}".rstrip()

    def request(self, account: Account, environment: str) -> Request:
        """Return the call as it is made in an environment of an account."""
        stacks, lanes = account.stacks[environment], account.lanes[environment]
        kind, _, rest = self.on.partition("/")
        if kind == "table":
            table, _, index = rest.partition("/")
            resource = stacks["data"].attribute(f"{table.capitalize()}Table", "Arn")
            resource += f"/{index}" if index else ""
        elif kind == "bucket":
            resource = stacks["data"].attribute("PayloadsBucket", "Arn")
            resource += f"/{rest}" if rest else ""
        elif kind == "key":
            resource = stacks["data"].attribute(rest, "Arn")
        else:
            lane = lanes[-1] if rest == "other" else lanes[0]
            output = "DeadLetterQueueArn" if kind == "dlq" else "QueueArn"
            resource = stacks[f"queues {lane}"].output(output)
        filled: dict[str, Any] = {}
        for name, value in self.context:
            text = value.replace("{lane}", lanes[0]).replace("{environment}", environment)
            many = name.startswith("dynamodb:")
            filled[name] = [text] if many else text
        return Request(self.action, resource, filled)


def read_calls(path: Path = FILE) -> list[Call]:
    """Return the calls that were recorded."""
    return [
        Call(who, action, on, tuple(sorted(context.items())))
        for who, action, on, context in json.loads(path.read_text(encoding="utf-8"))
    ]


def write_calls(calls: Iterable[Call], path: Path = FILE) -> None:
    """Write calls, sorted, one a line."""
    lines = [
        json.dumps([call.who, call.action, call.on, dict(call.context)])
        for call in sorted(set(calls))
    ]
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def shape(who: str, request: Request, *, lane: str | None = None) -> Call | None:
    """Return a request without the names of its run; None where it is on nothing of ours.

    Parameters
    ----------
    lane
        The worker's own; None where that is not known: then each is taken for it.
    """
    on = _on(who, request.resource, lane)
    if on is None:
        return None
    context = {}
    for name, value in request.context.items():
        if name == "dynamodb:LeadingKeys" and on.split("/")[1] not in KEYED:
            continue
        text = value[0] if isinstance(value, list) else value
        context[name] = _anonymous(name, str(text), lane)
    return Call(who, request.action, on, tuple(sorted(context.items())))


def _on(who: str, resource: str, lane: str | None) -> str | None:
    service, name = resource.split(":")[2], resource.split(":", 5)[5]
    if service == "dynamodb":
        _, table, *index = name.split("/")
        kind = table.rpartition("-")[2]
        return "/".join(["table", kind, *index]) if kind in LEADING else None
    if service == "kms":
        return f"key/{name.rpartition('/')[2]}"
    if service == "s3":
        bucket, _, key = name.partition("/")
        if "payloads" not in bucket or (key and key.partition("/")[0] not in PREFIXES):
            return None  # a task's own
        return f"bucket/{key.partition('/')[0]}/x" if key else "bucket"
    base = name.removesuffix(".fifo")
    kind = "dlq" if base.endswith("dlq") else "queue"
    name = base.removesuffix("dlq").rstrip("-_")
    own = who != "worker" or lane is None or name.endswith(lane.removesuffix(".fifo"))
    return f"{kind}/{'own' if own else 'other'}"


def _anonymous(name: str, text: str, lane: str | None) -> str:
    if name == "s3:prefix":
        return f"{text.partition('/')[0]}/x"
    if name == "kms:EncryptionContext:environment":
        return "{environment}"
    if text.startswith("worker/") and text.endswith("/keys"):
        own = lane is None or text == f"worker/{lane}/keys"
        return "worker/{lane}/keys" if own else "worker/other/keys"
    text = re.sub(r"\d{4}-\d\d-\d\d", "0-0-0", text)
    return re.sub(r"\d+", "0", re.sub(r"[0-9a-f]{16,}", "0", text))
