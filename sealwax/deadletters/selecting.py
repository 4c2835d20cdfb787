"""Walking through a replay's selection, letter by letter, from where the last turn ended.

Called by the replay engine. Letters leave the open lists as they are sent, so
a walk that begins again meets none of them twice.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sealwax.deadletters.archive import Archive, open_list
from sealwax.deadletters.filter import Filter
from sealwax.deadletters.groups import LetterGroups
from sealwax.deadletters.letter import Letter, LetterState
from sealwax.deadletters.replays import Replay
from sealwax.deadletters.table import LettersTable, key

__all__ = ["LetterSelector", "SelectedLetters"]

#: Keys that one query of the index brings; each is some hundred bytes.
AHEAD = 500


@dataclass(frozen=True)
class SelectedLetters:
    """The next letters, the cursor after them, and whether the selection is at its end."""

    letters: list[Letter]
    cursor: str
    ended: bool = False


class LetterSelector:
    """Finds a replay's next open letters."""

    def __init__(self, table: LettersTable, archive: Archive, groups: LetterGroups) -> None:
        self._table = table
        self._archive = archive
        self._groups = groups
        self._chosen: dict[str, frozenset[str]] = {}
        self._ahead_of = ("", "")
        self._ahead: list[dict[str, Any]] = []

    def next(self, replay: Replay, cursor: str | None, limit: int) -> SelectedLetters:
        """Return up to `limit` letters, fewer or none where others have taken them."""
        if replay.filter is None:
            return self._by_ids(replay, cursor, limit)
        return self._by_group(replay, cursor, limit)

    def _by_ids(self, replay: Replay, cursor: str | None, limit: int) -> SelectedLetters:
        begin = int(cursor or 0)
        end = min(begin + limit, len(replay.ids))
        letters = self._archive.many(replay.ids[begin:end])
        return SelectedLetters(_open(letters), str(end), ended=end >= len(replay.ids))

    def _by_group(self, replay: Replay, cursor: str | None, limit: int) -> SelectedLetters:
        wanted = replay.filter
        if wanted is None:
            raise ValueError("no filter")
        name, after = json.loads(cursor) if cursor else ("", None)
        chosen = {wanted.group} if wanted.group else self._fitting(replay.id, wanted)
        for group in sorted(each for each in chosen if each >= name):
            start: dict[str, Any] | None = after if group == name else None
            keys = self._keys(replay, group, start)[:limit]
            if not keys:
                continue
            items = self._table.batch_get([key(each["id"], each["sort"]) for each in keys])
            last = {part: keys[-1][part] for part in ("id", "sort", "list", "at")}
            return SelectedLetters(
                _open([Letter.from_item(item) for item in items]), _cursor(group, last)
            )
        return SelectedLetters([], cursor or _cursor("", None), ended=True)

    def _keys(
        self, replay: Replay, group: str, after: dict[str, Any] | None
    ) -> list[dict[str, Any]]:
        """Return the keys that follow, from what the last query brought if it reaches so far."""
        place = (replay.id, group)
        if self._ahead_of == place and after in self._ahead:
            rest = self._ahead[self._ahead.index(after) + 1 :]
            if rest:
                return rest
        rows = self._table.listed(
            open_list(group),
            since=replay.filter.since if replay.filter else None,
            until=replay.cutoff,
            after=after,
            limit=AHEAD,
        )
        self._ahead_of, self._ahead = place, rows.items
        return rows.items

    def _fitting(self, replay_id: str, wanted: Filter) -> frozenset[str]:
        """Return the groups that fit; those that begin after the cut-off do not matter."""
        known = self._chosen.get(replay_id)
        if known is None:
            self._chosen.clear()
            listed = self._groups.list(strays=wanted.strays)
            known = frozenset(group.fingerprint for group in listed if wanted.fits(group))
            self._chosen[replay_id] = known
        return known


def _cursor(group: str, after: dict[str, Any] | None) -> str:
    return json.dumps([group, after], separators=(",", ":"))


def _open(letters: list[Letter]) -> list[Letter]:
    return [letter for letter in letters if letter.state is LetterState.OPEN]
