"""A Celery app for the benchmark: ours or stock, by BENCH_BROKER; also its sender.

`python celery_app.py send THREADS JOBS` or `bulk JOBS` prints seconds taken,
CPU seconds and latencies as JSON. As a module it is the worker's app.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import time
from typing import Any

from celery import Celery

OURS = os.environ["BENCH_BROKER"] == "sealwax"
QUEUE = os.environ["BENCH_QUEUE"]
PAYLOAD = "x" * 1_024

if OURS:
    import sealwax.transport  # noqa: F401 - makes the URL's scheme known

    app = Celery("bench", broker="sealwax://", task_cls="sealwax.transport:Task")
    app.conf.broker_transport_options = {"check": False}
else:
    app = Celery("bench", broker="sqs://")
    app.conf.broker_transport_options = {
        "region": "us-east-1",
        "visibility_timeout": 60,
        "wait_time_seconds": 20,
        "polling_interval": float(os.environ.get("BENCH_POLLING", "0.01")),
        "predefined_queues": {QUEUE: {"url": os.environ["BENCH_QUEUE_URL"]}},
    }
app.conf.update(
    task_default_queue=QUEUE,
    task_ignore_result=True,
    task_acks_late=True,
    worker_prefetch_multiplier=int(os.environ.get("BENCH_MULTIPLIER", "1")),
    worker_enable_remote_control=False,
    broker_connection_retry_on_startup=True,
    broker_pool_limit=80,
)


@app.task(name="bench.noop")
def noop(payload: str, sent: float = 0.0) -> None:  # noqa: ARG001 - its size is measured
    if sent:
        line = f"{time.time() - sent}\n".encode()
        descriptor = os.open(os.environ["BENCH_NOTES"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, line)
        os.close(descriptor)


def _send(threads: int, jobs: int, pause: float) -> dict[str, Any]:
    latencies: list[float] = []
    noop.apply_async((PAYLOAD,))  # connections, imports

    def run(count: int) -> None:
        for _ in range(count):
            began = time.perf_counter()
            noop.apply_async((PAYLOAD, time.time() if pause else 0.0))
            latencies.append(time.perf_counter() - began)
            if pause:
                time.sleep(pause)

    workers = [threading.Thread(target=run, args=(jobs // threads,)) for _ in range(threads)]
    return _timed(workers, latencies)


def _bulk(jobs: int) -> dict[str, Any]:
    noop.apply_async((PAYLOAD,))
    if not OURS:  # stock kombu has no bulk path: one thread, one call a message
        return _send(1, jobs, 0.0)
    from sealwax.transport.bulk import send_tasks

    def run() -> None:
        send_tasks(app, [noop.s(PAYLOAD) for _ in range(jobs)])

    return _timed([threading.Thread(target=run)], [])


def _timed(workers: list[threading.Thread], latencies: list[float]) -> dict[str, Any]:
    began, cpu = time.perf_counter(), _cpu()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    latencies.sort()
    return {
        "seconds": time.perf_counter() - began,
        "cpu": _cpu() - cpu,
        "p50": latencies[len(latencies) // 2] if latencies else None,
        "p99": latencies[int(len(latencies) * 0.99)] if latencies else None,
    }


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    if sys.argv[1] == "bulk":
        print(json.dumps(_bulk(int(sys.argv[2]))))
    else:
        print(json.dumps(_send(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))))
