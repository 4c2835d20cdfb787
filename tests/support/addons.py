"""Celery's best known add-ons, each in a real worker on stock Celery and on ours, compared.

`tests/addons/programs` has a program for each: an app, as the add-on's documentation has it,
and cases that are sent one after the other. `both` runs one program on Redis and on ours.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.sqs_lab import ROOT, VARIABLES, Lab
from support.waiting import wait_for

__all__ = ["Run", "both", "run_on"]

PROGRAMS = ROOT / "tests/addons/programs"

Notes = list[dict[str, Any]]

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
        notes=_named([json.loads(line.replace(queue, "QUEUE")) for line in lines]),
        log=log.read_text(errors="replace"),
        started=started,
    )


def _named(notes: Notes) -> Notes:
    """Replace what is new in each run by numbers, in the order of their first appearance."""
    seen: dict[str, str] = {}
    # Cases come one after the other, so the sender's notes have an order of their own.
    ordered = sorted(notes, key=lambda said: said["run"] is not None)
    text = json.dumps(ordered)
    named = IDENTIFIERS.sub(lambda found: seen.setdefault(found[0], f"#{len(seen)}"), text)
    return list(json.loads(named))


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
