"""The loud tenant of `bench/neighbours.py`, in a process of its own: its callers' work is not ours.

`flood.py PORT CALLERS PAUSE`, the token in the environment (LOUD_TOKEN). Each caller
keeps a connection, sends a job, waits about PAUSE seconds after the answer whatever it was,
and sends the next one: every other one needs an internal system that hangs, the
rest a downstream that hangs. Ends when its input is closed, and prints what was answered.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import sys
import threading
from collections import Counter

TIMEOUT = 60


def call(peer: http.client.HTTPConnection, number: int, token: str) -> str:
    """Send one job; return its task and the answer's status."""
    if number % 2:
        task, payload = "customers.sync", {"customer_id": str(number)}
    else:
        task, payload = "webhooks.relay", {"event": "e", "route": "hangs", "body": {"n": -1}}
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    peer.request("POST", "/v1/jobs", json.dumps({"task": task, "payload": payload}), headers)
    answer = peer.getresponse()
    answer.read()
    return f"{task} {answer.status}"


def main() -> None:
    """Send until the input is closed."""
    port, callers, pause = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    answers: Counter[str] = Counter()
    ended = threading.Event()

    def caller(number: int) -> None:
        peer = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        while not ended.is_set():
            try:
                answers[call(peer, number, os.environ["LOUD_TOKEN"])] += 1
            except (OSError, http.client.HTTPException):
                answers["no answer"] += 1
                peer.close()
            ended.wait(pause * random.uniform(0.5, 1.5))  # they know nothing of each other

    threads = [threading.Thread(target=caller, args=(n,), daemon=True) for n in range(callers)]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    ended.set()
    for thread in threads:
        thread.join(15)
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
