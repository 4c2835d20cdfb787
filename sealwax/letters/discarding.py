"""Giving letters up: their jobs may expire, and what is kept of them in S3 is deleted.

Called by the replay engine, a batch at a time. A letter that nobody has
verified bears a job's name by its own word only: discarding it never touches
the job or its payload.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from sealwax.claims import ClaimChecks, ClaimError, ClaimsUnreachable, is_reference
from sealwax.ledger import Entry, Ledger
from sealwax.letters.bodies import Bodies
from sealwax.letters.errors import LettersError
from sealwax.letters.letter import Letter, letter_key
from sealwax.letters.table import LettersTable, key

__all__ = ["Discarding"]

log = structlog.get_logger("sealwax.steward")


class Discarding:
    """Does what a discard means beside the letters' own states.

    Parameters
    ----------
    claims
        Returns access to the claim checks; called when one is met.
    """

    def __init__(
        self,
        table: LettersTable,
        bodies: Bodies,
        ledger: Ledger,
        claims: Callable[[], ClaimChecks],
    ) -> None:
        self._table = table
        self._bodies = bodies
        self._ledger = ledger
        self._claims = claims

    def resolve(self, letters: Sequence[Letter]) -> None:
        """Let the letters' jobs expire; a repeat changes nothing."""
        entries = self._ledger.many([letter.job for letter in letters if letter.job])
        for letter in letters:
            entry = entries.get(letter.job or "")
            if entry is not None and _stands_for(letter, entry):
                self._ledger.resolve(entry.id, generation=letter.generation)

    def clear(self, letters: Sequence[Letter]) -> None:
        """Delete what S3 has of discarded letters and of their jobs' payloads.

        What cannot be deleted now stays, and is logged: `sealwax jobs erase`
        deletes it.
        """
        places = [_place(letter) for letter in letters]
        items = self._table.batch_get(places)
        references = {(item["id"], item["sort"]): _reference(item) for item in items}
        for letter, place in zip(letters, places, strict=True):
            reference = references.get((place["id"]["S"], place["sort"]["S"]))
            try:
                if letter.big:
                    self._bodies.delete(letter)
                if reference is not None and letter.job is not None and _verified(letter):
                    self._claims().delete(letter.job, reference)
            except (LettersError, ClaimsUnreachable, ClaimError) as error:
                log.warning("payload not deleted", letter=letter.id, error=type(error).__name__)


def _place(letter: Letter) -> dict[str, Any]:
    parts = letter_key(letter.id) or ("", "")
    return key(parts[0], f"body.{parts[1]}")


def _verified(letter: Letter) -> bool:
    """Whether the letter has its job's own place."""
    return letter.id == f"{letter.job}.{letter.generation}"


def _stands_for(letter: Letter, entry: Entry) -> bool:
    return _verified(letter) or entry.unverified


def _reference(item: dict[str, Any]) -> str | None:
    """Return the claim check of a body beside its letter: a message with one is always small."""
    if "body" not in item:
        return None
    try:
        argument = json.loads(json.loads(item["body"])["body"])[0][0]
    except (ValueError, TypeError, LookupError, RecursionError):
        return None
    return argument if isinstance(argument, str) and is_reference(argument) else None
