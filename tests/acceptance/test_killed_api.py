"""The API's process killed by SIGKILL at each of its calls, the caller repeating with its key.

Nothing is replaced by a stand-in: `sealwax api` as it is served, the calls of
one request counted on their way to AWS and to the internal system.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from chaos.observer import read_effects
from support.fault_proxy import AFTER, BEFORE, DeadlyProxy, Trap, kill_all
from support.stack import LiveStack
from support.waiting import wait_for

pytestmark = pytest.mark.long

#: A submission makes no more calls than this, or the test would never end.
MOST_CALLS = 40

SENDS = frozenset({"SendMessage", "SendMessageBatch"})


def children(parent: int) -> list[int]:
    """Return the processes that a process has started."""
    text = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    return [int(pid) for pid in text.split()]


class Matrix:
    """One stack whose API dies; every key's answers."""

    def __init__(self, make_stack: Callable[..., LiveStack]) -> None:
        #: Whether the process that serves dies, or gunicorn and all (a container's end).
        self.whole = False
        self.trap = Trap(self._kill)
        self._ports: dict[str, int] = {}
        self.aws = DeadlyProxy(lambda: self._ports["aws"], self.trap)
        self.internal = DeadlyProxy(lambda: self._ports["sandbox"], self.trap, name="GET internal")
        self.stack = make_stack(
            routes={"demo": {}}, sections=self._sections, steward=True, lane="lease = 10"
        )
        self._ports["aws"] = self.stack.emulator_port
        self.stack.restart("api", AWS_ENDPOINT_URL=f"http://127.0.0.1:{self.aws.port}")
        self.jobs: dict[str, set[str]] = defaultdict(set)
        self.deaths: Counter[str] = Counter()

    def close(self) -> None:
        self.aws.close()
        self.internal.close()

    def _sections(self, sandbox: int) -> str:
        self._ports["sandbox"] = sandbox

        def rule(port: int) -> str:
            return f'{{cidrs = ["127.0.0.1/32"], schemes = ["http"], ports = [{port}]}}'

        base = "http://127.0.0.1"
        # Nothing but requests makes calls: no secrets are refreshed meanwhile.
        return f"""
[tasks.customers]
internal_url = "{base}:{self.internal.port}/internal/customers/{{id}}"
internal_rule = {rule(self.internal.port)}
crm_url = "{base}:{sandbox}/crm/contacts/{{id}}"
crm_rule = {rule(sandbox)}

[limits]
send_seconds = 1
"""

    def _kill(self) -> None:
        main = self.stack.pid("api")
        if self.whole:
            self.stack.kill("api")
        else:
            kill_all(children(main))

    def _serve_again(self) -> None:
        if self.whole:
            self.stack.revive("api")

        def serves() -> bool:
            try:
                return self.stack.request("GET", "/healthz").ok
            except requests.RequestException:
                return False

        wait_for(serves, seconds=120, what="the API to serve again")

    def _post(self, key: str, request: dict[str, Any]) -> requests.Response | None:
        try:
            return self.stack.request(
                "POST", "/v1/jobs", json=request, headers={"Idempotency-Key": key}
            )
        except requests.RequestException:
            return None

    def _repeat(self, key: str, request: dict[str, Any]) -> None:
        """Ask again until the promise is given, as callers do."""

        def accepted() -> bool:
            answer = self._post(key, request)
            if answer is None or answer.status_code in (409, 425, 503):
                return False
            self._heard(key, answer)
            return True

        wait_for(accepted, seconds=120, what=f"202 for {key}")

    def _heard(self, key: str, answer: requests.Response) -> None:
        assert answer.status_code == 202, (key, answer.text)
        self.jobs[key].add(answer.json()["id"])

    def row(
        self, name: str, request: Callable[[int], dict[str, Any]], when: str, *, at_once: bool
    ) -> list[str]:
        """Kill at the first call, the second, …, until a submission outlives the trap.

        Callers repeat `at_once`, or when a worker may long have run what had
        been sent; then each request meets a process that knows nothing yet.
        Returns the calls of the submission that lived.
        """
        waiting: list[tuple[str, dict[str, Any]]] = []
        if not at_once:
            self._kill()
            self._serve_again()
        try:
            return self._row(name, request, when, waiting if not at_once else None)
        finally:
            for key, body in waiting:
                self._repeat(key, body)

    def _row(
        self,
        name: str,
        request: Callable[[int], dict[str, Any]],
        when: str,
        waiting: list[tuple[str, dict[str, Any]]] | None,
    ) -> list[str]:
        for at in range(1, MOST_CALLS):
            key, body = f"{name}-{when}-{at}", request(at)
            self.trap.set(at, when)
            answer = self._post(key, body)
            self.trap.disarm()
            if answer is not None:
                # After its last call's answer it may have told its caller just in time.
                self._heard(key, answer)
            if self.trap.sprung:
                self.deaths[self.trap.calls[-1]] += 1
                self._serve_again()
                if waiting is None:
                    self._repeat(key, body)
                else:
                    waiting.append((key, body))
                continue
            assert answer is not None, (key, self.trap.calls)
            if len(self.trap.calls) < at:
                return self.trap.calls
        raise AssertionError(f"{name}: still calling after {MOST_CALLS} calls")

    def settle(self) -> None:
        """Wait for the ends; nothing may be lost, doubled, or left behind."""
        stack, keys = self.stack, len(self.jobs)
        assert keys > 0
        assert {len(ids) for ids in self.jobs.values()} == {1}
        jobs = [job for ids in self.jobs.values() for job in ids]
        assert len(set(jobs)) == keys
        for job in jobs:
            document = stack.wait(job, seconds=180)
            assert document["state"] == "succeeded", document
        # No key has left a second job behind.
        assert {item["id"]["S"] for item in stack.items("jobs")} == set(jobs)
        try:
            wait_for(lambda: not self._left(), seconds=120, what="everything empty")
        except AssertionError:
            raise AssertionError(f"left behind: {self._left()}") from None
        effects = Counter(
            effect.job for effect in read_effects(stack.state / "sandbox" / "deliveries.jsonl")
        )
        assert effects == Counter(jobs)
        stack.check()

    def _left(self) -> dict[str, int]:
        stack, sqs = self.stack, self.stack.client("sqs")
        found = {"outbox": len(stack.items("outbox")), "letters": len(stack.items("letters"))}
        for url in sqs.list_queues()["QueueUrls"]:
            depth = sqs.get_queue_attributes(
                QueueUrl=url,
                AttributeNames=[
                    "ApproximateNumberOfMessages",
                    "ApproximateNumberOfMessagesNotVisible",
                    "ApproximateNumberOfMessagesDelayed",
                ],
            )["Attributes"]
            found[url.rpartition("/")[2]] = sum(int(number) for number in depth.values())
        bucket = f"sealwax-{stack.environment_name}-payloads"
        objects = stack.client("s3").list_objects_v2(Bucket=bucket).get("Contents", [])
        found["payloads"] = len(objects)
        return {name: number for name, number in found.items() if number}


@pytest.fixture(scope="module")
def matrix(make_stack: Callable[..., LiveStack]) -> Iterator[Matrix]:
    made = Matrix(make_stack)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def fresh(matrix: Matrix) -> Iterator[None]:
    matrix.deaths.clear()
    matrix.whole = False
    yield
    matrix.trap.disarm()
    matrix.trap.away = frozenset()


def relay(at: int, **more: Any) -> dict[str, Any]:
    payload = {"route": "demo", "event": "killed", "body": {"n": at, "at": time.time()}}
    return {"task": "webhooks.relay", "payload": payload, **more}


def customer(at: int) -> dict[str, Any]:
    return {"task": "customers.sync", "payload": {"customer_id": str(1_000 + at)}}


def large(at: int) -> dict[str, Any]:
    request = relay(at)
    request["payload"]["body"]["filler"] = "x" * 400_000
    return request


def run(
    matrix: Matrix,
    name: str,
    request: Callable[[int], dict[str, Any]],
    *,
    at_once: bool = False,
) -> None:
    calls: list[str] = []
    for when in (BEFORE, AFTER):
        calls += matrix.row(name, request, when, at_once=at_once)
    deaths = sum(matrix.deaths.values())
    print(f"{name}: {deaths} deaths at {dict(matrix.deaths)}")
    if not at_once:
        # It died at each kind of call that it makes; what it has learnt at a
        # former request it does not ask for again.
        assert set(matrix.deaths) >= set(calls) | {"GetItem"}
    assert set(matrix.deaths) >= {"PutItem", "SendMessageBatch"}


def test_a_job_is_neither_lost_nor_doubled_wherever_the_process_dies(matrix: Matrix) -> None:
    run(matrix, "relay", relay)
    matrix.settle()


def test_nor_where_the_caller_repeats_at_once(matrix: Matrix) -> None:
    run(matrix, "at-once", relay, at_once=True)
    matrix.settle()


def test_nor_where_the_whole_container_dies(matrix: Matrix) -> None:
    matrix.whole = True
    run(matrix, "container", relay)
    matrix.settle()


def test_nor_where_the_payload_is_fetched_from_the_internal_system(matrix: Matrix) -> None:
    run(matrix, "customer", customer)
    assert matrix.deaths["GET internal"] >= 2
    matrix.settle()


def test_nor_where_the_payload_goes_through_the_bucket(matrix: Matrix) -> None:
    run(matrix, "large", large)
    assert matrix.deaths["s3 PUT"] >= 2
    matrix.settle()


def test_nor_where_the_queue_is_away_and_the_outbox_takes_it(matrix: Matrix) -> None:
    matrix.trap.away = SENDS
    run(matrix, "outbox", relay)
    matrix.settle()


def test_nor_where_a_worker_comes_only_when_all_is_over(matrix: Matrix) -> None:
    matrix.stack.stop_worker()
    try:
        run(matrix, "late", relay, at_once=True)
    finally:
        matrix.stack.start_worker()
    matrix.settle()
