"""Measures the transport against its peers: calls a job, rates, latency, CPU.

`make bench-transport`, or `python bench/transport.py --quick`. Each peer runs
in an environment of its own (`--env name=path/to/python`); ours runs in this
one. Prints a table and writes JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3

HERE = Path(__file__).parent
ROOT = HERE.parent
PEERS = HERE / "peers"


@contextmanager
def server(latency: float, modes: str = "") -> Iterator[str]:
    """Run the SQS server; `latency` in milliseconds a call, `modes` its own."""
    command = [sys.executable, str(HERE / "sqs_server.py"), "--latency", str(latency)]
    process = subprocess.Popen(
        [*command, "--modes", modes],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process.stdout.readline().strip()  # type: ignore[union-attr]
    finally:
        process.terminate()
        process.wait(10)


def state(url: str) -> dict[str, Any]:
    """Return calls and depths."""
    with urllib.request.urlopen(f"{url}/_state") as answer:
        return json.loads(answer.read())  # type: ignore[no-any-return]


class Run:
    """One peer on one server and a queue of its own."""

    def __init__(self, peer: str, python: str, url: str, folder: Path, **variables: str) -> None:
        self.peer, self.python, self.url, self.folder = peer, python, url, folder
        self.queue = f"b{uuid.uuid4().hex[:8]}"
        self.sqs = boto3.client(
            "sqs", endpoint_url=url, region_name="us-east-1",
            aws_access_key_id="x", aws_secret_access_key="x",
        )  # fmt: skip
        self.sqs.create_queue(QueueName=f"{self.queue}-dlq")
        self.queue_url = self.sqs.create_queue(
            QueueName=self.queue,
            Attributes={"RedrivePolicy": json.dumps({
                "deadLetterTargetArn": f"arn:aws:sqs:us-east-1:000000000000:{self.queue}-dlq",
                "maxReceiveCount": "1000"})},
        )["QueueUrl"]  # fmt: skip
        self.notes = folder / f"{self.queue}.notes"
        self.environment = {
            **os.environ, "AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1", "PYTHONPATH": f"{PEERS}:{ROOT}",
            "BENCH_BROKER": peer, "BENCH_QUEUE": self.queue, "BENCH_QUEUE_URL": self.queue_url,
            "BENCH_NOTES": str(self.notes), **variables,
        }  # fmt: skip

    def send(self, *arguments: object, timeout: float = 300) -> dict[str, Any]:
        """Run the sender; return what it printed and the calls it made."""
        before = state(self.url)["calls"]
        done = subprocess.run(
            [self.python, str(PEERS / f"{_app(self.peer)}.py"), *map(str, arguments)],
            env=self.environment, capture_output=True, text=True, check=True, timeout=timeout,
        )  # fmt: skip
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        found["calls"] = difference(state(self.url)["calls"], before)
        return found

    @contextmanager
    def worker(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a worker."""
        command = [self.python, "-m", *_worker(self.peer), *arguments]
        with (self.folder / f"{self.queue}.log").open("wb") as log:
            process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)

    def wait_empty(self, timeout: float) -> None:
        """Wait until the queue holds nothing, visible or not."""
        until = time.monotonic() + timeout
        while any(state(self.url)["queues"][self.queue]) and time.monotonic() < until:
            time.sleep(0.05)

    def consume(self, jobs: int, *arguments: str, timeout: float = 240) -> dict[str, Any]:
        """Let a worker empty the queue; rate is measured between 10 % and 100 % done."""
        before = state(self.url)["calls"]
        with self.worker(*arguments) as process:
            began = marked = 0.0
            first = jobs
            until = time.monotonic() + timeout
            while time.monotonic() < until:
                visible, hidden = state(self.url)["queues"][self.queue]
                left = visible + hidden
                now = time.perf_counter()
                if left < jobs and not began:
                    began = now
                if left <= jobs * 0.9 and not marked:
                    marked, first = now, left
                if left == 0:
                    break
                time.sleep(0.02)
            ended = time.perf_counter()
            usage = _usage(process.pid)
        return {
            "rate": first / (ended - marked) if marked else 0.0,
            "seconds": ended - began,
            "calls": difference(state(self.url)["calls"], before),
            "done": jobs - left,
            **usage,
        }


#: Other settings of the senders; the best counts.
SENDERS: dict[str, list[dict[str, str]]] = {"taskiq": [{"BENCH_BATCHING": "1"}]}


def _app(peer: str) -> str:
    return {"dramatiq_sqs": "dramatiq_app", "taskiq": "taskiq_app"}.get(peer, "celery_app")


def _worker(peer: str) -> list[str]:
    if peer == "dramatiq_sqs":
        return ["dramatiq", "dramatiq_app"]
    if peer == "taskiq":
        return ["taskiq", "worker", "taskiq_app:broker"]
    return ["celery", "-A", "celery_app", "worker", "-l", "WARNING", "--without-gossip",
            "--without-mingle"]  # fmt: skip


def difference(after: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    return {k: v - before.get(k, 0) for k, v in after.items() if v - before.get(k, 0)}


def _usage(pid: int) -> dict[str, float]:
    """CPU seconds and resident MiB of a process and its children."""
    ticks = os.sysconf("SC_CLK_TCK")
    cpu = rss = 0.0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(entry.name) == pid or int(fields[1]) == pid:
            cpu += (int(fields[11]) + int(fields[12])) / ticks
            rss += int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    return {"cpu": round(cpu, 2), "rss": round(rss, 1)}


#: By peer: worker arguments of the two pools, and variables (several: the best counts).
WORKERS: dict[str, dict[str, list[tuple[list[str], dict[str, str]]]]] = {
    "sealwax": {
        "prefork4": [(["-P", "prefork", "-c", "4"], {"BENCH_MULTIPLIER": "16"})],
        "threads16": [(["-P", "threads", "-c", "16"], {"BENCH_MULTIPLIER": "8"})],
    },
    "celery": {
        "prefork4": [
            (["-P", "prefork", "-c", "4"], {"BENCH_MULTIPLIER": m}) for m in ("1", "4", "10")
        ],
        "threads16": [(["-P", "threads", "-c", "16"], {"BENCH_MULTIPLIER": "1"})],
    },
    "dramatiq_sqs": {
        "prefork4": [(["-p", "4", "-t", "1"], {})],
        "threads16": [(["-p", "1", "-t", "16"], {})],
    },
    "taskiq": {
        "prefork4": [(["-w", "4", "--max-async-tasks", "1"], {})],
        "threads16": [(["-w", "1", "--max-async-tasks", "16"], {})],
    },
}


def measure(
    peer: str, python: str, latency: float, folder: Path, jobs: int, slow: int, modes: str
) -> dict[str, Any]:
    """Measure one peer at one latency once."""
    found: dict[str, Any] = {}
    count = jobs if peer == "sealwax" else slow
    with server(latency, modes) as url:
        for threads in (1, 16, 64):
            run = Run(peer, python, url, folder)
            many = max(threads, count if threads > 1 else count // 5) // threads * threads
            sent = run.send("send", threads, many, 0)
            for variables in SENDERS.get(peer, ()) if threads > 1 else ():
                other = Run(peer, python, url, folder, **variables)
                try:
                    other_sent = other.send("send", threads, many, 0, timeout=20)
                except subprocess.TimeoutExpired:
                    continue  # a setting that hangs is not the best one
                sent = min(sent, other_sent, key=lambda each: each["seconds"])
            found[f"send{threads}"] = many / sent["seconds"]
            if threads == 64:
                found["send64_calls"] = (
                    sent["calls"].get("SendMessageBatch", 0) / many
                    + sent["calls"].get("SendMessage", 0) / many
                )
                found["send64_cpu_per_1000"] = sent["cpu"] / many * 1_000
        for pool, settings in WORKERS[peer].items():
            best: dict[str, Any] = {"rate": 0.0}
            for arguments, variables in settings:
                run = Run(peer, python, url, folder, **variables)
                bulk = run.send("bulk", count)
                result = run.consume(count + 1, *arguments)
                if result["rate"] > best["rate"]:
                    best = result
                    calls = sum(result["calls"].values()) + sum(bulk["calls"].values())
                    best["calls_a_job"] = calls / count
                found["bulk"] = count / bulk["seconds"]
            found[f"consume_{pool}"] = best["rate"]
            found[f"calls_{pool}"] = best.get("calls_a_job")
            found[f"cpu_{pool}"] = best.get("cpu", 0.0) / count * 1_000
            found[f"rss_{pool}"] = best.get("rss")
        arguments, variables = WORKERS[peer]["prefork4"][0]
        run = Run(peer, python, url, folder, **variables)
        with run.worker(*arguments):
            run.send("send", 1, 1, 0)
            run.wait_empty(30)
            low = run.send("send", 1, 60, 0.05)
            run.wait_empty(10)
        lines = run.notes.read_text().splitlines() if run.notes.exists() else ["nan"]
        times = sorted(float(line) for line in lines)
        found |= {"low_send_p50": low["p50"], "low_send_p99": low["p99"]}
        found["end_to_end_p50"] = times[len(times) // 2]
        found["end_to_end_p99"] = times[int(len(times) * 0.99)]
    return found


def print_table(results: dict[str, dict[str, float]]) -> None:
    """Print what was measured: a row a measure, a column a run."""
    keys = dict.fromkeys(key for run in results.values() for key in run)
    print("| measure | " + " | ".join(results) + " |")
    print("|---|" + "---|" * len(results))
    for key in keys:
        cells = [f"{run[key]:.4g}" if key in run else "-" for run in results.values()]
        print(f"| {key} | " + " | ".join(cells) + " |")


def main() -> None:
    """Run all, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", action="append", default=[], help="peer=python")
    parser.add_argument("--latency", type=float, action="append")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=5_000, help="for ours")
    parser.add_argument("--slow-jobs", type=int, default=600, help="for peers")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "transport.json")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument(
        "--short-receives",
        action="store_true",
        help="a receive brings 1 to 10 messages, however many wait",
    )
    options = parser.parse_args()
    if options.quick:
        options.repeat, options.jobs, options.slow_jobs = 1, 2_000, 300
    modes = "short" if options.short_receives else ""
    pythons = {"sealwax": sys.executable} | dict(item.split("=", 1) for item in options.env)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    folder = options.out.parent / "logs"
    folder.mkdir(exist_ok=True)
    results: dict[str, Any] = {}
    for latency in options.latency or (0, 5, 20):
        for peer, python in pythons.items():
            runs = [
                measure(peer, python, latency, folder, options.jobs, options.slow_jobs, modes)
                for _ in range(options.repeat)
            ]
            results[f"{peer}@{latency:g}ms"] = {
                key: statistics.median(r[key] for r in runs if r[key] is not None)
                for key in runs[0]
                if any(r[key] is not None for r in runs)
            }
            print(f"{peer} at {latency:g} ms", json.dumps(results[f"{peer}@{latency:g}ms"]),
                  flush=True)  # fmt: skip
            options.out.write_text(json.dumps(results, indent=1))
    print_table(results)


if __name__ == "__main__":
    main()
