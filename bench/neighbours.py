"""Measures what a tenant feels of its neighbours: systems that hang, and one who floods.

`make bench-neighbours`, or `python bench/neighbours.py --seconds 30`. One API app served by 16
threads, one worker of eight processes, an emulated AWS. A calm tenant submits twice a second. In
trouble, a loud one sends what it can from 24 callers: jobs whose internal system hangs, and jobs
whose downstream hangs. Three runs after each other: calm; in trouble, with the shares and breakers
that are the default; in trouble without what settings can turn off. Prints a table and writes
JSON: the calm tenant's accept times, the times from accept to effect, and what became of its jobs.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from flask import Flask
from ledger import environment
from transport import print_table

from sealwax.aws.clients import Aws
from sealwax.keys.lifecycle import init_keys
from sealwax.local.emulator import Emulator
from sealwax.local.environment import default_folder
from sealwax.provision import provision
from sealwax.secrets.factory import make_source
from sealwax.settings import load_settings
from sealwax.telemetry.logs import configure_logging
from sealwax.web.app import create_app

HERE = Path(__file__).parent
THREADS, SLOTS, CALLERS, RATE = 16, 8, 24, 2.0

#: What turns the protection off.
OFF = {"tenant_requests": 0, "system_requests": 10_000, "route_failures": 0}


class Sink(ThreadingHTTPServer):
    """Takes deliveries; notes when each number came first."""

    seen: dict[int, float]


class Handler(BaseHTTPRequestHandler):
    """Answers 204."""

    server: Sink

    def do_POST(self) -> None:
        """Note the number in the body."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.setdefault(body["n"], time.time())
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@contextmanager
def servers() -> Iterator[tuple[Sink, int]]:
    """Run the downstream that is well, and one that takes connections and says nothing."""
    with (
        Sink(("127.0.0.1", 0), Handler) as sink,
        socket.create_server(("127.0.0.1", 0), backlog=1_000) as hanging,
    ):
        sink.seen = {}
        threading.Thread(target=sink.serve_forever, daemon=True).start()
        yield sink, hanging.getsockname()[1]
        sink.shutdown()


def tasks(sink: int, hanging: int) -> dict[str, Any]:
    """Return the tasks' configuration."""

    def rule(port: int) -> dict[str, Any]:
        return {"cidrs": ["127.0.0.1/32"], "schemes": ["http"], "ports": [port], "total": 10,
                "read": 10}  # fmt: skip

    routes = {
        name: {
            "url": f"http://127.0.0.1:{port}/hooks",
            "secret": "app/webhooks/plain",
            "rule": rule(port),
        }
        for name, port in (("well", sink), ("hangs", hanging))
    }
    base = f"http://127.0.0.1:{hanging}"
    customers = {"internal_url": base + "/customers/{id}", "internal_rule": rule(hanging),
                 "crm_url": base + "/crm/{id}", "crm_rule": rule(hanging)}  # fmt: skip
    return {"webhooks": {"default_route": "well", "routes": routes}, "customers": customers}


class Calls:
    """Submits jobs through the app's threads, as callers who wait for their answer do."""

    def __init__(self, app: Flask, pool: ThreadPoolExecutor) -> None:
        self._app = app
        self._pool = pool
        tokens = app.extensions["sealwax"].tokens
        self._auth = {
            name: {
                "Authorization": "Bearer "
                + tokens.issue(tenant=name, scopes=["jobs:submit", "jobs:read"]).token
            }
            for name in ("calm", "loud")
        }

    def submit(self, tenant: str, task: str, payload: dict[str, Any]) -> int:
        """Return the status of the answer."""

        def post() -> int:
            return (
                self._app.test_client()
                .post(
                    "/v1/jobs", json={"task": task, "payload": payload}, headers=self._auth[tenant]
                )
                .status_code
            )

        return self._pool.submit(post).result()


def flood(calls: Calls, number: int, ended: threading.Event, answers: Counter[str]) -> None:
    """Send what one caller can; wait a moment after a refusal."""
    while not ended.is_set():
        if number % 2:
            task, payload = "customers.sync", {"customer_id": str(number)}
        else:
            body = {"n": -1}
            task, payload = "webhooks.relay", {"event": "e", "route": "hangs", "body": body}
        status = calls.submit("loud", task, payload)
        answers[f"{task} {status}"] += 1
        ended.wait(0.25 if status == 202 else 1.0)


def measure(
    folder: Path, emulator: str, *, loud: bool, off: bool, seconds: float
) -> dict[str, float]:
    """Measure one run."""
    lane = {"concurrency": SLOTS, "prefetch": 2, **({"per_tenant": 0} if off else {})}
    with servers() as (sink, hanging):
        environment(folder, emulator, emulator, lane)
        os.environ["SEALWAX_TASK_MODULES"] = json.dumps(["tasks"])
        os.environ["SEALWAX_TASKS"] = json.dumps(tasks(sink.server_port, hanging))
        os.environ["SEALWAX_LIMITS"] = json.dumps(OFF if off else {})
        settings = load_settings()
        provision(settings, Aws())
        source = make_source(settings, Aws())
        init_keys(settings, source)
        source.put("app/webhooks/plain", "whsec_" + "c2VjcmV0" * 4)
        app = create_app(settings)
        answers: Counter[str] = Counter()
        ended = threading.Event()
        with (
            (folder / "worker.log").open("wb") as log,
            ThreadPoolExecutor(THREADS) as pool,
            ThreadPoolExecutor(CALLERS + 200) as callers,
        ):
            worker = subprocess.Popen(
                [sys.executable, "-m", "sealwax", "worker"],
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
            try:
                calls = Calls(app, pool)
                accepted: dict[int, float] = {}
                times: list[float] = []
                statuses: Counter[int] = Counter()

                def relay(number: int) -> None:
                    began = time.time()
                    status = calls.submit(
                        "calm", "webhooks.relay", {"event": "e", "body": {"n": number}}
                    )
                    times.append(time.time() - began)
                    statuses[status] += 1
                    if status == 202:
                        accepted[number] = time.time()

                def drained() -> bool:
                    return accepted.keys() <= sink.seen.keys()

                for number in range(5):
                    relay(number)
                until = time.monotonic() + 120
                while not drained() and time.monotonic() < until:
                    time.sleep(0.05)
                times.clear()
                statuses.clear()
                if loud:
                    for number in range(CALLERS):
                        callers.submit(flood, calls, number, ended, answers)
                    time.sleep(5)
                first, began = 5, time.monotonic()
                for number in range(first, first + round(seconds * RATE)):
                    time.sleep(max(0.0, began + (number - first) / RATE - time.monotonic()))
                    callers.submit(relay, number)
                time.sleep(1)
                ended.set()
                until = time.monotonic() + 180
                while (not drained() or sum(statuses.values()) < round(seconds * RATE)) and (
                    time.monotonic() < until
                ):
                    time.sleep(0.05)
            finally:
                ended.set()
                worker.kill()
                worker.wait(20)
                app.extensions["sealwax"].runtime.close()
    # What has not run by now counts by none of the times.
    waits = [sink.seen[n] - at for n, at in accepted.items() if n >= 5 and n in sink.seen]
    ordered = sorted(times)
    return {
        "accept p50, ms": statistics.median(ordered) * 1_000,
        "accept p99, ms": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1_000,
        "job p50, ms": statistics.median(waits) * 1_000 if waits else float("nan"),
        "job max, ms": max(waits, default=float("nan")) * 1_000,
        "calm jobs accepted": float(statuses[202]),
        "calm jobs refused": float(sum(statuses.values()) - statuses[202]),
        "calm jobs not run 3 min after": float(len(accepted.keys() - sink.seen.keys())),
        **{f"loud: {name}": float(count) for name, count in sorted(answers.items())},
    }


def main() -> None:
    """Run all, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "neighbours.json")
    given = parser.parse_args()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    configure_logging("bench", "ERROR")
    results: dict[str, dict[str, float]] = {}
    with (
        tempfile.TemporaryDirectory() as name,
        Emulator(environment=default_folder(), log=Path(name) / "emulator.log") as emulator,
    ):
        for title, loud, off in (
            ("calm", False, False),
            ("in trouble", True, False),
            ("in trouble, off", True, True),
        ):
            results[title] = measure(
                Path(name), emulator.url, loud=loud, off=off, seconds=given.seconds
            )
            print(title, json.dumps(results[title]), flush=True)
            given.out.write_text(json.dumps(results, indent=1))
    print_table(results)


if __name__ == "__main__":
    main()
