"""A proxy that makes an emulated AWS as unkind as AWS: what SEALWAX_LAB=hard puts before it.

SQS and DynamoDB answer as `lab_sqs_answers.py` and `lab_dynamodb_answers.py` say; S3 says
403 of an object that is not there, as it does to a role that may not list. Everything else,
and every other error, passes as it is. `chaos.proxy` does it beside its own faults.
https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support.fault_proxy import Ask, Call, Proxy, Served, answer_of, parts_of
from support.lab_dynamodb_answers import DynamoAnswers, DynamoRefusal
from support.lab_setting import PROXY_MODES
from support.lab_sqs_answers import Modes, SqsAnswers, SqsRefusal

__all__ = ["HardAws", "HardProxy", "hard_proxy"]

_JSON = "application/x-amz-json-1.0"
_DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


class _NotServed(Exception):
    """The emulator has refused, in its own words."""

    def __init__(self, answer: bytes) -> None:
        super().__init__()
        self.answer = answer


class HardAws:
    """What is done to calls and answers, with dice of one seed."""

    def __init__(self, seed: int) -> None:
        modes = Modes(set(PROXY_MODES.split(",")), seed)
        self.sqs = SqsAnswers(modes, seed)
        self.dynamodb = DynamoAnswers(seed)
        #: What was refused or changed, by the operation and the code.
        self.done: Counter[str] = Counter()

    async def exchange(self, call: Call, ask: Ask) -> bytes:
        """Return the answer to a call; `ask` asks the emulator."""
        target = call.headers.get("x-amz-target", "")
        if target.startswith("AmazonSQS."):
            return await self._document(self.sqs, call, ask)
        if target.startswith("DynamoDB_"):
            return await self._document(self.dynamodb, call, ask)
        answer = await ask(call.body)
        if self._lacks(call, answer):
            self.done[f"{call.operation} AccessDenied"] += 1
            body = b"" if call.method == "HEAD" else _DENIED
            return answer_of(403, "application/xml", body)
        return answer

    async def _document(self, service: SqsAnswers | DynamoAnswers, call: Call, ask: Ask) -> bytes:
        request = json.loads(call.body)

        async def asked(changed: dict[str, Any]) -> dict[str, Any]:
            answer = await ask(call.body if changed == request else json.dumps(changed).encode())
            status, _, body = parts_of(answer)
            if status != 200:
                raise _NotServed(answer)
            found: dict[str, Any] = json.loads(body or b"{}")
            return found

        try:
            answer = await service.answer(call.operation, request, asked)
        except _NotServed as refusal:
            return refusal.answer
        except SqsRefusal as refusal:
            self.done[f"{call.operation} {refusal.code}"] += 1
            return _refused(f"com.amazonaws.sqs#{refusal.code}", message=str(refusal))
        except DynamoRefusal as refusal:
            self.done[f"{call.operation} {refusal.code}"] += 1
            kind = f"com.amazonaws.dynamodb.v20120810#{refusal.code}"
            return _refused(kind, message="by the laboratory", **refusal.more)
        return answer_of(200, _JSON, json.dumps(answer).encode())

    def _lacks(self, call: Call, answer: bytes) -> bool:
        """Whether an object, of a bucket that is there, was asked for in vain."""
        path, _, query = call.path.partition("?")
        if not call.operation.startswith("s3 ") or path.count("/") < 2 or path.endswith("/"):
            return False
        reads = call.method in ("GET", "HEAD") and not query.startswith(("list-type", "uploads"))
        copies = "x-amz-copy-source" in call.headers
        status, _, body = parts_of(answer)
        return (reads or copies) and status == 404 and b"NoSuchBucket" not in body


def _refused(kind: str, **fields: Any) -> bytes:
    return answer_of(400, _JSON, json.dumps({"__type": kind, **fields}).encode())


class HardProxy(Proxy):
    """A proxy before an emulator's port, on a port and in a thread of its own."""

    def __init__(self, upstream: str, seed: int) -> None:
        port = int(upstream.rstrip("/").rpartition(":")[2])
        super().__init__(lambda: port)
        self.hard = HardAws(seed)
        self._thread = Served(self)
        self.url = f"http://127.0.0.1:{self._thread.port}"

    async def exchange(self, call: Call, ask: Ask) -> bytes:
        return await self.hard.exchange(call, ask)

    def close(self) -> None:
        """End."""
        self._thread.close()


@contextmanager
def hard_proxy(upstream: str, seed: int) -> Iterator[HardProxy]:
    """Run a proxy before `upstream`, an URL."""
    proxy = HardProxy(upstream, seed)
    try:
        yield proxy
    finally:
        proxy.close()
