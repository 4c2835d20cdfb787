"""A DynamoDB table in memory that is as strict as AWS where emulators are kind.

Its indexes push back: one partition key of the table or of an index takes 1,000
write units in a second, and a write that would take more of any of them is
refused whole. Batches leave things out, pages are short, transactions meet
others. Time is the test's; what is left out or refused goes by a seed.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/gsi-throttling.html
"""

from __future__ import annotations

import copy
import random
import zlib
from collections import Counter
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from sealwax.provision.desired import TableSpec
from sealwax.testing.dynamodb import FakeDynamoDB, Item

__all__ = ["UNITS", "LabTable", "size_of"]

#: Write units that one partition takes in a second, and the bytes of one unit.
UNITS = 1_000
UNIT = 1_024

#: Bytes of items that a query reads for one answer.
#: https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Query.html
PAGE_BYTES = 1_048_576


def size_of(item: Item) -> int:
    """Return an item's size in bytes, near enough: names, texts, numbers of 21 bytes at most."""
    return sum(len(name.encode()) + _value_size(value) for name, value in item.items())


def _value_size(typed: dict[str, Any]) -> int:
    ((kind, value),) = typed.items()
    if kind == "N":
        return min(21, len(value) // 2 + 2)
    if kind == "L":
        return 3 + sum(1 + _value_size(each) for each in value)
    if kind == "M":
        return 3 + sum(1 + len(name) + _value_size(each) for name, each in value.items())
    if kind in ("SS", "NS"):
        return sum(len(each.encode()) for each in value)
    if kind == "B":
        return len(value)
    return 1 if kind in ("BOOL", "NULL") else len(value.encode())


def _units(item: Item) -> int:
    return max(1, -(-size_of(item) // UNIT))


def refusal(code: str, operation: str, **more: Any) -> ClientError:
    """Return botocore's error."""
    answer: Any = {"Error": {"Code": code, "Message": code}, **more}
    return ClientError(answer, operation)


def _cancelled(codes: list[str]) -> ClientError:
    return refusal(
        "TransactionCanceledException",
        "TransactWriteItems",
        CancellationReasons=[{"Code": code} for code in codes],
    )


class LabTable(FakeDynamoDB):
    """One table with its indexes.

    Parameters
    ----------
    spec
        Its keys and indexes, as they are provisioned: the indexes hold keys only.
    clock
        Epoch seconds; units are counted by whole ones.
    limit
        Units a second of one key; None: as many as wanted, counted all the same.
    page
        Items that a query answers at most, besides the 1 MB of AWS.
    unprocessed
        Share of a batch's entries that is left out.
    conflicts
        Share of transactions that meet another one.
    """

    def __init__(
        self,
        spec: TableSpec,
        *,
        clock: Callable[[], float] = lambda: 0.0,
        limit: int | None = UNITS,
        page: int = 1_000_000,
        unprocessed: float = 0.0,
        conflicts: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.clock = clock
        self.limit = limit
        self.page = page
        self.unprocessed, self.conflicts = unprocessed, conflicts
        self.chance = random.Random(seed)
        self.calls: Counter[str] = Counter()
        #: Refused writes, by the index or table that refused.
        self.throttled: Counter[str] = Counter()
        #: Units by place ("table" or the index), partition key and second.
        self.units: Counter[tuple[str, str, int]] = Counter()
        #: What a write costs: twice as much in a transaction.
        self._weight = 1
        self._places = {index.name: index.keys for index in spec.indexes}
        self._parts: dict[tuple[str, str], dict[str, Item]] = {}

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name.endswith("_item") or name in ("query", "transact_write_items"):
            self.calls[name] += 1
        return found

    def hottest(self, place: str) -> int:
        """Return the most units that a key of the table or of an index took in one second."""
        return max((n for (where, _, _), n in self.units.items() if where == place), default=0)

    def parts(self, place: str) -> dict[str, dict[str, Item]]:
        """Return what each partition key of the table or of an index has, by the item's key."""
        return {key: part for (where, key), part in self._parts.items() if where == place}

    # -- keys --------------------------------------------------------------------------

    def _key(self, item: Item) -> str:
        return "\0".join(next(iter(item[name].values())) for name, _ in self.spec.keys)

    def _partition(self, item: Item) -> str:
        return str(next(iter(item[self.spec.keys[0][0]].values())))

    def _projected(self, index: str, item: Item | None) -> Item | None:
        keys = self._places[index]
        if item is None or any(name not in item for name, _ in keys):
            return None
        return {name: item[name] for name, _ in (*keys, *self.spec.keys)}

    # -- writing -----------------------------------------------------------------------

    def _store(self, key: str, item: Item | None) -> None:
        before = self.items.get(key)
        self._take(before, item)
        self._index(key, before, item)
        if item is None:
            self.items.pop(key, None)
        else:
            self.items[key] = item

    def _index(self, key: str, before: Item | None, after: Item | None) -> None:
        for name, keys in self._places.items():
            for whole, there in ((before, False), (after, True)):
                shown = self._projected(name, whole)
                if shown is not None:
                    part = self._parts.setdefault((name, _text(shown[keys[0][0]])), {})
                    part.pop(key, None)
                    if there:
                        part[key] = shown
        for whole, there in ((before, False), (after, True)):
            if whole is not None:
                part = self._parts.setdefault(("table", self._partition(whole)), {})
                part.pop(key, None)
                if there:
                    part[key] = whole

    def _take(self, before: Item | None, after: Item | None) -> None:
        """Count the units of a write, or refuse it whole."""
        either = after or before
        if either is None:
            return
        second = int(self.clock())
        wanted: Counter[tuple[str, str, int]] = Counter()
        most = max(_units(each) for each in (before, after) if each is not None)
        wanted["table", self._partition(either), second] += most
        for name, keys in self._places.items():
            old, new = self._projected(name, before), self._projected(name, after)
            if old == new:
                continue
            # A changed key is a deletion and a put.
            for shown in (old, new):
                if shown is not None:
                    wanted[name, _text(shown[keys[0][0]]), second] += _units(shown)
        wanted = Counter({place: units * self._weight for place, units in wanted.items()})
        over = [
            place
            for place, units in wanted.items()
            if self.limit is not None and self.units[place] + units > self.limit
        ]
        if over:
            where = over[0][0]
            self.throttled[where] += 1
            raise refusal(
                "ThrottlingException",
                "Write",
                ThrottlingReasons=[
                    {
                        "reason": "IndexWriteKeyRangeThroughputExceeded"
                        if where != "table"
                        else "TableWriteKeyRangeThroughputExceeded",
                        "resource": f"arn:aws:dynamodb:::table/{self.spec.name}/{where}",
                    }
                ],
            )
        self.units.update(wanted)

    def _check(self, key: str, more: dict[str, Any]) -> None:
        if "ConditionExpression" not in more:
            return
        try:
            super()._check(key, more)
        except ClientError:
            # A condition that does not hold costs its units all the same.
            item = self.items.get(key)
            self._take(item, item)
            raise

    def delete_item(self, **more: Any) -> dict[str, Any]:
        """Answer `DeleteItem`."""
        key = self._key(more["Key"])
        self._check(key, more)
        self._store(key, None)
        return {}

    def batch_write_item(self, **more: Any) -> dict[str, Any]:
        """Answer `BatchWriteItem`; some are left for another call."""
        ((name, requests),) = more["RequestItems"].items()
        left = []
        for number, request in enumerate(requests):
            # Not all: a call that does nothing is throttled, not answered.
            if number and self.chance.random() < self.unprocessed:
                left.append(request)
            elif "DeleteRequest" in request:
                self._store(self._key(request["DeleteRequest"]["Key"]), None)
            else:
                item = copy.deepcopy(request["PutRequest"]["Item"])
                self._store(self._key(item), item)
        return {"UnprocessedItems": {name: left} if left else {}}

    def transact_write_items(self, **more: Any) -> dict[str, Any]:
        """Answer `TransactWriteItems`: all or nothing, or a conflict with another one."""
        operations = [next(iter(each.items())) for each in more["TransactItems"]]
        assert len(operations) <= 100, "TransactWriteItems takes 100 operations"
        keys = [self._key(fields.get("Item") or fields["Key"]) for _, fields in operations]
        assert len(keys) == len(set(keys)), "a transaction names an item once"
        if self.chance.random() < self.conflicts:
            met = self.chance.randrange(len(keys))
            raise _cancelled(
                [("TransactionConflict" if n == met else "None") for n in range(len(keys))]
            )
        before = {key: self.items.get(key) for key in keys}
        codes, self._weight = ["None"] * len(keys), 2
        try:
            for number, (kind, fields) in enumerate(operations):
                try:
                    self._operate(kind, keys[number], fields)
                except ClientError as error:
                    code = error.response["Error"]["Code"]
                    codes[number] = code.removesuffix("Exception").replace(
                        "Throttling", "ThrottlingError"
                    )
        finally:
            self._weight = 1
        if set(codes) == {"None"}:
            return {}
        for key, item in before.items():
            self._index(key, self.items.get(key), item)
            if item is None:
                self.items.pop(key, None)
            else:
                self.items[key] = item
        raise _cancelled(codes)

    def _operate(self, kind: str, key: str, fields: dict[str, Any]) -> None:
        if kind == "ConditionCheck":
            self._check(key, fields)
        elif kind == "Delete":
            LabTable.delete_item(self, **fields)
        elif kind == "Put":
            LabTable.put_item(self, **fields)
        else:
            LabTable.update_item(self, **fields)

    # -- reading -----------------------------------------------------------------------

    def batch_get_item(self, **more: Any) -> dict[str, Any]:
        """Answer `BatchGetItem`; some are left for another call."""
        ((name, request),) = more["RequestItems"].items()
        assert len(request["Keys"]) <= 100, "BatchGetItem takes 100 keys"
        found, left = [], []
        for number, key in enumerate(request["Keys"]):
            if number and self.chance.random() < self.unprocessed:
                left.append(key)
            elif self._key(key) in self.items:
                found.append(copy.deepcopy(self.items[self._key(key)]))
        return {
            "Responses": {name: found},
            "UnprocessedKeys": {name: request | {"Keys": left}} if left else {},
        }

    def query(self, **more: Any) -> dict[str, Any]:
        """Answer `Query` of the table or an index, in pages."""
        index = more.get("IndexName", "table")
        keys = self._places.get(index, self.spec.keys)
        names, values = more.get("ExpressionAttributeNames", {}), more["ExpressionAttributeValues"]
        first, _, _ = more["KeyConditionExpression"].partition(" AND ")
        path, _, value = first.split()
        assert names.get(path, path) == keys[0][0], "a query is by the partition key"
        part = self._parts.get((index, _text(values[value])), {})

        def place(item: Item) -> list[Any]:
            # Of equal sort keys AWS promises no order: here it is none by the ids.
            tie = zlib.crc32(repr([item[name] for name, _ in self.spec.keys]).encode())
            return [*(_sort(item[name]) for name, _ in keys[1:]), tie]

        rows = [
            item
            for item in part.values()
            if self._expression(more["KeyConditionExpression"], item, more).either()
        ]
        forward = more.get("ScanIndexForward", True)
        rows.sort(key=place, reverse=not forward)
        start = more.get("ExclusiveStartKey")
        if start is not None:
            assert set(start) == {name for name, _ in (*keys, *self.spec.keys)}, "not a whole key"
            at = place(start)
            rows = [row for row in rows if (place(row) > at if forward else place(row) < at)]
        most = min(more.get("Limit", self.page), self.page)
        shown, size = [], 0
        for row in rows[:most]:
            if size >= PAGE_BYTES:
                break
            shown.append(row)
            size += size_of(row)
        # At the limit DynamoDB does not look whether anything comes after it.
        answer: dict[str, Any] = {"Items": copy.deepcopy(shown)}
        if shown and (len(shown) == most or size >= PAGE_BYTES):
            last = shown[-1]
            answer["LastEvaluatedKey"] = {n: last[n] for n, _ in (*keys, *self.spec.keys)}
        return answer


def _text(typed: dict[str, Any]) -> str:
    return str(next(iter(typed.values())))


def _sort(typed: dict[str, Any]) -> Any:
    ((kind, value),) = typed.items()
    return float(value) if kind == "N" else value
