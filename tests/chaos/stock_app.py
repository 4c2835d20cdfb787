"""The same jobs on stock Celery and kombu: what a team builds without Sealwax.

Run by a Python that has `celery[sqs]` and nothing of ours: as a worker by
`celery -A stock_app worker`, as an HTTP edge by `python stock_app.py PORT`.
Everything is set by STOCK_… variables; `STOCK_ADVISED` takes the settings that
guides for SQS commonly recommend.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
from celery import Celery

ADVISED = bool(os.environ.get("STOCK_ADVISED"))
SANDBOX = os.environ["STOCK_SANDBOX"]
QUEUES = json.loads(os.environ["STOCK_QUEUES"])
ASIDE = ("webhooks.relay_aside", "customers.sync")

app = Celery("stock", broker="sqs://")
app.conf.update(
    broker_transport_options={"region": os.environ["AWS_REGION"], "predefined_queues": QUEUES},
    broker_connection_retry_on_startup=True,
    task_default_queue="default",
    task_routes={name: {"queue": "threads"} for name in ASIDE},
    task_ignore_result=True,
)
if ADVISED:
    app.conf.update(
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
    )


def note(event: str, task: Any) -> None:
    """Append one line to the journal."""
    line = {
        "event": event, "job": task.request.id, "attempt": task.request.retries + 1,
        "at": time.time(), "pid": os.getpid(), "session": os.getsid(0),
    }  # fmt: skip
    path = os.environ["CHAOS_JOURNAL"]
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, json.dumps(line).encode() + b"\n")
    finally:
        os.close(descriptor)


class Refused(Exception):
    """The downstream will never take it."""


def send(method: str, url: str, body: Any, job: str) -> Any:
    """Send JSON; return the answer's."""
    request = urllib.request.Request(
        url,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Idempotency-Key": job},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        if error.code < 500:
            raise Refused(str(error.code)) from None
        raise


def attempt(task: Any, work: Any, tries: int) -> None:
    """Run once, with the retries that guides recommend: exponential, a few times."""
    note("start", task)
    try:
        work()
    except Refused:
        raise
    except Exception as error:
        delay = min(8, 2**task.request.retries)
        raise task.retry(exc=error, countdown=delay, max_retries=tries - 1) from error
    finally:
        note("end", task)
    note("done", task)


def deliver(task: Any, payload: Any, tries: int) -> None:
    """Deliver a webhook."""
    url = f"{SANDBOX}/hooks/{payload['route']}"
    attempt(task, lambda: send("POST", url, payload["body"], task.request.id), tries)


@app.task(name="webhooks.relay", bind=True)
def relay(self: Any, payload: Any) -> None:
    """Deliver a webhook."""
    deliver(self, payload, 10)


@app.task(name="webhooks.relay_aside", bind=True)
def relay_aside(self: Any, payload: Any) -> None:
    """Deliver a webhook on the other lane."""
    deliver(self, payload, 10)


@app.task(name="webhooks.relay_briefly", bind=True)
def relay_briefly(self: Any, payload: Any) -> None:
    """Deliver a webhook, with few attempts."""
    deliver(self, payload, 3)


@app.task(name="customers.sync", bind=True)
def sync(self: Any, payload: Any) -> None:
    """Put a customer into the CRM."""
    url = f"{SANDBOX}/crm/contacts/{payload['customer_id']}"
    attempt(self, lambda: send("PUT", url, payload["customer"], self.request.id), 10)


@app.task(name="exports.build", bind=True)
def export(self: Any, payload: Any) -> None:
    """Write records to S3."""

    def work() -> None:
        s3 = boto3.client("s3")
        key = f"exports/stock/{self.request.id}.jsonl"
        rows = "\n".join(json.dumps(row) for row in payload["records"])
        s3.put_object(Bucket=os.environ["STOCK_BUCKET"], Key=key, Body=rows.encode())
        s3.put_object(Bucket=os.environ["STOCK_BUCKET"], Key=f"{key}.json", Body=b"{}")

    attempt(self, work, 10)


@app.task(name="chaos.crash", bind=True)
def crash(self: Any, payload: Any) -> None:
    """End the process that runs it."""
    note("start", self)
    note("end", self)
    if payload["how"] % 3 == 0:
        os._exit(payload["how"] % 7)
    os.kill(os.getpid(), signal.SIGSEGV if payload["how"] % 3 == 1 else signal.SIGKILL)


@app.task(name="chaos.long", bind=True)
def long(self: Any, payload: Any) -> None:
    """Work long, then deliver."""

    def work() -> None:
        time.sleep(payload["seconds"])
        send("POST", payload["url"], payload["body"], self.request.id)

    attempt(self, work, 10)


class Edge(BaseHTTPRequestHandler):
    """Takes jobs over HTTP and queues them."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Say that it serves."""
        self._answer(200, {})

    def do_POST(self) -> None:
        """Queue a job."""
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        job, payload = uuid.uuid4().hex, request["payload"]
        try:
            if request["task"] == "customers.sync":
                url = f"{SANDBOX}/internal/customers/{payload['customer_id']}"
                payload["customer"] = send("GET", url, None, job)
            wait = request.get("delay")
            app.send_task(request["task"], args=(payload,), task_id=job, countdown=wait)
        except Exception as error:  # noqa: BLE001 - whatever kombu raises, the caller hears 503
            self._answer(503, {"error": type(error).__name__})
            return
        self._answer(202, {"id": job})

    def _answer(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Be silent."""


class Server(ThreadingHTTPServer):
    """Many connections at once."""

    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    server = Server(("127.0.0.1", int(sys.argv[1])), Edge)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    server.serve_forever()
