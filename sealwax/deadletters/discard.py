"""Giving letters up: their jobs may expire, and what is kept of them in S3 is deleted.

Called by the replay engine, a batch at a time. Discarding a stray, or a letter
beside the job's own, touches no job and no payload; nor does a letter in the
job's place whose body is not verified to be the job's own, or where the ledger
does not say that the job is dead in that very generation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from sealwax.deadletters.bodies import Bodies, body_key
from sealwax.deadletters.errors import LettersError
from sealwax.deadletters.letter import Letter, first_argument
from sealwax.deadletters.table import LettersTable
from sealwax.ledger import JobState, Ledger, LedgerEntry
from sealwax.outbox.payloads import PayloadStore, PayloadStoreUnreachable, is_reference

__all__ = ["LetterDiscarder"]

log = structlog.get_logger("sealwax.steward")


class LetterDiscarder:
    """Does what a discard means beside the letters' own states.

    Parameters
    ----------
    payloads
        Returns access to the claim checks; called when one is met.
    is_own
        Whether the body of a letter of a queue is an entry's own message.
    """

    def __init__(
        self,
        table: LettersTable,
        bodies: Bodies,
        ledger: Ledger,
        payloads: Callable[[], PayloadStore],
        is_own: Callable[[bytes, LedgerEntry, str], bool],
    ) -> None:
        self._table = table
        self._bodies = bodies
        self._ledger = ledger
        self._payloads = payloads
        self._is_own = is_own

    def resolve(self, letters: Sequence[Letter]) -> dict[str, LedgerEntry]:
        """Let the letters' jobs expire; a repeat changes nothing.

        Returns
        -------
        The entries of the jobs whose own letters these are, as they were before.

        Raises
        ------
        LettersUnreachable, LettersDenied, sealwax.ledger.LedgerError
        """
        placed = [letter for letter in letters if letter.own and not letter.stray]
        known = self._ledger.many([letter.job for letter in placed if letter.job])
        items = self._table.batch_find([body_key(letter) for letter in placed])
        entries: dict[str, LedgerEntry] = {}
        for letter, item in zip(placed, items, strict=True):
            entry = known.get(letter.job or "")
            text = self._bodies.text(item) if item is not None else None
            if entry is None or text is None:
                continue
            if self._is_own(text.body, entry, letter.queue):
                self._ledger.resolve(entry.id, generation=letter.generation)
                entries[entry.id] = entry
        return entries

    def clear(self, letters: Sequence[Letter], entries: Mapping[str, LedgerEntry]) -> None:
        """Delete what S3 has of discarded letters and of their jobs' payloads.

        What cannot be deleted now stays, and is logged: `sealwax jobs erase`
        deletes it.

        Parameters
        ----------
        entries
            What `resolve` returned.
        """
        items = self._table.batch_find([body_key(letter) for letter in letters])
        for letter, item in zip(letters, items, strict=True):
            try:
                if letter.big:
                    self._bodies.delete(letter)
                entry = entries.get(letter.job or "")
                if entry is not None and _dead_by(letter, entry) and _has_claim_check(item):
                    self._payloads().erase(entry.id)
            except (LettersError, PayloadStoreUnreachable) as error:
                log.warning("payload not deleted", letter=letter.id, error=type(error).__name__)


def _dead_by(letter: Letter, entry: LedgerEntry) -> bool:
    """Whether a letter is that of its job's last death."""
    return letter.own and entry.state is JobState.DEAD and entry.generation == letter.generation


def _has_claim_check(item: dict[str, Any] | None) -> bool:
    """Whether a body refers to one: a message that does is small, so it is beside its letter."""
    argument = first_argument(item["body"]) if item and "body" in item else None
    return argument is not None and is_reference(argument)
