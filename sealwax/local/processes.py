"""Ending processes with everything they started.

Each process of ours leads a session and group of its own, so that its group is
all of it and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time

__all__ = ["end_group", "group_alive", "signal_group"]


def signal_group(pid: int, number: int) -> None:
    """Send a signal to the group that the process leads; nothing if it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def group_alive(pid: int) -> bool:
    """Return whether any member of the group is left, zombies included."""
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # some systems answer so for a group of zombies
        return False
    return True


def end_group(process: subprocess.Popen[bytes], *, grace: float) -> int:
    """SIGTERM to the leader, SIGKILL to the group after `grace` seconds; return its exit code.

    Only the leader gets the SIGTERM: gunicorn and Celery end their children
    themselves, in order. Whatever of the group is left afterwards is killed.
    """
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    # The group's id stays reserved while any member lives, so this hits no
    # stranger; where none lives it is a failed look-up.
    signal_group(process.pid, signal.SIGKILL)
    code = process.wait()
    end = time.monotonic() + 1.0
    while group_alive(process.pid) and time.monotonic() < end:
        time.sleep(0.01)
    return code
