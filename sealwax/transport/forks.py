"""Forking from a process that has threads, as the prefork pool does for each new child.

A fork copies one thread. Whatever lock another thread holds at that moment
stays locked in the child for ever. The gate therefore lets every transport
thread finish the short stretch in which it holds locks, and forks then; a
thread that waits for the network holds none and is not waited for.

Registered once a process, by the first engine. The parent never waits longer
than `PATIENCE`.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, Self

__all__ = ["Gate", "gate", "on_child"]

#: Longest time a fork is held up, in seconds: longer than any locked stretch.
PATIENCE = 1.0


class Gate:
    """Threads enter and leave; a fork waits until none is inside and keeps others out."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._inside = 0
        self._forking = 0
        self._local = threading.local()

    def __enter__(self) -> Self:
        depth = getattr(self._local, "depth", 0)
        with self._condition:
            while self._forking and depth == 0:
                self._condition.wait(PATIENCE)
            self._inside += 1
        self._local.depth = depth + 1
        return self

    def __exit__(self, *exc: object) -> None:
        self._local.depth -= 1
        with self._condition:
            self._inside -= 1
            self._condition.notify_all()

    def before(self) -> None:
        """Close the gate and wait for those inside."""
        mine = getattr(self._local, "depth", 0)
        with self._condition:
            self._forking += 1
            self._condition.wait_for(lambda: self._inside <= mine, PATIENCE)
        # Held over the fork, so that it is not some other thread's in the child.
        self._condition.acquire()

    def after_parent(self) -> None:
        """Open the gate again."""
        self._forking -= 1
        self._condition.notify_all()
        self._condition.release()

    def after_child(self) -> None:
        """Start anew: no thread but this one came along."""
        self.__init__()  # type: ignore[misc]


_gate = Gate()
_children: list[Any] = []
_registered = False


def gate() -> Gate:
    """Return the process's gate, registered with fork."""
    global _registered  # noqa: PLW0603 - os.register_at_fork cannot be undone: once is right
    if not _registered:
        _registered = True
        os.register_at_fork(
            before=_gate.before, after_in_parent=_gate.after_parent, after_in_child=_after_child
        )
    return _gate


def on_child(method: Callable[[], None]) -> None:
    """Have a bound method called in each forked child while its object lives."""
    gate()
    _children.append(weakref.WeakMethod(method))


def _after_child() -> None:
    _gate.after_child()
    for reference in _children:
        method = reference()
        if method is not None:
            method()
    _children.clear()
