"""What Sealwax needs in AWS, as data, and ways to make and to check it.

`desired_state` is pure: queues, tables and keys derived from the settings.
`provision` makes what is missing and corrects what differs; `sealwax dev` and
the tests call it. `audit` only looks, and says what is wrong and how to put it
right; `sealwax check` prints it. In production CloudFormation makes these
resources (`ecs/`) and `provision` is not used. Nothing here ever deletes or
empties anything.
"""

from __future__ import annotations

from sealwax.provision.apply import ProvisionError, ProvisionReport, provision
from sealwax.provision.desired import (
    MAX_RECEIVE_COUNT,
    DesiredState,
    IndexSpec,
    KeySpec,
    QueueSpec,
    TableSpec,
    desired_state,
)
from sealwax.provision.diff import Difference, audit

__all__ = [
    "MAX_RECEIVE_COUNT",
    "DesiredState",
    "Difference",
    "IndexSpec",
    "KeySpec",
    "ProvisionError",
    "ProvisionReport",
    "QueueSpec",
    "TableSpec",
    "audit",
    "desired_state",
    "provision",
]
