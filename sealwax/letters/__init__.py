"""Dead letters: the archive, its groups, replays and discards, and the audit log.

Called by the steward's duties, the operations API and the console. It never
opens a payload: what it keeps is sealed, and it holds no key.
"""

from __future__ import annotations

from sealwax.letters.archive import Archive, Body, Page
from sealwax.letters.audit import Audit, AuditRecord
from sealwax.letters.errors import (
    CursorInvalid,
    LettersDenied,
    LettersError,
    LettersUnreachable,
    NoSuchLetter,
    NoSuchReplay,
    NoSuchReveal,
    ReplayStateConflict,
    SelectionInvalid,
)
from sealwax.letters.groups import Group, Groups
from sealwax.letters.letter import Letter, LetterState, explain
from sealwax.letters.replays import Replay, Replays, ReplayState
from sealwax.letters.selection import Filter
from sealwax.letters.service import Letters, make_letters

__all__ = [
    "Archive",
    "Audit",
    "AuditRecord",
    "Body",
    "CursorInvalid",
    "Filter",
    "Group",
    "Groups",
    "Letter",
    "LetterState",
    "Letters",
    "LettersDenied",
    "LettersError",
    "LettersUnreachable",
    "NoSuchLetter",
    "NoSuchReplay",
    "NoSuchReveal",
    "Page",
    "Replay",
    "ReplayState",
    "ReplayStateConflict",
    "Replays",
    "SelectionInvalid",
    "explain",
    "make_letters",
]
