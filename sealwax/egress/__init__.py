"""Outgoing HTTP: the only way by which tasks and enrichers reach other systems.

Every request is held to an `HttpRule`: which hosts and addresses, how long, how
much. The connection goes to the address that was checked, redirects are not
followed, and no error text holds a path, a query, a header or a body.
"""

from __future__ import annotations

from sealwax.egress.client import OutgoingClient, OutgoingResponse, shared_client
from sealwax.egress.errors import (
    DownstreamGarbage,
    DownstreamStatus,
    DownstreamTimeout,
    DownstreamUnreachable,
    OutgoingError,
    OutgoingRefused,
)
from sealwax.egress.rules import HttpRule, Target, parse_target
from sealwax.egress.status import classify, outcome, parse_retry_after

__all__ = [
    "DownstreamGarbage",
    "DownstreamStatus",
    "DownstreamTimeout",
    "DownstreamUnreachable",
    "HttpRule",
    "OutgoingClient",
    "OutgoingError",
    "OutgoingRefused",
    "OutgoingResponse",
    "Target",
    "classify",
    "outcome",
    "parse_retry_after",
    "parse_target",
    "shared_client",
]
