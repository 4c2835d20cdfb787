"""What a benchmark reads of processes in /proc: parents, processor time, memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[3] / "bench"))
import processes

#: A worker's line in /proc/<pid>/stat, its title as `setproctitle` leaves it.
LINE = (
    "4242 (python (worker) x) S 4000 4242 4242 0 -1 4194560 9000 120 3 0 "
    "150 50 30 20 20 0 5 0 81234 270000000 20000 18446744073709551615 1 1 0"
)
ROLLUP = """\
55d0c0000000-7ffd00000000 ---p 00000000 00:00 0                          [rollup]
Rss:              102400 kB
Pss:               51200 kB
Pss_Anon:          40000 kB
"""


def test_a_line_tells_the_parent_and_the_seconds_of_itself_and_its_children() -> None:
    assert processes.parse_stat(LINE, ticks=100) == processes.Stat(4000, 2.5)


@pytest.mark.parametrize(("text", "mib"), [(ROLLUP, 50.0), ("", 0.0), ("Pss_Anon: 5 kB\n", 0.0)])
def test_memory_is_the_proportional_share(text: str, mib: float) -> None:
    assert processes.parse_pss(text) == mib


def test_a_tree_holds_descendants_at_any_depth_and_nothing_else() -> None:
    parents = {1: 0, 10: 1, 11: 10, 12: 11, 20: 1}
    known = {pid: processes.Stat(parent, 1.0) for pid, parent in parents.items()}
    assert sorted(processes.tree(10, known)) == [10, 11, 12]
    assert processes.tree(99, known) == []


def make(proc: Path, pid: int, parent: int, ticks: int, *, pss: int | None = None) -> None:
    folder = proc / str(pid)
    folder.mkdir()
    (folder / "stat").write_text(f"{pid} (x) S {parent} " + "0 " * 9 + f"{ticks} 0 0 0 0")
    if pss is not None:
        (folder / "smaps_rollup").write_text(f"Pss: {pss} kB\n")


def test_a_process_is_counted_with_those_it_started(tmp_path: Path) -> None:
    make(tmp_path, 10, 1, processes.TICKS, pss=1_024)
    make(tmp_path, 11, 10, 2 * processes.TICKS, pss=2_048)
    make(tmp_path, 12, 1, 4 * processes.TICKS, pss=4_096)
    (tmp_path / "self").mkdir()
    (tmp_path / "13").mkdir()  # ended between the listing and the look
    assert processes.seconds(10, tmp_path) == 3.0
    assert processes.pss([10, 11, 13], tmp_path) == 3.0


def test_the_peak_is_of_a_real_process_and_its_children() -> None:
    nested = (
        "import subprocess, sys;"
        "subprocess.run([sys.executable, '-c', 'x = bytearray(40_000_000); print(flush=True); "
        "input()'])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", nested], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()  # the memory is there
        with processes.Peak(child.pid) as peak:
            peak.look()
        assert processes.seconds(child.pid) > 0
        child.communicate(b"\n")
    assert peak.mib > 38
