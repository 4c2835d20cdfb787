"""Measures what a tenant feels of its neighbours: systems that hang, and one who floods.

`make bench-neighbours`, or `python bench/neighbours.py --seconds 20 --rounds 3`. `sealwax api`
(one process, 16 threads) on one core with servers that answer for SQS and the ledger's table from
memory, 5 ms a call; on the other a worker of eight processes, and the callers. Calm tenants submit
eight webhooks a second. In trouble, a loud one sends what it can (24 callers, `bench/flood.py`):
jobs whose internal system hangs, and jobs whose downstream hangs. Calm halves and halves in
trouble take turns, each in an environment of its own; `--off` adds one without what settings can
turn off. Prints each half, the medians and their ratio, and writes JSON: the calm tenants' accept
times, the times from accept to effect, and what became of their jobs.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from transport import print_table, server

from sealwax.aws.clients import Aws
from sealwax.keys.lifecycle import init_keys
from sealwax.local.emulator import Emulator
from sealwax.local.environment import default_folder
from sealwax.provision import provision
from sealwax.secrets.factory import make_source
from sealwax.settings import Settings, load_settings
from sealwax.stores import Stores
from sealwax.telemetry.logs import configure_logging
from sealwax.web.tokens import TOKEN_KEY, make_tokens

HERE = Path(__file__).parent
SLOTS, CALLERS, RATE, FIRST, LATENCY = 8, 24, 8.0, 5, 5.0
CALM = ("calm-1", "calm-2", "calm-3", "calm-4")
ALL_CORES = os.sched_getaffinity(0)

#: What turns the protection off.
OFF = {"tenant_requests": 0, "requests_per_second": 0, "system_requests": 10_000,
       "route_failures": 0}  # fmt: skip


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
        "SEALWAX_TASK_MODULES": json.dumps(["tasks"]),
        "SEALWAX_LANES": json.dumps({"default": {"poll": 1, **lane}}),
        "PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parent}",
    }  # fmt: skip
    return load_settings()


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


class Api:
    """`sealwax api`, and its callers' connections."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self.port, health = free_ports(2)
        store = make_tokens(Stores(settings), make_source(settings, Aws()).get(TOKEN_KEY))
        self.tokens = {
            tenant: store.issue(tenant=tenant, scopes=["jobs:submit", "jobs:read"]).token
            for tenant in ("loud", *CALM)
        }
        self._log = log.open("wb")
        self.process = start(
            "api", "--port", str(self.port), "--health-port", str(health), log=self._log
        )
        until = time.monotonic() + 60
        while not answers(health) and time.monotonic() < until:
            time.sleep(0.1)

    def submit(self, number: int) -> tuple[int, float]:
        """Submit one calm tenant's job; return the status and the seconds."""
        body = {"task": "webhooks.relay", "payload": {"event": "e", "body": {"n": number}}}
        token = self.tokens[CALM[number % len(CALM)]]
        began = time.perf_counter()
        peer = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            peer.request(
                "POST", "/v1/jobs", json.dumps(body),
                {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            )  # fmt: skip
            answer = peer.getresponse()
            answer.read()
        except OSError:
            return 0, time.perf_counter() - began
        finally:
            peer.close()
        return answer.status, time.perf_counter() - began

    def close(self) -> None:
        """End it."""
        stop(self.process)
        self._log.close()


def free_ports(number: int) -> list[int]:
    """Return ports that nobody listens at."""
    found = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [int(peer.getsockname()[1]) for peer in found]
    for peer in found:
        peer.close()
    return ports


def answers(port: int) -> bool:
    """Whether the health port says that the API can work."""
    peer = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        peer.request("GET", "/readyz")
        return peer.getresponse().status == 200
    except OSError:
        return False
    finally:
        peer.close()


def start(*command: str, log: Any, nice: int = 0) -> subprocess.Popen[bytes]:
    """Start one of our programs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sealwax", *command], stdout=log, stderr=log, start_new_session=True
    )
    if nice:
        os.setpriority(os.PRIO_PROCESS, process.pid, nice)
    return process


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a program and its children."""
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


@contextmanager
def flood(api: Api, given: argparse.Namespace) -> Iterator[Counter[str]]:
    """Let the loud tenant send; the counts of its answers are there at the end."""
    found: Counter[str] = Counter()
    process = subprocess.Popen(
        [sys.executable, str(HERE / "flood.py"), str(api.port), str(CALLERS), str(given.pause)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "LOUD_TOKEN": api.tokens["loud"]},
    )  # fmt: skip
    os.setpriority(os.PRIO_PROCESS, process.pid, 5)
    try:
        yield found
    finally:
        try:
            output, _ = process.communicate(timeout=30)
            found.update(json.loads(output))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


@contextmanager
def on_core(number: int) -> Iterator[None]:
    """Let what is started meanwhile run on one core, if there are several."""
    before = os.sched_getaffinity(0)
    cores = sorted(ALL_CORES)
    os.sched_setaffinity(0, {cores[number % len(cores)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def stack(
    folder: Path, emulator: str, *, off: bool, given: argparse.Namespace
) -> Iterator[tuple[Api, Sink]]:
    """Run an environment of its own: an API, a worker, AWS's answers from memory."""
    lane = {"concurrency": SLOTS, "prefetch": 2, "max_wait": 600,
            **({"per_tenant": 0} if off else {})}  # fmt: skip
    with servers() as (sink, hanging), ExitStack() as aws:
        with on_core(0):
            sqs = aws.enter_context(server(LATENCY))
        environment(folder, emulator, sqs, lane)
        os.environ["SEALWAX_TASK_MODULES"] = json.dumps(["tasks"])
        os.environ["SEALWAX_TASKS"] = json.dumps(tasks(sink.server_port, hanging))
        limits = {"requests_per_second": given.limit, "request_burst": max(1, given.limit)}
        os.environ["SEALWAX_LIMITS"] = json.dumps(OFF if off else limits)
        settings = load_settings()
        provision(settings, Aws())
        source = make_source(settings, Aws())
        init_keys(settings, source)
        source.put("app/webhooks/plain", "whsec_" + "c2VjcmV0" * 4)
        with on_core(0):
            dynamodb = aws.enter_context(tables(settings.table_name("jobs"), emulator, LATENCY))
            os.environ["AWS_ENDPOINT_URL_DYNAMODB"] = dynamodb
            api = aws.enter_context(closing(Api(load_settings(), folder / "api.log")))
        with (folder / "worker.log").open("wb") as log:
            # The other core's processes must not wait for it: workers have their own on AWS.
            worker = start("worker", log=log, nice=10)
            try:
                yield api, sink
            finally:
                os.killpg(worker.pid, signal.SIGKILL)
                worker.wait(20)


def measure(
    folder: Path, emulator: str, *, loud: bool, off: bool, given: argparse.Namespace
) -> dict[str, float]:
    """Measure one half."""
    with (
        stack(folder, emulator, off=off, given=given) as (api, sink),
        ThreadPoolExecutor(200) as callers,
        ExitStack() as trouble,
    ):
        accepted: dict[int, float] = {}
        times: list[float] = []
        statuses: Counter[int] = Counter()
        loud_answers: Counter[str] = Counter()

        def relay(number: int) -> None:
            status, seconds = api.submit(number)
            times.append(seconds)
            statuses[status] += 1
            if status == 202:
                accepted[number] = time.time()

        def drained() -> bool:
            return accepted.keys() <= sink.seen.keys()

        for number in range(FIRST):
            relay(number)
        until = time.monotonic() + 120
        while not drained() and time.monotonic() < until:
            time.sleep(0.05)
        if loud:
            loud_answers = trouble.enter_context(flood(api, given))
            time.sleep(4)  # until the breakers have seen enough
        times.clear()
        statuses.clear()
        began, number, wanted = time.monotonic(), FIRST, round(given.seconds * RATE)
        used = processor(api.process.pid)
        for number in range(FIRST, FIRST + wanted):
            time.sleep(max(0.0, began + (number - FIRST) / RATE - time.monotonic()))
            callers.submit(relay, number)
        used = (processor(api.process.pid) - used) / (time.monotonic() - began)
        time.sleep(1)
        trouble.close()
        until = time.monotonic() + given.patience
        while (not drained() or sum(statuses.values()) < wanted) and time.monotonic() < until:
            time.sleep(0.05)
    # What has not run by now counts by none of the times.
    waits = [sink.seen[n] - at for n, at in accepted.items() if n >= FIRST and n in sink.seen]
    ordered = sorted(times)
    return {
        "accept p50, ms": statistics.median(ordered) * 1_000,
        "accept p99, ms": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1_000,
        "job p50, ms": statistics.median(waits) * 1_000 if waits else float("nan"),
        "job max, ms": max(waits, default=float("nan")) * 1_000,
        "API's share of a core": used,
        "calm jobs accepted": float(statuses[202]),
        "calm jobs refused": float(sum(statuses.values()) - statuses[202]),
        "calm jobs not run": float(len(accepted.keys() - sink.seen.keys())),
        **{f"loud: {name}": float(count) for name, count in sorted(loud_answers.items())},
    }


def processor(pid: int) -> float:
    """Return the seconds of processor time of a process's children so far."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    found = 0.0
    for child in children:
        fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        found += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return found


def medians(halves: list[dict[str, float]]) -> dict[str, float]:
    """Return the median of each measure over several halves."""
    names = dict.fromkeys(name for half in halves for name in half)
    return {name: statistics.median(half.get(name, 0.0) for half in halves) for name in names}


def main() -> None:
    """Run all, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20, help="of each half")
    parser.add_argument("--rounds", type=int, default=3, help="a calm half and a loud one each")
    parser.add_argument("--limit", type=int, default=40, help="requests a second and tenant")
    parser.add_argument("--pause", type=float, default=0.1, help="of the loud one's callers, s")
    parser.add_argument("--patience", type=float, default=60, help="for the last jobs, s")
    parser.add_argument("--off", action="store_true", help="a half without protection, too")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "neighbours.json")
    given = parser.parse_args()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    configure_logging("bench", "ERROR")
    os.sched_setaffinity(0, {max(ALL_CORES)})  # the API's core is its own
    halves: dict[str, list[dict[str, float]]] = {"calm": [], "in trouble": []}
    with (
        tempfile.TemporaryDirectory() as name,
        Emulator(environment=default_folder(), log=Path(name) / "emulator.log") as emulator,
    ):
        plan = [(title, False) for _ in range(given.rounds) for title in ("calm", "in trouble")]
        for title, off in [*plan, *([("in trouble, off", True)] if given.off else [])]:
            half = measure(Path(name), emulator.url, loud=title != "calm", off=off, given=given)
            halves.setdefault(title, []).append(half)
            print(title, json.dumps({k: round(v, 2) for k, v in half.items()}), flush=True)
    results = {title: medians(of) for title, of in halves.items()}
    for measured in ("accept p99, ms", "job p50, ms"):
        ratio = results["in trouble"][measured] / results["calm"][measured]
        print(f"{measured}: in trouble {ratio:.2f} times as long as calm")
    given.out.write_text(json.dumps({"medians": results, "halves": halves}, indent=1))
    print_table(results)


if __name__ == "__main__":
    main()
