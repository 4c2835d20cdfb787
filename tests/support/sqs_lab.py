"""A laboratory for the transport: an SQS server, a queue, real worker processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from support.lab_setting import SEED, SQS_MODES
from support.waiting import wait_for

ROOT = Path(__file__).parent.parent.parent
APP = Path(__file__).parent / "lab_app.py"
VARIABLES = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@contextmanager
def sqs_server(latency: float = 0.0, modes: str | None = None) -> Iterator[str]:
    """Run the in-memory SQS; yield its URL.

    Parameters
    ----------
    latency
        Milliseconds that each call takes.
    modes
        What it does as AWS does it, see `bench/sqs_modes.py`; None: what SEALWAX_SQS_MODES or
        SEALWAX_LAB say, so that whole suites meet it.
    """
    modes = SQS_MODES if modes is None else modes
    server = [sys.executable, str(ROOT / "bench/sqs_server.py")]
    process = subprocess.Popen(
        [*server, "--latency", str(latency), "--modes", modes, "--seed", str(SEED)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


class Lab:
    """One test's queue and workers."""

    def __init__(
        self,
        url: str,
        folder: Path,
        *,
        fifo: bool = False,
        visibility: int | None = None,
        receives: int = 1000,
    ) -> None:
        self.url = url
        self.folder = folder
        self.queue = f"lab-{uuid.uuid4().hex[:8]}{'.fifo' if fifo else ''}"
        self.dead = self.queue.replace(".fifo", "") + "-dlq" + (".fifo" if fifo else "")
        self.notes_path = folder / "notes.jsonl"
        self.log_path = folder / "worker.log"
        self.status_path = folder / "status.json"
        self.workers: list[subprocess.Popen[bytes]] = []
        self.sqs = boto3.client(
            "sqs",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 5}),
        )
        attributes = {"FifoQueue": "true"} if fifo else {}
        dead_url = self.sqs.create_queue(QueueName=self.dead, Attributes=attributes)["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=dead_url, AttributeNames=["QueueArn"])
        policy = {
            "deadLetterTargetArn": arn["Attributes"]["QueueArn"],
            "maxReceiveCount": str(receives),
        }
        more = {} if visibility is None else {"VisibilityTimeout": str(visibility)}
        self.queue_url = self.sqs.create_queue(
            QueueName=self.queue,
            Attributes={**attributes, **more, "RedrivePolicy": json.dumps(policy)},
        )["QueueUrl"]
        self.dead_url = dead_url

    # -- processes

    def environment(self, **options: Any) -> dict[str, str]:
        """Return the environment of a process of this lab; `options` are the transport's."""
        return {
            **os.environ,
            **VARIABLES,
            "AWS_ENDPOINT_URL": options.pop("endpoint", self.url),
            "PYTHONPATH": os.pathsep.join([str(APP.parent), str(ROOT)]),
            "LAB_QUEUE": self.queue,
            "LAB_NOTES": str(self.notes_path),
            "LAB_CONF": json.dumps(options.pop("conf", {})),
            "LAB_BROKER": options.pop("broker", "sealwax://"),
            "LAB_OPTIONS": json.dumps({"liveness_file": str(self.status_path), **options}),
        }

    def start_worker(
        self,
        *arguments: str,
        concurrency: int = 2,
        pool: str = "prefork",
        variables: dict[str, str] | None = None,
        **options: Any,
    ) -> subprocess.Popen[bytes]:
        """Start a worker and wait until it is ready; empty `variables` are unset."""
        environment = self.environment(**options) | (variables or {})
        environment = {name: value for name, value in environment.items() if value}
        return self._start(
            sys.executable, environment, "-P", pool, "-c", str(concurrency), *arguments
        )

    def _start(
        self, python: str, environment: dict[str, str], *arguments: str, wait: bool = True
    ) -> subprocess.Popen[bytes]:
        before = self.log().count(" ready.")
        app = environment.get("LAB_APP", "lab_app")
        with self.log_path.open("ab") as log:
            process = subprocess.Popen(
                [
                    python, "-m", "celery", "-A", app, "worker", "-Q", self.queue, "-l",
                    "INFO", "--without-gossip", "--without-mingle", *arguments,
                ],
                env=environment,
                stdout=log,
                stderr=log,
            )  # fmt: skip
        self.workers.append(process)
        if not wait:
            return process
        wait_for(
            lambda: self.log().count(" ready.") > before or process.poll() is not None, seconds=90
        )
        assert process.poll() is None, self.log()
        return process

    def stock_python(self) -> str:
        """Return the Python that has stock kombu; skip the test without one."""
        python = os.environ.get("SEALWAX_STOCK_PYTHON")
        if not python:
            pytest.skip("SEALWAX_STOCK_PYTHON names no Python with celery[sqs]")
        return python

    def start_stock_worker(
        self,
        *arguments: str,
        endpoint: str | None = None,
        polling_interval: float | None = 0.1,
        wait: bool = True,
        **conf: Any,
    ) -> subprocess.Popen[bytes]:
        """Start the same app on stock kombu, in the environment of SEALWAX_STOCK_PYTHON."""
        python = self.stock_python()
        options = {
            "region": "us-east-1",
            "predefined_queues": {self.queue: {"url": self.queue_url}},
            "wait_time_seconds": 2,
        }
        if polling_interval is not None:
            options["polling_interval"] = polling_interval
        environment = self.environment(broker="sqs://", conf=conf, endpoint=endpoint or self.url)
        environment["LAB_OPTIONS"] = json.dumps(options)
        return self._start(python, environment, *arguments, wait=wait)

    def kill(self, worker: subprocess.Popen[bytes]) -> None:
        """End a worker and its children at once, as the kernel ends a container."""
        # Stopped first, so that it makes no more children.
        worker.send_signal(signal.SIGSTOP)
        children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
        for pid in map(int, children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        worker.kill()
        worker.wait(10)

    def send_all(self, bodies: list[str], **fields: Any) -> None:
        """Send many bodies, ten a call."""
        for start in range(0, len(bodies), 10):
            entries = [
                {"Id": str(number), "MessageBody": body, **fields}
                for number, body in enumerate(bodies[start : start + 10])
            ]
            assert not self.sqs.send_message_batch(QueueUrl=self.queue_url, Entries=entries).get(
                "Failed"
            )

    def send(self, task: str, *args: Any, **options: Any) -> None:
        """Send one task as a stranger would: the message's JSON, directly."""
        self.put(message(task, *args, queue=self.queue, **options))

    def put(self, body: str, **fields: Any) -> None:
        """Send one body."""
        if self.queue.endswith(".fifo"):
            fields.setdefault("MessageGroupId", "g")
            fields.setdefault("MessageDeduplicationId", uuid.uuid4().hex)
        self.sqs.send_message(QueueUrl=self.queue_url, MessageBody=body, **fields)

    # -- observations

    def log(self) -> str:
        """Return what the workers wrote."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def notes(self, event: str | None = None) -> list[dict[str, Any]]:
        """Return what tasks noted."""
        if not self.notes_path.exists():
            return []
        found = [json.loads(line) for line in self.notes_path.read_text().splitlines()]
        return [note for note in found if event is None or note["event"] == event]

    def has_notes(self, event: str, count: int) -> bool:
        """Whether the tasks have left so many notes of a kind, or more."""
        return len(self.notes(event)) >= count

    def depth(self) -> tuple[int, int]:
        """Return visible and not visible messages: exactly, whatever the queue says."""
        visible, hidden = server_state(self.url)["queues"][self.queue]
        return int(visible), int(hidden)

    def empty(self) -> bool:
        """Whether the queue is empty."""
        return self.depth() == (0, 0)

    def letters(self) -> list[dict[str, Any]]:
        """Take all dead letters; each is its reason with the body under `body`."""
        found: list[dict[str, Any]] = []
        while True:
            messages = self.sqs.receive_message(
                QueueUrl=self.dead_url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
            ).get("Messages", [])
            if not messages:
                return found
            for item in messages:
                attribute = item["MessageAttributes"]["sealwax-dead-letter"]["StringValue"]
                found.append({**json.loads(attribute), "body": item["Body"]})
                self.sqs.delete_message(QueueUrl=self.dead_url, ReceiptHandle=item["ReceiptHandle"])

    def dead_count(self) -> int:
        """Return how many dead letters wait."""
        return int(server_state(self.url)["queues"][self.dead][0])

    def status(self) -> dict[str, Any]:
        """Return the worker's health status."""
        try:
            found: dict[str, Any] = json.loads(self.status_path.read_text())
        except (OSError, ValueError):
            return {}
        return found

    def close(self) -> None:
        """End all workers at once: the test is over, so there is nothing to finish."""
        for process in self.workers:
            if process.poll() is None:
                self.kill(process)


def server_state(url: str) -> dict[str, Any]:
    """Return the in-memory server's calls and depths."""
    with urllib.request.urlopen(f"{url}/_state", timeout=5) as answer:
        found: dict[str, Any] = json.loads(answer.read())
    return found


def message(
    task: str,
    *args: Any,
    queue: str = "q",
    body: Any = None,
    headers: dict[str, Any] | None = None,
    properties: dict[str, Any] | None = None,
    **top: Any,
) -> str:
    """Return a task message as JSON, with whatever is to be wrong in it."""
    job = uuid.uuid4().hex
    return json.dumps(
        {
            "body": json.dumps([list(args), {}, {}]) if body is None else body,
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {
                "lang": "py", "task": task, "id": job, "retries": 0, "timelimit": [None, None],
                "argsrepr": "()", "kwargsrepr": "{}", **(headers or {}),
            },
            "properties": {
                "correlation_id": job,
                "delivery_info": {"exchange": "", "routing_key": queue},
                "delivery_mode": 2, "priority": 0, **(properties or {}),
            },
            **top,
        }
    )  # fmt: skip
