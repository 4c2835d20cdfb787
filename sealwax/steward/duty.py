"""What a duty is, and how it asks whether it still leads.

Implemented by each duty and by the runner; protocols only.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["Duty", "Leader"]


class Leader(Protocol):
    """The leadership under which a turn runs."""

    def held(self) -> bool:
        """Whether we still lead; ask before each side effect. Renews the lease where due."""
        ...


class Duty(Protocol):
    """Work that one steward at a time does.

    `name` is also the leader lease's; `every` is the seconds between turns
    when there is nothing more to do.
    """

    name: str
    every: float

    def turn(self, lead: Leader) -> bool:
        """Do a bounded piece of work (at most 5 s); True where more waits."""
        ...
