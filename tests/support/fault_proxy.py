"""A proxy before the emulated AWS, and three ways in which it fails.

`Proxy` passes HTTP/1.1 on. What goes wrong is a subclass's: `FaultProxy` fails
as the test orders, `DeadlyProxy` kills whoever makes a chosen call, and
`chaos.proxy` fails by a plan, in a process of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import struct
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["AFTER", "BEFORE", "Ask", "Call", "DeadlyProxy", "Fault", "FaultProxy", "Proxy",
           "Served", "Trap", "answer_of", "kill_all", "parts_of"]  # fmt: skip

NO_BODY = {204, 304}
#: Most bytes of a request's or an answer's head.
_HEAD = 2**20


@dataclass
class Call:
    """One request; `operation` is AWS's name for it, or `s3` and the method."""

    operation: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    #: What the proxy has chosen for it.
    fault: str | None = None


#: Passes a call on with this body, and returns the whole answer.
Ask = Callable[[bytes], Awaitable[bytes]]


class Proxy:
    """Passes each request to the port that `upstream` returns."""

    def __init__(self, upstream: Callable[[], int]) -> None:
        self._upstream = upstream
        self._open: set[asyncio.StreamWriter] = set()
        # The loop itself holds its tasks only weakly.
        self._tasks: set[asyncio.Task[None] | None] = set()

    async def meet(self, call: Call) -> bytes | None:
        """Return an answer in the upstream's place, or None; ConnectionResetError cuts."""
        return None

    async def exchange(self, call: Call, ask: Ask) -> bytes:
        """Return the answer; `ask` passes the call on, with its own body or another one."""
        return await ask(call.body)

    async def answered(self, call: Call) -> None:
        """Called before the caller hears the upstream's answer; ConnectionResetError loses it."""

    def cut_all(self) -> None:
        """Reset every connection."""
        for writer in list(self._open):
            _reset(writer)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self._open.add(writer)
        task = asyncio.current_task()
        self._tasks.add(task)
        link = _Link(self._upstream())
        try:
            while await self._one(reader, writer, link):
                pass
        except (OSError, asyncio.IncompleteReadError, ValueError):
            _reset(writer)
        except asyncio.CancelledError:  # the end of the proxy
            return
        finally:
            self._open.discard(writer)
            self._tasks.discard(task)
            link.close()
            with contextlib.suppress(OSError):
                writer.close()

    async def _one(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: _Link
    ) -> bool:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return False
        start, headers = _parse(head)
        if headers.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            head = b"\r\n".join(
                line for line in head.split(b"\r\n") if not line.lower().startswith(b"expect:")
            )
        body = await _body(reader, headers)
        method, path, _ = start.split(" ", 2)
        call = Call(_operation(method, path, headers, body), method, path, headers, body)
        answer = await self.meet(call)
        if answer is None:

            async def ask(sent: bytes) -> bytes:
                return await link.ask(head if sent is body else _resized(head, sent), sent, method)

            answer = await self.exchange(call, ask)
            await self.answered(call)
        writer.write(answer)
        await writer.drain()
        return True


class _Link:
    """One connection to the upstream, made anew where it was closed meanwhile."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, head: bytes, body: bytes, method: str) -> bytes:
        if self._writer is not None:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                return await self._ask(head, body, method)
            self.close()
        return await self._ask(head, body, method)

    async def _ask(self, head: bytes, body: bytes, method: str) -> bytes:
        if self._writer is None or self._reader is None:
            self._reader, self._writer = await asyncio.open_connection(
                "127.0.0.1", self._port, limit=_HEAD
            )
        self._writer.write(head + body)
        await self._writer.drain()
        answer = await self._reader.readuntil(b"\r\n\r\n")
        start, headers = _parse(answer)
        if method == "HEAD" or int(start.split(" ")[1]) in NO_BODY:
            return answer
        return answer + await _body(self._reader, headers)

    def close(self) -> None:
        writer, self._reader, self._writer = self._writer, None, None
        if writer is not None:
            with contextlib.suppress(OSError):
                writer.close()


def _resized(head: bytes, body: bytes) -> bytes:
    """Return the head of a request for another body than it came with."""
    lines = head.rstrip(b"\r\n").split(b"\r\n")
    framing = (b"content-length:", b"transfer-encoding:")
    lines = [line for line in lines if not line.lower().startswith(framing)]
    return b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", b""])


def _parse(head: bytes) -> tuple[str, dict[str, str]]:
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return first, headers


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    """Return a body as it is on the wire, chunks and all."""
    if "chunked" not in headers.get("transfer-encoding", "").lower():
        length = int(headers.get("content-length") or 0)
        return await reader.readexactly(length) if length else b""
    parts = []
    while True:
        line = await reader.readuntil(b"\r\n")
        parts.append(line)
        size = int(line.split(b";")[0], 16)
        if size:
            parts.append(await reader.readexactly(size + 2))
            continue
        while line != b"\r\n":
            line = await reader.readuntil(b"\r\n")
            parts.append(line)
        return b"".join(parts)


def _operation(method: str, path: str, headers: dict[str, str], body: bytes) -> str:
    target = headers.get("x-amz-target")
    if target:
        return target.rpartition(".")[2]
    if headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        for part in body.split(b"&"):
            if part.startswith(b"Action="):
                return part[7:].decode("latin-1")
    return f"s3 {method}"


def parts_of(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """Return an answer's status, its headers and its body, without the chunks' marks."""
    head, _, body = answer.partition(b"\r\n\r\n")
    start, headers = _parse(head)
    status = int(start.split(" ")[1])
    if "chunked" not in headers.get("transfer-encoding", "").lower():
        return status, headers, body
    whole = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size.split(b";")[0], 16)
        if not length:
            break
        whole, body = whole + rest[:length], rest[length + 2 :]
    return status, headers, whole


def answer_of(status: int, kind: str, body: bytes) -> bytes:
    """Return an answer with a body of a content type."""
    return (
        f"HTTP/1.1 {status} Failed\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def _reset(writer: asyncio.StreamWriter) -> None:
    # Linger 0: the client sees a reset, not an orderly end.
    with contextlib.suppress(OSError, AttributeError):
        writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
    with contextlib.suppress(OSError):
        writer.transport.abort()


class Served:
    """A proxy on a port of its own, in a thread; it can stop listening and keep the port."""

    def __init__(self, proxy: Proxy) -> None:
        self._served = proxy
        # Bound, never listening: keeps the port while connections are refused.
        self._keeper = socket.socket()
        self._keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._keeper.bind(("127.0.0.1", 0))
        self.port: int = self._keeper.getsockname()[1]
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.do(self.listen())

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        """Have the proxy's thread do something, and wait until it is done."""
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def listen(self) -> None:
        """Accept connections; on the proxy's thread."""
        if self._server is None:
            self._server = await asyncio.start_server(
                self._served.serve, "127.0.0.1", self.port,
                limit=_HEAD, backlog=512, reuse_port=True,
            )  # fmt: skip

    async def refuse(self) -> None:
        """Refuse connections; those that are open stay. On the proxy's thread."""
        server, self._server = self._server, None
        if server is not None:
            server.close()

    def close(self) -> None:
        """End."""
        self.do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()
        self._keeper.close()

    async def _end(self) -> None:
        await self.refuse()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# -- as the test orders


@dataclass
class Fault:
    """What goes wrong, with which operations, how often (None: until healed)."""

    kind: Literal["error", "stall", "mute", "cut", "refuse", "lost", "slow"]
    status: int = 503
    code: str = "ServiceUnavailable"
    seconds: float = 0.0
    operations: tuple[str, ...] = ()
    times: int | None = None
    #: Returns whether it meets this call; None: it meets all.
    chance: Callable[[], bool] | None = None


#: Faults under which an answer that is already under way is lost too.
SEVERING = frozenset({"stall", "mute", "cut", "refuse"})


class FaultProxy(Proxy):
    """A proxy before SQS in a thread; `fault` is what goes wrong now, None: nothing.

    Errors by code, stalls (dropped when healed), mutes (never answered at all),
    cuts, refused connections, lost answers, latency, and credentials that
    expire: `accepts` tells by a request's access key whether its credentials are valid.
    """

    def __init__(self, upstream: str) -> None:
        port = int(upstream.rstrip("/").rpartition(":")[2])
        super().__init__(lambda: port)
        self.fault: Fault | None = None
        self.seen: Counter[str] = Counter()
        self.faulted: Counter[str] = Counter()
        #: WaitTimeSeconds of each receive.
        self.waits: list[int] = []
        self.accepts: Callable[[str], bool] | None = None
        self._healed, self._never = asyncio.Event(), asyncio.Event()
        self._thread = Served(self)
        self.url = f"http://127.0.0.1:{self._thread.port}"

    def close(self) -> None:
        """End."""
        self._thread.close()

    def heal(self) -> None:
        """Let everything pass again; stalled connections are dropped, muted ones stay mute."""

        async def heal() -> None:
            self.fault = None
            await self._thread.listen()
            self._healed.set()

        self._thread.do(heal())

    def break_with(self, fault: Fault) -> None:
        """Begin to fail."""

        async def begin() -> None:
            self._healed.clear()
            self.fault = fault
            if fault.kind == "refuse":
                await self._thread.refuse()

        self._thread.do(begin())

    async def meet(self, call: Call) -> bytes | None:
        self.seen[call.operation] += 1
        if call.operation == "ReceiveMessage":
            self.waits.append(int(json.loads(call.body).get("WaitTimeSeconds") or 0))
        fault = self._take(call.operation)
        if fault is not None:
            call.fault = fault.kind
            self.faulted[call.operation] += 1
            if fault.kind == "error":
                return _error(fault.status, f"com.amazonaws.sqs#{fault.code}")
            if fault.kind in SEVERING:
                await self._sever(fault)
            if fault.kind == "slow":
                await asyncio.sleep(fault.seconds)
        if self.accepts is not None and not self.accepts(_access_key(call)):
            self.faulted["ExpiredToken"] += 1
            return _error(403, "ExpiredToken")
        return None

    async def answered(self, call: Call) -> None:
        if call.fault == "lost":
            raise ConnectionResetError
        begun = self.fault
        if begun is not None and begun.kind in SEVERING and not begun.operations:
            self.faulted[call.operation] += 1
            await self._sever(begun)

    async def _sever(self, fault: Fault) -> None:
        if fault.kind == "stall":
            await self._healed.wait()
        elif fault.kind == "mute":
            await self._never.wait()
        raise ConnectionResetError

    def _take(self, operation: str) -> Fault | None:
        fault = self.fault
        if fault is None or (fault.operations and operation not in fault.operations):
            return None
        if fault.chance is not None and not fault.chance():
            return None
        if fault.times is not None:
            fault.times -= 1
            if fault.times <= 0:
                self.fault = None
        return fault


def _error(status: int, kind: str) -> bytes:
    return answer_of(status, "application/x-amz-json-1.0", json.dumps({"__type": kind}).encode())


def _access_key(call: Call) -> str:
    credential = call.headers.get("authorization", "").partition("Credential=")[2]
    return credential.partition("/")[0]


# -- at a chosen call

#: Before the call is passed on; after the other side has done it.
BEFORE, AFTER = "before", "after"


class Trap:
    """Counts the calls of one request to what is outside it, over all proxies that ask it.

    At call number `at` the process that made it is killed, before the call is
    passed on or before its answer is handed back.

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

    def before(self, operation: str) -> bool:
        """Take note of a call that has come; whether it is passed on."""
        if self._at:
            self.calls.append(operation)
            if self._when == BEFORE and len(self.calls) == self._at:
                self._spring()
                return False
        return operation not in self.away

    def after(self) -> None:
        """Take note of a call that was answered: calls of one request come one by one."""
        if self._at and self._when == AFTER and len(self.calls) == self._at:
            self._spring()

    def _spring(self) -> None:
        self._at, self.sprung = 0, True
        self._kill()


class DeadlyProxy(Proxy):
    """One proxy on a port of its own, in a thread.

    Parameters
    ----------
    upstream
        Returns the port it passes calls to.
    name
        Of every call; default: AWS's operation.
    """

    def __init__(self, upstream: Callable[[], int], trap: Trap, *, name: str | None = None) -> None:
        super().__init__(upstream)
        self._trap, self._name = trap, name
        self._thread = Served(self)
        self.port = self._thread.port

    async def meet(self, call: Call) -> bytes | None:
        if not self._trap.before(self._name or call.operation):
            raise ConnectionResetError
        return None

    async def answered(self, call: Call) -> None:
        self._trap.after()

    def close(self) -> None:
        """End."""
        self._thread.close()


def kill_all(pids: list[int]) -> None:
    """SIGKILL each."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
