"""The control table: who leads which duty, and what operators and workers tell each other.

Called by the steward, the workers and the operations API. It never holds a
payload, nor anything that a job's outcome depends on: the ledger alone decides that.
"""

from __future__ import annotations

from sealwax.control.leases import Lease, Leases
from sealwax.control.pauses import Pause, Pauses
from sealwax.control.status import Report, Running, Statuses, WorkerView
from sealwax.control.table import ConditionFailed, ControlDenied, ControlTable, ControlUnreachable

__all__ = [
    "ConditionFailed",
    "ControlDenied",
    "ControlTable",
    "ControlUnreachable",
    "Lease",
    "Leases",
    "Pause",
    "Pauses",
    "Report",
    "Running",
    "Statuses",
    "WorkerView",
]
