"""One column of `bench/job.py` on servers of its own: submits, works, and counts.

Calls and bytes are counted by the servers, processor time and memory are read
from /proc, and the end of a job is the last write of its row.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import processes
from job_columns import HERE, PEERS, POOLS, ROOT, Column

#: A run that makes no headway for so long has failed, in seconds.
STUCK = 120.0
#: Submissions a second of the row "low load".
LOW_RATE = 20.0
ACCOUNT = "000000000000"


class Failed(Exception):
    """A column could not be measured; the message says where its log is."""


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    #: Submitted and worked off, pool by pool.
    jobs: int = 2_000
    #: Submitted one at a time at low load.
    low: int = 200
    #: At 70 % of the peak, in seconds.
    steady: float = 8.0


def get(url: str, path: str = "/_state") -> Any:
    with urllib.request.urlopen(f"{url}{path}", timeout=30) as answer:
        return json.loads(answer.read())


def less(after: dict[str, int], before: dict[str, int]) -> int:
    """Return by how much the counters of a server have grown in all."""
    return sum(after.values()) - sum(before.values())


def quantile(values: list[float], part: float) -> float:
    """Return the value that `part` of all are not above; NaN of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else float("nan")


class Service:
    """A server that answers from memory."""

    def __init__(self, program: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / program), *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()

    def seconds(self) -> float:
        return processes.seconds(self.process.pid)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)


@dataclass
class Reading:
    """What the servers have counted up to a moment."""

    at: float
    calls: dict[str, dict[str, int]]
    bytes: dict[str, dict[str, int]]
    cpu: dict[str, float]

    def since(self, before: Reading, jobs: float, seconds: float | None = None) -> dict[str, float]:
        """Return calls and bytes a job between two moments, and the servers' part of a core.

        `seconds`: in which the calls were made, where that is less than all between the two.
        """
        found = {}
        passed = max(seconds or self.at - before.at, 0.001)
        for name in self.calls:
            found[f"{name} calls a job"] = less(self.calls[name], before.calls[name]) / jobs
            found[f"{name} bytes a job"] = less(self.bytes[name], before.bytes[name]) / jobs
            used = self.cpu[name] - before.cpu[name]
            found[f"{name} server, % of a core"] = used / passed * 100
        return found


class Run:
    """A column on servers of its own; use as a context manager."""

    def __init__(self, column: Column, pool: str, latency: float, emulator: str | None) -> None:
        self.column, self.pool, self.latency, self.emulator = column, pool, latency, emulator
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self.notes, self.log = self.folder / "notes", self.folder / "worker.log"
        sqs = self._service("sqs_server.py")
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AWS_", "SEALWAX_"))
        } | {
            "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_SQS": sqs.url, "BENCH_NOTES": str(self.notes),
            **self.column.environment(self.pool, self.folder),
        }  # fmt: skip
        prepared = self._sealwax(sqs) if self.column.ours else self._peer(sqs)
        self.queue = prepared["queue"]
        tables = [f"--table={name}" for name in prepared["tables"]]
        upstream = [f"--upstream={self.emulator}"] if self.column.ours else []
        dynamodb = self._service("dynamodb_server.py", *tables, *upstream)
        self.environment["AWS_ENDPOINT_URL_DYNAMODB"] = dynamodb.url
        self.services = {"SQS": sqs, "DynamoDB": dynamodb}
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _service(self, program: str, *arguments: str) -> Service:
        service = Service(program, f"--latency={self.latency}", *arguments)
        self._stack.callback(service.close)
        return service

    def _sealwax(self, sqs: Service) -> Any:
        """Let the product make its queues, tables and keys."""
        assert self.emulator is not None, "keys and secrets come from the emulated AWS"
        config = self.folder / "sealwax.toml"
        config.write_text("")
        self.environment |= {
            "AWS_ENDPOINT_URL": self.emulator, "AWS_ENDPOINT_URL_SQS": sqs.url,
            "SEALWAX_ENVIRONMENT": f"b{uuid.uuid4().hex[:8]}", "SEALWAX_CONFIG": str(config),
        }  # fmt: skip
        return self._app("prepare")

    def _peer(self, sqs: Service) -> Any:
        """Make a queue with its dead-letter queue, as a template would."""
        name = f"b{uuid.uuid4().hex[:8]}"
        redrive = {
            "deadLetterTargetArn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:{name}-dlq",
            "maxReceiveCount": "5",
        }
        for queue, attributes in ((f"{name}-dlq", {}), (name, {"RedrivePolicy": redrive})):
            body = {
                "QueueName": queue,
                "Attributes": {key: json.dumps(value) for key, value in attributes.items()},
            }
            urllib.request.urlopen(
                urllib.request.Request(
                    sqs.url, data=json.dumps(body).encode(),
                    headers={"X-Amz-Target": "AmazonSQS.CreateQueue"},
                ),
                timeout=30,
            ).close()  # fmt: skip
        self.environment |= {
            "AWS_ENDPOINT_URL": sqs.url, "BENCH_QUEUE": name,
            "BENCH_QUEUE_URL": f"{sqs.url}/{ACCOUNT}/{name}",
        }  # fmt: skip
        return {"queue": name, "tables": ["results", "idempotency"]}

    def _app(self, *arguments: object) -> Any:
        """Run the column's program; return what it printed, and its memory's peak."""
        with subprocess.Popen(
            [self.column.python, str(PEERS / f"{self.column.app}.py"), *map(str, arguments)],
            env=self.environment, cwd=self.folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as program, processes.Peak(program.pid) as peak:  # fmt: skip
            printed, complaints = program.communicate()
        if program.returncode:
            raise Failed(f"{self.column.name} {arguments}: {complaints[-2_000:]}")
        return {**json.loads(printed.strip().splitlines()[-1]), "mib": peak.mib}

    def read(self) -> Reading:
        """Read the servers' counters and processor time."""
        states = {name: get(service.url) for name, service in self.services.items()}
        return Reading(
            time.perf_counter(),
            {name: state["calls"] for name, state in states.items()},
            {name: state["bytes"] for name, state in states.items()},
            {name: service.seconds() for name, service in self.services.items()},
        )

    def send(self, threads: int, jobs: int, rate: float = 0.0) -> dict[str, Any]:
        """Submit jobs and one before them; return what that took, and each job's row and times."""
        self.notes.unlink(missing_ok=True)
        file = self.folder / "sent"
        before = self.read()
        found: dict[str, Any] = self._app("send", threads, jobs, rate, file)
        found["counted"] = self.read().since(before, jobs + 1, found["seconds"])
        found["sent"] = [line.split() for line in file.read_text().splitlines()]
        return found

    def ends(self, sent: list[list[str]]) -> list[float]:
        """Return the seconds from the begin of each submission to the last write of its row."""
        ends = get(self.services["DynamoDB"].url, "/_ends")
        missing = [key for key, *_ in sent if key not in ends]
        if missing:
            raise Failed(f"{self.column.name}: no row of {len(missing)} jobs, as {missing[0]}")
        return [ends[key] - float(began) for key, began, _ in sent]

    def noted(self) -> list[float]:
        """Return the seconds from sending to running, as the tasks noted them."""
        return [float(line) for line in self.notes.read_text().splitlines()]

    def left(self) -> int:
        return sum(get(self.services["SQS"].url)["queues"][self.queue])

    def wait(self, until: int, process: subprocess.Popen[bytes]) -> int:
        """Wait until at most so many messages are left; return how many are."""
        left = seen = self.left()
        moved = time.monotonic()
        while left > until:
            if left != seen:
                seen, moved = left, time.monotonic()
            if process.poll() is not None or time.monotonic() > moved + STUCK:
                log = self.log.read_text(errors="replace")[-2_000:]
                raise Failed(f"{self.column.name}, {self.pool}: {left} jobs were not done: {log}")
            time.sleep(0.02)
            left = self.left()
        return left

    @contextmanager
    def program(self, command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
        """Run a long-lived program of the column; end it by SIGTERM."""
        with log.open("ab") as output:
            process = subprocess.Popen(
                command, env=self.environment, cwd=self.folder,
                stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)

    def worker(self) -> AbstractContextManager[subprocess.Popen[bytes]]:
        """Run a worker of the column's pool."""
        return self.program(self.column.worker(self.pool), self.log)

    def consume(self, sent: list[list[str]]) -> dict[str, float]:
        """Let a worker do all jobs; measure from about 10 % of them done to the last one's end.

        A message may be deleted long after its job's end, so that the queue's depth only says
        when to begin; which jobs ended since is told by their rows.
        """
        with self.worker() as process, processes.Peak(process.pid) as peak:
            self.wait(int(len(sent) * 0.9), process)
            began, before = time.time(), self.read()
            used = processes.seconds(process.pid)
            self.wait(0, process)
            after, used = self.read(), processes.seconds(process.pid) - used
            peak.look()
        ends = [
            float(start) + took for (_, start, _), took in zip(sent, self.ends(sent), strict=True)
        ]
        done, rate = pace(ends, began)
        return {
            "jobs/s": rate,
            "worker CPU ms a job": used * 1_000 / done,
            **after.since(before, done),
            "worker MiB PSS, peak": peak.mib,
        }


def pace(ends: list[float], began: float) -> tuple[int, float]:
    """Return how many jobs ended after a moment, and how many a second up to the last."""
    later = [end for end in ends if end > began]
    if not later:
        raise Failed("all jobs had ended before the measurement began; take more")
    return len(later), len(later) / max(max(later) - began, 0.001)


def measure(
    column: Column, latency: float, size: Size, pools: list[str], emulator: str | None
) -> dict[str, float]:
    """Measure a column at a latency once: submitting, working, and both at once."""
    found: dict[str, float] = {}
    for pool in pools:
        with Run(column, pool, latency, emulator) as run:
            sent = run.send(16 if pool == pools[0] else column.senders, size.jobs)
            if pool == pools[0]:
                found["submit, 16 threads: jobs/s"] = size.jobs / sent["seconds"]
                found["submit, 16 threads: CPU ms a job"] = sent["cpu"] * 1_000 / size.jobs
                found["submit, 16 threads: MiB PSS, peak"] = sent["mib"]
                found |= {f"submit, 16 threads: {k}": v for k, v in sent["counted"].items()}
            worked = run.consume(sent["sent"])
            found |= {f"consume, {pool}: {name}": value for name, value in worked.items()}
    with Run(column, next(iter(POOLS)), latency, emulator) as run:
        found |= together(run, size)
    return found


def percentiles(name: str, seconds: list[float]) -> dict[str, float]:
    """Return the rows of a distribution, in milliseconds."""
    return {f"{name}: p{part} ms": quantile(seconds, part / 100) * 1_000 for part in (50, 99)}


def together(run: Run, size: Size) -> dict[str, float]:
    """Submit while a worker runs: at low load, as fast as both can, and at 70 % of that."""
    with run.worker() as process:
        run.send(1, 1)  # until the worker is up
        run.wait(0, process)
        low = run.send(1, size.low, LOW_RATE)
        run.wait(0, process)
        found = {
            **percentiles("lone send", low["latencies"]),
            **percentiles("send to task", run.noted()),
            **percentiles("accept to end, low load", run.ends(low["sent"])),
        }
        most = run.send(run.column.senders, size.jobs)
        run.wait(0, process)
        begins = [float(began) for _, began, _ in most["sent"]]
        last = max(b + took for b, took in zip(begins, run.ends(most["sent"]), strict=True))
        peak = size.jobs / (last - min(begins))
        found["both at once: jobs/s"] = peak
        asked = 0.7 * peak
        steady = run.send(run.column.senders, max(20, int(asked * size.steady)), asked)
        run.wait(0, process)
        return found | percentiles("accept to end, 70 % of the peak", run.ends(steady["sent"]))
