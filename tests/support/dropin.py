"""The drop-in proof: the same Celery programs on stock Celery and on ours, compared.

    PYTHONPATH=.:tests python -m support.dropin     prints the table

`run_on` runs all programs of `dropin_programs` on one broker with one worker;
`compare` says for each program whether the same happened. Publishes, what the
worker's main process saw, and what each task's run saw are compared each in their
order; runs of one program may come in any order, as they may on any broker.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.sqs_lab import ROOT, VARIABLES, Lab, sqs_server
from support.waiting import wait_for

__all__ = ["Comparison", "compare", "proof", "redis_server", "run_on", "table"]

SUPPORT = Path(__file__).parent

#: What the worker's main process notes; the rest is noted where a task runs, or is sent.
OF_MAIN = {"task_received", "task_revoked", "request.on_failure"}
PUBLISHES = {"before_task_publish", "after_task_publish"}

#: A second worker's: options and settings that change no task.
OTHER_ARGUMENTS = (
    "-E", "-O", "fair", "--max-tasks-per-child", "7", "--max-memory-per-child", "500000",
    "--prefetch-multiplier", "1", "--autoscale", "2,1", "--without-heartbeat",
    "-n", "other@%h", "-I", "dropin_app", "--heartbeat-interval", "3", "-X", "nothing",
    "--pool-start-method", "fork",
)  # fmt: skip
OTHER_CONF = {
    "task_track_started": True, "task_send_sent_event": True, "result_extended": True,
    "task_store_errors_even_if_ignored": True, "task_inherit_parent_priority": True,
    "task_default_priority": 5, "task_default_rate_limit": "6000/m", "result_expires": 60,
    "task_annotations": {"*": {"resultrepr_maxsize": 100}}, "task_compression": "gzip",
    # A soft limit beyond the hard one of a message would put that off, on both sides.
    "task_time_limit": 500, "enable_utc": True, "timezone": "Asia/Tokyo",
    "task_publish_retry": False, "task_protocol": 2,
}  # fmt: skip

Notes = dict[str, list[dict[str, Any]]]
Rule = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What each program did on both sides."""

    same: list[str] = field(default_factory=list)
    by_design: dict[str, list[str]] = field(default_factory=dict)
    unexplained: dict[str, str] = field(default_factory=dict)


def run_on(
    broker: str,
    folder: Path,
    *,
    arguments: tuple[str, ...] = (),
    pool: str = "prefork",
    options: dict[str, Any] | None = None,
    queue: str = "dropin",
    endpoint: str = "",
    conf: dict[str, Any] | None = None,
    empty: Callable[[], bool] = lambda: True,
) -> Notes:
    """Run all programs on a broker; return what was noted, by program.

    On `memory://` the worker is a thread of the sending process. `empty` says whether
    the queue has come to an end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results").mkdir()
    notes = folder / "notes.jsonl"
    environment = {
        **os.environ,
        **VARIABLES,
        "AWS_ENDPOINT_URL": endpoint,
        "PYTHONPATH": os.pathsep.join([str(SUPPORT), str(ROOT)]),
        "DROPIN_BROKER": broker,
        "DROPIN_OPTIONS": json.dumps(options or {}),
        "DROPIN_QUEUE": queue,
        "DROPIN_POOL": "" if broker.startswith("memory") else pool,
        "DROPIN_NOTES": str(notes),
        "DROPIN_RESULTS": str(folder / "results"),
        "DROPIN_CONF": json.dumps(conf or {}),
    }
    send = [sys.executable, "-W", "ignore", str(SUPPORT / "dropin_send.py")]
    if broker.startswith("memory"):
        done = _finish([*send, "--worker", "--threads"], environment)
    else:
        log = folder / "worker.log"
        with log.open("wb") as file:
            worker = subprocess.Popen(
                [
                    sys.executable, "-W", "ignore", "-m", "celery", "-A", "dropin_app", "worker",
                    "-Q", queue, "-P", pool, "-c", "1", "-l", "INFO", "--without-gossip",
                    "--without-mingle", *arguments,
                ],
                env=environment,
                stdout=file,
                stderr=file,
            )  # fmt: skip
        try:
            wait_for(lambda: " ready." in log.read_text(errors="replace"), seconds=90)
            done = _finish([*send, *(["--threads"] if pool == "threads" else [])], environment)
            wait_for(empty, seconds=600)
            assert worker.poll() is None, log.read_text(errors="replace")[-3_000:]
        finally:
            worker.terminate()
            try:
                worker.wait(60)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait(10)
    found: Notes = {}
    for line in notes.read_text().splitlines():
        said = json.loads(line)
        found.setdefault(said.pop("program"), []).append(said)
    for name, error in json.loads(done).items():
        found.setdefault(name, []).append({"event": "refused", "run": None, "error": error})
    return found


def _finish(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    return done.stdout.splitlines()[-1]


# -- what differs by design, each with the reason that `docs/transport.md` gives


def _without_copies(notes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out what tells a copied message from a postponed one."""
    retried = {said["run"] for said in notes if said["event"] == "task_retry"}
    return [
        {
            name: value
            for name, value in said.items()
            if not (said["event"] == "ran" and name in {"has eta", "has parent_id"})
        }
        for said in notes
        if not (said["event"] in PUBLISHES and said["run"] in retried)
    ]


def _without_arguments(notes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out what the error of used up retries says after the task's id."""
    return [
        {
            name: _USED_UP.sub("used up", value) if isinstance(value, str) else value
            for name, value in said.items()
        }
        for said in notes
    ]


def _without_redelivered(notes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    requeued = any("Reject: ('again', True)" in str(said.get("retval")) for said in notes)
    return [
        # Redis' copy has a header that says so.
        {name: value for name, value in said.items() if not (requeued and name == "headers")}
        for said in notes
    ]


def _once(notes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out the further attempts of a task that was lost."""
    lost = any("TimeLimitExceeded" in str(said) or "WorkerLost" in str(said) for said in notes)
    seen: list[dict[str, Any]] = []
    for said in notes:
        known = {name: value for name, value in said.items() if name != "retries"}
        if not lost or known not in seen:
            seen.append(known if lost else said)
    return seen


_USED_UP = re.compile(r"Can't retry .*", re.DOTALL)

RULES: dict[str, Rule] = {
    "a retry postpones the same message: nothing is published": _without_copies,
    "the error of used up retries shows no arguments": _without_arguments,
    "a requeued message has no header that says so": _without_redelivered,
    "an attempt that was lost is tried again": _once,
}


def shape(notes: list[dict[str, Any]]) -> Counter[str]:
    """Return what a program did, as a bag of what each part of it noted in its order."""
    parts: dict[str, list[Any]] = {}
    for note in notes:
        said = {name: value for name, value in note.items() if name != "run"}
        run, event = note["run"], note["event"]
        if event in PUBLISHES:
            part = f"sent {run}"
        elif event in OF_MAIN:
            part = f"main {len(parts)}"
        else:
            part = f"run {run}"
        parts.setdefault(part, []).append(said)
    return Counter(
        f"{part.split()[0]} {json.dumps(said, sort_keys=True)}" for part, said in parts.items()
    )


def compare(stock: Notes, ours: Notes) -> Comparison:
    """Compare what all programs did."""
    found = Comparison()
    for name in sorted(stock.keys() | ours.keys()):
        one, other = stock.get(name, []), ours.get(name, [])
        if shape(one) == shape(other):
            found.same.append(name)
        elif _under(one, RULES) == _under(other, RULES):
            found.by_design[name] = _needed(one, other)
        else:
            found.unexplained[name] = _difference(_under(one, RULES), _under(other, RULES))
    return found


def _under(notes: list[dict[str, Any]], reasons: Iterable[str]) -> Counter[str]:
    for reason in reasons:
        notes = RULES[reason](notes)
    return shape(notes)


def _needed(stock: list[dict[str, Any]], ours: list[dict[str, Any]]) -> list[str]:
    """Return the reasons without which the two differ."""
    kept = list(RULES)
    for reason in RULES:
        rest = [other for other in kept if other != reason]
        if _under(stock, rest) == _under(ours, rest):
            kept = rest
    return kept


def _difference(stock: Counter[str], ours: Counter[str]) -> str:
    """Return the lines that one side alone has, a note each."""

    def lines(bag: Counter[str]) -> list[str]:
        return [
            json.dumps(said, sort_keys=True)
            for part in sorted(bag.elements())
            for said in json.loads(part.partition(" ")[2])
        ]

    found = difflib.unified_diff(lines(stock - ours), lines(ours - stock), lineterm="", n=0)
    return "\n".join(line for line in found if line[:2] not in ("--", "++", "@@"))


@contextmanager
def redis_server(folder: Path) -> Iterator[str | None]:
    """Run a Redis on 127.0.0.1; yield its URL, or None where there is no Redis."""
    program = shutil.which("redis-server")
    if program is None:
        yield None
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
    )
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        server.wait(10)


def proof(folder: Path, *, redis: str | None, url: str) -> dict[str, Comparison]:
    """Run all programs everywhere; return the comparisons by the stock broker's name."""

    def ours(name: str, **options: Any) -> Notes:
        (folder / f"lab-{name}").mkdir()
        lab = Lab(url, folder / f"lab-{name}")
        return run_on(
            "sealwax://", folder / name, queue=lab.queue, endpoint=url, empty=lab.empty, **options
        )

    sides = {
        "memory": (
            lambda: run_on("memory://", folder / "memory", options={"polling_interval": 0.01}),
            lambda: ours("threads", pool="threads"),
        )
    }
    if redis is not None:
        other = {"arguments": OTHER_ARGUMENTS, "conf": OTHER_CONF}
        sides["redis"] = (lambda: run_on(redis, folder / "redis"), lambda: ours("prefork"))
        sides["redis, other options"] = (
            lambda: run_on(redis, folder / "redis-other", queue="other", **other),
            lambda: ours("other", **other),
        )
    with ThreadPoolExecutor() as threads:
        runs = {name: [threads.submit(run) for run in both] for name, both in sides.items()}
        return {
            name: compare(stock.result(), ours.result()) for name, (stock, ours) in runs.items()
        }


def table(found: dict[str, Comparison]) -> str:
    """Return the table of all comparisons."""
    lines = []
    for broker, one in found.items():
        count = len(one.same) + len(one.by_design) + len(one.unexplained)
        lines.append(
            f"stock on {broker}: {count} programs, {len(one.same)} same, "
            f"{len(one.by_design)} different by design, {len(one.unexplained)} unexplained"
        )
        lines += [f"  {name}: {'; '.join(reasons)}" for name, reasons in one.by_design.items()]
        lines += [f"  UNEXPLAINED {name}:\n{what}" for name, what in one.unexplained.items()]
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    with (
        tempfile.TemporaryDirectory() as name,
        sqs_server() as url,
        redis_server(Path(name)) as redis,
    ):
        print(table(proof(Path(name), redis=redis, url=url)))


if __name__ == "__main__":
    main()
