"""The audit log's hash chain: how a line names the one before it, and where a chain breaks.

Pure functions, called by the audit log and by `sealwax audit verify`. Each line
holds its number and the hash of the line before; the head holds the number and
the hash of the newest. Hashes have no key: whoever may write the whole table
can make a new chain, which only a head that was kept elsewhere gives away.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

__all__ = ["START", "ChainHead", "ChainReport", "line_hash", "verify_chain"]

#: What the first line names as the one before it.
START = "0" * 64

#: Keeps these hashes apart from all others that are made of JSON.
_LABEL = b"sealwax audit line 1\n"


@dataclass(frozen=True, kw_only=True)
class ChainHead:
    """The newest line of the chain, as the head item or an operator keeps it.

    Parameters
    ----------
    count
        The newest line's number; 0 where the chain has not begun.
    hash
        The newest line's.
    at
        Epoch milliseconds that the newest line's id begins with.
    expires
        Epoch seconds after which the newest line may have gone; 0 before the first.
    """

    count: int = 0
    hash: str = START
    at: int = 0
    expires: int = 0

    def __str__(self) -> str:
        return f"{self.count}:{self.hash}"


@dataclass(frozen=True, kw_only=True)
class ChainReport:
    """What a reading of the chain found.

    Parameters
    ----------
    lines
        Lines of the chain that were read.
    unchained
        Lines from before the chain began, which nothing protects.
    first
        Number of the first line that was read; None where there was none.
    head
        The head item.
    bad
        Id of the first line that is not as it should be; `head` where the head
        is not, None where all is well.
    trouble
        What is wrong with it.
    """

    lines: int = 0
    unchained: int = 0
    first: int | None = None
    head: ChainHead
    bad: str | None = None
    trouble: str | None = None


def line_hash(item: dict[str, Any]) -> str:
    """Return the hash of a line, over every attribute that its item has.

    Parameters
    ----------
    item
        Plain values; those that are None are as if they were absent.
    """
    values = {name: value for name, value in item.items() if value is not None}
    if isinstance(values.get("at"), int | float):
        # A number that comes back from DynamoDB may be an int or a float.
        values["at"] = round(values["at"] * 1000)
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), default=repr)
    return hashlib.sha256(_LABEL + text.encode()).hexdigest()


def verify_chain(
    items: Iterable[dict[str, Any]],
    head: Callable[[], ChainHead],
    *,
    now: float,
    whole: bool = True,
    kept: tuple[int, str] | None = None,
) -> ChainReport:
    """Read a chain from its oldest line to its newest, and say where it breaks.

    Holds one line at a time.

    Parameters
    ----------
    items
        Lines as plain values, by day and id.
    head
        Returns the head item; called after the lines, so that it is never older.
    now
        Epoch seconds; a line past its `expires` may be gone.
    whole
        Whether `items` begin with the oldest line that is kept.
    kept
        Number and hash of a line, noted elsewhere at an earlier time.
    """
    found = _Reading(now, whole, kept)
    rest = iter(items)
    for item in rest:
        trouble = found.take(item)
        if trouble is None:
            continue
        bad = str(item.get("id"))
        if trouble == _BROKEN:
            # Either line was changed: the other is the one that its next line vouches for.
            following = next(rest, None)
            vouched = following.get("before") if following else head().hash
            if vouched == line_hash(item):
                bad = found.last
        return found.report(head(), bad, trouble)
    last = head()
    return found.report(last, *(found.end(last) or (None, None)))


#: Two lines do not belong together.
_BROKEN = "it and its neighbour no longer belong together: it was changed"


class _Reading:
    """What has been read of a chain so far."""

    def __init__(self, now: float, whole: bool, kept: tuple[int, str] | None) -> None:  # noqa: FBT001
        self._now = now
        self._whole = whole
        self._kept = kept
        self._lines = self._unchained = 0
        self._first: int | None = None
        self._met = False
        self.last = ""
        self._number = 0
        self._hash = START

    def take(self, item: dict[str, Any]) -> str | None:
        """Read a line; return what is wrong with it."""
        if "number" not in item:
            if self._lines:
                return "it has no number: it was inserted, or changed"
            self._unchained += 1
            return None
        number, before = item["number"], item.get("before")
        if not isinstance(number, int) or not isinstance(before, str):
            return "its number or the hash of the line before is missing"
        trouble = self._follows(item, number, before)
        if trouble:
            return trouble
        self._lines += 1
        self._number, self._hash = number, line_hash(item)
        self.last = str(item.get("id"))
        if self._first is None:
            self._first = number
        if self._kept is None or self._kept[0] != number:
            return None
        self._met = True
        if self._kept[1] != self._hash:
            return "its hash is not the one that was kept elsewhere: the log was written anew"
        return None

    def _follows(self, item: dict[str, Any], number: int, before: str) -> str | None:
        expires = item.get("before_expires")
        gone = isinstance(expires, int | float) and expires <= self._now
        if self._first is None:
            if not self._whole:
                return None
            if number == 1:
                return None if before == START else "it is not the first line that was written"
            return None if gone else f"lines before it were removed: it is number {number}"
        if number == self._number + 1:
            if before == self._hash:
                return None
            return _BROKEN
        if number > self._number + 1:
            # What has expired leaves in no certain order.
            if gone:
                return None
            return f"lines {self._number + 1} to {number - 1} before it were removed"
        return f"it is number {number} after number {self._number}: inserted, or moved"

    def end(self, head: ChainHead) -> tuple[str, str] | None:
        """Compare the last line with the head, and both with what was kept elsewhere.

        Return what is bad, and what is wrong with it.
        """
        trouble = None
        kept = self._kept
        if kept and head.count < kept[0]:
            trouble = f"it is number {head.count}, but number {kept[0]} was kept elsewhere"
        elif kept and head.count == kept[0] and head.hash != kept[1]:
            trouble = "its hash is not the one that was kept elsewhere"
        elif kept and not self._met and head.count != kept[0]:
            trouble = (
                f"number {kept[0]}, kept elsewhere, was not among the lines read: keep a newer"
            )
        elif head.count > self._number:
            # The newest lines may have expired too.
            if head.expires > self._now:
                trouble = f"lines {self._number + 1} to {head.count} were removed"
        elif head.count < self._number:
            trouble = f"it is number {head.count}, but number {self._number} is there"
        elif head.hash != self._hash:
            return self.last, "it has not the hash that the head holds: it was changed"
        return ("head", trouble) if trouble else None

    def report(self, head: ChainHead, bad: str | None, trouble: str | None) -> ChainReport:
        return ChainReport(
            lines=self._lines,
            unchained=self._unchained,
            first=self._first,
            head=head,
            bad=bad,
            trouble=trouble,
        )
