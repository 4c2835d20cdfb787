"""A proxy before the emulated AWS: by the plan, one call in twenty fails.

A process of its own (`python -m chaos.proxy UPSTREAM_PORT SEED FOLDER MARK…`),
so that it does not share the suite's interpreter. It prints its port, then obeys
lines on its standard input (`arm`, `disarm`, `cut`, `heal`, `storm`, `calm`), repeating each
when it is done. It looks for the canary in every request and writes what it counted
to `proxy.json` in the folder when its input ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path

from support.fault_proxy import Call, Proxy, answer_of

from chaos.plan import AwsFault, fault_of, throttled

__all__ = ["PlannedProxy", "main"]

#: Seconds of a delayed call.
DELAY = 2.0


class PlannedProxy(Proxy):
    """Passes requests to the emulator on a port, or does what the plan says."""

    def __init__(self, upstream: int, seed: int, marks: list[bytes]) -> None:
        super().__init__(lambda: upstream)
        self._seed = seed
        self._marks = marks
        self.armed = False
        self.cut = False
        self.storming = False
        self.number = 0
        self.in_storm = 0
        self.calls: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.sightings: list[str] = []

    def order(self, word: str) -> None:
        """Obey one word."""
        if word in {"arm", "disarm"}:
            self.armed = word == "arm"
        elif word in {"storm", "calm"}:
            self.storming = word == "storm"
        elif word in {"cut", "heal"}:
            self.cut = word == "cut"
            if self.cut:
                self.cut_all()

    async def meet(self, call: Call) -> bytes | None:
        if self.cut:
            self.faults["cut"] += 1
            raise ConnectionResetError
        self.calls[call.operation] += 1
        self._look(call)
        fault = "throttle" if self._storms(call) else self._decide()
        if fault is None:
            return None
        call.fault = fault
        self.faults[fault] += 1
        if fault == "reset":
            raise ConnectionResetError
        if fault in {"500", "throttle"}:
            return _failure(fault, call)
        if fault == "delay":
            await asyncio.sleep(DELAY)
        return None

    async def answered(self, call: Call) -> None:
        if call.fault == "lost" or self.cut:
            raise ConnectionResetError

    def _storms(self, call: Call) -> bool:
        target = call.headers.get("x-amz-target", "")
        if not self.storming or not target.startswith("DynamoDB"):
            return False
        self.in_storm += 1
        return throttled(self._seed, self.in_storm - 1)

    def _decide(self) -> AwsFault | None:
        if not self.armed:
            return None
        self.number += 1
        return fault_of(self._seed, self.number - 1)

    def _look(self, call: Call) -> None:
        # An export is what the caller asked for, in the place they asked for.
        if "/exports/" in call.path:
            return
        if any(mark in call.body or mark.decode() in call.path for mark in self._marks):
            self.sightings.append(f"request {call.operation}")


def _failure(fault: str, call: Call) -> bytes:
    """Return AWS's answer in the protocol of the request."""
    status, code = (500, "InternalError") if fault == "500" else (400, "ThrottlingException")
    if "x-amz-target" in call.headers:
        body = json.dumps({"__type": code, "message": "by the plan"}).encode()
        return answer_of(status, "application/x-amz-json-1.0", body)
    if call.operation.startswith("s3") and fault == "throttle":
        status, code = 503, "SlowDown"
    inner = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>plan</Message></Error>"
    if not call.operation.startswith("s3"):
        inner = f"<ErrorResponse>{inner}<RequestId>r</RequestId></ErrorResponse>"
    return answer_of(status, "text/xml", inner.encode())


async def _run(upstream: int, seed: int, folder: Path, marks: list[bytes]) -> None:
    proxy = PlannedProxy(upstream, seed, marks)
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
