"""Which letters are meant: a filter, as an operator gives it. Pure.

Groups hold exactly what can be filtered by, so a filter chooses groups, and
then a span of time within each.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from sealwax.outcomes import Reason

__all__ = ["Filter"]


@dataclass(frozen=True, kw_only=True)
class Filter:
    """All that is not None must fit.

    Parameters
    ----------
    group
        A group's fingerprint.
    queue
        Name of the queue that the letters come from.
    since, until
        Epoch seconds of archiving, both included.
    """

    group: str | None = None
    queue: str | None = None
    task: str | None = None
    reason: str | None = None
    cause: str | None = None
    error: str | None = None
    since: float | None = None
    until: float | None = None

    def fits(self, group: Any) -> bool:
        """Whether a group's letters are meant, as far as time does not decide."""
        if self.group is not None and group.fingerprint != self.group:
            return False
        return all(
            wanted is None or getattr(group, name) == wanted
            for name in ("queue", "task", "reason", "cause", "error")
            for wanted in (getattr(self, name),)
        )

    @property
    def strays(self) -> bool:
        """Whether strays are meant: nothing but their own reason chooses them."""
        return self.reason == Reason.STRAY

    @property
    def timed(self) -> bool:
        """Whether it is narrower than the groups it chooses."""
        return self.since is not None or self.until is not None

    def document(self) -> dict[str, Any]:
        """Return what is set, as JSON values."""
        return {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if getattr(self, each.name) is not None
        }

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Filter:
        """Read what `document` returned."""
        return cls(**document)
