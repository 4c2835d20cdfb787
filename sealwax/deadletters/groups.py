"""Groups of letters that died alike, with counts that stay right.

A letter's put, replay and end change its group's counts in the same
transaction, so no crash can part them. Each group's counts are spread over
items: no item is written by every letter of a mass failure. Called by the
archive and the replay engine; listed for people.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from sealwax.aws.clock import AWS_CLOCK
from sealwax.aws.dynamodb import TransactionCancelled, typed
from sealwax.deadletters.letter import Letter, LetterState
from sealwax.deadletters.table import LettersTable, key
from sealwax.outcomes import Reason

__all__ = ["SHARDS", "TREND_HOURS", "Group", "LetterGroups", "counting", "moving"]

#: Items that one group's counts are spread over.
SHARDS = 8

#: Hours that a trend shows, the current one included.
TREND_HOURS = 24

_FACTS = ("queue", "reason", "task", "cause", "error", "place")
#: What a group of strays has in common.
_FACTS_OF_STRAYS = ("queue", "reason")


@dataclass(frozen=True, kw_only=True)
class Group:
    """Letters of one queue and task that died for one reason at one place.

    Parameters
    ----------
    open, replaying, resolved, discarded
        Letters in each state.
    first, last
        Epoch seconds when its first and last letter was archived.
    sample
        Id of one of its newest letters.
    trend
        Letters archived in each of the last 24 hours, the current one last.
    names
        How many task names its strays bear, at least: names that fall on one of
        `NAMES` numbers together count once.
    """

    fingerprint: str
    queue: str
    reason: str
    task: str | None = None
    cause: str | None = None
    error: str | None = None
    place: str | None = None
    open: int = 0
    replaying: int = 0
    resolved: int = 0
    discarded: int = 0
    first: float = 0.0
    last: float = 0.0
    sample: str | None = None
    trend: tuple[int, ...] = field(default=(0,) * TREND_HOURS)
    names: int = 0

    @property
    def stray(self) -> bool:
        """Whether its letters are strays: nobody's, whatever they say of themselves."""
        return self.reason == Reason.STRAY

    @property
    def total(self) -> int:
        """All letters it ever had."""
        return self.open + self.replaying + self.resolved + self.discarded


def counting(letters: Iterable[Letter]) -> list[dict[str, Any]]:
    """Return the updates that count letters just archived, one for each group."""
    by_group: dict[str, list[Letter]] = {}
    for letter in letters:
        by_group.setdefault(letter.group, []).append(letter)
    return [_counted(group, members) for group, members in by_group.items()]


def _counted(group: str, letters: list[Letter]) -> dict[str, Any]:
    newest = max(letters, key=lambda letter: letter.at)
    hours = Counter(int(letter.at // 3600) for letter in letters)
    sets = ["#first = if_not_exists(#first, :first)", "#last = :last", "#sample = :sample"]
    values: dict[str, Any] = {
        ":first": min(letter.at for letter in letters),
        ":last": newest.at,
        ":sample": newest.id,
        ":open": len(letters),
    }
    names = {"#first": "first", "#last": "last", "#sample": "sample", "#open": "n_open"}
    # A group of strays has them of all causes.
    for fact in _FACTS_OF_STRAYS if newest.stray else _FACTS:
        value = getattr(newest, fact)
        if value is not None:
            sets.append(f"#{fact} = :{fact}")
            names[f"#{fact}"], values[f":{fact}"] = fact, value
    adds = ["#open :open"]
    named = frozenset(letter.named for letter in letters if letter.named is not None)
    if named:
        adds.append("#named :named")
        names["#named"], values[":named"] = "named", named
    for hour, count in hours.items():
        adds.append(f"#h{hour} :h{hour}")
        names[f"#h{hour}"], values[f":h{hour}"] = f"h{hour}", count
    return _update(group, f"SET {', '.join(sets)} ADD {', '.join(adds)}", names, values)


def moving(group: str, moves: dict[LetterState, int], *, now: float) -> dict[str, Any]:
    """Return the update that moves letters of a group between states at some time."""
    names = {f"#{state}": f"n_{state}" for state in moves}
    values: dict[str, Any] = {f":{state}": count for state, count in moves.items()}
    adds = ", ".join(f"#{state} :{state}" for state in moves)
    return _update(group, f"SET moved = :now ADD {adds}", names, values | {":now": now})


def _update(
    group: str, expression: str, names: dict[str, str], values: dict[str, Any]
) -> dict[str, Any]:
    # Any shard will do: only their sum says something.
    shard = random.randrange(SHARDS)  # noqa: S311 - spreads load
    return {
        "Update": {
            "Key": key(f"groups.{shard}", group),
            "UpdateExpression": expression,
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": typed(values),
        }
    }


def _dropped(item: dict[str, Any]) -> dict[str, Any]:
    """Return the deletion of a part that is as it was read."""
    names = {"#last": "last", "#moved": "moved"}
    values: dict[str, Any] = {}
    conditions = []
    for name in ("last", "moved", "n_open", "n_replaying"):
        shown = f"#{name}" if f"#{name}" in names else name
        if name in item:
            conditions.append(f"{shown} = :{name}")
            values[f":{name}"] = item[name]
        else:
            conditions.append(f"attribute_not_exists({shown})")
    return {
        "Delete": {
            "Key": key(item["id"], item["sort"]),
            "ConditionExpression": " AND ".join(conditions),
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": typed(values),
        }
    }


def _still_missing(item_id: str, name: str) -> dict[str, Any]:
    """Return the check that nobody has begun another part meanwhile."""
    return {
        "ConditionCheck": {
            "Key": key(item_id, name),
            "ConditionExpression": "attribute_not_exists(id)",
        }
    }


class LetterGroups:
    """Reads groups; `SHARDS` queries list them all, however many letters they have."""

    def __init__(self, table: LettersTable, *, clock: Callable[[], float] = AWS_CLOCK) -> None:
        self._table = table
        self._clock = clock

    def get(self, fingerprint: str) -> Group | None:
        """Return one group, or None."""
        keys = [key(f"groups.{shard}", fingerprint) for shard in range(SHARDS)]
        items = self._table.batch_get(keys)
        return self._joined(fingerprint, items) if items else None

    def _joined(self, name: str, items: list[dict[str, Any]]) -> Group:
        newest = max(items, key=lambda item: item.get("last", 0.0))
        hour = int(self._clock() // 3600)
        hours = range(hour - TREND_HOURS + 1, hour + 1)

        def total(attribute: str) -> int:
            return sum(int(item.get(attribute, 0)) for item in items)

        return Group(
            fingerprint=name,
            # A shard may only have seen letters leave.
            queue=newest.get("queue", ""),
            reason=newest.get("reason", ""),
            task=newest.get("task"),
            cause=newest.get("cause"),
            error=newest.get("error"),
            place=newest.get("place"),
            open=total("n_open"),
            replaying=total("n_replaying"),
            resolved=total("n_resolved"),
            discarded=total("n_discarded"),
            first=min((item["first"] for item in items if "first" in item), default=0.0),
            last=newest.get("last", 0.0),
            sample=newest.get("sample"),
            trend=tuple(total(f"h{each}") for each in hours),
            names=len(frozenset[int]().union(*(item.get("named", ()) for item in items))),
        )

    def forget_hours(self, *, keep: int = 2 * TREND_HOURS) -> int:
        """Drop counts of hours that no trend shows any more; return how many items changed.

        Safe beside writers: nobody adds to an hour that is over.
        """
        oldest = int(self._clock() // 3600) - keep
        changed = 0
        for shard in range(SHARDS):
            for item in self._table.partition(f"groups.{shard}"):
                old = [
                    name for name in item
                    if name[0] == "h" and name[1:].isdigit() and int(name[1:]) < oldest
                ]  # fmt: skip
                if old:
                    names = {f"#h{number}": name for number, name in enumerate(old[:100])}
                    self._table.call(
                        "update_item",
                        Key=key(item["id"], item["sort"]),
                        UpdateExpression=f"REMOVE {', '.join(names)}",
                        ExpressionAttributeNames=names,
                    )
                    changed += 1
        return changed

    def forget(self, *, before: float) -> int:
        """Drop groups without an open or replaying letter that nothing has happened to since.

        Safe beside writers: all of a group's items go in one transaction, or
        none where one of them has changed. Return how many groups went.
        """
        parts: dict[str, list[dict[str, Any]]] = {}
        for shard in range(SHARDS):
            for item in self._table.partition(f"groups.{shard}"):
                parts.setdefault(item["sort"], []).append(item)
        gone = 0
        for name, items in parts.items():
            group = self._joined(name, items)
            newest = max(max(item.get("last", 0.0), item.get("moved", 0.0)) for item in items)
            if group.open or group.replaying or newest >= before:
                continue
            missing = {f"groups.{shard}" for shard in range(SHARDS)} - {
                item["id"] for item in items
            }
            operations = [_dropped(item) for item in items]
            operations += [_still_missing(item_id, name) for item_id in missing]
            try:
                self._table.transact(operations)
            except TransactionCancelled:
                continue  # a letter came meanwhile
            gone += 1
        return gone

    def list(self, *, closed: bool = False, strays: bool = False) -> list[Group]:
        """Return the groups of jobs' own letters, those that died last first.

        Parameters
        ----------
        closed
            Also those without an open or replaying letter.
        strays
            The groups of strays instead, one for each queue.

        Raises
        ------
        LettersUnreachable, LettersDenied
        """
        parts: dict[str, list[dict[str, Any]]] = {}
        for shard in range(SHARDS):
            for item in self._table.partition(f"groups.{shard}"):
                parts.setdefault(item["sort"], []).append(item)
        groups = [self._joined(name, items) for name, items in parts.items()]
        groups = [group for group in groups if group.stray is strays]
        return sorted(
            (group for group in groups if closed or group.open > 0 or group.replaying > 0),
            key=lambda group: (-group.last, group.fingerprint),
        )
