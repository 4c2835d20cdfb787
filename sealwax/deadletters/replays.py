"""Replays and discards: planned by people, carried out by the steward.

A plan names letters by ids, group or filter and freezes the choice by a
cut-off, so that planning costs the same for one letter and for a million. Each
change of state is one transaction together with its line in the audit log.
Called by the operations API and the console; `sealwax.steward.replay` carries out.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from sealwax.aws.clock import AWS_CLOCK
from sealwax.aws.dynamodb import CursorInvalid, TransactionCancelled, typed
from sealwax.control.audit_log import Audit, AuditLine
from sealwax.deadletters.errors import (
    LettersError,
    NoSuchReplay,
    ReplayStateConflict,
    SelectionInvalid,
)
from sealwax.deadletters.filter import Filter
from sealwax.deadletters.groups import LetterGroups
from sealwax.deadletters.letter import letter_key
from sealwax.deadletters.table import LettersTable, key

__all__ = ["CANARY", "IDS_MAX", "RATE", "TOLERANCE", "Replay", "ReplayState", "Replays"]

#: Letters sent in the steps before all the rest; each step waits for its outcomes.
CANARY = (1, 10, 100)

#: Letters a second.
RATE = 100.0

#: Part of the letters sent that may die again before the replay stops itself.
TOLERANCE = 0.05

#: Ids in one selection.
IDS_MAX = 500

Verb = Literal["replay", "discard"]


class ReplayState(StrEnum):
    """Where a replay is."""

    PLANNED = "planned"
    RUNNING = "running"
    PAUSED = "paused"
    #: It stopped itself; `stopped` says why. It may be resumed.
    STOPPED = "stopped"
    CANCELLED = "cancelled"
    DONE = "done"


@dataclass(frozen=True, kw_only=True)
class Replay:
    """A replay or a discard, and how far it is.

    Parameters
    ----------
    ids, filter
        The selection: one of the two.
    cutoff
        Epoch seconds: letters archived later are not meant.
    expected
        Letters that the selection had when it was planned; at most so many
        where `at_most`.
    rate
        Letters a second.
    canary
        Letters of the steps before all the rest.
    tolerance
        Part of those sent that may die again.
    sent
        Letters sent, or discarded.
    succeeded, died, other
        Outcomes of those sent; `other`: cancelled, expired, superseded, gone.
    skipped
        Letters that could not be sent: the ledger knows no such dead job.
    stopped
        Why it stopped itself.
    cursor
        How far the steward has come; its own business.
    last_sent
        Epoch seconds when its last letter was sent, or somebody resumed it: a
        step that has no outcome long after stops it.
    forgiven, forgiven_of
        Deaths and letters sent when somebody last resumed it: judged anew from there.
    """

    id: str
    verb: Verb
    state: ReplayState
    actor: str
    created: float
    cutoff: float
    expected: int
    at_most: bool = False
    reason: str | None = None
    ids: tuple[str, ...] = ()
    filter: Filter | None = None
    rate: float = RATE
    canary: tuple[int, ...] = CANARY
    tolerance: float = TOLERANCE
    sent: int = 0
    succeeded: int = 0
    died: int = 0
    other: int = 0
    skipped: int = 0
    listed: bool = False
    started: float | None = None
    ended: float | None = None
    stopped: str | None = None
    cursor: str | None = None
    last_sent: float | None = None
    forgiven: int = 0
    forgiven_of: int = 0

    @property
    def waiting(self) -> int:
        """Letters sent whose outcome is open."""
        if self.verb == "discard":
            return 0
        return self.sent - self.succeeded - self.died - self.other

    @property
    def step(self) -> int:
        """The canary step it is in, from 0; `len(canary)` is all the rest."""
        total = 0
        for number, size in enumerate(self.canary):
            total += size
            if self.sent < total or (self.sent == total and self.waiting):
                return number
        return len(self.canary)

    @property
    def allowance(self) -> int | None:
        """How many letters the present step may still send; None: all the rest."""
        total = 0
        for size in self.canary:
            total += size
            if self.sent < total:
                # A step begins when the one before is settled.
                if self.sent == total - size and self.waiting:
                    return 0
                return total - self.sent
            if self.sent == total and self.waiting:
                return 0
        return None

    @property
    def dies_again(self) -> bool:
        """Whether more died again than it tolerates."""
        return self.died - self.forgiven > self.tolerance * (self.sent - self.forgiven_of)

    @classmethod
    def from_item(cls, item: dict[str, Any]) -> Replay:
        """Read an item's plain values."""
        known = cls.__dataclass_fields__
        values = {name: value for name, value in item.items() if name in known}
        values["id"] = item["sort"]
        values["state"] = ReplayState(values["state"])
        values["ids"] = tuple(values.get("ids", ()))
        values["canary"] = tuple(values.get("canary", ()))
        if "filter" in values:
            values["filter"] = Filter.from_document(json.loads(values["filter"]))
        return cls(**values)


class Replays:
    """Plans replays and discards, and changes what they are to do."""

    def __init__(
        self,
        table: LettersTable,
        groups: LetterGroups,
        audit: Audit,
        *,
        clock: Callable[[], float] = AWS_CLOCK,
    ) -> None:
        self._table = table
        self._groups = groups
        self._audit = audit
        self._clock = clock

    # -- reading -------------------------------------------------------------------

    def get(self, replay_id: str) -> Replay:
        """Return a replay.

        Raises
        ------
        NoSuchReplay
        """
        item = self._table.get("replays", replay_id) if replay_id else None
        if item is None:
            raise NoSuchReplay
        return Replay.from_item(item)

    def active(self) -> tuple[str, ...]:
        """Return the ids of those that the steward has to do with."""
        return tuple(item["sort"] for item in self._table.partition("active"))

    # -- planning ------------------------------------------------------------------

    def preview(
        self,
        *,
        actor: str,
        verb: Verb = "replay",
        ids: Sequence[str] = (),
        filter: Filter | None = None,  # noqa: A002 - what it is
        reason: str | None = None,
        rate: float = RATE,
        canary: Sequence[int] = CANARY,
        tolerance: float = TOLERANCE,
    ) -> Replay:
        """Return what `plan` would freeze, with its count; nothing is written.

        Costs the same however many letters are meant.

        Raises
        ------
        SelectionInvalid
        """
        if bool(ids) == (filter is not None) or len(ids) > IDS_MAX:
            raise SelectionInvalid
        if any(letter_key(each) is None for each in ids):
            raise SelectionInvalid("One of the ids is not that of a letter.")
        if verb == "replay" and filter is not None and filter.strays:
            raise SelectionInvalid("Strays are never sent again: they are no job's.")
        if verb == "discard" and not reason:
            raise SelectionInvalid("A discard needs a reason.")
        if not (0 < rate <= 10_000 and 0 <= tolerance <= 1 and all(n > 0 for n in canary)):
            raise SelectionInvalid("Rate, tolerance or canary steps are out of range.")
        now = self._clock()
        chosen = tuple(dict.fromkeys(ids))
        strays = filter is not None and filter.strays
        listed = self._groups.list(strays=strays) if filter else []
        groups = [group for group in listed if filter and filter.fits(group)]
        return Replay(
            id=f"{round(now * 1000):013d}-{secrets.token_hex(4)}",
            verb=verb,
            state=ReplayState.PLANNED,
            actor=actor,
            created=now,
            cutoff=min(now, filter.until if filter and filter.until is not None else now),
            expected=sum(group.open for group in groups) if filter else len(chosen),
            at_most=bool(filter and filter.timed),
            reason=reason[:1_000] if reason else None,
            ids=chosen,
            filter=filter,
            rate=float(rate),
            canary=() if verb == "discard" else tuple(canary)[:10],
            tolerance=float(tolerance),
        )

    def plan(self, *, client_token: str | None = None, **choice: Any) -> Replay:
        """Freeze a selection, as `preview` describes it; nothing is sent before `start`.

        Parameters
        ----------
        client_token
            A repeat of the same actor with the same token returns the plan
            made first.

        Raises
        ------
        SelectionInvalid
        """
        replay = self.preview(**choice)
        operations = [
            {"Put": {"Item": _item(replay), "ConditionExpression": "attribute_not_exists(id)"}}
        ]
        line = self._line(replay, "plan", replay.actor, replay.reason)
        digest = hashlib.sha256(f"{replay.actor}\n{client_token}".encode()).hexdigest()
        if client_token is not None:
            mark: dict[str, Any] = {
                "id": f"client-token.{digest}",
                "sort": "-",
                "replay": replay.id,
                "expires": int(replay.created + 7 * 86_400),
            }
            put = {"Item": typed(mark), "ConditionExpression": "attribute_not_exists(id)"}
            operations.append({"Put": put})
        try:
            self._table.transact(operations, line=line)
        except TransactionCancelled as cancelled:
            if client_token is None or cancelled.failed != [1]:
                raise ReplayStateConflict from None
            known = self._table.get(f"client-token.{digest}", "-")
            return self.get(known["replay"] if known else "")
        return replay

    # -- what people decide ----------------------------------------------------------

    def start(self, replay_id: str, *, actor: str, reason: str | None = None) -> Replay:
        """Let the steward begin; a repeat changes nothing.

        Raises
        ------
        NoSuchReplay, ReplayStateConflict
        """
        done = (ReplayState.RUNNING, ReplayState.DONE)
        return self._change(
            replay_id, "start", actor, {ReplayState.PLANNED}, done, reason, active=True
        )

    def pause(self, replay_id: str, *, actor: str, reason: str | None = None) -> Replay:
        """Send nothing more for now; what was sent goes on."""
        done = (ReplayState.PAUSED,)
        return self._change(replay_id, "pause", actor, {ReplayState.RUNNING}, done, reason)

    def resume(self, replay_id: str, *, actor: str, reason: str | None = None) -> Replay:
        """Go on after a pause, or after it stopped itself: who resumes it forgives its deaths."""
        of = {ReplayState.PAUSED, ReplayState.STOPPED}
        done = (ReplayState.RUNNING,)
        return self._change(replay_id, "resume", actor, of, done, reason, active=True, forgive=True)

    def cancel(self, replay_id: str, *, actor: str, reason: str | None = None) -> Replay:
        """End it; letters not sent yet stay open."""
        of = {
            ReplayState.PLANNED, ReplayState.RUNNING, ReplayState.PAUSED, ReplayState.STOPPED,
        }  # fmt: skip
        return self._change(replay_id, "cancel", actor, of, (ReplayState.CANCELLED,), reason)

    def _change(
        self,
        replay_id: str,
        verb: str,
        actor: str,
        of: set[ReplayState],
        done: tuple[ReplayState, ...],
        reason: str | None,
        *,
        active: bool = False,
        forgive: bool = False,
    ) -> Replay:
        replay = self.get(replay_id)
        to = done[0]
        now = self._clock()
        change = change_state(replay_id, of, to, now, forgive=forgive)
        operations = [change]
        line = self._line(replay, verb, actor, reason)
        if active:
            operations.append({"Put": {"Item": typed({"id": "active", "sort": replay_id})}})
        try:
            self._table.transact(operations, line=line)
        except TransactionCancelled:
            replay = self.get(replay_id)
            if replay.state in done:
                return replay
            raise ReplayStateConflict(
                f"The replay is {replay.state}: it cannot {verb} now."
            ) from None
        return self.get(replay_id)

    def _line(self, replay: Replay, verb: str, actor: str, reason: str | None) -> AuditLine:
        chosen: dict[str, Any] = {"id": replay.id}
        if verb == "plan":
            chosen |= replay.filter.document() if replay.filter else {"ids": list(replay.ids[:20])}
        return self._audit.line(
            actor=actor,
            verb=f"{replay.verb}.{verb}",
            target=chosen,
            count=replay.expected,
            reason=reason or replay.reason,
        )

    def list(self, after: str | None = None, limit: int = 50) -> tuple[list[Replay], str | None]:
        """Return replays, the newest first, and the cursor of the next page."""
        start = {"id": "replays", "sort": after} if after else None
        if after is not None and not after.isascii():
            raise CursorInvalid
        rows = self._table.rows("replays", after=start, limit=max(1, min(limit, 100)), newest=True)
        found = [Replay.from_item(item) for item in rows.items]
        return found, rows.after["sort"] if rows.after else None


def change_state(
    replay_id: str,
    of: set[ReplayState],
    to: ReplayState,
    now: float,
    *,
    stopped: str | None = None,
    forgive: bool = False,
) -> dict[str, Any]:
    """Return the update that brings a replay into another state."""
    if not of:
        raise LettersError
    sets, remove = ["#state = :to"], " REMOVE stopped"
    values: dict[str, Any] = {":to": to}
    if to is ReplayState.RUNNING:
        sets.append("started = if_not_exists(started, :now)")
        values[":now"] = now
    if forgive:
        sets += ["forgiven = died", "forgiven_of = sent", "last_sent = :now"]
    if to in (ReplayState.DONE, ReplayState.CANCELLED):
        sets.append("ended = :now")
        values[":now"] = now
    if stopped is not None:
        sets.append("stopped = :why")
        values[":why"] = stopped
        remove = ""
    names = {f":of{number}": state for number, state in enumerate(sorted(of))}
    return {
        "Update": {
            "Key": key("replays", replay_id),
            "UpdateExpression": f"SET {', '.join(sets)}{remove}",
            "ConditionExpression": f"#state IN ({', '.join(names)})",
            "ExpressionAttributeNames": {"#state": "state"},
            "ExpressionAttributeValues": typed(values | names),
        }
    }


def _item(replay: Replay) -> dict[str, Any]:
    values = {**vars(replay), "id": "replays", "sort": replay.id}
    values["ids"] = list(replay.ids) or None
    values["canary"] = list(replay.canary)
    values["filter"] = json.dumps(replay.filter.document()) if replay.filter else None
    return typed(values)
