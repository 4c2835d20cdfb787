"""Answers the ledger's writes from memory; what else DynamoDB is asked goes to another server.

An emulated DynamoDB saturates at some hundred calls a second, and would be what
is measured. Here single reads and writes of one table are exact and quick, by
the evaluator that the ledger's tests use, with `--latency` added to each; so are
the indexes' pages and what is read by them.

`dynamodb_server.py --table NAME --upstream URL` prints its URL. GET /_state
gives the calls that it answered.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from sqs_server import Server, serve_forever

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from sealwax.testing.dynamodb import FakeDynamoDB

#: Of one answer of the server behind, in seconds.
TIMEOUT = 30


class Tables(Server):
    """One table in memory, the others elsewhere."""

    def __init__(self, table: str, upstream: str, latency: float) -> None:
        super().__init__(latency)
        self.table, self.upstream = table, upstream
        kept = FakeDynamoDB()
        self.kept = {
            "GetItem": kept.get_item,
            "PutItem": kept.put_item,
            "UpdateItem": kept.update_item,
            "Query": self._query,
            "BatchGetItem": self._batch,
        }
        self._items = kept.items

    async def _answer(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        if path == "/_state":
            return 200, json.dumps({"calls": self.calls}).encode()
        operation = headers.get("x-amz-target", "").rpartition(".")[2]
        request = json.loads(body or b"{}")
        names = [request.get("TableName"), *request.get("RequestItems", {})]
        if operation not in self.kept or self.table not in names:
            return await asyncio.to_thread(self._elsewhere, path, headers, body)
        self.calls[operation] += 1
        if self.latency:
            await asyncio.sleep(self.latency)
        try:
            return 200, json.dumps(self.kept[operation](**request)).encode()
        except ClientError as error:
            refusal: dict[str, Any] = {
                "__type": f"com.amazonaws.dynamodb.v20120810#{error.response['Error']['Code']}",
                "message": "The conditional request failed",
            }
            if "Item" in error.response:
                refusal["Item"] = error.response["Item"]
            return 400, json.dumps(refusal).encode()

    def _query(self, **request: Any) -> dict[str, Any]:
        """Answer a page of an index, as the ledger asks: one key, in the order of creation."""
        key = request["ExpressionAttributeNames"]["#key"]
        wanted = request["ExpressionAttributeValues"]
        until = float(wanted.get(":until", {"N": "inf"})["N"])

        def place(item: dict[str, Any]) -> tuple[float, str]:
            return float(item["created"]["N"]), item["id"]["S"]

        found = sorted(
            (item for item in self._items.values() if item.get(key) == wanted[":value"]),
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

    def _batch(self, **request: Any) -> dict[str, Any]:
        keys = request["RequestItems"][self.table]["Keys"]
        found = [self._items[k["id"]["S"]] for k in keys if k["id"]["S"] in self._items]
        return {"Responses": {self.table: found}, "UnprocessedKeys": {}}

    def _elsewhere(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
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
    parser.add_argument("--table", required=True)
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, help="milliseconds a call")
    given = parser.parse_args()
    server = Tables(given.table, given.upstream, given.latency / 1_000)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve_forever(server, given.port))


if __name__ == "__main__":
    main()
