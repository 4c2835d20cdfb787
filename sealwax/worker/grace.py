"""Ends a worker that was asked to stop and has not ended in time.

Started by the worker's main process when its shutdown begins. Whatever keeps it
(a long job, a child that died while the pool was closing), when the grace is
over everything held is given back, at once and not after a lease, and the
process ends before the platform kills it. An attempt that is cut so is no
crash: its job is found as interrupted, and runs again elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterable

import structlog

from sealwax.transport.holds import Holds

__all__ = ["Grace"]

log = structlog.get_logger("sealwax.worker")


class Grace:
    """One worker's.

    Parameters
    ----------
    seconds
        From the beginning of the shutdown; keep it under the platform's own
        (ECS: StopTimeout).
    children
        Returns the pids of the pool's processes.
    end
        Ends this process at once.
    """

    def __init__(
        self,
        holds: Holds,
        seconds: float,
        *,
        children: Callable[[], Iterable[int]] | None = None,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        self._holds = holds
        self._seconds = seconds
        self._children = children or _children
        self._end = end
        self._over = threading.Event()

    def begin(self) -> None:
        """Begin to wait, in a thread: the process may end by itself meanwhile."""
        threading.Thread(target=self._run, name="sealwax-grace", daemon=True).start()

    def cancel(self) -> None:
        """Wait no more: the worker has ended by itself."""
        self._over.set()

    def _run(self) -> None:
        if self._over.wait(self._seconds):
            return
        log.warning("grace over, giving back what is held", seconds=self._seconds)
        for intake in self._holds.intakes:
            with contextlib.suppress(Exception):
                intake.close()
        # Only now: the message is given back, so the children's end decides nothing.
        for pid in self._children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._end(0)


def _children() -> list[int]:
    from billiard import active_children

    return [child.pid for child in active_children() if child.pid]
