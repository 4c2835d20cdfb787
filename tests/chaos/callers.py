"""Callers as they are: each submits with an Idempotency-Key and tries again until it hears 202."""

from __future__ import annotations

import gzip
import json
import queue
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import requests

from chaos.judge import Accepted
from chaos.plan import SUBMITTED, Submission

__all__ = ["Callers", "request_of"]

DATA = Path(__file__).parent.parent / "data" / "github-webhooks.jsonl.gz"
#: A caller gives up waiting for one answer after this many seconds.
PATIENCE = 20.0


def bodies() -> list[dict[str, Any]]:
    """Return the real bodies."""
    with gzip.open(DATA, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def request_of(
    one: Submission, events: Sequence[dict[str, Any]], mark: str, sandbox: str
) -> dict[str, Any]:
    """Return the request of a submission; every body bears the mark."""
    task, payload = _work_of(one, events, mark, sandbox)
    delay = {"delay": 5 + one.pick % 20} if one.kind == "delayed" else {}
    return {"task": task, "payload": payload, **delay}


def _work_of(
    one: Submission, events: Sequence[dict[str, Any]], mark: str, sandbox: str
) -> tuple[str, Any]:
    event = events[one.pick % len(events)]
    body = {"canary": mark, "number": one.number, **event["body"]}
    if one.kind in {"relay", "delayed", "aside", "refused", "down"}:
        task = {"aside": "webhooks.relay_aside", "down": "webhooks.relay_briefly"}
        route = {"refused": "refused", "down": "down"}.get(one.kind, "healthy")
        payload = {"route": route, "event": str(event["event"])[:90], "body": body}
        return task.get(one.kind, "webhooks.relay"), payload
    if one.kind == "customer":
        return "customers.sync", {"customer_id": str(1 + one.pick % 10_000)}
    if one.kind == "export":
        rows = [{"row": row, "canary": mark} for row in range(1 + one.pick % 50)]
        return "exports.build", {"format": ("csv", "jsonl")[one.pick % 2], "records": rows}
    if one.kind == "crash":
        return "chaos.crash", {"body": body, "how": one.pick % 99}
    if one.kind == "long":
        url = f"{sandbox}/hooks/long"
        return "chaos.long", {"body": body, "seconds": 14 + one.pick % 4, "url": url}
    raise ValueError(one.kind)


class Callers:
    """Threads that submit; `accepted` grows while they do.

    Parameters
    ----------
    urls
        Of the API's processes; a caller goes to the next one after a failure.
    """

    def __init__(self, urls: Sequence[str], token: str, mark: str, sandbox: str) -> None:
        self._urls = urls
        self._token = token
        self._mark = mark
        self._sandbox = sandbox
        self._events = bodies()
        self._queue: queue.SimpleQueue[Submission | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self.accepted: list[Accepted] = []
        self.answers: Counter[str] = Counter()
        self.refused: list[str] = []
        self.slowest = 0.0
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(12)]
        for thread in self._threads:
            thread.start()

    def put(self, one: Submission) -> None:
        """Have a submission made by the next free caller."""
        self._queue.put(one)

    def waiting(self) -> int:
        """Return how many submissions no caller has taken."""
        return self._queue.qsize()

    def finish(self, seconds: float) -> bool:
        """Wait until all are accepted; False where some are not after that time."""
        for _ in self._threads:
            self._queue.put(None)
        end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        self._stopping.set()
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        session = requests.Session()
        session.trust_env = False
        while (one := self._queue.get()) is not None:
            self._submit(session, one)

    def _submit(self, session: requests.Session, one: Submission) -> None:
        request = request_of(one, self._events, self._mark, self._sandbox)
        key = f"chaos-{one.number}"
        text = json.dumps(request)
        not_before = time.time() + request.get("delay", 0)
        begun = time.monotonic()
        attempt = 0
        while not self._stopping.is_set():
            url = self._urls[(one.number + attempt) % len(self._urls)]
            attempt += 1
            try:
                answer = session.post(
                    f"{url}/v1/jobs",
                    data=text,
                    headers={
                        "Authorization": f"Bearer {self._token}",
                        "Content-Type": "application/json",
                        "Idempotency-Key": key,
                    },
                    timeout=PATIENCE,
                )
            except requests.RequestException as error:
                self._tally(type(error).__name__)
                self._stopping.wait(min(3.0, 0.2 * attempt))
                continue
            self._tally(str(answer.status_code))
            if answer.status_code == 202:
                expect = SUBMITTED.get(one.kind)
                job = answer.json()["id"]
                with self._lock:
                    self.slowest = max(self.slowest, time.monotonic() - begun)
                    self.accepted.append(
                        Accepted(
                            job=job, kind=one.kind, expect=expect, key=key, not_before=not_before
                        )
                    )
                return
            if answer.status_code < 500 and answer.status_code not in {404, 409, 425, 429}:
                with self._lock:
                    self.refused.append(f"{one.kind}: {answer.status_code} {answer.text[:200]}")
                return
            self._stopping.wait(min(3.0, 0.3 * attempt))

    def _tally(self, what: str) -> None:
        with self._lock:
            self.answers[what] += 1
