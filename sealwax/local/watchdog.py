"""Ends the supervisor's processes when the supervisor itself is gone.

A program of its own, started by `sealwax.local.supervisor` with a pipe as its
standard input. It is told of each process group (`+pid`, `-pid`); the end of the
pipe means that the supervisor ended, cleanly or by SIGKILL, and whatever groups
are still listed are ended. Works for grandchildren too, which a parent-death
signal does not reach. Imports nothing of Sealwax, to start in no time.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

#: How long processes have after SIGTERM, in seconds.
GRACE_SECONDS = 15.0


def _alive(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _send(pid: int, number: int, *, group: bool) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        (os.killpg if group else os.kill)(pid, number)


def end_all(pids: list[int], grace: float = GRACE_SECONDS) -> None:
    """SIGTERM to each leader, newest first, then SIGKILL to the groups that remain."""
    for pid in reversed(pids):
        _send(pid, signal.SIGTERM, group=False)
    end = time.monotonic() + grace
    while any(_alive(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.05)
    for pid in pids:
        _send(pid, signal.SIGKILL, group=True)


def main() -> None:
    """Follow standard input to its end, then end what is listed."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    pids: list[int] = []
    for line in sys.stdin.buffer:
        word = line.strip().decode("ascii")
        if word.startswith("+"):
            pids.append(int(word[1:]))
        elif word.startswith("-") and int(word[1:]) in pids:
            pids.remove(int(word[1:]))
    end_all(pids)


if __name__ == "__main__":
    main()
