"""A proxy before the emulated AWS: by the plan, one call in twenty fails.

A process of its own (`python -m chaos.proxy UPSTREAM_PORT SEED FOLDER MARK…`),
so that it does not share the suite's interpreter. It prints its port, then obeys
lines on its standard input (`arm`, `disarm`, `cut`, `heal`), repeating each when
it is done. It looks for the canary in every request and writes what it counted
to `proxy.json` in the folder when its input ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import sys
from collections import Counter
from pathlib import Path

from chaos.plan import AwsFault, fault_of

__all__ = ["Proxy", "main"]

#: Seconds of a delayed call.
DELAY = 2.0
NO_BODY = {204, 304}


class Proxy:
    """Passes HTTP/1.1 requests to the emulator on a port, or does what the plan says."""

    def __init__(self, upstream: int, seed: int, marks: list[bytes]) -> None:
        self._upstream = upstream
        self._seed = seed
        self._marks = marks
        self.armed = False
        self.cut = False
        self.number = 0
        self.calls: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.sightings: list[str] = []
        self._open: set[asyncio.StreamWriter] = set()
        # The loop itself holds its tasks only weakly.
        self._tasks: set[asyncio.Task[None] | None] = set()

    def order(self, word: str) -> None:
        """Obey one word."""
        if word in {"arm", "disarm"}:
            self.armed = word == "arm"
        elif word in {"cut", "heal"}:
            self.cut = word == "cut"
            if self.cut:
                for writer in list(self._open):
                    _reset(writer)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self._open.add(writer)
        task = asyncio.current_task()
        self._tasks.add(task)
        link = _Link(self._upstream)
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
        if self.cut:
            self.faults["cut"] += 1
            raise ConnectionResetError
        start, headers = _parse(head)
        if headers.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            head = b"\r\n".join(
                line for line in head.split(b"\r\n") if not line.lower().startswith(b"expect:")
            )
        body = await _body(reader, headers)
        method, path, _ = start.split(" ", 2)
        operation = _operation(method, path, headers, body)
        self.calls[operation] += 1
        self._look(operation, path, body)
        fault = self.decide(operation)
        if fault is not None:
            self.faults[fault] += 1
        if fault == "reset":
            raise ConnectionResetError
        if fault in {"500", "throttle"}:
            writer.write(_failure(fault, headers, operation))
            await writer.drain()
            return True
        if fault == "delay":
            await asyncio.sleep(DELAY)
        answer = await link.ask(head, body, method)
        self.answered(operation)
        if fault == "lost" or self.cut:
            raise ConnectionResetError
        writer.write(answer)
        await writer.drain()
        return True

    def decide(self, operation: str) -> AwsFault | None:
        """Say how a call that has come fails; called once for each, before it is passed on."""
        if not self.armed:
            return None
        self.number += 1
        return fault_of(self._seed, self.number - 1)

    def answered(self, operation: str) -> None:
        """Called when the emulator has answered, before the caller hears of it."""

    def _look(self, operation: str, path: str, body: bytes) -> None:
        # An export is what the caller asked for, in the place they asked for.
        if "/exports/" in path:
            return
        for mark in self._marks:
            if mark in body or mark.decode() in path:
                self.sightings.append(f"request {operation}")
                return


class _Link:
    """One connection to the emulator, made anew where it was closed meanwhile."""

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
                "127.0.0.1", self._port, limit=2**20
            )
        self._writer.write(head + body)
        await self._writer.drain()
        answer = await self._reader.readuntil(b"\r\n\r\n")
        start, headers = _parse(answer)
        status = int(start.split(" ")[1])
        if method == "HEAD" or status in NO_BODY:
            return answer
        return answer + await _body(self._reader, headers)

    def close(self) -> None:
        writer, self._reader, self._writer = self._writer, None, None
        if writer is not None:
            with contextlib.suppress(OSError):
                writer.close()


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


def _failure(fault: str, headers: dict[str, str], operation: str) -> bytes:
    """Return AWS's answer in the protocol of the request."""
    status, code = (500, "InternalError") if fault == "500" else (400, "ThrottlingException")
    if "x-amz-target" in headers:
        body = json.dumps({"__type": code, "message": "by the plan"}).encode()
        kind = "application/x-amz-json-1.0"
    else:
        if operation.startswith("s3") and fault == "throttle":
            status, code = 503, "SlowDown"
        inner = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>plan</Message></Error>"
        if not operation.startswith("s3"):
            inner = f"<ErrorResponse>{inner}<RequestId>r</RequestId></ErrorResponse>"
        body, kind = inner.encode(), "text/xml"
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


async def _run(upstream: int, seed: int, folder: Path, marks: list[bytes]) -> None:
    proxy = Proxy(upstream, seed, marks)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, limit=2**20, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    orders = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    async with server:
        # It ends when its standard input does.
        while line := await orders.readline():
            proxy.order(line.decode().strip())
            print(line.decode().strip(), flush=True)
    (folder / "proxy.json").write_text(
        json.dumps(
            {
                "calls": proxy.calls,
                "faults": proxy.faults,
                "sightings": proxy.sightings,
            }
        )
    )


def main() -> None:
    """Serve until standard input ends."""
    upstream, seed, folder, *marks = sys.argv[1:]
    asyncio.run(_run(int(upstream), int(seed), Path(folder), [mark.encode() for mark in marks]))


if __name__ == "__main__":
    main()
