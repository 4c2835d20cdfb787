"""Send all programs of the drop-in proof; with `--worker`, run a worker in a thread meanwhile.

Prints the names of the programs that could not be sent, with the error, as JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path

import dropin_app  # type: ignore[import-not-found]
from dropin_programs import PROGRAMS, QUICK_POOLS_LACK  # type: ignore[import-not-found]

#: Seconds without a note after which nothing is expected any more; waits are of one second.
QUIET = 7.0
LONGEST = 600.0


def size() -> int:
    try:
        return Path(os.environ["DROPIN_NOTES"]).stat().st_size
    except OSError:
        return 0


def wait_until_quiet() -> None:
    end = time.monotonic() + LONGEST
    since, before = time.monotonic(), -1
    while time.monotonic() < end and time.monotonic() - since < QUIET:
        found = size()
        if found != before:
            since, before = time.monotonic(), found
        time.sleep(0.1)


def main() -> None:
    threads = "--threads" in sys.argv
    refused = {}
    with contextlib.ExitStack() as stack:
        if "--worker" in sys.argv:
            from celery.contrib.testing.worker import start_worker

            stack.enter_context(
                start_worker(
                    dropin_app.app, pool="threads", concurrency=1, perform_ping_check=False,
                    shutdown_timeout=30, logfile=os.environ["DROPIN_NOTES"] + ".log",
                )
            )  # fmt: skip
        for name, run in PROGRAMS.items():
            if threads and name in QUICK_POOLS_LACK:
                continue
            try:
                run(dropin_app, name)
            except Exception as error:  # noqa: BLE001 - compared like all else
                refused[name] = f"{type(error).__name__}: {error}"
        wait_until_quiet()
    print(json.dumps(refused))


if __name__ == "__main__":
    main()
