"""Lines in the audit log for commands that go past the API, with AWS permissions of their own.

Called by such a command before it changes anything: where the line cannot be
written, the command ends with the log's error and nothing has been done.
"""

from __future__ import annotations

import getpass
import socket
from typing import Any

from sealwax.stores import Stores

__all__ = ["cli_actor", "record_cli"]


def cli_actor() -> str:
    """Return who runs the command, as the audit log names them: `cli:<user>@<host>`."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = "unknown"  # a container's user needs no name
    return f"cli:{user}@{socket.gethostname()}"


def record_cli(
    stores: Stores,
    *,
    verb: str,
    target: str | dict[str, Any],
    count: int | None = None,
    reason: str | None = None,
) -> None:
    """Append the line of a command; call it before the change, never after.

    Parameters
    ----------
    verb
        What, as `<thing>.<verb>`: `token.issue`, `key.retire`.
    target
        To what: an id, or a few facts. Never a secret.
    count
        How many things it touches.
    reason
        Why, in the operator's words.

    Raises
    ------
    sealwax.control.audit_log.AuditUnreachable, sealwax.control.audit_log.AuditDenied
    """
    stores.letters.audit.record(
        actor=cli_actor(), verb=verb, target=target, count=count, reason=reason
    )
