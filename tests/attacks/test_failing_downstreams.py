"""A downstream that fails for everybody: a real worker, a real server on 127.0.0.1."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support.waiting import wait_for
from support.worker_lab import WorkerLab, keep_variables

from sealwax.control import Heartbeats
from sealwax.ledger import JobState
from sealwax.settings import Settings

#: Waits for leases and back-offs, most of its time.
pytestmark = pytest.mark.long

JOBS, FAILURES, SLOTS = 12, 5, 2


class Downstream(ThreadingHTTPServer):
    """Answers 503 while `fails`; counts."""

    fails = True
    refused = 0
    taken = 0


class Handler(BaseHTTPRequestHandler):
    server: Downstream

    def do_POST(self) -> None:
        if self.server.fails:
            self.server.refused += 1
        else:
            self.server.taken += 1
        self.send_response(503 if self.server.fails else 204)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture
def downstream() -> Iterator[Downstream]:
    with Downstream(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def lab(
    provisioned: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[WorkerLab]:
    keep_variables(monkeypatch)
    monkeypatch.setenv("SEALWAX_REPORT_SECONDS", "1")
    lab = WorkerLab.make(provisioned, tmp_path, concurrency=SLOTS)
    yield lab
    lab.close()


def test_jobs_of_a_route_that_fails_wait_and_lose_no_attempt(
    lab: WorkerLab, downstream: Downstream
) -> None:
    worker = lab.start()
    jobs = [lab.submit("lost.asks", port=downstream.server_port) for _ in range(JOBS)]
    # Every job was sent away at least once, and one has tried since.
    wait_for(
        lambda: worker.text().count("route closed") > JOBS and downstream.refused > FAILURES,
        seconds=120,
        what="a closed route and a try",
    )
    reports = Heartbeats(lab.runtime.control)
    shown = wait_for(
        lambda: [each for report in reports.all() for each in report.routes],
        seconds=30,
        what="a report",
    )
    assert shown[0].startswith(f"lost.asks to 127.0.0.1:{downstream.server_port}")
    # Others' jobs run meanwhile.
    assert lab.wait(lab.submit("lost.well"), seconds=30).state is JobState.SUCCEEDED
    downstream.fails = False
    ended = [lab.wait(job) for job in jobs]
    assert {entry.state for entry in ended} == {JobState.SUCCEEDED}
    assert downstream.taken == JOBS
    # An attempt is what has asked: nothing else was charged.
    assert sum(entry.attempts for entry in ended) == JOBS + downstream.refused
    assert worker.text().count("route opened") == 1
