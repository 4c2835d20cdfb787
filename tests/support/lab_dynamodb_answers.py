"""DynamoDB's ways of answering, put upon an emulator's: conflicts, back-pressure, short pages.

`lab_dynamodb.py` counts units by itself; an emulator at some hundred calls a second never
comes near 1,000 units a key, so here refusals for an index's key are drawn.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/gsi-throttling.html
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any

from support.lab_setting import CONFLICTS, UNPROCESSED

__all__ = ["PAGE", "PRESSED", "DynamoAnswers", "DynamoRefusal"]

#: Asks the emulator.
Asked = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]

#: Share of writes that an index's key refuses.
PRESSED = 0.03
#: Share of single writes, to tables that are written in transactions, that meet one.
MET = 0.03
#: Items of a page at most; AWS's pages have 1 MB.
PAGE = 5

_WRITES = frozenset({"PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem"})


class DynamoRefusal(Exception):
    """DynamoDB's answer to a call that it refuses."""

    def __init__(self, code: str, **more: Any) -> None:
        super().__init__(code)
        self.code = code
        self.more = more


class DynamoAnswers:
    """The answers to one emulator's callers."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self._transacted: set[str] = set()

    async def answer(self, operation: str, request: dict[str, Any], ask: Asked) -> dict[str, Any]:
        """Return the answer to a call.

        Raises
        ------
        DynamoRefusal
            Nothing of it has been done.
        """
        if operation in _WRITES:
            self._press(request)
        if operation == "TransactWriteItems":
            self._meet(request)
        elif operation == "BatchWriteItem":
            return await self._write_some(request, ask)
        elif operation == "BatchGetItem":
            return await self._get_some(request, ask)
        elif operation in ("Query", "Scan"):
            page = self._dice.randint(1, PAGE)
            request = request | {"Limit": min(page, int(request.get("Limit") or page))}
        return await ask(request)

    # -- refusals

    def _press(self, request: dict[str, Any]) -> None:
        if self._dice.random() < PRESSED:
            table = request.get("TableName", "")
            raise DynamoRefusal("ThrottlingException", ThrottlingReasons=[_reason(table)])
        if request.get("TableName") in self._transacted and self._dice.random() < MET:
            raise DynamoRefusal("TransactionConflictException")

    def _meet(self, request: dict[str, Any]) -> None:
        operations = [next(iter(each.values())) for each in request["TransactItems"]]
        self._transacted.update(each["TableName"] for each in operations)
        drawn = self._dice.random()
        if drawn < CONFLICTS:
            self._cancel(operations, "TransactionConflict")
        if drawn < CONFLICTS + PRESSED:
            self._cancel(operations, "ThrottlingError")

    def _cancel(self, operations: list[dict[str, Any]], code: str) -> None:
        met = self._dice.randrange(len(operations))
        codes = [code if number == met else "None" for number in range(len(operations))]
        raise DynamoRefusal(
            "TransactionCanceledException", CancellationReasons=[{"Code": each} for each in codes]
        )

    # -- parts of batches

    async def _write_some(self, request: dict[str, Any], ask: Asked) -> dict[str, Any]:
        kept, left = self._split(request["RequestItems"])
        answer = await ask(request | {"RequestItems": kept})
        return answer | {"UnprocessedItems": _joined(answer.get("UnprocessedItems") or {}, left)}

    async def _get_some(self, request: dict[str, Any], ask: Asked) -> dict[str, Any]:
        tables = request["RequestItems"]
        kept, left = self._split({name: each["Keys"] for name, each in tables.items()})
        answer = await ask(
            request | {"RequestItems": {n: tables[n] | {"Keys": keys} for n, keys in kept.items()}}
        )
        unread = {
            name: tables[name] | {"Keys": keys}
            for name, keys in _joined(
                {n: each["Keys"] for n, each in (answer.get("UnprocessedKeys") or {}).items()}, left
            ).items()
        }
        return answer | {"UnprocessedKeys": unread}

    def _split(self, tables: dict[str, list[Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what is passed on, never nothing, and what is left out."""
        kept: dict[str, Any] = {}
        left: dict[str, Any] = {}
        for name, entries in tables.items():
            for entry in entries:
                out = kept and self._dice.random() < UNPROCESSED
                (left if out else kept).setdefault(name, []).append(entry)
        return kept, left


def _reason(table: str) -> dict[str, str]:
    return {
        "reason": "IndexWriteKeyRangeThroughputExceeded",
        "resource": f"arn:aws:dynamodb:eu-central-1:000000000000:table/{table}/index/hot",
    }


def _joined(one: dict[str, list[Any]], other: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return {name: [*one.get(name, []), *other.get(name, [])] for name in {**one, **other}}
