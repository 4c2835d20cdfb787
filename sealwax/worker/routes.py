"""Breakers of a worker's routes: whether to ask again a system that has just failed.

A route is a task and what it asks: a host, which may give no answer, or one path
of it, which may answer 429 or 5xx. After some failures in a row it is closed: its
jobs are postponed before they ask, without using up an attempt, and from time to
time one of them tries. Children of one worker, and threads of one, share what is
known in a file under the kernel's lock. Called by `sealwax.job.Job` around each
request of the shipped HTTP client; it never asks anybody itself.
"""

from __future__ import annotations

import fcntl
import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from sealwax.job import Answer, Asked, RouteClosed
from sealwax.outcomes import Retry
from sealwax.settings import Settings
from sealwax.worker.shared_folder import make_shared_folder

__all__ = ["ClosedRoute", "RouteBreakers", "RouteRetry"]

log = structlog.get_logger("sealwax.worker")

#: Seconds for which a route is closed at first; doubled with each try that fails.
FIRST_PAUSE = 5.0

#: Seconds after which a job that tries counts as gone, and another one may.
TRIAL = 60.0

#: Routes remembered; those longest unchanged are forgotten.
_ROUTES = 1_000


@dataclass(frozen=True)
class RouteRetry(Retry):
    """A postponement because the route is closed."""


@dataclass(frozen=True)
class ClosedRoute:
    """A route that is closed.

    Parameters
    ----------
    tenant
        Whose jobs only; None: everybody's.
    seconds
        Until one of them may try; 0: now.
    """

    task: str
    host: str
    tenant: str | None
    seconds: float

    def __str__(self) -> str:
        """Return it as reports show it."""
        whose = f" for tenant {self.tenant[:12]}" if self.tenant else ""
        return f"{self.task} to {self.host}{whose}"


class RouteBreakers:
    """One worker's breakers; safe for its processes and threads.

    A tenant's failures close a route to that tenant. To all they close it where
    more than one tenant failed in a row, and none succeeded: whoever sends what a
    system cannot answer closes it to nobody else.

    Parameters
    ----------
    path
        Where the file stands; the same for all processes of a worker.
    failures
        In a row, after which a route is closed; 0: never.
    longest
        Seconds between two tries at most.
    monotonic
        Seconds, the same in all processes of a machine.
    """

    def __init__(
        self,
        path: Path,
        *,
        failures: int,
        longest: float,
        monotonic: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._path = path
        self._failures = failures
        self._longest = longest
        self._monotonic = monotonic
        self._chance = chance
        path.touch(mode=0o600)

    @classmethod
    def make(cls, settings: Settings) -> RouteBreakers:
        """Make them for this process and those it forks; the file goes with this process."""
        limits = settings.limits
        return cls(
            make_shared_folder("sealwax-routes-") / "routes",
            failures=limits.route_failures,
            longest=limits.route_pause_seconds,
        )

    def enter(self, task: str, asked: Asked, tenant: str) -> None:
        """Ask for leave to send a request; `leave` must follow.

        Raises
        ------
        RouteClosed
            Not now; says in how many seconds.
        """
        if not self._failures:
            return
        keys = [*_keys(task, asked.host, tenant), *_keys(task, asked.host, tenant, asked.mark)]
        with self._state(write=False) as state:
            if not any(key in state and state[key]["pause"] for key in keys):
                return
        now = self._monotonic()
        with self._state() as state:
            closed = [state[key] for key in keys if key in state and state[key]["pause"]]
            wait = max((each["until"] - now for each in closed), default=0.0)
            if wait <= 0:
                # This one tries; the others wait until it has, or is gone.
                for each in closed:
                    each["until"] = now + TRIAL
                    each["trying"] = True
                return
            pause = max(each["pause"] for each in closed)
        # Not all at once when it opens: spread over as long again as it was closed.
        raise RouteClosed(asked.host, after=min(wait, pause) + pause * self._chance())

    def leave(self, task: str, asked: Asked, tenant: str, *, answer: Answer) -> None:
        """Tell what came of a request."""
        if not self._failures:
            return
        host = _keys(task, asked.host, tenant)
        path = _keys(task, asked.host, tenant, asked.mark)
        if answer == "well":
            with self._state(write=False) as state:
                if not any(key in state for key in (*host, *path)):
                    return
        with self._state() as state:
            # What has answered is there, whatever it said.
            opened = [
                key
                for key in {"well": (*host, *path), "trouble": host, "none": ()}[answer]
                if self._succeeded(state, key)
            ]
            failed = {"well": (), "trouble": path, "none": host}[answer]
            closed = [key for key in failed if self._failed(state, key, tenant)]
            if answer == "none":
                # Who tried a path has learnt nothing of it but that it must wait.
                for key in path:
                    if state.get(key, {"trying": False})["trying"]:
                        self._failed(state, key, tenant)
        for event, keys in (("route opened", opened), ("route closed", closed)):
            for key in keys:
                route = _read(key, 0.0)
                log.warning(event, route=route.task, host=route.host, tenant=route.tenant)

    def closed(self) -> list[ClosedRoute]:
        """Return the routes that are closed now."""
        now = self._monotonic()
        with self._state(write=False) as state:
            found = [(key, each["until"]) for key, each in state.items() if each["pause"]]
        return [_read(key, max(0.0, until - now)) for key, until in found]

    @staticmethod
    def _succeeded(state: dict[str, Any], key: str) -> bool:
        """Forget a route's failures; return whether it was closed."""
        return bool(state.pop(key, {"pause": 0})["pause"])

    def _failed(self, state: dict[str, Any], key: str, tenant: str) -> bool:
        """Count a failure; return whether it has closed a route that was open."""
        found = state.pop(
            key, {"failures": 0, "tenants": [], "pause": 0.0, "until": 0.0, "trying": False}
        )
        state[key] = found
        if len(state) > _ROUTES:
            del state[next(iter(state))]
        found["failures"] += 1
        if tenant not in found["tenants"] and len(found["tenants"]) < 2:
            found["tenants"].append(tenant)
        everybodys = _read(key, 0.0).tenant is None
        if found["failures"] < self._failures or (everybodys and len(found["tenants"]) < 2):
            return False
        was = found["pause"]
        if was and not found["trying"]:
            return False  # sent before it was closed: says nothing new
        found["pause"] = min(self._longest, was * 2 or FIRST_PAUSE)
        found["until"] = self._monotonic() + found["pause"]
        found["trying"] = False
        return not was

    @contextmanager
    def _state(self, *, write: bool = True) -> Iterator[dict[str, Any]]:
        """Hold the file's lock; yield what it says, and write it back."""
        with self._path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX if write else fcntl.LOCK_SH)
            try:
                state = json.loads(file.read() or b"{}")
            except ValueError:  # its writer was killed
                state = {}
            yield state
            if write:
                file.seek(0)
                file.truncate()
                file.write(json.dumps(state).encode())


def _keys(task: str, host: str, tenant: str, mark: str | None = None) -> tuple[str, str]:
    return json.dumps([task, host, mark, None]), json.dumps([task, host, mark, tenant])


def _read(key: str, seconds: float) -> ClosedRoute:
    task, host, _, tenant = json.loads(key)
    return ClosedRoute(task, host, tenant, seconds)
