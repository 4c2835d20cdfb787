"""The list of all duties: a new one is added here.

Called by `sealwax steward`.
"""

from __future__ import annotations

from sealwax.runtime import Runtime
from sealwax.steward.duty import Duty

__all__ = ["make_duties"]


def make_duties(runtime: Runtime) -> list[Duty]:  # noqa: ARG001 - what duties are made from
    """Return the duties of a steward."""
    return []
