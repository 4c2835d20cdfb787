"""The product's processes, and what the suite does to them.

Each start of a role is an *incarnation* (`worker-a.2`) with a log file of its
own. Whatever happens to one is noted as a span, so that the judge can tell what
the suite did from what the product did.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from chaos.judge import Span
from sealwax.local.supervisor import Program, RunningProgram, Supervisor

__all__ = ["Roles"]

#: Seconds that a role may take to end after SIGTERM: above the longest task.
TERM_SECONDS = 60.0


def _members(session: int) -> list[int]:
    """Return the processes of a session: a role with all its children."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == session:
                    found.append(int(entry.name))
    return found


def _signal(pids: Sequence[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


class Roles:
    """All roles of the product under one supervisor.

    Parameters
    ----------
    commands
        The command of each role.
    environment
        Of all of them.
    ready
        Says whether a role serves, given its log file.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        commands: Mapping[str, Sequence[str]],
        environment: Mapping[str, str],
        ready: Callable[[str, Path], bool],
    ) -> None:
        self._supervisor = supervisor
        self._commands = commands
        self._environment = environment
        self._ready = ready
        self._current: dict[str, tuple[str, RunningProgram]] = {}
        self._starts: dict[str, int] = dict.fromkeys(commands, 0)
        self._locks = {name: threading.RLock() for name in commands}
        self._expected: set[str] = set()
        self._ended = threading.Event()
        self.sessions: dict[int, str] = {}
        self.spans: list[Span] = []
        self.stopped: list[str] = []
        self.done: dict[str, int] = {}

    def start_all(self) -> None:
        """Start every role and wait until all serve."""
        for name in self._commands:
            self._start(name)
        for _, running in self._current.values():
            self._supervisor.wait_ready(running)
        threading.Thread(target=self._watch, daemon=True).start()

    def _start(self, name: str) -> None:
        self._starts[name] += 1
        incarnation = f"{name}.{self._starts[name]}"
        program = Program(
            name=incarnation,
            command=self._commands[name],
            environment=self._environment,
            ready=lambda log: self._ready(name, log),
            ready_seconds=90.0,
            stop_seconds=TERM_SECONDS,
        )
        running = self._supervisor.start(program, wait=False)
        self.sessions[running.process.pid] = incarnation
        self._current[name] = (incarnation, running)

    def _serves(self, name: str) -> bool:
        running = self._current[name][1]
        return running.process.poll() is None and running.program.ready(running.log)

    def _note(self, what: str, process: str, begun: float) -> None:
        self.spans.append(Span(what=what, process=process, begun=begun, ended=time.time()))

    def _count(self, what: str) -> None:
        self.done[what] = self.done.get(what, 0) + 1

    def kill(self, name: str) -> None:
        """SIGKILL a role with all its children, as the end of its container does; start it anew."""
        with self._locks[name]:
            incarnation, running = self._current[name]
            self._expected.add(incarnation)
            begun = time.time()
            # Stopped first, so that it makes no more children meanwhile.
            _signal([running.process.pid], signal.SIGSTOP)
            _signal(_members(running.process.pid), signal.SIGKILL)
            running.process.wait()
            self._supervisor.end(incarnation)
            self._note("death", incarnation, begun)
            self._count("kill -9")
            self._start(name)

    def term(self, name: str) -> None:
        """SIGTERM a role, wait until it has ended, start it anew."""
        with self._locks[name]:
            incarnation, _ = self._current[name]
            # One that only starts has no handler yet: the signal ends it.
            good = {0} if self._serves(name) else {0, -signal.SIGTERM}
            self._expected.add(incarnation)
            begun = time.time()
            code = self._supervisor.end(incarnation)
            took = time.time() - begun
            self._note("death", incarnation, begun)
            self._count("SIGTERM")
            if code not in good or took > TERM_SECONDS:
                self.stopped.append(f"{incarnation} ended with {code} {took:.0f} s after SIGTERM")
            self._start(name)

    def pause(self, name: str, seconds: float) -> None:
        """SIGSTOP a role with all its children, SIGCONT it after some seconds."""
        with self._locks[name]:
            incarnation, running = self._current[name]
            members = _members(running.process.pid)
            begun = time.time()
            _signal(members, signal.SIGSTOP)
            self._ended.wait(seconds)
            _signal(members, signal.SIGCONT)
            self._note("pause", incarnation, begun)
            self._count("SIGSTOP")

    def child(self, name: str, chance: random.Random) -> None:
        """SIGKILL one child of a worker, as the kernel does where memory runs out."""
        with self._locks[name]:
            incarnation, running = self._current[name]
            end = time.monotonic() + 20
            while not self._serves(name) and time.monotonic() < end:
                time.sleep(0.1)
            children = [p for p in _members(running.process.pid) if p != running.process.pid]
            if children:
                begun = time.time()
                pid = chance.choice(sorted(children))
                _signal([pid], signal.SIGKILL)
                self._note("death", f"{incarnation}/{pid}", begun)
                self._count("child -9")

    def note_cut(self, begun: float) -> None:
        """Note that AWS was cut off from then until now."""
        self._note("cut", "all", begun)
        self._count("AWS cut off")

    def hang_up(self) -> None:
        """SIGHUP every role that serves: it reads its secrets again."""
        for name in self._commands:
            # A role that stands paused or starts reads them later by itself.
            if self._locks[name].acquire(blocking=False):
                try:
                    if self._serves(name):
                        _signal([self._current[name][1].process.pid], signal.SIGHUP)
                finally:
                    self._locks[name].release()

    def _watch(self) -> None:
        """Note whatever ends without having been told to, and start it anew."""
        while not self._ended.wait(0.2):
            for name in self._commands:
                if not self._locks[name].acquire(blocking=False):
                    continue
                try:
                    self._look(name)
                finally:
                    self._locks[name].release()

    def _look(self, name: str) -> None:
        incarnation, running = self._current[name]
        code = running.process.poll()
        if code is None or incarnation in self._expected or self._ended.is_set():
            return
        self._expected.add(incarnation)
        tail = " | ".join(line[:200] for line in running.tail(3))
        self.stopped.append(f"{incarnation} ended by itself with {code}: {tail}")
        self._note("death", incarnation, time.time())
        self._supervisor.end(incarnation)
        self._start(name)

    def alive(self, seconds: float = 90.0) -> None:
        """Wait until every role serves again; note those that do not in time."""
        end = time.monotonic() + seconds
        for name in self._commands:
            while True:
                with self._locks[name]:
                    incarnation, serves = self._current[name][0], self._serves(name)
                if serves:
                    break
                if time.monotonic() > end:
                    self.stopped.append(f"{incarnation} does not serve")
                    break
                time.sleep(0.1)

    def close(self) -> None:
        """Stop watching and end all roles, the newest first."""
        self._ended.set()
        for name in reversed(list(self._commands)):
            with self._locks[name]:
                self._expected.add(self._current[name][0])
        for name in list(self._commands):
            with self._locks[name]:
                incarnation, _ = self._current[name]
                code = self._supervisor.end(incarnation)
                if code != 0:
                    self.stopped.append(f"{incarnation} ended with {code} after the last SIGTERM")
