"""DynamoDB's conditional writes of single items, in memory: exact, and quick.

For `run_task`, which runs the real ledger on it, and for thousands of runs of
the ledger's state machine: each event is a handful of calls, which over HTTP
take a hundred times as long. It evaluates the very expressions that the ledger
sends, and refuses what it does not know. The same machine runs against an
emulator too, so that this one cannot drift unseen.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

Item = dict[str, dict[str, Any]]

_TOKEN = re.compile(r"\s*(<>|<=|>=|[=<>(),+\-]|[#:]?[A-Za-z_][A-Za-z0-9_]*)")
_CLAUSE = re.compile(r"\b(SET|REMOVE|ADD|DELETE)\b")
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: bool(a == b),
    "<>": lambda a, b: bool(a != b),
    "<": lambda a, b: bool(a < b),
    "<=": lambda a, b: bool(a <= b),
    ">": lambda a, b: bool(a > b),
    ">=": lambda a, b: bool(a >= b),
}


def _tokens(text: str) -> list[str]:
    found, at = [], 0
    while at < len(text.rstrip()):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"cannot read {text[at:]!r}")
        found.append(match.group(1))
        at = match.end()
    return found


def _plain(value: dict[str, Any] | None) -> Any:
    if value is None:
        return None
    ((kind, plain),) = value.items()
    return float(plain) if kind == "N" else plain


class _Expression:
    """One expression on one item."""

    def __init__(self, text: str, item: Item, names: dict[str, str], values: Item) -> None:
        self.tokens, self.at = _tokens(text), 0
        self.item, self.names, self.values = item, names, values

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, wanted: str | None = None) -> str:
        token = self.peek()
        if wanted is not None and token != wanted:
            raise ValueError(f"{wanted!r} expected, {token!r} found")
        self.at += 1
        return token

    def path(self) -> str:
        token = self.take()
        return self.names[token] if token.startswith("#") else token

    def operand(self) -> dict[str, Any] | None:
        word = self.peek()
        if word == "if_not_exists":
            self.take()
            self.take("(")
            path = self.path()
            self.take(",")
            other = self.operand()
            self.take(")")
            return self.item.get(path, other)
        if word.startswith(":"):
            return self.values[self.take()]
        return self.item.get(self.path())

    # -- conditions

    def either(self) -> bool:
        found = self.both()
        while self.peek() == "OR":
            self.take()
            found = self.both() or found
        return found

    def both(self) -> bool:
        found = self.one()
        while self.peek() == "AND":
            self.take()
            found = self.one() and found
        return found

    def one(self) -> bool:
        if self.peek() == "(":
            self.take()
            found = self.either()
            self.take(")")
            return found
        if self.peek() in ("attribute_exists", "attribute_not_exists"):
            wanted = self.take() == "attribute_exists"
            self.take("(")
            path = self.path()
            self.take(")")
            return (path in self.item) == wanted
        if self.peek() == "begins_with":
            self.take()
            self.take("(")
            whole = _plain(self.operand())
            self.take(",")
            prefix = _plain(self.operand())
            self.take(")")
            return isinstance(whole, str) and whole.startswith(prefix)
        if self.peek() == "contains":
            self.take()
            self.take("(")
            within, _, wanted_value = self.operand(), self.take(","), self.operand()
            self.take(")")
            return within is not None and _plain(wanted_value) in _plain(within)
        first, operator = self.operand(), self.take()
        if operator == "IN":
            self.take("(")
            choices = [self.operand()]
            while self.peek() == ",":
                self.take()
                choices.append(self.operand())
            self.take(")")
            return first is not None and first in choices
        second = self.operand()
        if operator == "BETWEEN":
            self.take("AND")
            third = self.operand()
            return first is not None and _plain(second) <= _plain(first) <= _plain(third)
        if first is None or second is None:
            # An attribute that is not there differs from all, and is like none.
            return operator == "<>"
        if set(first) != set(second):
            return operator == "<>"
        return _COMPARE[operator](_plain(first), _plain(second))

    # -- updates

    def assignments(self) -> dict[str, dict[str, Any]]:
        found = {}
        while self.peek():
            path = self.path()
            self.take("=")
            value = self.operand()
            if self.peek() in ("+", "-"):
                sign = 1 if self.take() == "+" else -1
                value = {"N": repr(_plain(value) + sign * _plain(self.operand()))}
            assert value is not None, f"{path} is set to what is not there"
            found[path] = value
            if self.peek():
                self.take(",")
        return found

    def paths(self) -> list[str]:
        found = [self.path()]
        while self.peek() == ",":
            self.take()
            found.append(self.path())
        assert not self.peek()
        return found

    def additions(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        while self.peek():
            path, value = self.path(), self.values[self.take()]
            before = _plain(self.item.get(path))
            if "SS" in value:
                found[path] = {"SS": sorted({*(before or ()), *value["SS"]})}
            else:
                found[path] = {"N": repr((before or 0) + _plain(value))}
            if self.peek():
                self.take(",")
        return found

    def deletions(self) -> dict[str, dict[str, Any]]:
        """Return the sets that something is taken from; an empty one is gone."""
        found = {}
        while self.peek():
            path, value = self.path(), self.values[self.take()]
            left = set(_plain(self.item.get(path)) or ()) - set(value["SS"])
            found[path] = {"SS": sorted(left)}
            if self.peek():
                self.take(",")
        return found


class FakeDynamoDB:
    """One table; `get_item`, `put_item` and `update_item` as the ledger calls them."""

    def __init__(self) -> None:
        self.items: dict[str, Item] = {}

    def get_item(self, **more: Any) -> dict[str, Any]:
        """Answer `GetItem` for one key."""
        item = self.items.get(self._key(more["Key"]))
        return {"Item": copy.deepcopy(item)} if item else {}

    def put_item(self, **more: Any) -> dict[str, Any]:
        """Answer `PutItem` under its condition."""
        key = self._key(more["Item"])
        self._check(key, more)
        self._store(key, copy.deepcopy(more["Item"]))
        return {}

    def update_item(self, **more: Any) -> dict[str, Any]:
        """Answer `UpdateItem` under its condition."""
        key = self._key(more["Key"])
        self._check(key, more)
        old = self.items.get(key, copy.deepcopy(more["Key"]))
        new = copy.deepcopy(old)
        parts = _CLAUSE.split(more["UpdateExpression"])
        assert not parts[0].strip()
        touched: list[str] = []
        for clause, text in zip(parts[1::2], parts[2::2], strict=True):
            expression = self._expression(text, old, more)
            if clause == "REMOVE":
                paths = expression.paths()
                for path in paths:
                    new.pop(path, None)
                touched += paths
            elif clause == "DELETE":
                changes = expression.deletions()
                new.update(changes)
                for path in [path for path, value in changes.items() if not value["SS"]]:
                    del new[path]
                touched += changes
            else:
                changes = expression.assignments() if clause == "SET" else expression.additions()
                new.update(changes)
                touched += changes
        assert len(touched) == len(set(touched)), "two paths of an update overlap"
        self._store(key, new)
        return {"Attributes": copy.deepcopy(new)} if more.get("ReturnValues") == "ALL_NEW" else {}

    def _key(self, item: Item) -> str:
        return str(item["id"]["S"])

    def _store(self, key: str, item: Item) -> None:
        self.items[key] = item

    def _expression(self, text: str, item: Item, more: dict[str, Any]) -> _Expression:
        names = more.get("ExpressionAttributeNames", {})
        return _Expression(text, item, names, more.get("ExpressionAttributeValues", {}))

    def _check(self, key: str, more: dict[str, Any]) -> None:
        given = f"{more['ConditionExpression']} "
        item = self.items.get(key, {})
        expression = self._expression(given, item, more)
        holds = expression.either()
        assert not expression.peek(), f"cannot read {given!r}"
        if not holds:
            error: Any = {"Error": {"Code": "ConditionalCheckFailedException", "Message": ""}}
            if item:
                error["Item"] = copy.deepcopy(item)
            raise ClientError(error, "UpdateItem")
