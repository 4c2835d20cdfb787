"""Isolation lock of a worker: shared by many jobs, or exclusive to one.

A job under which whole workers were lost runs alone, so that the next loss says
whose fault it was. Children of one worker, and threads of one, agree by file
locks: the kernel releases them whatever way a process ends. Called by attempts;
never waits longer than `wait` seconds.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["JobIsolation"]

#: Seconds between two tries of a lock.
_POLL_SECONDS = 0.1


class JobIsolation:
    """One worker's isolation lock: a reader-writer lock that prefers the writer.

    A job that waits for the exclusive lock, or has it, locks the gate: no other
    job enters meanwhile. The jobs that run share the second lock.

    Parameters
    ----------
    folder
        Where its two files stand; the same for all processes of a worker.
    """

    def __init__(self, folder: Path) -> None:
        self._gate = folder / "gate"
        self._lock = folder / "lock"
        for path in (self._gate, self._lock):
            path.touch(mode=0o600)

    @classmethod
    def make(cls) -> JobIsolation:
        """Make one for this process and those it forks; its files go with this process."""
        folder, owner = tempfile.mkdtemp(prefix="sealwax-worker-"), os.getpid()

        def remove() -> None:
            if os.getpid() == owner:
                shutil.rmtree(folder, ignore_errors=True)

        atexit.register(remove)
        return cls(Path(folder))

    @contextmanager
    def shared(self, *, wait: float) -> Iterator[bool]:
        """Share the lock; yields False where a job has it exclusively for `wait` seconds."""
        with _locked(self._gate, fcntl.LOCK_SH, wait) as passed:
            lock = _open(self._lock) if passed else None
            if lock is not None and not _take(lock, fcntl.LOCK_SH, 0.0):
                os.close(lock)
                lock = None
        try:
            yield lock is not None
        finally:
            if lock is not None:
                os.close(lock)

    @contextmanager
    def exclusive(self, *, wait: float) -> Iterator[bool]:
        """Lock exclusively; yields False where others still run after `wait` seconds.

        No new job enters meanwhile.
        """
        until = time.monotonic() + wait
        with _locked(self._gate, fcntl.LOCK_EX, wait) as passed:
            if not passed:
                yield False
                return
            left = max(0.0, until - time.monotonic())
            with _locked(self._lock, fcntl.LOCK_EX, left) as empty:
                yield empty


@contextmanager
def _locked(path: Path, kind: int, wait: float) -> Iterator[bool]:
    descriptor = _open(path)
    try:
        yield _take(descriptor, kind, wait)
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
