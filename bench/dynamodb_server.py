"""Answers single reads and writes of named tables from memory, and asks elsewhere for the rest.

An emulated DynamoDB saturates at some hundred calls a second, and would be what
is measured. Here single reads and writes are exact and quick, by the evaluator
that the ledger's tests use, with `--latency` added to each; so are the pages of
its indexes and what is read by them. What else DynamoDB is asked goes to
`--upstream`.

`dynamodb_server.py --table NAME [--table NAME] [--upstream URL]` prints its URL.
GET /_state gives the calls that it answered and their bytes, GET /_ends the time
of each item's last write.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import time
import urllib.error
import urllib.request
from typing import Any

from botocore.exceptions import ClientError
from sqs_server import Server, serve_forever

from sealwax.testing.dynamodb import FakeDynamoDB

#: Of one answer of the server behind, in seconds.
TIMEOUT = 30


class Table(FakeDynamoDB):
    """One table, of which some write without a condition."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: dict[str, float] = {}

    def _store(self, key: str, item: Any) -> None:
        super()._store(key, item)
        self.ends[key] = time.time()

    def _check(self, key: str, more: dict[str, Any]) -> None:
        if "ConditionExpression" in more:
            super()._check(key, more)

    def query(self, **request: Any) -> dict[str, Any]:
        """Answer a page of an index, as the ledger asks: one key, in the order of creation."""
        key = request["ExpressionAttributeNames"]["#key"]
        wanted = request["ExpressionAttributeValues"]
        until = float(wanted.get(":until", {"N": "inf"})["N"])

        def place(item: dict[str, Any]) -> tuple[float, str]:
            return float(item["created"]["N"]), item["id"]["S"]

        found = sorted(
            (item for item in self.items.values() if item.get(key) == wanted[":value"]),
            key=place,
            reverse=not request["ScanIndexForward"],
        )
        start = request.get("ExclusiveStartKey")
        if start:
            forward = request["ScanIndexForward"]
            found = [
                x
                for x in found
                if (place(x) > place(start)) is forward and place(x) != place(start)
            ]
        page = [x for x in found if place(x)[0] <= until][: request["Limit"]]
        if not page or len(page) == len(found):
            return {"Items": page}
        return {"Items": page, "LastEvaluatedKey": {n: page[-1][n] for n in ("id", "created", key)}}

    def batch_get_item(self, **request: Any) -> dict[str, Any]:
        """Answer for the keys of this table."""
        (name, asked), *_ = request["RequestItems"].items()
        keys = [key["id"]["S"] for key in asked["Keys"]]
        found = [self.items[key] for key in keys if key in self.items]
        return {"Responses": {name: found}, "UnprocessedKeys": {}}


class Tables(Server):
    """Some tables in memory, the others elsewhere."""

    def __init__(self, tables: list[str], upstream: str | None, latency: float) -> None:
        super().__init__(latency)
        self.tables, self.upstream = {name: Table() for name in tables}, upstream

    async def _answer(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        if path == "/_state":
            return 200, json.dumps({"calls": self.calls, "bytes": self.bytes}).encode()
        if path == "/_ends":
            ends = {key: end for table in self.tables.values() for key, end in table.ends.items()}
            return 200, json.dumps(ends).encode()
        operation = headers.get("x-amz-target", "").rpartition(".")[2]
        request = json.loads(body or b"{}")
        named = [request.get("TableName"), *request.get("RequestItems", {})]
        table = next((self.tables[name] for name in named if name in self.tables), None)
        # Of queries, those that the ledger asks of its indexes.
        asks = operation != "Query" or "#key" in request.get("ExpressionAttributeNames", {})
        known = (
            table
            and asks
            and {
                "GetItem": table.get_item,
                "PutItem": table.put_item,
                "UpdateItem": table.update_item,
                "Query": table.query,
                "BatchGetItem": table.batch_get_item,
                "DescribeTable": lambda **_: {"Table": {"TableStatus": "ACTIVE"}},
            }.get(operation)
        )
        if not known or (operation == "DescribeTable" and self.upstream):
            return await asyncio.to_thread(self._elsewhere, path, headers, body)
        self.calls[operation] += 1
        if self.latency:
            await asyncio.sleep(self.latency)
        try:
            return 200, json.dumps(known(**request)).encode()
        except ClientError as error:
            refusal: dict[str, Any] = {
                "__type": f"com.amazonaws.dynamodb.v20120810#{error.response['Error']['Code']}",
                "message": "The conditional request failed",
            }
            if "Item" in error.response:
                refusal["Item"] = error.response["Item"]
            return 400, json.dumps(refusal).encode()

    def _elsewhere(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        if self.upstream is None:
            return 400, b'{"__type": "UnknownOperationException"}'
        kept = {n: v for n, v in headers.items() if n.startswith("x-amz-") or n == "authorization"}
        request = urllib.request.Request(
            f"{self.upstream}{path}", data=body, method="POST",
            headers={"Content-Type": headers.get("content-type", ""), **kept},
        )  # fmt: skip
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.read()


def main() -> None:
    """Parse arguments and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", action="append", required=True)
    parser.add_argument("--upstream")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, help="milliseconds a call")
    given = parser.parse_args()
    server = Tables(given.table, given.upstream, given.latency / 1_000)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve_forever(server, given.port))


if __name__ == "__main__":
    main()
