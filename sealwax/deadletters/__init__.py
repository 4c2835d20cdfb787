"""Dead letters: the archive, its groups, replays and discards, and the audit log.

The reasons that letters give stand in `sealwax.reasons`.

Called by the steward's duties, the operations API and the console. It never
opens a payload: what it keeps is sealed, and it holds no key.
"""

from __future__ import annotations

from sealwax.control.audit_log import Audit, AuditRecord
from sealwax.deadletters.archive import Archive, Body, LetterPage
from sealwax.deadletters.errors import (
    LettersDenied,
    LettersError,
    LettersUnreachable,
    NoSuchLetter,
    NoSuchReplay,
    NoSuchReveal,
    ReplayStateConflict,
    RevealModeRefused,
    RevealRefused,
    SelectionInvalid,
)
from sealwax.deadletters.explanation import explain
from sealwax.deadletters.filter import Filter
from sealwax.deadletters.groups import Group, LetterGroups
from sealwax.deadletters.letter import Letter, LetterState
from sealwax.deadletters.replays import Replay, Replays, ReplayState
from sealwax.deadletters.service import Letters, make_letters

__all__ = [
    "Archive",
    "Audit",
    "AuditRecord",
    "Body",
    "Filter",
    "Group",
    "Letter",
    "LetterGroups",
    "LetterPage",
    "LetterState",
    "Letters",
    "LettersDenied",
    "LettersError",
    "LettersUnreachable",
    "NoSuchLetter",
    "NoSuchReplay",
    "NoSuchReveal",
    "Replay",
    "ReplayState",
    "ReplayStateConflict",
    "Replays",
    "RevealModeRefused",
    "RevealRefused",
    "SelectionInvalid",
    "explain",
    "make_letters",
]
