"""Measures sealed jobs with a ledger: what the promises cost beside the transport alone.

`make bench-ledger`, or `python bench/ledger.py --latency 5`. Real workers
(`sealwax worker`, prefork 4 and threads 16) open, claim, run and record jobs
that do nothing; SQS and the ledger's table answer from memory with the latency
added to each call, keys and secrets come from the emulated AWS. Prints a table
and writes JSON: jobs a second, and calls a job.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transport import difference, print_table, server, state

from sealwax.aws.clients import Aws
from sealwax.keys.lifecycle import init_keys
from sealwax.local.emulator import Emulator
from sealwax.local.environment import default_folder
from sealwax.producer.celery_app import make_producer
from sealwax.producer.publish import CeleryPublisher
from sealwax.producer.submit import Submitter
from sealwax.provision import provision
from sealwax.runtime import Runtime
from sealwax.secrets.factory import make_source
from sealwax.settings import Settings, load_settings
from sealwax.task_definition import discover
from sealwax.telemetry.logs import configure_logging

HERE = Path(__file__).parent
TASK = "bench.sealed"

#: As in `bench/transport.py`, so that the columns compare.
POOLS = {
    "prefork4": {"pool": "prefork", "concurrency": 4, "prefetch": 16},
    "threads16": {"pool": "threads", "concurrency": 16, "prefetch": 8},
}


@contextmanager
def tables(table: str, upstream: str, latency: float) -> Iterator[str]:
    """Run the server of the ledger's table."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / "dynamodb_server.py"), "--table", table,
         "--upstream", upstream, "--latency", str(latency)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process.stdout.readline().strip()  # type: ignore[union-attr]
    finally:
        process.terminate()
        process.wait(10)


def environment(folder: Path, emulator: str, sqs: str, lane: dict[str, Any]) -> Settings:
    """Point this process and its children to the servers."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "SEALWAX_")) and name != "SEALWAX_EMULATOR_ENV":
            del os.environ[name]
    (folder / "sealwax.toml").write_text('task_modules = ["tasks"]\n')
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": emulator,
        "AWS_ENDPOINT_URL_SQS": sqs, "SEALWAX_ENVIRONMENT": f"b{uuid.uuid4().hex[:8]}",
        "SEALWAX_CONFIG": str(folder / "sealwax.toml"),
        "SEALWAX_TASK_MODULES": json.dumps(["sealed_task"]),
        "SEALWAX_LANES": json.dumps({"default": {"poll": 1, **lane}}),
        "PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parent}",
    }  # fmt: skip
    return load_settings()


def submit(settings: Settings, jobs: int) -> float:
    """Submit jobs from 16 threads, as an API process would; return jobs a second."""
    definitions = discover(settings.task_modules)
    runtime = Runtime(settings, "api", definitions)
    submitter = Submitter(runtime, CeleryPublisher(make_producer(settings), settings))
    payload = {"text": "x" * 1_024}
    submitter.submit(definitions[TASK], payload, tenant="first")  # connections, imports
    began = time.perf_counter()
    with ThreadPoolExecutor(16) as pool:
        list(
            pool.map(
                lambda n: submitter.submit(definitions[TASK], payload, tenant=f"t{n % 20}"),
                range(jobs),
            )
        )
    return jobs / (time.perf_counter() - began)


def consume(settings: Settings, sqs: str, jobs: int, log: Path) -> float:
    """Let a worker do all jobs; return jobs a second between 10 % and 100 % done."""
    queue = settings.queue_name("default")
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", "sealwax", "worker"],
            stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        marked, first = 0.0, jobs
        until = time.monotonic() + 300
        while time.monotonic() < until and worker.poll() is None:
            left = sum(state(sqs)["queues"][queue])
            if left <= jobs * 0.9 and not marked:
                marked, first = time.perf_counter(), left
            if left == 0:
                return first / (time.perf_counter() - marked)
            time.sleep(0.02)
        raise SystemExit(f"{left} of {jobs} jobs were not done; see {log}")
    finally:
        worker.terminate()
        try:
            worker.wait(20)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait(5)


def measure(emulator: str, latency: float, jobs: int, folder: Path) -> dict[str, float]:
    """Measure both pools once."""
    found: dict[str, float] = {}
    for pool, lane in POOLS.items():
        with server(latency) as sqs:
            settings = environment(folder, emulator, sqs, lane)
            provision(settings, Aws())
            init_keys(settings, make_source(settings, Aws()))
            with tables(settings.table_name("jobs"), emulator, latency) as dynamodb:
                os.environ["AWS_ENDPOINT_URL_DYNAMODB"] = dynamodb
                found["submit, 16 threads"] = submit(settings, jobs)
                before = state(sqs)["calls"], state(dynamodb)["calls"]
                found[f"consume, {pool}"] = consume(settings, sqs, jobs + 1, folder / "worker.log")
                calls = (
                    difference(state(sqs)["calls"], before[0]),
                    difference(state(dynamodb)["calls"], before[1]),
                )
                for name, count in zip(("SQS", "DynamoDB"), calls, strict=True):
                    found[f"{name} calls a job, {pool}"] = sum(count.values()) / (jobs + 1)
    return found


def main() -> None:
    """Run all, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", type=float, action="append", help="milliseconds a call")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2_000)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "ledger.json")
    given = parser.parse_args()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    configure_logging("bench", "WARNING")
    results: dict[str, dict[str, float]] = {}
    with (
        tempfile.TemporaryDirectory() as name,
        Emulator(environment=default_folder(), log=Path(name) / "emulator.log") as emulator,
    ):
        for latency in given.latency or (0, 5, 20):
            runs = [
                measure(emulator.url, latency, given.jobs, Path(name)) for _ in range(given.repeat)
            ]
            results[f"{latency:g} ms"] = {
                key: statistics.median(run[key] for run in runs) for key in runs[0]
            }
            print(f"{latency:g} ms", json.dumps(results[f"{latency:g} ms"]), flush=True)
            given.out.write_text(json.dumps(results, indent=1))
    print_table(results)


if __name__ == "__main__":
    main()
