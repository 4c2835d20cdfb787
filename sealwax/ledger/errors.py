"""What can go wrong with the ledger."""

from __future__ import annotations

from sealwax.aws.errors import StoreDenied, StoreUnreachable
from sealwax.errors import SealwaxError

__all__ = ["ClaimLost", "LedgerDenied", "LedgerError", "LedgerUnreachable"]


class LedgerError(SealwaxError):
    """The ledger refused; see the chained cause."""


class LedgerUnreachable(LedgerError, StoreUnreachable):
    """DynamoDB does not answer or throttles; nothing was recorded, try again later."""


class LedgerDenied(LedgerError, StoreDenied):
    """DynamoDB refused the call; check the table's name and the role's permissions."""


class ClaimLost(LedgerError):
    """Another attempt holds this job now; this one's outcome was not recorded."""
