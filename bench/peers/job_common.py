"""What the senders of whole jobs share: the pace, timing, and notes of tasks.

Each program is given a command: `prepare` prints what it needs as JSON,
`send THREADS JOBS RATE FILE` submits jobs and prints what that took. RATE 0
sends as fast as the threads do; else so many a second, whoever is late. FILE
gets a line a job: its row's key, when its submission began and when it ended.
"""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

#: The payload's one field, as in the benchmark of the transport.
TEXT = "x" * 1_024

#: Submits a job that was begun at a time, by a key of its own; returns its row's key.
Submit = Callable[[float], str]


def note(sent: float) -> None:
    """Write how long a job took from sending to running, in seconds."""
    if sent:
        descriptor = os.open(os.environ["BENCH_NOTES"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, f"{time.time() - sent}\n".encode())
        os.close(descriptor)


def send(submit: Submit, threads: int, jobs: int, rate: float, file: str) -> None:
    """Submit jobs and print seconds, processor seconds and the latencies; keep little in memory."""
    submit(0.0)  # connections, imports
    numbers = itertools.count()
    latencies, lock = array("d"), threading.Lock()
    began, used = time.perf_counter(), time.process_time()

    def run(sent: TextIO) -> None:
        while (number := next(numbers)) < jobs:
            if rate:
                time.sleep(max(0.0, began + number / rate - time.perf_counter()))
            at, since = time.time(), time.perf_counter()
            key = submit(at if rate else 0.0)
            latencies.append(time.perf_counter() - since)
            line = f"{key} {at} {time.time()}\n"
            with lock:  # a text file is not for several threads
                sent.write(line)

    with Path(file).open("w") as sent:
        workers = [threading.Thread(target=run, args=(sent,)) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    print(json.dumps({"seconds": seconds, "cpu": cpu, "latencies": sorted(latencies)}))
