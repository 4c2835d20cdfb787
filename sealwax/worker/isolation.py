"""Isolation lock of a worker: shared by many jobs, or exclusive to one for a while.

A job under which whole workers were lost runs alone, so that the next loss says
whose fault it was. That must not harm its neighbours: the worker is closed to
them for `CLOSED_MOST` seconds at the longest, and then open for nine times as
long as it was closed. Children of one worker, and threads of one, agree by file
locks: the kernel releases them whatever way a process ends. Called by attempts.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sealwax.worker.shared_folder import make_shared_folder

__all__ = ["ALONE_MOST", "CLOSED_MOST", "DRAIN_MOST", "OPEN_SHARE", "JobIsolation"]

#: Seconds for which a job that must run alone keeps others out until those that run
#: have ended, and then while it runs.
DRAIN_MOST, ALONE_MOST = 5.0, 10.0

#: Seconds for which a worker is closed to a healthy job, at the longest.
CLOSED_MOST = DRAIN_MOST + ALONE_MOST

#: A worker that was closed stays open for so many times as long: a tenth at most goes to
#: jobs that run alone.
OPEN_SHARE = 9.0

#: Seconds for which those who enter may hold the gate between them.
_ENTERING = 0.5

#: Seconds between two tries of a lock.
_POLL_SECONDS = 0.1


class JobIsolation:
    """One worker's isolation lock: a reader-writer lock that prefers the writer, for a while.

    A job that waits for the exclusive lock, or has it, locks the gate: no other
    job enters meanwhile. The jobs that run share the second lock. The gate's
    file says when the worker may be closed again.

    Parameters
    ----------
    folder
        Where its two files stand; the same for all processes of a worker.
    monotonic
        Seconds, the same for all processes of a machine.
    """

    def __init__(self, folder: Path, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._gate = folder / "gate"
        self._lock = folder / "lock"
        self._monotonic = monotonic
        for path in (self._gate, self._lock):
            path.touch(mode=0o600)

    @classmethod
    def make(cls) -> JobIsolation:
        """Make one for this process and those it forks; its files go with this process."""
        return cls(make_shared_folder("sealwax-worker-"))

    @contextmanager
    def shared(self, *, wait: float) -> Iterator[bool]:
        """Share the lock; yields False where a job has it exclusively for `wait` seconds."""
        with _locked(self._gate, fcntl.LOCK_SH, wait) as passed:
            lock = _open(self._lock) if passed is not None else None
            if lock is not None and not _take(lock, fcntl.LOCK_SH, 0.0):
                os.close(lock)
                lock = None
        try:
            yield lock is not None
        finally:
            if lock is not None:
                os.close(lock)

    @contextmanager
    def exclusive(
        self,
        *,
        wait: float = DRAIN_MOST,
        most: float = ALONE_MOST,
        opens: Callable[[], object] | None = None,
    ) -> Iterator[bool]:
        """Lock exclusively; yields False where the worker may not be closed, or is not empty.

        Parameters
        ----------
        wait
            Seconds for which it waits for the ends of those that run; nobody enters meanwhile.
        most
            Seconds after which others may enter although the block has not ended.
        opens
            Called before they may.
        """
        with _locked(self._gate, fcntl.LOCK_EX, min(wait, _ENTERING)) as gate:
            if gate is None or self._monotonic() < self._closed_until(gate):
                yield False
                return
            closing = _Closing(gate, self._monotonic)
            lock = _open(self._lock)
            try:
                if not _take(lock, fcntl.LOCK_EX, wait):
                    closing.open()
                    yield False
                    return
                with closing.limited(most, opens, lock):
                    yield True
            finally:
                closing.open()
                os.close(lock)

    def open_again(self) -> float:
        """Return the seconds until the worker may be closed again; 0: now."""
        with contextlib.suppress(OSError):
            gate = _open(self._gate)
            try:
                return max(0.0, self._closed_until(gate) - self._monotonic())
            finally:
                os.close(gate)
        return 0.0

    def _closed_until(self, gate: int) -> float:
        """Return the monotonic second from which the worker may be closed again."""
        parts = os.pread(gate, 100, 0).decode().split()
        if not parts:
            return 0.0
        if len(parts) == 2:
            return float(parts[1])
        # Whoever closed it died over it: for how long it was closed nobody knows.
        began = float(parts[0])
        return began + (1 + OPEN_SHARE) * min(CLOSED_MOST, self._monotonic() - began)


class _Closing:
    """One time that a worker is closed; it ends once, whoever comes first."""

    def __init__(self, gate: int, monotonic: Callable[[], float]) -> None:
        self._gate = gate
        self._monotonic = monotonic
        self._began = monotonic()
        self._ending = threading.Lock()
        self._open = False
        self._write(f"{self._began!r}")

    def open(self) -> None:
        """Let others in, and note when the worker may be closed again."""
        with self._ending:
            if self._open:
                return
            self._open = True
            now = self._monotonic()
            self._write(f"{self._began!r} {now + OPEN_SHARE * (now - self._began)!r}")
            fcntl.flock(self._gate, fcntl.LOCK_UN)

    @contextmanager
    def limited(self, most: float, opens: Callable[[], object] | None, lock: int) -> Iterator[None]:
        """Let others in after `most` seconds, although the block has not ended."""
        over = threading.Event()

        def late() -> None:
            if over.wait(most):
                return
            # The bound holds whatever becomes of the call.
            if opens is not None:
                caller = threading.Thread(target=opens, name="sealwax-not-alone", daemon=True)
                caller.start()
                caller.join(_POLL_SECONDS * 10)
            with ending:
                if not over.is_set():
                    fcntl.flock(lock, fcntl.LOCK_SH)
                    self.open()

        ending = threading.Lock()
        threading.Thread(target=late, name="sealwax-isolation", daemon=True).start()
        try:
            yield
        finally:
            with ending:
                over.set()

    def _write(self, text: str) -> None:
        os.ftruncate(self._gate, 0)
        os.pwrite(self._gate, text.encode(), 0)


@contextmanager
def _locked(path: Path, kind: int, wait: float) -> Iterator[int | None]:
    """Yield the descriptor of a locked file; None where others have it for `wait` seconds."""
    descriptor = _open(path)
    try:
        yield descriptor if _take(descriptor, kind, wait) else None
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    # Not inherited: a lock belongs to what was opened, and a child would keep it.
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _take(descriptor: int, kind: int, wait: float) -> bool:
    until = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            left = until - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(_POLL_SECONDS, left))
        else:
            return True
