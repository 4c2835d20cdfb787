"""A list of letters, merged from its shards in the order of time.

A group's open letters are a list of the index `by-list`, spread over partition
keys by a hash of their ids; see `sealwax.aws.shards`. Called by the archive and
the replay engine.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from sealwax.aws.dynamodb import CursorInvalid
from sealwax.aws.shards import SHARDS_MAX, shard_keys
from sealwax.deadletters.table import LettersTable

__all__ = ["ListReader", "Place", "read_place"]

#: How far a list was read: the last key of each shard, None before its first.
Place = list[dict[str, Any] | None]

_KEY = {"id", "sort", "at"}


def read_place(value: Any, name: str) -> Place:
    """Return the place that a cursor names.

    Cursors of before there were shards name one key, of the list's first shard.

    Raises
    ------
    CursorInvalid
    """
    if value is None:
        return []
    if isinstance(value, dict) and value.pop("list", None) == name:
        value = [value]
    if not isinstance(value, list) or len(value) > SHARDS_MAX:
        raise CursorInvalid
    if not all(each is None or _is_key(each) for each in value):
        raise CursorInvalid
    return value


def _is_key(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == _KEY
        and isinstance(value["id"], str)
        and isinstance(value["sort"], str)
        and isinstance(value["at"], int | float)
    )


class ListReader:
    """One list, read forward from a place.

    Parameters
    ----------
    place
        Where another reader of the list stopped; empty: the beginning.
    since, until
        Epoch seconds; letters archived earlier or later are left out.
    newest
        Whether the newest come first.
    ahead
        Keys that are read at a time, of all shards together, near enough.
    """

    def __init__(
        self,
        table: LettersTable,
        name: str,
        place: Place,
        *,
        ahead: int,
        since: float | None = None,
        until: float | None = None,
        newest: bool = False,
    ) -> None:
        names = shard_keys(name, table.shards_read)
        take = min(ahead, max(2, 2 * ahead // len(names)))
        self._newest = newest
        self._shards = [
            _Shard(
                table,
                each,
                place[number] if number < len(place) else None,
                {"since": since, "until": until, "newest": newest, "limit": take},
            )
            for number, each in enumerate(names)
        ]

    def take(self, limit: int) -> list[dict[str, Any]]:
        """Return the next keys, fewer than `limit` only at the end."""
        found: list[dict[str, Any]] = []
        chosen = max if self._newest else min
        while len(found) < limit:
            waiting = [shard for shard in self._shards if shard.first() is not None]
            if not waiting:
                break
            found.append(chosen(waiting, key=_Shard.order).pop())
        return found

    @property
    def place(self) -> Place:
        """How far it was read."""
        return [shard.place for shard in self._shards]

    @property
    def ended(self) -> bool:
        """Whether nothing more is known to follow; asks no shard."""
        return all(shard.ended for shard in self._shards)


class _Shard:
    """One partition key of the index, read forward."""

    def __init__(
        self,
        table: LettersTable,
        name: str,
        place: dict[str, Any] | None,
        asked: dict[str, Any],
    ) -> None:
        self._table, self._name, self._asked = table, name, asked
        self.place = place
        self._start = None if place is None else place | {"list": name}
        self._read: deque[dict[str, Any]] = deque()
        self._unread = True

    def first(self) -> dict[str, Any] | None:
        """Return the next key; None at the end."""
        while not self._read and self._unread:
            rows = self._table.listed(self._name, after=self._start, **self._asked)
            self._read.extend(rows.items)
            self._start, self._unread = rows.after, rows.after is not None
        return self._read[0] if self._read else None

    def order(self) -> tuple[float, str, str]:
        """Return where its next key stands among those of other shards."""
        first = self._read[0]
        return first["at"], first["id"], first["sort"]

    def pop(self) -> dict[str, Any]:
        """Go on by one key, and return it."""
        found = self._read.popleft()
        self.place = {part: found[part] for part in sorted(_KEY)}
        return found

    @property
    def ended(self) -> bool:
        return not self._read and not self._unread
