"""A role's standard streams: a full disk behind them ends nothing, and no task prints to them.

`endure_output` is called once by each role, before its logging is set up: where
the log goes must never decide whether jobs run. A container's output is a log
that many read; so what a task prints goes nowhere. `withhold_output` is called
once by each worker, after its logging was set up, which keeps writing to the
real stream. It cannot withhold what other programs write that a task starts,
nor what C code writes to the descriptors.
"""

from __future__ import annotations

import io
import json
import os
import sys
from typing import Any, TextIO

import structlog

from sealwax.telemetry.logs import task_runs

__all__ = ["endure_output", "withhold_output"]

log = structlog.get_logger("sealwax.worker")

#: Most places that a process tells of.
_PLACES = 100


class _Enduring(io.RawIOBase):
    """A descriptor that takes everything: what cannot be written is counted, and told later."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._lost = 0

    def write(self, data: Any) -> int:
        """Write all of it or none; return its length either way."""
        size = memoryview(data).nbytes
        notice = b""
        if self._lost:
            line = {"event": "output lost", "level": "warning", "bytes": self._lost}
            # The last line may have been cut off.
            notice = f"\n{json.dumps(line)}\n".encode()
        if self._written(notice + bytes(data)):
            self._lost = 0
        else:
            self._lost += size
        return size

    def _written(self, data: bytes) -> bool:
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            # No space, nobody who reads, a pipe that is full, a descriptor that is closed.
            return False
        return True

    def writable(self) -> bool:
        """Return True: it is an output."""
        return True

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Return whether somebody looks at it."""
        try:
            return os.isatty(self._descriptor)
        except OSError:
            return False


def endure_output() -> None:
    """Have this process's standard streams never fail, and what cannot be written be lost.

    Also those under their second names, which Celery prints its banner to.
    Streams that were closed before the process began lead nowhere from here on.
    """
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        former: TextIO | None = getattr(sys, name)
        if former is not getattr(sys, f"__{name}__"):
            continue  # somebody has put a stream of his own there, as test runners do
        raw = _Enduring(descriptor if former is not None else os.open(os.devnull, os.O_WRONLY))
        stream = io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding=former.encoding if former is not None else "utf-8",
            errors="backslashreplace",
            line_buffering=True,
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


class _Withheld(io.TextIOBase):
    """A standard stream that passes nothing on while a task of this process runs."""

    def __init__(self, stream: TextIO, name: str) -> None:
        super().__init__()
        self._stream = stream
        self._name = name
        #: Places that were told of: a loop that prints says so once.
        self._told: set[str] = set()

    def write(self, text: str) -> int:
        """Pass a text on, or say once where it was withheld."""
        if not task_runs():
            return self._stream.write(text)
        if text.strip():
            frame: Any = sys._getframe(1)  # noqa: SLF001 - the cheap way to the caller
            place = f"{frame.f_globals.get('__name__', '?')}:{frame.f_lineno}"
            if place not in self._told and len(self._told) < _PLACES:
                self._told.add(place)
                log.warning("output withheld", stream=self._name, at=place)
        return len(text)

    def flush(self) -> None:
        """Flush the stream itself."""
        self._stream.flush()

    def fileno(self) -> int:
        """Return the stream's own descriptor."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Return whether somebody looks at it."""
        return self._stream.isatty()

    def writable(self) -> bool:
        """Return True: it is an output."""
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The stream's own encoding."""
        return self._stream.encoding

    @property
    def buffer(self) -> Any:
        """Where bytes go: the stream's own buffer, or nowhere."""
        return io.BytesIO() if task_runs() else self._stream.buffer


def withhold_output() -> None:
    """Withhold what is written to this process's standard streams while a task runs."""
    sys.stdout = _Withheld(sys.stdout, "stdout")
    sys.stderr = _Withheld(sys.stderr, "stderr")
