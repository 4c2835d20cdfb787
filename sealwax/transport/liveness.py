"""Whether this worker lives, and whether it is ready: two different questions.

Live: the event loop turned and every receiver *finished an attempt*, good or
bad, lately; if not, something hangs and a restart helps. Ready: receives
succeed; if not, SQS or the network is the trouble and a restart would only
harm. The status is an object and, by option, a JSON file for a health check in
another process.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["Liveness", "Status", "read_status"]


@dataclass(frozen=True)
class Status:
    """One look at a worker's health; ages in seconds."""

    live: bool
    ready: bool
    loop_age: float
    attempt_ages: dict[str, float]
    success_ages: dict[str, float]
    at: float
    pid: int


class Liveness:
    """Gathers the signs of life of one consuming connection.

    Parameters
    ----------
    attempt_timeout
        Longest one receive can take; live means within twice that.
    ready_after
        Without a successful receive for this long, not ready.
    """

    def __init__(
        self,
        attempt_timeout: float,
        *,
        ready_after: float | None = None,
        loop_timeout: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._attempt_timeout = attempt_timeout
        self._ready_after = ready_after if ready_after is not None else attempt_timeout + 5
        self._loop_timeout = loop_timeout
        self._clock = clock
        self._lock = threading.Lock()
        self._loop = clock()
        self._attempts: dict[str, float] = {}
        self._successes: dict[str, float] = {}
        self._failing: set[str] = set()

    def watch(self, queue: str) -> None:
        """Note that a queue is received from, from now on."""
        with self._lock:
            self._attempts[queue] = self._successes[queue] = self._clock()
            self._failing.add(queue)

    def forget(self, queue: str) -> None:
        """Note that a queue is no longer received from."""
        with self._lock:
            self._attempts.pop(queue, None)
            self._successes.pop(queue, None)
            self._failing.discard(queue)

    def turned(self) -> None:
        """Note that the event loop turned."""
        self._loop = self._clock()

    def finished(self, queue: str) -> None:
        """Note that a receive ended, or that none was needed."""
        with self._lock:
            if queue in self._attempts:
                self._attempts[queue] = self._clock()

    def succeeded(self, queue: str) -> None:
        """Note that a receive was answered."""
        with self._lock:
            if queue in self._attempts:
                self._attempts[queue] = self._successes[queue] = self._clock()
                self._failing.discard(queue)

    def failed(self, queue: str) -> None:
        """Note that a receive was refused or broke: not ready until one succeeds."""
        with self._lock:
            if queue in self._attempts:
                self._attempts[queue] = self._clock()
                self._failing.add(queue)

    def status(self) -> Status:
        """Return the state now."""
        now = self._clock()
        with self._lock:
            attempts = {queue: now - at for queue, at in self._attempts.items()}
            successes = {queue: now - at for queue, at in self._successes.items()}
            failing = bool(self._failing)
        loop_age = now - self._loop
        return Status(
            live=loop_age < self._loop_timeout
            and all(age < 2 * self._attempt_timeout for age in attempts.values()),
            ready=bool(successes)
            and not failing
            and all(age < self._ready_after for age in successes.values()),
            loop_age=round(loop_age, 3),
            attempt_ages={queue: round(age, 3) for queue, age in attempts.items()},
            success_ages={queue: round(age, 3) for queue, age in successes.items()},
            at=time.time(),
            pid=os.getpid(),
        )

    def write(self, path: str, **more: object) -> None:
        """Write the status to a file, all or nothing."""
        target = Path(path)
        partial = target.with_name(f"{target.name}.{os.getpid()}.part")
        partial.write_text(json.dumps({**asdict(self.status()), **more}))
        partial.replace(target)


def read_status(path: str, *, stale_after: float = 30.0) -> Status | None:
    """Read a status file; None where it is missing, broken or stale."""
    try:
        fields = json.loads(Path(path).read_text())
        status = Status(**{name: fields[name] for name in Status.__dataclass_fields__})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return status if time.time() - status.at < stale_after else None
