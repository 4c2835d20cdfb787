"""What the peers' senders share: timing and the notes of tasks."""

from __future__ import annotations

import json
import os
import resource
import threading
import time
from collections.abc import Callable
from typing import Any

PAYLOAD = "x" * 1_024
QUEUE = os.environ["BENCH_QUEUE"]


def note(sent: float) -> None:
    """Write how long a job took from sending to running."""
    if sent:
        descriptor = os.open(os.environ["BENCH_NOTES"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, f"{time.time() - sent}\n".encode())
        os.close(descriptor)


def cpu() -> float:
    """Return this process's CPU seconds."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def report(seconds: float, used: float, latencies: list[float]) -> None:
    """Print the result."""
    latencies.sort()
    print(
        json.dumps(
            {
                "seconds": seconds,
                "cpu": used,
                "p50": latencies[len(latencies) // 2] if latencies else None,
                "p99": latencies[int(len(latencies) * 0.99)] if latencies else None,
            }
        )
    )


def send(once: Callable[[float], Any], threads: int, jobs: int, pause: float) -> None:
    """Send from threads and report."""
    once(0.0)  # connections, imports
    latencies: list[float] = []

    def run() -> None:
        for _ in range(jobs // threads):
            began = time.perf_counter()
            once(time.time() if pause else 0.0)
            latencies.append(time.perf_counter() - began)
            if pause:
                time.sleep(pause)

    workers = [threading.Thread(target=run) for _ in range(threads)]
    began, used = time.perf_counter(), cpu()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    report(time.perf_counter() - began, cpu() - used, latencies)
