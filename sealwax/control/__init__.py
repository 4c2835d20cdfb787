"""The control table: what operators and workers tell each other.

Called by the steward, the workers and the operations API. It never holds a
payload, nor anything that a job's outcome depends on: the ledger alone decides that.
"""

from __future__ import annotations

from sealwax.control.heartbeats import Heartbeats, RunningJob, WorkerReport, WorkerView
from sealwax.control.pauses import Pause, Pauses
from sealwax.control.table import ConditionFailed, ControlDenied, ControlTable, ControlUnreachable

__all__ = [
    "ConditionFailed",
    "ControlDenied",
    "ControlTable",
    "ControlUnreachable",
    "Heartbeats",
    "Pause",
    "Pauses",
    "RunningJob",
    "WorkerReport",
    "WorkerView",
]
