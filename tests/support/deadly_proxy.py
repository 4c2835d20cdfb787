"""A process that dies by SIGKILL at a chosen call to what is outside it.

The calls of one request to AWS and to the internal system pass proxies of the
test's own, which count them together. At call number `at` the process that made
it is killed, before the call is passed on or before its answer is handed back.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

from chaos.plan import AwsFault
from chaos.proxy import Proxy

#: Before the call is passed on; after the other side has done it.
BEFORE, AFTER = "before", "after"


class Trap:
    """Counts calls while it is set; both proxies ask it.

    Parameters
    ----------
    kill
        Ends the process that makes the calls, at once.
    """

    def __init__(self, kill: Callable[[], None]) -> None:
        self._kill = kill
        self._at, self._when = 0, BEFORE
        self.calls: list[str] = []
        self.sprung = False
        #: Operations that are refused, as where the service is away.
        self.away: frozenset[str] = frozenset()

    def set(self, at: int, when: str) -> None:
        """Kill at call number `at` from now on, the first being 1."""
        self._at, self._when, self.sprung = at, when, False
        self.calls = []

    def disarm(self) -> None:
        """Kill no more."""
        self._at = 0

    def before(self, operation: str) -> AwsFault | None:
        """Take note of a call that has come."""
        if self._at:
            self.calls.append(operation)
            if self._when == BEFORE and len(self.calls) == self._at:
                self._spring()
                return "reset"
        return "reset" if operation in self.away else None

    def after(self) -> None:
        """Take note of a call that was answered: calls of one request come one by one."""
        if self._at and self._when == AFTER and len(self.calls) == self._at:
            self._spring()

    def _spring(self) -> None:
        self._at, self.sprung = 0, True
        self._kill()


class _Watched(Proxy):
    def __init__(self, upstream: Callable[[], int], trap: Trap, name: str | None) -> None:
        super().__init__(0, 0, [])
        self._upstream_now, self._trap, self._name = upstream, trap, name

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._upstream = self._upstream_now()
        await super().serve(reader, writer)

    def decide(self, operation: str) -> AwsFault | None:
        return self._trap.before(self._name or operation)

    def answered(self, operation: str) -> None:
        self._trap.after()


class DeadlyProxy:
    """One proxy on a port of its own, in a thread.

    Parameters
    ----------
    upstream
        Returns the port it passes calls to.
    name
        Of every call; default: AWS's operation.
    """

    def __init__(self, upstream: Callable[[], int], trap: Trap, *, name: str | None = None) -> None:
        self.port = 0
        self._proxy = _Watched(upstream, trap, name)
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._started.wait(30)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._over = asyncio.Event()
        server: Any = await asyncio.start_server(
            self._proxy.serve, "127.0.0.1", 0, limit=2**20, backlog=128
        )
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._over.wait()
        server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def close(self) -> None:
        """End."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(30)


def kill_all(pids: list[int]) -> None:
    """SIGKILL each."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
