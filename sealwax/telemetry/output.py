"""What a task prints goes nowhere: a container's output is a log that many read.

`withhold_output` is called once by each worker, after its logging was set up,
which keeps writing to the real stream. It cannot withhold what other programs
write that a task starts, nor what C code writes to the descriptors.
"""

from __future__ import annotations

import io
import sys
from typing import Any, TextIO

import structlog

from sealwax.telemetry.logs import task_runs

__all__ = ["withhold_output"]

log = structlog.get_logger("sealwax.worker")

#: Most places that a process tells of.
_PLACES = 100


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
