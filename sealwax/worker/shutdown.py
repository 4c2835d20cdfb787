"""Graceful shutdown with a deadline: ends a worker that has not stopped in time.

Started by the worker's main process when its shutdown begins. Whatever keeps it
(a long job, a child that died while the pool was closing), at the deadline
everything in flight is released, at once and not after a lease, and the
process ends before the platform kills it. An attempt that is cut so is no
crash and leaves no suspicion: it is released, and the job runs again
elsewhere. It never releases an attempt that may still do something.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterable, Sequence

import structlog

from sealwax.errors import SealwaxError
from sealwax.ledger import ClaimLost
from sealwax.transport.pauses import ConsumerPauses

__all__ = ["GracefulShutdown"]

log = structlog.get_logger("sealwax.worker")


class GracefulShutdown:
    """Shutdown deadline of one worker.

    Parameters
    ----------
    seconds
        From the beginning of the shutdown; keep it under the platform's own
        (ECS: StopTimeout).
    release
        Releases a job's attempt in the ledger, by the job's id and the
        delivery's token; None: jobs wait for the end of their leases.
    children
        Returns the pids of the pool's processes.
    end
        Ends this process at once.
    """

    def __init__(
        self,
        pauses: ConsumerPauses,
        seconds: float,
        *,
        release: Callable[[str, str], object] | None = None,
        children: Callable[[], Sequence[int]] | None = None,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        self._pauses = pauses
        self._seconds = seconds
        self._release = release
        self._children = children or _children
        self._end = end
        self._over = threading.Event()

    def start(self) -> None:
        """Start the deadline, in a thread: the process may end by itself meanwhile."""
        threading.Thread(target=self._run, name="sealwax-shutdown", daemon=True).start()

    def cancel(self) -> None:
        """Cancel the deadline: the worker has ended by itself."""
        self._over.set()

    def _run(self) -> None:
        if self._over.wait(self._seconds):
            return
        log.warning("shutdown deadline passed, releasing what is in flight", seconds=self._seconds)
        # Stopped and not killed yet: a death would be counted, and what is
        # released must not run on.
        children = self._children()
        _signal(children, signal.SIGSTOP)
        running = [each for consumer in self._pauses.consumers for each in consumer.running()]
        if children:  # threads run on until the process ends
            self._release_attempts(running)
        for consumer in self._pauses.consumers:
            with contextlib.suppress(Exception):
                consumer.close()
        _signal(children, signal.SIGKILL)
        self._end(0)

    def _release_attempts(self, running: list[tuple[str, str]]) -> None:
        if self._release is None:
            return
        for job_id, token in running:
            try:
                self._release(job_id, token)
            except ClaimLost:
                continue  # it has ended, or had not begun
            except SealwaxError as error:
                # The others' leases end by themselves; there is no time to wait for answers.
                log.warning("attempts not released", error=type(error).__name__)
                return


def _signal(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _children() -> list[int]:
    from billiard import active_children

    return [child.pid for child in active_children() if child.pid]
