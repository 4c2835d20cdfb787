"""Celery's best known add-ons, each in a real worker on stock Celery and on ours, compared.

`tests/addons/programs` has a program for each: an app, as the add-on's documentation has it,
and cases that are sent one after the other. `both` runs one program on Redis and on ours.
"""

from __future__ import annotations

import difflib
import itertools
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.sqs_lab import ROOT, VARIABLES, Lab
from support.waiting import wait_for

__all__ = ["OWN_RULES", "PROGRAMS", "RULES", "Run", "both", "compare", "run_on", "shape"]

PROGRAMS = ROOT / "tests/addons/programs"

Notes = list[dict[str, Any]]
Rule = Callable[[Notes], Notes]

#: What is new in each run: UUIDs, and the identifiers of traces and spans.
IDENTIFIERS = re.compile(
    r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"
    r"|\b[0-9a-f]{32}\b|\b[0-9a-f]{16}\b"
)


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one side did: its notes, and how the worker ended."""

    notes: Notes
    log: str
    started: bool


def run_on(
    program: str,
    broker: str,
    folder: Path,
    *,
    python: str,
    redis: str,
    queue: str = "addons",
    endpoint: str = "",
    empty: Callable[[], bool] = lambda: True,
) -> Run:
    """Run one add-on's program on a broker; `empty` says whether its queue is."""
    (folder / "results").mkdir(parents=True)
    environment = {
        **os.environ,
        **VARIABLES,
        "AWS_ENDPOINT_URL": endpoint,
        "PYTHONPATH": os.pathsep.join([str(PROGRAMS), str(ROOT)]),
        "ADDON_BROKER": broker,
        "ADDON_FOLDER": str(folder),
        "ADDON_QUEUE": queue,
        "ADDON_REDIS": redis,
    }
    notes, log = folder / "notes.jsonl", folder / "worker.log"
    with log.open("wb") as file:
        worker = subprocess.Popen(
            [
                python, "-W", "ignore", "-m", "celery", "-A", program, "worker", "-Q", queue,
                "-c", "1", "-l", "INFO", "--without-gossip", "--without-mingle",
            ],
            env=environment,
            stdout=file,
            stderr=file,
        )  # fmt: skip
    try:
        wait_for(
            lambda: " ready." in log.read_text(errors="replace") or worker.poll() is not None,
            seconds=120,
        )
        started = worker.poll() is None
        if started:
            done = subprocess.run(
                [python, "-W", "ignore", str(PROGRAMS / "addon_send.py"), program],
                env=environment, capture_output=True, text=True, check=False, timeout=300,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr[-3_000:]
            wait_for(empty, seconds=60)
            assert worker.poll() is None, log.read_text(errors="replace")[-3_000:]
    finally:
        worker.terminate()
        try:
            worker.wait(60)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait(10)
    lines = notes.read_text().splitlines() if notes.exists() else []
    return Run(
        notes=[json.loads(line.replace(queue, "QUEUE")) for line in lines],
        log=log.read_text(errors="replace"),
        started=started,
    )


# -- what differs by design, each with the reason that `docs/transport.md` gives


def _retried(notes: Notes) -> set[str]:
    return {said["id"] for said in notes if said["event"] == "over" and said["state"] == "RETRY"}


def _without(value: Any, left_out: Callable[[str], bool]) -> Any:
    """Return a value without the keys that are left out, however deep they stand."""
    if isinstance(value, dict):
        return {key: _without(item, left_out) for key, item in value.items() if not left_out(key)}
    if isinstance(value, list):
        return [_without(item, left_out) for item in value]
    return value


def _without_copies(notes: Notes) -> Notes:
    """Leave out that a job which is tried again is sent again, by a run that is its parent."""
    retried = _retried(notes)
    return [
        _without(
            said, {"parent", "parent_task_id", "celery.delivery_info.redelivered"}.__contains__
        )
        if said["run"] in retried
        else said
        for said in notes
        if not (
            said["event"] == "published" and said["run"] in retried and said["id"] == said["run"]
        )
    ]


def _without_brokers(notes: Notes) -> Notes:
    """Leave out the calls to the broker, its name and host, and its own facts of a message."""

    def of_broker(key: str) -> bool:
        return key in {"messaging.system", "out.host"} or ".sqs." in key

    return [
        _without(said, of_broker)
        for said in notes
        if said.get("op") not in {"db.redis", "http.client"}
    ]


def _without_retried(notes: Notes) -> Notes:
    """Leave out jobs that asked for another attempt, and the locks that they left."""
    retried = _retried(notes)
    return [
        said
        for said in notes
        if said["run"] not in retried
        and said.get("case") not in retried
        and said["event"] != "left"
    ]


RULES: dict[str, Rule] = {
    "a retry postpones the same message: nothing is published": _without_copies,
    "the calls to the broker, its name and host are its own": _without_brokers,
}
#: What holds of one add-on alone.
OWN_RULES: dict[str, dict[str, Rule]] = {
    "singleton_app": {"a retry is no duplicate of its own job": _without_retried},
}


# -- comparing


def _timeless(notes: Notes) -> Notes:
    """Leave out Celery's own task that waits for a chord: how often is a matter of time."""
    waiting = {
        said["run"]
        for said in notes
        if said["run"] is not None and "celery.chord_unlock" in json.dumps(said)
    }
    return [said for said in notes if said["run"] not in waiting]


def shape(notes: Notes) -> list[str]:
    """Return the notes in an order that is no matter of time, with new identifiers named.

    The sender's come first, then those of each run; each in its order. Identifiers are
    named after the part in which they first appear.
    """
    parts: dict[str, list[str]] = {}
    for said in _timeless(notes):
        parts.setdefault(said["run"] or "", []).append(json.dumps(said, sort_keys=True))
    named: dict[str, str] = {}
    lines = []
    for part in sorted(parts):
        count = itertools.count(1)

        def name(found: re.Match[str], part: str = part, count: Any = count) -> str:
            return named.setdefault(found[0], f"<{part or 'sender'} {next(count)}>")

        lines += [IDENTIFIERS.sub(name, line) for line in parts[part]]
    return lines


def compare(program: str, stock: Notes, ours: Notes) -> tuple[list[str], str]:
    """Return the reasons for which two sides differ, and what none of them covers."""
    rules = RULES | OWN_RULES.get(program, {})

    def under(reasons: Iterable[str]) -> tuple[list[str], list[str]]:
        one, other = stock, ours
        for reason in reasons:
            one, other = rules[reason](one), rules[reason](other)
        return shape(one), shape(other)

    kept = list(rules)
    one, other = under(kept)
    if one != other:
        found = difflib.unified_diff(one, other, lineterm="", n=0)
        return [], "\n".join(line for line in found if line[:2] not in ("--", "++", "@@"))
    for reason in rules:
        rest = [more for more in kept if more != reason]
        one, other = under(rest)
        if one == other:
            kept = rest
    return kept, ""


def both(program: str, folder: Path, *, python: str, redis: str, url: str) -> tuple[Run, Run]:
    """Run a program on stock Celery and on ours, beside each other."""
    (folder / "lab").mkdir(parents=True)
    lab = Lab(url, folder / "lab")
    # Each side locks in a database of its own.
    with ThreadPoolExecutor(2) as threads:
        stock = threads.submit(
            run_on, program, redis + "/0", folder / "stock", python=python, redis=redis + "/1"
        )
        ours = threads.submit(
            run_on, program, "sealwax://", folder / "ours", python=python, redis=redis + "/2",
            queue=lab.queue, endpoint=url, empty=lab.empty,
        )  # fmt: skip
        return stock.result(), ours.result()
