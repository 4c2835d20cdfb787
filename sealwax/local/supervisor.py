"""Starting several processes in order, watching them, and ending all of them.

`sealwax dev` and the acceptance tests use it. Each process leads a session of
its own and writes to a log file; like all that it makes, this user alone may read it. A
process counts as started when its readiness condition holds. When one dies, `watch` says so
and the caller ends the rest. A watchdog process ends them even when this process is
killed outright.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from sealwax.errors import SealwaxError
from sealwax.local import watchdog
from sealwax.local.processes import end_group, signal_group
from sealwax.local.state import PRIVATE_UMASK, open_private

__all__ = ["Program", "ProgramFailed", "RunningProgram", "Stop", "StopRequested", "Supervisor"]

#: Lines of a failing process's log that are shown.
TAIL_LINES = 30


class ProgramFailed(SealwaxError):
    """A process ended, or did not become ready in time; its last log lines follow."""


class StopRequested(SealwaxError):
    """Somebody asked to stop, by Ctrl-C or a signal."""


class Stop:
    """A request to stop, made by a signal handler and noticed where we wait."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.reason: str | None = None

    def request(self, reason: str) -> None:
        """Ask to stop; the first reason is kept."""
        self.reason = self.reason or reason
        self._event.set()

    def pause(self, seconds: float) -> None:
        """Wait; raise `StopRequested` as soon as somebody asks to stop."""
        if self._event.wait(seconds):
            raise StopRequested(self.reason)


@dataclass(frozen=True, kw_only=True)
class Program:
    """What to start.

    Parameters
    ----------
    name
        Shown to people; names the log file.
    command
        Program and arguments; no shell.
    environment
        Its whole environment.
    ready
        Called with the log file's path until it is true.
    ready_seconds
        How long that may take.
    stop_seconds
        Between SIGTERM and SIGKILL.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    ready: Callable[[Path], bool]
    ready_seconds: float = 30.0
    stop_seconds: float = 15.0


@dataclass(frozen=True, kw_only=True)
class RunningProgram:
    """A program that was started: its process and its log file."""

    program: Program
    process: subprocess.Popen[bytes]
    log: Path

    def tail(self, lines: int = TAIL_LINES) -> list[str]:
        """Return the log's last lines."""
        with contextlib.suppress(OSError):
            return self.log.read_text(errors="replace").splitlines()[-lines:]
        return []


class Supervisor:
    """Holds processes; use it as a context manager.

    Parameters
    ----------
    logs
        Folder for log files, one a program; each start begins a new file.
    stop
        Noticed while waiting.
    echo
        Called with each new log line, as `name | line`; default nobody.
    keep_open
        File descriptors that the watchdog keeps open until all is ended: a
        lock held through one of them stays held until then.
    """

    def __init__(
        self,
        logs: Path,
        *,
        stop: Stop | None = None,
        echo: Callable[[str], None] | None = None,
        keep_open: Sequence[int] = (),
    ) -> None:
        self._logs = logs
        self._stop = stop or Stop()
        self._echo = echo
        self._running: dict[str, RunningProgram] = {}
        self._ended = threading.Event()
        self._echoes: list[threading.Thread] = []
        logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._watchdog = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(watchdog.__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=tuple(keep_open),
        )

    def __getitem__(self, name: str) -> RunningProgram:
        """Return what runs under a name."""
        return self._running[name]

    def start(self, program: Program, *, wait: bool = True) -> RunningProgram:
        """Start a program and wait until it is ready.

        Raises
        ------
        ProgramFailed
            It ended, or is not ready in time; it stays listed, so `end` ends it.
        StopRequested
            Somebody asked to stop meanwhile.
        """
        log = self._logs / f"{program.name}.log"
        with open_private(log) as output:
            process = subprocess.Popen(
                list(program.command),
                # An open pipe that ends with this process: for those who watch it.
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(program.environment),
                start_new_session=True,
                umask=PRIVATE_UMASK,
            )
        self._tell_watchdog(f"+{process.pid}")
        running = RunningProgram(program=program, process=process, log=log)
        self._running[program.name] = running
        if self._echo:
            thread = threading.Thread(target=self._follow, args=(running,), daemon=True)
            thread.start()
            self._echoes.append(thread)
        if wait:
            self.wait_ready(running)
        return running

    def wait_ready(self, running: RunningProgram) -> None:
        """Wait until a started program is ready; raises as `start` does."""
        end = time.monotonic() + running.program.ready_seconds
        while True:
            self._raise_if_ended(running)
            if running.program.ready(running.log):
                return
            if time.monotonic() > end:
                raise self._failure(
                    running, f"was not ready within {running.program.ready_seconds:.0f} s"
                )
            self._stop.pause(0.05)

    def check(self) -> None:
        """Raise `ProgramFailed` where a process has ended by itself."""
        for running in self._running.values():
            self._raise_if_ended(running)
        if self._watchdog.poll() is not None:
            raise ProgramFailed("the watchdog process ended; start again")

    def watch(self) -> None:
        """Wait until somebody asks to stop (`StopRequested`) or a process ends."""
        while True:
            self.check()
            self._stop.pause(0.2)

    def end(self, name: str) -> int:
        """End one program; return its exit code."""
        running = self._running.pop(name)
        code = end_group(running.process, grace=running.program.stop_seconds)
        if running.process.stdin:
            running.process.stdin.close()
        self._tell_watchdog(f"-{running.process.pid}")
        return code

    def kill_one(self, name: str) -> None:
        """SIGKILL a program with all its children: what a crash of the machine does."""
        signal_group(self._running[name].process.pid, signal.SIGKILL)

    def kill(self) -> None:
        """SIGKILL everything now: for somebody who asks a second time, from a signal handler."""
        for running in list(self._running.values()):
            signal_group(running.process.pid, signal.SIGKILL)

    def close(self) -> None:
        """End everything, newest first; safe to call again."""
        try:
            for name in reversed(list(self._running)):
                self.end(name)
        finally:
            # Its end of the pipe: it ends what is still listed, then itself.
            if self._watchdog.stdin and not self._watchdog.stdin.closed:
                self._watchdog.stdin.close()
            self._watchdog.wait()
            self._ended.set()
            for thread in self._echoes:
                thread.join(timeout=2)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End everything."""
        self.close()

    def _raise_if_ended(self, running: RunningProgram) -> None:
        code = running.process.poll()
        if code is not None:
            how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
            raise self._failure(running, how)

    def _failure(self, running: RunningProgram, how: str) -> ProgramFailed:
        lines = "\n".join(f"  {running.program.name} | {line}" for line in running.tail())
        return ProgramFailed(
            f"{running.program.name} {how}; the end of {running.log}:\n{lines or '  (empty)'}"
        )

    def _tell_watchdog(self, word: str) -> None:
        pipe = self._watchdog.stdin
        if pipe is None or pipe.closed:
            return
        with contextlib.suppress(OSError):  # `check` reports a dead watchdog
            pipe.write(word.encode("ascii") + b"\n")
            pipe.flush()

    def _follow(self, running: RunningProgram) -> None:
        assert self._echo is not None  # noqa: S101 - only started with one
        with running.log.open(errors="replace") as log:
            part = ""
            while True:
                ended = self._ended.is_set() or running.process.poll() is not None
                part += log.read()
                *lines, part = part.split("\n")
                for line in lines:
                    self._echo(f"{running.program.name:8} | {line}")
                if ended:
                    return
                self._ended.wait(0.1)
