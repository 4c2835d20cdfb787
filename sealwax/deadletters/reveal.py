"""Requests to reveal a letter's payload: the API asks for one, a worker answers it.

Neither the API nor the steward can open a payload. So a request waits in the
control table; a worker decides, by rules of its own (`sealwax.worker.reveal`), opens the
envelope and seals the plaintext to the operator's key or, by setting, to the
API's; whoever asked gets it once, and then it is gone. What stands in these
rows is the API's word: a worker believes none of it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sealwax.aws.clock import AWS_CLOCK
from sealwax.control.audit_log import Audit
from sealwax.control.table import ConditionFailed, ControlTable
from sealwax.deadletters.archive import Archive
from sealwax.deadletters.errors import NoSuchReveal, RevealRefused
from sealwax.deadletters.reveal_request import is_request_id, read_request

__all__ = ["KIND", "REVEAL_MAX", "SECONDS", "Asked", "Revealed", "Reveals"]

KIND = "reveal"

#: Seconds that a request, and its answer, live.
SECONDS = 600

#: Seconds after which another worker may take a request that one has taken.
TAKEN = 30.0

#: Longest sealed answer, in characters: an item of DynamoDB holds 400 KB.
REVEAL_MAX = 300_000

#: Rows that one look for a request reads: a flood of them must not hold a worker.
LOOKS_MAX = 500


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request that a worker has taken: it alone may answer, by its token.

    Parameters
    ----------
    letter, actor, reason
        What the API says that is asked, by whom, and why; None where it says none.
    statement
        What the operator signed.
    """

    id: str
    token: str
    letter: str | None = None
    actor: str | None = None
    reason: str | None = None
    statement: str | None = None


@dataclass(frozen=True)
class Revealed:
    """What became of a request.

    `asked`, `done` with the sealed text, `failed` with a cause; `look` alone
    also says `shown`. `signed` says that an operator's key opens the answer.
    """

    id: str
    letter: str
    state: str
    sealed: str | None = None
    cause: str | None = None
    signed: bool = False


class Reveals:
    """Requests in the control table."""

    def __init__(self, table: ControlTable, *, clock: Callable[[], float] = AWS_CLOCK) -> None:
        self._table = table
        self._clock = clock

    # -- the API's part --------------------------------------------------------------

    def ask(
        self, letter_id: str, *, actor: str, reason: str, archive: Archive, audit: Audit
    ) -> str:
        """Ask for a letter's payload, sealed to the API's key; return the request's id.

        Raises
        ------
        NoSuchLetter, LettersUnreachable
            Nothing was asked.
        """
        letter = archive.get(letter_id)
        audit.record(actor=actor, verb="reveal.ask", target=letter.id, count=1, reason=reason)
        request = secrets.token_hex(16)
        self._put(request, letter.id, letter.queue, actor, {"reason": reason})
        return request

    def ask_signed(
        self, letter_id: str, statement: object, *, actor: str, archive: Archive, audit: Audit
    ) -> str:
        """Hand an operator's own request on; return its id, which the operator chose.

        Its form alone is looked at here: the worker verifies it.

        Raises
        ------
        NoSuchLetter, LettersUnreachable, RevealRefused
            Nothing was asked.
        """
        request, fields = read_request(statement)
        if request.letter != letter_id:
            raise RevealRefused("request-mismatch")
        letter = archive.get(letter_id)
        audit.record(actor=actor, verb="reveal.ask", target=letter.id, count=1, reason=request.why)
        try:
            self._put(
                request.nonce, letter.id, letter.queue, actor, {"statement": json.dumps(fields)}
            )
        except ConditionFailed:
            raise RevealRefused("request-replayed") from None
        return request.nonce

    def _put(self, request: str, letter: str, queue: str, actor: str, more: dict[str, str]) -> None:
        values = {
            "letter": letter,
            "queue": queue,
            "actor": actor,
            "state": "asked",
            "taken": 0.0,
            "expires": int(self._clock() + SECONDS),
            **more,
        }
        self._table.put(KIND, request, values, new=True)

    def show(self, request: str, *, actor: str) -> Revealed:
        """Return what became of a request, an answer once: it is deleted here.

        Raises
        ------
        NoSuchReveal
            Also where it was shown, has expired, or was somebody else's.
        """
        item = self._table.get(KIND, request)
        if item is None or item["actor"] != actor or item["expires"] < self._clock():
            raise NoSuchReveal
        state, signed = str(item["state"]), "statement" in item
        if state in ("shown", "asked", "taken"):
            if state == "shown":
                raise NoSuchReveal
            return Revealed(request, item["letter"], "asked", signed=signed)
        try:
            self._table.update(
                KIND,
                request,
                "SET #state = :shown REMOVE sealed",
                "#state = :state",
                {":shown": "shown", ":state": state},
            )
        except ConditionFailed:
            raise NoSuchReveal from None
        return Revealed(
            request, item["letter"], state, item.get("sealed"), item.get("cause"), signed
        )

    def look(self, request: str, *, actor: str) -> Revealed:
        """Return how far a request is, without its answer; nothing is used up.

        Raises
        ------
        NoSuchReveal
            Also where it has expired, or was somebody else's.
        """
        item = self._table.get(KIND, request)
        if item is None or item["actor"] != actor or item["expires"] < self._clock():
            raise NoSuchReveal
        state = "asked" if item["state"] == "taken" else str(item["state"])
        return Revealed(
            request, item["letter"], state, cause=item.get("cause"), signed="statement" in item
        )

    # -- the worker's part -------------------------------------------------------------

    def take(self, queue: str | None = None) -> Asked | None:
        """Take a request that waits; None where there is none.

        Parameters
        ----------
        queue
            Where the letter must have died, by name: workers of other lanes
            hold no key to it. None: wherever.
        """
        now = self._clock()
        for item in islice(self._table.all(KIND), LOOKS_MAX):
            if not _waits(item, now) or (queue is not None and item.get("queue", queue) != queue):
                continue
            token = secrets.token_hex(8)
            try:
                self._table.update(
                    KIND,
                    item["id"],
                    "SET #state = :taken, taken = :now, holder = :token",
                    "#state = :state AND taken = :before",
                    {
                        ":taken": "taken",
                        ":now": now,
                        ":token": token,
                        ":state": item["state"],
                        ":before": item["taken"],
                    },
                )
            except ConditionFailed:
                continue
            return Asked(
                id=item["id"],
                token=token,
                letter=_text(item.get("letter")),
                actor=_text(item.get("actor")),
                reason=_text(item.get("reason")),
                statement=_text(item.get("statement")),
            )
        return None

    def answer(self, asked: Asked, *, sealed: str | None = None, cause: str | None = None) -> bool:
        """Answer with the sealed payload, or with why there is none; False where it was lost."""
        values: dict[str, Any] = {":state": "done" if sealed else "failed", ":token": asked.token}
        sets = "SET #state = :state"
        if sealed:
            sets += ", sealed = :sealed"
            values[":sealed"] = sealed
        else:
            sets += ", cause = :cause"
            values[":cause"] = cause or "failed"
        try:
            self._table.update(
                KIND, asked.id, sets, "#state = :taken AND holder = :token",
                values | {":taken": "taken"},
            )  # fmt: skip
        except ConditionFailed:
            return False
        return True


def _waits(item: dict[str, Any], now: float) -> bool:
    """Whether a row is a request that may be taken; rows of any other form are left alone."""
    taken, expires = item.get("taken"), item.get("expires")
    if not isinstance(taken, int | float) or not isinstance(expires, int | float):
        return False
    if not is_request_id(item["id"]) or expires < now:
        return False
    return item.get("state") == "asked" or (item.get("state") == "taken" and taken < now - TAKEN)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
