"""Who runs in a worker: many jobs together, or one alone.

A job under which whole workers were lost runs alone, so that the next loss says
whose fault it was. Children of one worker, and threads of one, agree by file
locks: the kernel lets go of them whatever way a process ends. Called by
attempts; never waits longer than it is told.
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

#: Seconds between two looks at a lock.
_LOOK = 0.1


class JobIsolation:
    """One worker's room.

    The gate is held by a job that waits to be alone or is; whoever comes then
    stays outside. The room itself is shared by those that run together.

    Parameters
    ----------
    folder
        Where its two files stand; the same for all processes of a worker.
    """

    def __init__(self, folder: Path) -> None:
        self._gate = folder / "gate"
        self._room = folder / "room"
        for path in (self._gate, self._room):
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
    def together(self, *, wait: float) -> Iterator[bool]:
        """Be in the room with others; yields False where a job is alone in it for `wait` s."""
        with _locked(self._gate, fcntl.LOCK_SH, wait) as passed:
            room = _open(self._room) if passed else None
            if room is not None and not _take(room, fcntl.LOCK_SH, 0.0):
                os.close(room)
                room = None
        try:
            yield room is not None
        finally:
            if room is not None:
                os.close(room)

    @contextmanager
    def alone(self, *, wait: float) -> Iterator[bool]:
        """Be in the room alone; yields False where it has not emptied within `wait` seconds.

        Nobody new comes in meanwhile.
        """
        until = time.monotonic() + wait
        with _locked(self._gate, fcntl.LOCK_EX, wait) as passed:
            if not passed:
                yield False
                return
            left = max(0.0, until - time.monotonic())
            with _locked(self._room, fcntl.LOCK_EX, left) as empty:
                yield empty


@contextmanager
def _locked(path: Path, kind: int, wait: float) -> Iterator[bool]:
    descriptor = _open(path)
    try:
        yield _take(descriptor, kind, wait)
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    # Not inherited: a lock belongs to what was opened, and a child would hold it on.
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
            time.sleep(min(_LOOK, left))
        else:
            return True
