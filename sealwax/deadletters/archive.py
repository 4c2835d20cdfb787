"""The archive: letters are put once, whole, found by page, and stay until resolved.

The steward puts; the operations API and the console read. Copies of a letter
collapse: the same body in the same place. Two bodies never do: the second of a
place is kept beside the first, under a name of its own.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sealwax.aws.clock import AWS_CLOCK
from sealwax.aws.dynamodb import ConditionFailed, CursorInvalid, TransactionCancelled, typed
from sealwax.deadletters.bodies import Bodies
from sealwax.deadletters.errors import NoSuchLetter
from sealwax.deadletters.filter import Filter
from sealwax.deadletters.groups import LetterGroups, counting
from sealwax.deadletters.letter import Letter, LetterState, LetterText, beside, letter_key
from sealwax.deadletters.lists import ListReader, Place, read_place
from sealwax.deadletters.table import LettersTable, claim_key, key

__all__ = ["Archive", "Body", "LetterPage", "open_list"]

#: A letter's body and attributes as the archive gives them out.
Body = LetterText

#: Letters on one page at most.
PAGE_MAX = 100

#: Queries of one page beyond those that list the groups, near enough: a page that
#: would need more is short, and its cursor goes on.
QUERIES = 80

#: Strays of one job's name that are shown.
CLAIMING_MAX = 20

#: Letters put in one transaction, each with its body.
PUT_BATCH = 10


@dataclass(frozen=True)
class LetterPage:
    """Letters, and the cursor of the next page (None: there is none)."""

    letters: list[Letter]
    after: str | None


def open_list(group: str) -> str:
    """Return the name of the list of a group's open letters."""
    return f"open#{group}"


class Archive:
    """Letters by id, by page, and with their bodies."""

    def __init__(
        self,
        table: LettersTable,
        bodies: Bodies,
        groups: LetterGroups,
        *,
        clock: Callable[[], float] = AWS_CLOCK,
    ) -> None:
        self._table = table
        self._bodies = bodies
        self._groups = groups
        self._clock = clock

    # -- putting -------------------------------------------------------------------

    def put(self, found: Sequence[tuple[Letter, LetterText]]) -> int:
        """Archive letters with their bodies; return how many were new.

        What is known already is counted as a copy. Once it has returned, each
        is kept.

        Raises
        ------
        LettersUnreachable, LettersDenied
            Some may be kept: repeat all.
        """
        unique: dict[str, tuple[Letter, LetterText]] = {}
        for letter, text in found:
            known = unique.get(letter.id)
            another = known is not None and known[0].digest != letter.digest
            own = beside(letter) if another else letter
            unique[own.id] = (own, text)
        rest = list(unique.values())
        new = 0
        for start in range(0, len(rest), PUT_BATCH):
            new += self._put(rest[start : start + PUT_BATCH])
        return new

    def _put(self, batch: list[tuple[Letter, LetterText]]) -> int:
        bodies = {letter.id: self._bodies.item(letter, text) for letter, text in batch}
        letters = [replace(letter, big="place" in bodies[letter.id]) for letter, _ in batch]
        taken: list[tuple[Letter, LetterText]] = []
        texts = {letter.id: text for letter, text in batch}
        while letters:
            operations = [{"Put": self._new_item(letter)} for letter in letters]
            operations += [{"Put": {"Item": bodies[letter.id]}} for letter in letters]
            operations += [
                # By which a stray is found from the job whose id it bears.
                {"Put": {"Item": claim_key(letter.claims, letter.id)}}
                for letter in letters
                if letter.claims
            ]
            operations += counting(letters)
            try:
                self._table.transact(operations)
            except TransactionCancelled as cancelled:
                known = {letters[n].id for n in cancelled.failed if n < len(letters)}
                taken += [
                    (beside(letter), texts[letter.id])
                    for letter in letters
                    if letter.id in known and not self._copy(letter)
                ]
                letters = [letter for letter in letters if letter.id not in known]
            else:
                break
        return len(letters) + (self._put(taken) if taken else 0)

    def _new_item(self, letter: Letter) -> dict[str, Any]:
        item_id, rest = _parts(letter.id)
        values = {
            **letter.values(),
            "id": item_id,
            "sort": f"letter.{rest}",
            "list": self._table.list_of(open_list(letter.group), item_id),
        }
        return {"Item": typed(values), "ConditionExpression": "attribute_not_exists(id)"}

    def _copy(self, letter: Letter) -> bool:
        """Count a copy; False where the letter of its name has another body."""
        item_id, rest = _parts(letter.id)
        known = self._table.get(item_id, f"letter.{rest}")
        if known is not None and known.get("digest") != letter.digest and not letter.conflict:
            return False
        # A message received twice is no second copy.
        with contextlib.suppress(ConditionFailed):
            self._table.update(
                {
                    "Update": {
                        "Key": key(item_id, f"letter.{rest}"),
                        "UpdateExpression": (
                            "SET #last = :last, attempts = :attempts ADD copies :one"
                        ),
                        "ConditionExpression": "attribute_exists(id) AND #last < :last",
                        "ExpressionAttributeNames": {"#last": "last"},
                        "ExpressionAttributeValues": typed(
                            {":last": letter.last, ":attempts": letter.attempts, ":one": 1}
                        ),
                    }
                }
            )
        return True

    # -- reading -------------------------------------------------------------------

    def get(self, letter_id: str) -> Letter:
        """Return a letter.

        Raises
        ------
        NoSuchLetter
        """
        item_id, rest = _parts(letter_id)
        item = self._table.get(item_id, f"letter.{rest}")
        if item is None:
            raise NoSuchLetter
        return Letter.from_item(item)

    def many(self, letter_ids: Sequence[str]) -> list[Letter]:
        """Return those of the letters that exist, in this order."""
        keys = []
        for letter_id in dict.fromkeys(letter_ids):
            item_id, rest = _parts(letter_id)
            keys.append(key(item_id, f"letter.{rest}"))
        return [Letter.from_item(item) for item in self._table.batch_get(keys)]

    def body(self, letter_id: str) -> Body:
        """Return a letter's body, byte for byte, with its attributes.

        Raises
        ------
        NoSuchLetter
        """
        item_id, rest = _parts(letter_id)
        item = self._table.get(item_id, f"body.{rest}")
        text = self._bodies.text(item) if item is not None else None
        if text is None:
            raise NoSuchLetter
        return text

    def erase_body(self, letter: Letter) -> None:
        """Delete a letter's body for ever; the letter stays, and can no longer be replayed."""
        item_id, rest = _parts(letter.id)
        self._bodies.delete(letter)
        self._table.delete(item_id, f"body.{rest}")

    def of_job(self, job_id: str) -> list[Letter]:
        """Return a job's letters, its first death first."""
        items = self._table.partition(job_id, prefix="letter.")
        return sorted((Letter.from_item(item) for item in items), key=lambda each: each.at)

    def claiming(self, job_id: str, limit: int | None = CLAIMING_MAX) -> list[Letter]:
        """Return strays that bear a job's id: for looking at, not for believing.

        Parameters
        ----------
        limit
            How many at most; None: all.

        Raises
        ------
        LettersUnreachable, LettersDenied
        """
        if limit is None:
            items = list(self._table.partition(job_id, prefix="claim."))
        else:
            items = self._table.rows(job_id, prefix="claim.", limit=limit).items
        return self.many([item["sort"].removeprefix("claim.") for item in items])

    def page(
        self,
        filter: Filter | None = None,  # noqa: A002 - what it is
        after: str | None = None,
        limit: int = 50,
    ) -> LetterPage:
        """Return open letters that fit, group by group, in each the newest first.

        Costs about `SHARDS` + `QUERIES` + 1 calls at most, whatever the archive holds.

        Raises
        ------
        CursorInvalid, LettersUnreachable, LettersDenied
        """
        wanted = filter or Filter()
        limit = max(1, min(limit, PAGE_MAX))
        begun, start = _read_cursor(after, open_list)
        if wanted.group is not None:
            names = [wanted.group]
        else:
            listed = self._groups.list(strays=wanted.strays)
            groups = sorted(listed, key=lambda group: group.fingerprint)
            names = [group.fingerprint for group in groups if group.open and wanted.fits(group)]
        names = [name for name in names if begun is None or name >= begun]
        keys: list[dict[str, Any]] = []
        cursor: str | None = None
        for number, name in enumerate(names):
            if number >= max(1, QUERIES // self._table.shards_read) or len(keys) >= limit:
                cursor = _cursor(name, None)
                break
            reader = ListReader(
                self._table,
                open_list(name),
                start if name == begun else [],
                since=wanted.since,
                until=wanted.until,
                ahead=limit - len(keys),
                newest=True,
            )
            keys += reader.take(limit - len(keys))
            if not reader.ended:
                cursor = _cursor(name, reader.place)
                break
        letters = self._fetch(keys)
        return LetterPage([each for each in letters if each.state is LetterState.OPEN], cursor)

    def of_replay(self, replay_id: str, after: str | None = None, limit: int = 50) -> LetterPage:
        """Return what a replay or discard has touched, those without an outcome first."""
        # One steward alone moves a replay's letters: these lists need no shards.
        lists = [f"wait#{replay_id}", f"done#{replay_id}"]
        begun, place = _read_cursor(after, str)
        start = place[0] if place else None
        limit = max(1, min(limit, PAGE_MAX))
        keys: list[dict[str, Any]] = []
        cursor: str | None = None
        for name in lists[lists.index(begun) if begun in lists else 0 :]:
            if len(keys) >= limit:
                cursor = _cursor(name, None)
                break
            follows = start | {"list": name} if start is not None and name == begun else None
            rows = self._table.listed(name, after=follows, limit=limit - len(keys))
            keys += rows.items
            if rows.after is not None:
                cursor = _cursor(name, rows.after)
                break
        return LetterPage(self._fetch(keys), cursor)

    def _fetch(self, keys: list[dict[str, Any]]) -> list[Letter]:
        items = self._table.batch_get([key(each["id"], each["sort"]) for each in keys])
        return [Letter.from_item(item) for item in items]


def _parts(letter_id: str) -> tuple[str, str]:
    parts = letter_key(letter_id)
    if parts is None:
        raise NoSuchLetter
    return parts


def _cursor(name: str, place: Place | dict[str, Any] | None) -> str:
    text = json.dumps([name, place], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_cursor(text: str | None, list_name: Callable[[str], str]) -> tuple[str | None, Place]:
    if text is None:
        return None, []
    try:
        name, place = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, TypeError):
        raise CursorInvalid from None
    if not isinstance(name, str):
        raise CursorInvalid
    return name, read_place(place, list_name(name))
