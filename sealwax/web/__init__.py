"""The HTTP edge: authenticates, validates, enriches, seals and enqueues.

It holds the workers' public key only: what it has queued it cannot open again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sealwax.web.app import create_app

__all__ = ["create_app"]


def __getattr__(name: str) -> Any:
    """Load the factory when it is asked for: it needs the extra `api`."""
    if name == "create_app":
        from sealwax.web.app import create_app

        return create_app
    raise AttributeError(name)
