"""gunicorn's worker process around the edge: gunicorn minds processes, waitress the connections.

gunicorn binds the sockets, forks, replaces what dies or hangs, and stops in order.
The second socket, where there is one, is the health port's.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from gunicorn.workers.base import Worker

from sealwax.aws.clock import AWS_CLOCK
from sealwax.aws.direct_calls import ways_taken
from sealwax.errors import SealwaxError
from sealwax.ledger import UNUSED_ID
from sealwax.web.edge import EdgeServer, make_edge

__all__ = ["EdgeWorker", "Probes"]

#: Seconds without a turn of the loop after which the process is not healthy.
STALE = 30.0

#: Threads of the health port: one may wait for the ledger.
PROBE_THREADS = 2

#: Bytes of a probe's body: it needs none.
PROBE_BYTES = 1_024


class Probes:
    """The health port's WSGI application: `/healthz`, `/readyz`, `/metrics`.

    Parameters
    ----------
    ready
        Raises a `SealwaxError` where jobs cannot be accepted.
    """

    def __init__(self, edge: EdgeServer, ready: Callable[[], object]) -> None:
        self._edge = edge
        self._ready = ready
        self._asking = threading.Lock()
        self._last = False

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Answer."""
        path = environ["PATH_INFO"]
        if path == "/metrics":
            body = self._metrics()
            kind, status = "text/plain; version=0.0.4", "200 OK"
        elif path in ("/healthz", "/readyz"):
            well = self._lives() if path == "/healthz" else self._can_work()
            word = {"/healthz": "ok", "/readyz": "ready"}[path]
            body = json.dumps({"status": word if well else f"not {word}"})
            kind, status = "application/json", "200 OK" if well else "503 Service Unavailable"
        else:
            body, kind, status = "{}", "application/json", "404 Not Found"
        data = body.encode()
        start(status, [("Content-Type", kind), ("Content-Length", str(len(data)))])
        return [data]

    def _lives(self) -> bool:
        return time.monotonic() - self._edge.turned < STALE

    def _can_work(self) -> bool:
        # One asks, the others hear its last answer: so many who ask never hold both threads.
        if self._asking.acquire(blocking=False):
            try:
                self._ready()
                self._last = True
            except SealwaxError:
                self._last = False
            finally:
                self._asking.release()
        return self._last and self._lives()

    def _metrics(self) -> str:
        edge, process = self._edge, os.getpid()
        lines = ["# TYPE sealwax_edge_connections gauge"]
        lines.append(f'sealwax_edge_connections{{pid="{process}"}} {len(edge.active_channels)}')
        lines.append("# TYPE sealwax_edge_waiting gauge")
        lines.append(f'sealwax_edge_waiting{{pid="{process}"}} {len(edge.task_dispatcher.queue)}')
        lines.append("# TYPE sealwax_clock_off_seconds gauge")
        lines.append(f'sealwax_clock_off_seconds{{pid="{process}"}} {AWS_CLOCK.off:.1f}')
        lines.append("# TYPE sealwax_aws_clients gauge")
        lines += [
            f'sealwax_aws_clients{{pid="{process}",service="{service}",way="{way}"}} {count}'
            for (service, way), count in sorted(ways_taken().items())
        ]
        lines.append("# TYPE sealwax_edge_refused_total counter")
        lines.append(f'sealwax_edge_refused_total{{pid="{process}"}} {edge.refused}')
        lines.append("# TYPE sealwax_edge_closed_total counter")
        lines += [
            f'sealwax_edge_closed_total{{pid="{process}",reason="{reason}"}} {count}'
            for reason, count in sorted(edge.closed.items())
        ]
        return "\n".join([*lines, ""])


class EdgeWorker(Worker):
    """One process of the API."""

    def run(self) -> None:
        """Serve until gunicorn says to stop, then let requests end."""
        services = self.wsgi.extensions["sealwax"]
        settings = services.settings
        main, *others = [listener.sock for listener in self.sockets]
        edge = make_edge(
            self.wsgi,
            main,
            settings.web,
            body_bytes=services.body_limit,
            threads=self.cfg.threads,
        )
        edge.early = services.waits
        for listener in others:
            probes = Probes(edge, lambda: services.runtime.ledger.get(UNUSED_ID))
            side = make_edge(
                probes, listener, settings.web, body_bytes=PROBE_BYTES, threads=PROBE_THREADS
            )
            threading.Thread(target=self._answer, args=(side,), name="health", daemon=True).start()
        while self.alive and os.getppid() == self.ppid:
            self.notify()
            edge.turn()
        edge.drain(self.cfg.graceful_timeout)

    def _answer(self, side: EdgeServer) -> None:
        while True:
            side.turn()
