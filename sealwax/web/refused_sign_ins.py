"""Refused sign-ins, counted: one line a minute in the audit log, however many there are.

The first of a minute is written at once, the others with their count when the
minute is over. Called by the sign-in page alone. A log that cannot be written
never turns a refusal into anything else; what a process counted and had not
written when it was killed is lost.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from sealwax.control.audit_log import Audit
from sealwax.errors import SealwaxError

__all__ = ["RefusedSignIns"]

log = structlog.get_logger("sealwax.web")

#: Seconds for which refusals are counted together.
SPAN = 60.0


def _later(seconds: float, call: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, call)
    timer.daemon = True
    timer.start()


class RefusedSignIns:
    """Counts refused sign-ins of this process and writes their lines.

    Parameters
    ----------
    later
        Calls a function after so many seconds.
    """

    def __init__(
        self, audit: Audit, *, later: Callable[[float, Callable[[], None]], None] = _later
    ) -> None:
        self._audit = audit
        self._later = later
        self._lock = threading.Lock()
        self._counted: int | None = None

    def add(self) -> None:
        """Count one refusal; write it where it is the first of its minute."""
        with self._lock:
            if self._counted is not None:
                self._counted += 1
                return
            self._counted = 0
        self._later(SPAN, self._over)
        self._write(1)

    def _over(self) -> None:
        with self._lock:
            counted, self._counted = self._counted, None
        if counted:
            self._write(counted)

    def _write(self, count: int) -> None:
        try:
            self._audit.record(
                actor="anonymous", verb="console.sign-in-refused", target="console", count=count
            )
        except SealwaxError as error:
            log.warning("refused sign-in not recorded", count=count, error=type(error).__name__)
