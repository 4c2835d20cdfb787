"""What /proc tells of a process and all that it started: processor time and memory.

For benchmarks that measure other programs: nothing runs inside those.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

PROC = Path("/proc")
#: Of `utime` and `stime` in /proc/<pid>/stat (proc(5)), a second.
TICKS = os.sysconf("SC_CLK_TCK")
#: Between two looks at the memory, in seconds; a look walks all pages of a process.
PAUSE = 0.5


@dataclass(frozen=True)
class Stat:
    """A line of /proc/<pid>/stat: its parent, and seconds of processor time."""

    parent: int
    #: Its own, and that of children that have ended and were waited for.
    seconds: float


def parse_stat(line: str, ticks: int = TICKS) -> Stat:
    """Read a line of /proc/<pid>/stat; a program's name may hold blanks and brackets."""
    fields = line.rpartition(")")[2].split()
    return Stat(int(fields[1]), sum(map(int, fields[11:15])) / ticks)


def parse_pss(text: str) -> float:
    """Return the proportional share of memory in /proc/<pid>/smaps_rollup, in MiB."""
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1_024
    return 0.0


def stats(proc: Path = PROC) -> dict[int, Stat]:
    """Read what each process there is says of itself."""
    found = {}
    for entry in proc.iterdir():
        if entry.name.isdigit():
            try:
                found[int(entry.name)] = parse_stat((entry / "stat").read_text())
            except OSError:
                continue  # it has just ended
    return found


def tree(root: int, known: dict[int, Stat]) -> list[int]:
    """Return a process and its descendants, at any depth."""
    children: dict[int, list[int]] = {}
    for pid, stat in known.items():
        children.setdefault(stat.parent, []).append(pid)
    found, waiting = [], [root] if root in known else []
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += children.get(pid, [])
    return found


def seconds(root: int, proc: Path = PROC) -> float:
    """Return the processor time of a process and its descendants, in seconds."""
    known = stats(proc)
    return sum(known[pid].seconds for pid in tree(root, known))


def pss(pids: Iterable[int], proc: Path = PROC) -> float:
    """Return the memory of processes in MiB, shared pages counted once among them."""
    total = 0.0
    for pid in pids:
        try:
            total += parse_pss((proc / str(pid) / "smaps_rollup").read_text())
        except OSError:
            continue
    return total


class Peak:
    """The highest memory of a process and its descendants while the block runs, in MiB."""

    def __init__(self, root: int) -> None:
        self.root, self.mib = root, 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._over.wait(PAUSE):
            self.look()

    def look(self) -> None:
        self.mib = max(self.mib, pss(tree(self.root, stats())))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
