from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest
from support.waiting import wait_for

from sealwax.local.processes import group_alive
from sealwax.local.state import StateLock
from sealwax.local.supervisor import Program, ProgramFailed, Stop, StopRequested, Supervisor

READY_THEN_SLEEP = "import time; print('ready', flush=True); time.sleep(600)"


STUBBORN = (
    "import signal, time, os\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "os.fork()\n"
    "print('ready', flush=True)\n"
    "time.sleep(600)\n"
)


def program(name: str, code: str, **more) -> Program:
    options = {
        "command": [sys.executable, "-c", code],
        "environment": dict(os.environ),
        "ready": lambda log: "ready" in log.read_text(),
        "ready_seconds": 20,
        "stop_seconds": 5,
    }
    return Program(name=name, **(options | more))


def test_starts_in_order_and_ends_all(tmp_path):
    with Supervisor(tmp_path) as supervisor:
        pids = [supervisor.start(program(n, READY_THEN_SLEEP)).process.pid for n in ("a", "b")]
        supervisor.check()
        assert all(group_alive(pid) for pid in pids)
    assert not any(group_alive(pid) for pid in pids)


def test_a_process_that_ignores_sigterm_is_killed_with_its_children(tmp_path):
    with Supervisor(tmp_path) as supervisor:
        running = supervisor.start(program("stubborn", STUBBORN, stop_seconds=0.2))
        assert supervisor.end("stubborn") == -signal.SIGKILL
        wait_for(lambda: not group_alive(running.process.pid), what="the group's end")


def test_one_that_ends_before_it_is_ready_is_told_with_its_last_lines(tmp_path):
    code = "print('no such table'); raise SystemExit(3)"
    with Supervisor(tmp_path) as supervisor, pytest.raises(ProgramFailed) as caught:
        supervisor.start(program("api", code))
    assert "api ended with code 3" in str(caught.value)
    assert "api | no such table" in str(caught.value)


def test_one_that_is_never_ready_is_told(tmp_path):
    slow = program("slow", "import time; time.sleep(600)", ready_seconds=0.3)
    with (
        Supervisor(tmp_path) as supervisor,
        pytest.raises(ProgramFailed, match="slow was not ready within"),
    ):
        supervisor.start(slow)


def test_the_death_of_one_is_noticed(tmp_path):
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(program("stays", READY_THEN_SLEEP))
        dies = supervisor.start(program("dies", READY_THEN_SLEEP))
        dies.process.kill()
        with pytest.raises(ProgramFailed, match="dies was ended by signal 9"):
            supervisor.watch()


def test_a_request_to_stop_is_noticed_while_starting(tmp_path):
    stop = Stop()
    with Supervisor(tmp_path, stop=stop) as supervisor:
        timer = threading.Timer(0.2, stop.request, ("Ctrl-C",))
        timer.start()
        with pytest.raises(StopRequested, match="Ctrl-C"):
            supervisor.start(program("slow", "import time; time.sleep(600)"))
        timer.join()


def test_log_lines_are_echoed_with_their_process(tmp_path):
    lines: list[str] = []
    with Supervisor(tmp_path, echo=lines.append) as supervisor:
        supervisor.start(program("api", READY_THEN_SLEEP))
        wait_for(lambda: lines, what="an echoed line")
    assert lines == ["api      | ready"]


def test_nothing_is_left_when_the_supervisor_is_killed(tmp_path):
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "import os\n"
        "from sealwax.local.supervisor import Program, Supervisor\n"
        "from sealwax.local.state import StateLock\n"
        "folder = Path(sys.argv[1])\n"
        "lock = StateLock(folder)\n"
        "supervisor = Supervisor(folder, keep_open=[lock.fileno()])\n"
        "for name in ('a', 'b'):\n"
        "    r = supervisor.start(Program(name=name, command=[sys.executable, '-c', sys.argv[2]],\n"
        "        environment=dict(os.environ), ready=lambda log: 'ready' in log.read_text()))\n"
        "    print(r.process.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), READY_THEN_SLEEP], stdout=subprocess.PIPE
    )
    assert parent.stdout
    with parent.stdout:
        pids = [int(parent.stdout.readline()) for _ in range(2)]
        parent.kill()
        parent.wait()
    # The lock is free once the watchdog has ended everything, not before.
    with StateLock(tmp_path):
        assert not any(group_alive(pid) for pid in pids)


def test_what_processes_write_is_their_owners_alone(tmp_path):
    code = (
        "import os, sys, time; os.makedirs(sys.argv[1] + '/made'); "
        "open(sys.argv[1] + '/made/file', 'w').close(); print('ready', flush=True); time.sleep(600)"
    )
    logs = tmp_path / "logs"
    former = os.umask(0)
    try:
        with Supervisor(logs) as supervisor:
            command = [sys.executable, "-c", code, str(tmp_path)]
            supervisor.start(program("a", "", command=command))
    finally:
        os.umask(former)
    written = [logs, logs / "a.log", tmp_path / "made", tmp_path / "made/file"]
    assert [path.stat().st_mode & 0o077 for path in written] == [0, 0, 0, 0]
