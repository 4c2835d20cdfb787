"""Real `sealwax worker` processes on an emulated AWS, with tasks that end them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sealwax.aws.clients import Aws
from sealwax.keys.lifecycle import init_keys
from sealwax.ledger import LedgerEntry
from sealwax.producer.celery_app import make_producer
from sealwax.producer.publish import CeleryPublisher
from sealwax.producer.submit import Submitter
from sealwax.runtime import Runtime
from sealwax.secrets.factory import make_source
from sealwax.settings import Settings, load_settings
from sealwax.task_definition import discover
from support.waiting import wait_for

TESTS = Path(__file__).parent.parent


@dataclass
class Worker:
    """One worker: its main process leads a session of its own."""

    process: subprocess.Popen[bytes]
    log: Path

    def signal(self, number: int) -> None:
        """Signal the main process and all its children."""
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """Kill all of it, as losing the machine does."""
        self.signal(signal.SIGKILL)
        self.process.wait()

    def text(self) -> str:
        """Return what it logged."""
        return self.log.read_text(errors="replace")


def keep_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give back, when the test ends, the variables that `WorkerLab.make` sets."""
    for name in ("SEALWAX_TASK_MODULES", "SEALWAX_LANES", "LOST_TEST_NOTES", "PYTHONPATH"):
        monkeypatch.setenv(name, os.environ.get(name, ""))


@dataclass
class WorkerLab:
    """Submits jobs and looks at them; starts workers and ends those it started."""

    settings: Settings
    folder: Path
    workers: list[Worker] = field(default_factory=list)

    @classmethod
    def make(cls, provisioned: Settings, folder: Path, **lane: Any) -> WorkerLab:
        """Set this process's environment up for its workers; make keys."""
        options = {"lease": 6, "poll": 1, "concurrency": 2, "prefetch": 1} | lane
        os.environ["SEALWAX_TASK_MODULES"] = json.dumps(["support.lost_tasks"])
        os.environ["SEALWAX_LANES"] = json.dumps({"default": options})
        os.environ["LOST_TEST_NOTES"] = str(folder / "notes")
        os.environ["PYTHONPATH"] = os.pathsep.join(
            filter(None, [os.environ.get("PYTHONPATH"), str(TESTS.parent), str(TESTS)])
        )
        settings = load_settings()
        init_keys(settings, make_source(settings, Aws()))
        lab = cls(settings, folder)
        lab._connect()
        return lab

    def _connect(self) -> None:
        self.definitions = discover(self.settings.task_modules)
        self.runtime = Runtime(self.settings, "api", self.definitions)
        self._app = make_producer(self.settings)
        self.submitter = Submitter(self.runtime, CeleryPublisher(self._app, self.settings))

    def submit(self, name: str, *, by: str = "acme", **payload: Any) -> str:
        """Submit a job by a tenant; return its id."""
        return self.submitter.submit(self.definitions[name], payload, tenant=by).entry.id

    def entry(self, job_id: str) -> LedgerEntry:
        """Return the job's entry."""
        entry = self.runtime.ledger.get(job_id)
        assert entry is not None
        return entry

    def wait(self, job_id: str, *states: str, seconds: float = 120) -> LedgerEntry:
        """Return the entry once the job is in one of the states, or has ended."""

        def reached() -> LedgerEntry | None:
            entry = self.entry(job_id)
            there = entry.state.value in states if states else entry.final
            return entry if there else None

        return wait_for(reached, seconds=seconds, what=f"job {job_id} in {states or 'an end'}")

    def start(self, **environment: str) -> Worker:
        """Start a worker, with what its environment has besides."""
        log = self.folder / f"worker-{len(self.workers)}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "sealwax", "worker"],
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self.folder,
                env=os.environ | environment,
            )
        worker = Worker(process, log)
        self.workers.append(worker)
        return worker

    def notes(self, event: str, job_id: str | None = None) -> list[dict[str, Any]]:
        """Return what tasks noted."""
        path = self.folder / "notes"
        lines = path.read_text().splitlines() if path.exists() else []
        notes = [json.loads(line) for line in lines]
        return [note for note in notes if note["event"] == event and job_id in (None, note["job"])]

    def started(self, job_id: str, times: int) -> bool:
        """Whether a job has been started just so often."""
        return len(self.notes("start", job_id)) == times

    def letters(self) -> int:
        """Return how many dead letters there are."""
        sqs = Aws().client("sqs")
        name = self.settings.dead_letter_queue_name("default")
        url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
        found = sqs.get_queue_attributes(
            QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"]
        )["Attributes"]
        return int(found["ApproximateNumberOfMessages"])

    def close(self) -> None:
        """End the workers that were started here, and this process's connections."""
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.kill()
        self._app.close()
        self.runtime.close()
