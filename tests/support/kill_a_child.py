"""Imported by a worker: one of its children is killed at the moment it says that it is ready."""

from __future__ import annotations

import os
import signal
from typing import Any

from celery.signals import worker_ready


@worker_ready.connect(weak=False)
def kill_a_child(sender: Any, **_: Any) -> None:
    """Kill the first child and wait until the kernel has ended it."""
    pid = sender.pool._pool._pool[0].pid
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
