"""Walking through a replay's selection, letter by letter, from where the last turn ended.

Called by the replay engine. Letters leave the open lists as they are sent, so
a walk that begins again meets none of them twice.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from sealwax.deadletters.archive import Archive, open_list
from sealwax.deadletters.filter import Filter
from sealwax.deadletters.groups import LetterGroups
from sealwax.deadletters.letter import Letter, LetterState
from sealwax.deadletters.lists import ListReader, Place, read_place
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
        #: The list that was read last, and whose.
        self._reading: tuple[str, str, ListReader] | None = None

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
            place = read_place(after if group == name else None, open_list(group))
            reader = self._reader(replay, group, place)
            keys = reader.take(limit)
            if not keys:
                continue
            items = self._table.batch_get([key(each["id"], each["sort"]) for each in keys])
            return SelectedLetters(
                _open([Letter.from_item(item) for item in items]), _cursor(group, reader.place)
            )
        return SelectedLetters([], cursor or _cursor("", None), ended=True)

    def _reader(self, replay: Replay, group: str, place: Place) -> ListReader:
        """Return who reads on from a place: the last reader, if it stands there."""
        if self._reading is not None:
            *whose, reader = self._reading
            if whose == [replay.id, group] and reader.place == place and not reader.ended:
                return reader
        reader = ListReader(
            self._table,
            open_list(group),
            place,
            since=replay.filter.since if replay.filter else None,
            until=replay.cutoff,
            ahead=AHEAD,
        )
        self._reading = replay.id, group, reader
        return reader

    def _fitting(self, replay_id: str, wanted: Filter) -> frozenset[str]:
        """Return the groups that fit; those that begin after the cut-off do not matter."""
        known = self._chosen.get(replay_id)
        if known is None:
            self._chosen.clear()
            listed = self._groups.list(strays=wanted.strays)
            known = frozenset(group.fingerprint for group in listed if wanted.fits(group))
            self._chosen[replay_id] = known
        return known


def _cursor(group: str, place: Place | None) -> str:
    return json.dumps([group, place], separators=(",", ":"))


def _open(letters: list[Letter]) -> list[Letter]:
    return [letter for letter in letters if letter.state is LetterState.OPEN]
