"""Duty: log the audit log's newest number and hash, so that another system keeps them.

Whoever may write the audit log's table could make a whole new chain; a head
in the steward's log, which goes elsewhere, gives that away.
"""

from __future__ import annotations

import structlog

from sealwax.control.audit_log import Audit
from sealwax.steward.duty import Leader

__all__ = ["AuditHeadDuty"]

log = structlog.get_logger("sealwax.steward")

#: Seconds between two lines.
EVERY = 3_600.0


class AuditHeadDuty:
    """Logs the head of the chain once an hour."""

    name = "audit-head"

    def __init__(self, audit: Audit, *, every: float = EVERY) -> None:
        self._audit = audit
        self.every = every

    def turn(self, lead: Leader) -> bool:
        """Log the head; never more waits."""
        del lead
        head = self._audit.head()
        log.info("audit head", count=head.count, hash=head.hash)
        return False
