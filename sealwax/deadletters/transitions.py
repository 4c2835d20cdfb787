"""Letters' changes of state, each in one transaction with all counts that it changes.

Called by the replay engine. A crash leaves either all of a move or nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sealwax.aws.dynamodb import TransactionCancelled, typed
from sealwax.deadletters.groups import moving
from sealwax.deadletters.letter import Letter, LetterState, letter_key
from sealwax.deadletters.table import LettersTable, claim_key, key

__all__ = ["MOVE_BATCH", "SENT_BATCH", "LetterTransitions"]

#: Letters moved in one transaction: each may take three operations, and a group's count one.
MOVE_BATCH = 24

#: Letters recorded as sent in one transaction, each with one operation and its group's
#: count: whole batches of ten for SQS.
SENT_BATCH = 40


class LetterTransitions:
    """Moves letters.

    Parameters
    ----------
    keep
        Seconds that a letter stays once it is resolved.
    """

    def __init__(self, table: LettersTable, *, keep: float) -> None:
        self._table = table
        self._keep = keep

    def sent(
        self,
        replay_id: str,
        letters: Mapping[Letter, int],
        *,
        now: float,
        skipped: int,
        cursor: str,
    ) -> int:
        """Record letters as sent again, and how far the replay has come; return how many were.

        Parameters
        ----------
        letters
            Each with the generation that it was sent as.
        """
        return self._move(
            replay_id,
            list(letters),
            to=LetterState.REPLAYING,
            sets={"list": f"wait#{replay_id}", "replay": replay_id, "sent": now},
            own_sets={letter.id: {"sent_as": number} for letter, number in letters.items()},
            counts={"sent": None, "skipped": skipped},
            now=now,
            cursor=cursor,
        )

    def discarded(
        self, replay_id: str, letters: Sequence[Letter], *, now: float, note: str, cursor: str
    ) -> int:
        """Record letters as discarded."""
        return self._move(
            replay_id,
            letters,
            to=LetterState.DISCARDED,
            sets={
                "list": f"done#{replay_id}", "replay": replay_id, "settled": now, "note": note,
            },
            counts={"sent": None},
            now=now,
            cursor=cursor,
            expires=int(now + self._keep),
        )  # fmt: skip

    def settled(
        self, replay_id: str, letters: Sequence[Letter], *, now: float, outcome: str
    ) -> int:
        """Record how the replay of letters ended."""
        count = outcome if outcome in ("succeeded", "died") else "other"
        return self._move(
            replay_id,
            letters,
            to=LetterState.RESOLVED,
            of=LetterState.REPLAYING,
            sets={"list": f"done#{replay_id}", "outcome": outcome, "settled": now},
            counts={count: None},
            now=now,
            expires=int(now + self._keep),
        )

    def _move(
        self,
        replay_id: str,
        letters: Sequence[Letter],
        *,
        to: LetterState,
        sets: dict[str, Any],
        counts: dict[str, int | None],
        now: float,
        of: LetterState = LetterState.OPEN,
        cursor: str | None = None,
        expires: int | None = None,
        own_sets: Mapping[str, dict[str, Any]] | None = None,
    ) -> int:
        """Move those of the letters that are still in state `of`; None counts them."""
        rest = list(letters)
        while True:
            operations = [
                _letter(letter, of, to, {**sets, **(own_sets or {}).get(letter.id, {})}, expires)
                for letter in rest
            ]
            if expires is not None:
                operations += [_expiry(_key(letter, "body"), expires) for letter in rest]
                operations += [
                    _expiry(claim_key(letter.claims, letter.id), expires)
                    for letter in rest
                    if letter.claims
                ]
            for group, count in Counter(letter.group for letter in rest).items():
                operations.append(moving(group, {of: -count, to: count}, now=now))
            numbers = {
                name: len(rest) if count is None else count for name, count in counts.items()
            }
            operations += _progress(replay_id, numbers, cursor, now)
            try:
                if operations:
                    self._table.transact(operations)
            except TransactionCancelled as cancelled:
                # Somebody else moved them first.
                gone = {number for number in cancelled.failed if number < len(rest)}
                if not gone:
                    raise
                rest = [letter for number, letter in enumerate(rest) if number not in gone]
            else:
                return len(rest)


def _letter(
    letter: Letter, of: LetterState, to: LetterState, sets: dict[str, Any], expires: int | None
) -> dict[str, Any]:
    changed = {**sets, "state": to}
    if expires is not None:
        changed["expires"] = expires
    return {
        "Update": {
            "Key": _key(letter, "letter"),
            "UpdateExpression": "SET " + ", ".join(f"#{name} = :{name}" for name in changed),
            "ConditionExpression": "#state = :of",
            "ExpressionAttributeNames": {f"#{name}": name for name in changed},
            "ExpressionAttributeValues": typed(
                {":of": of} | {f":{name}": value for name, value in changed.items()}
            ),
        }
    }


def _expiry(place: dict[str, Any], expires: int) -> dict[str, Any]:
    return {
        "Update": {
            "Key": place,
            "UpdateExpression": "SET expires = :expires",
            "ExpressionAttributeValues": typed({":expires": expires}),
        }
    }


def _progress(
    replay_id: str, numbers: dict[str, int], cursor: str | None, now: float
) -> list[dict[str, Any]]:
    adds = {name: count for name, count in numbers.items() if count}
    if not adds and cursor is None:
        return []
    values: dict[str, Any] = {f":{name}": count for name, count in adds.items()}
    names = {f"#{name}": name for name in adds}
    expression = ""
    if cursor is not None:
        expression = "SET #cursor = :cursor, last_sent = :now "
        values[":cursor"], values[":now"] = cursor, now
        names["#cursor"] = "cursor"
    if adds:
        expression += "ADD " + ", ".join(f"#{name} :{name}" for name in adds)
    return [
        {
            "Update": {
                "Key": key("replays", replay_id),
                "UpdateExpression": expression.strip(),
                "ExpressionAttributeNames": names,
                "ExpressionAttributeValues": typed(values),
            }
        }
    ]


def _key(letter: Letter, kind: str) -> dict[str, Any]:
    parts = letter_key(letter.id)
    if parts is None:
        raise ValueError("not a letter's id")
    return key(parts[0], f"{kind}.{parts[1]}")
