"""The ledger: one small DynamoDB item a job, changed by conditional writes only.

The API accepts, workers claim and finish; nobody else writes. It holds no
payload: only states, times, counts, keyed hashes and the sealed result.
"""

from sealwax.ledger.entry import Entry, NewJob, State, is_job_id
from sealwax.ledger.errors import (
    ClaimLost,
    LedgerDenied,
    LedgerError,
    LedgerUnreachable,
)
from sealwax.ledger.store import Accepted, Claimed, Ledger, Needing, Refused

__all__ = [
    "Accepted",
    "ClaimLost",
    "Claimed",
    "Entry",
    "Ledger",
    "LedgerDenied",
    "LedgerError",
    "LedgerUnreachable",
    "Needing",
    "NewJob",
    "Refused",
    "State",
    "is_job_id",
]
