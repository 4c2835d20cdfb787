"""The ledger: one small DynamoDB item a job, changed by conditional writes only.

The API accepts, workers claim and finish; nobody else writes. It holds no
payload: only states, times, counts, keyed hashes and the sealed result.
"""

from sealwax.ledger.acceptance import CLAIM_CHECKS_MAX, Accepted
from sealwax.ledger.claims import EARLY, LOST_MOST, SUSPICIONS, Claimed, Refused
from sealwax.ledger.entry import (
    DEAD_WATCH,
    FINAL,
    MAX_GENERATION,
    UNUSED_ID,
    JobState,
    LedgerEntry,
    NewJob,
    is_job_id,
    open_watch,
    read_generation,
)
from sealwax.ledger.erasing import ERASED, StillRuns
from sealwax.ledger.errors import (
    ClaimLost,
    LedgerDenied,
    LedgerError,
    LedgerUnreachable,
)
from sealwax.ledger.listing import JobPage, KeyUsage, is_cursor
from sealwax.ledger.store import Ledger

__all__ = [
    "CLAIM_CHECKS_MAX",
    "DEAD_WATCH",
    "EARLY",
    "ERASED",
    "FINAL",
    "LOST_MOST",
    "MAX_GENERATION",
    "SUSPICIONS",
    "UNUSED_ID",
    "Accepted",
    "ClaimLost",
    "Claimed",
    "JobPage",
    "JobState",
    "KeyUsage",
    "Ledger",
    "LedgerDenied",
    "LedgerEntry",
    "LedgerError",
    "LedgerUnreachable",
    "NewJob",
    "Refused",
    "StillRuns",
    "is_cursor",
    "is_job_id",
    "open_watch",
    "read_generation",
]
