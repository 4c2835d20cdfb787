"""Shares of an API process's threads: how many requests may wait for one system at once.

An enrichment waits in a request's thread. Without a share, a system that hangs
holds all threads, and with them every tenant and task that never asks it.
`SystemShares` stands between an enrichment and `OutgoingClient`: it counts by
host, refuses at once what is over the share, leaves a system alone for some
seconds that has not answered a tenant several times in a row, and ends each
enrichment by one deadline, however many requests it makes. It never waits.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog

from sealwax.circuit_breaker import CircuitBreaker
from sealwax.egress.client import OutgoingClient, OutgoingResponse
from sealwax.egress.errors import (
    DownstreamBusy,
    DownstreamTimeout,
    DownstreamUnreachable,
)
from sealwax.egress.rules import HttpRule, parse_target

__all__ = ["EnrichmentClient", "SystemShares"]

log = structlog.get_logger("sealwax.api")

#: Requests in a row without an answer after which a system is left alone. Error
#: statuses are answers: one caller's broken record must not close a system to all.
FAILURES = 5

#: Seconds for which it is left alone; then one request tries.
PAUSE = 5.0

#: Seconds after which a caller over the share should ask again.
_RETRY_AFTER = 1.0

#: Pairs of a host and a tenant that are remembered; those longest unused are forgotten.
_LINES = 10_000


class _Line:
    """What is known of one tenant's requests to one host."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.under_way = 0
        self.breaker = CircuitBreaker(PAUSE, failures=FAILURES, monotonic=monotonic)


class SystemShares:
    """The shares of one process. Thread-safe.

    Of a host's share one tenant has half at most, and whether it answers is judged
    by tenant: whoever asks for what makes a system hang closes it to itself alone.

    Parameters
    ----------
    share
        Requests to one host at once.
    client
        Sends them.
    monotonic
        Seconds.
    """

    def __init__(
        self,
        share: int,
        client: OutgoingClient,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._share = share
        self._of_one = (share + 1) // 2
        self._client = client
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._under_way: Counter[str] = Counter()
        self._lines: OrderedDict[tuple[str, str], _Line] = OrderedDict()

    def client(self, *, tenant: str, seconds: float) -> EnrichmentClient:
        """Return a client for one enrichment, whose requests all end within `seconds`."""
        until = self._monotonic() + seconds
        return EnrichmentClient(self, self._client, tenant=tenant, until=until)

    def left(self, until: float) -> float:
        """Return the seconds until `until`."""
        return until - self._monotonic()

    @contextmanager
    def entered(self, host: str, tenant: str) -> Iterator[None]:
        """Hold a place of the host's share for the time of one request to it.

        Raises
        ------
        DownstreamBusy
            At once, where its share is used up, or it has not answered of late.
        """
        line = self._enter(host, tenant)
        reached = True
        try:
            yield
        except (DownstreamTimeout, DownstreamUnreachable):
            reached = False
            raise
        finally:
            self._leave(host, line, reached=reached)

    def _enter(self, host: str, tenant: str) -> _Line:
        with self._lock:
            line = self._line(host, tenant)
            if self._under_way[host] >= self._share or line.under_way >= self._of_one:
                raise DownstreamBusy(host, "share", retry_after=_RETRY_AFTER)
            if not line.breaker.enter():
                wait = max(line.breaker.wait, _RETRY_AFTER)
                raise DownstreamBusy(host, "silent", retry_after=wait)
            line.under_way += 1
            self._under_way[host] += 1
            return line

    def _line(self, host: str, tenant: str) -> _Line:
        line = self._lines.setdefault((host, tenant), _Line(self._monotonic))
        self._lines.move_to_end((host, tenant))
        if len(self._lines) > _LINES:
            idle = next((key for key, each in self._lines.items() if not each.under_way), None)
            if idle is not None and idle != (host, tenant):
                del self._lines[idle]
        return line

    def _leave(self, host: str, line: _Line, *, reached: bool) -> None:
        with self._lock:
            line.under_way -= 1
            self._under_way[host] -= 1
            if not self._under_way[host]:
                del self._under_way[host]
            was_closed = line.breaker.closed
            line.breaker.leave(reached=reached)
            is_closed = line.breaker.closed
        if was_closed != is_closed:
            log.warning("system answers again" if is_closed else "system left alone", system=host)


class EnrichmentClient(OutgoingClient):
    """The client of one enrichment: within the shares, and until its deadline.

    Parameters
    ----------
    tenant
        Whose job is enriched.
    until
        Monotonic seconds.
    """

    def __init__(
        self, shares: SystemShares, client: OutgoingClient, *, tenant: str, until: float
    ) -> None:
        super().__init__()
        self._shares = shares
        self._client = client
        self._tenant = tenant
        self._until = until

    def request(self, method: str, url: str, *, rule: HttpRule, **options: Any) -> OutgoingResponse:
        """Send one request as `OutgoingClient.request` does.

        Raises
        ------
        DownstreamBusy
            The system's share is used up; nothing was sent.
        DownstreamTimeout
            The enrichment's time is over.
        OutgoingError
            As there.
        """
        host = parse_target(url).authority
        left = self._shares.left(self._until)
        if left <= 0:
            raise DownstreamTimeout(host)
        limits = {"total": min(rule.total, left), "connect": min(rule.connect, left)}
        with self._shares.entered(host, self._tenant):
            rule = rule.model_copy(update=limits)
            return self._client.request(method, url, rule=rule, **options)
