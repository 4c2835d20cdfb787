"""Revealing a letter's payload: asked by the API, opened by a worker, shown once.

Neither the API nor the steward can open a payload. So a request waits in the
control table; a worker opens the envelope and seals the plaintext to the API's
key; whoever asked sees it once, and then it is gone. The audit log has its
line before anything is opened.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sealwax.control.audit_log import Audit
from sealwax.control.table import ConditionFailed, ControlTable
from sealwax.deadletters.archive import Archive
from sealwax.deadletters.errors import NoSuchReveal

__all__ = ["KIND", "REVEAL_MAX", "SECONDS", "Asked", "Revealed", "Reveals"]

KIND = "reveal"

#: Seconds that a request, and its answer, live.
SECONDS = 600

#: Seconds after which another worker may take a request that one has taken.
TAKEN = 30.0

#: Longest sealed answer, in characters: an item of DynamoDB holds 400 KB.
REVEAL_MAX = 300_000


@dataclass(frozen=True)
class Asked:
    """A request that a worker has taken: it alone may answer, by its token."""

    id: str
    letter: str
    token: str


@dataclass(frozen=True)
class Revealed:
    """What became of a request.

    `asked`, `done` with the sealed text, `failed` with a cause; `look` alone
    also says `shown`.
    """

    id: str
    letter: str
    state: str
    sealed: str | None = None
    cause: str | None = None


class Reveals:
    """Requests in the control table."""

    def __init__(self, table: ControlTable, *, clock: Callable[[], float] = time.time) -> None:
        self._table = table
        self._clock = clock

    # -- the API's part --------------------------------------------------------------

    def ask(
        self, letter_id: str, *, actor: str, reason: str, archive: Archive, audit: Audit
    ) -> str:
        """Ask for a letter's payload; return the request's id.

        Raises
        ------
        NoSuchLetter, LettersUnreachable
            Nothing was asked.
        """
        letter = archive.get(letter_id)
        audit.record(actor=actor, verb="letter.reveal", target=letter.id, count=1, reason=reason)
        request = secrets.token_hex(16)
        values = {
            "letter": letter.id,
            "queue": letter.queue,
            "actor": actor,
            "state": "asked",
            "taken": 0.0,
            "expires": int(self._clock() + SECONDS),
        }
        self._table.put(KIND, request, values, new=True)
        return request

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
        state = str(item["state"])
        if state in ("shown", "asked", "taken"):
            if state == "shown":
                raise NoSuchReveal
            return Revealed(request, item["letter"], "asked")
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
        return Revealed(request, item["letter"], state, item.get("sealed"), item.get("cause"))

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
        return Revealed(request, item["letter"], state, cause=item.get("cause"))

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
        for item in self._table.all(KIND):
            waits = item["state"] == "asked" or (
                item["state"] == "taken" and item["taken"] < now - TAKEN
            )
            if not waits or item["expires"] < now:
                continue
            if queue is not None and item.get("queue", queue) != queue:
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
            return Asked(item["id"], item["letter"], token)
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
