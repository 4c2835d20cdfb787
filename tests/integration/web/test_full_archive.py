"""A hundred thousand letters: pages, plans and replays cost what they cost for a thousand."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import os
import secrets
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from support.letters import TENANT, body_of
from support.waiting import wait_for

from sealwax.aws.dynamodb import value_of
from sealwax.deadletters.groups import SHARDS
from sealwax.deadletters.letter import fingerprint
from sealwax.envelope import Context, Purpose, seal
from sealwax.local.ports import free_port

pytestmark = pytest.mark.slow

GROUPS = 20
REPLAYED = 3_000


def typed(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value_of(value) for name, value in values.items()}


class Loader:
    """Loads letters as the archive would have written them, by the table's import."""

    def __init__(self, app) -> None:
        services = app.extensions["sealwax"]
        self.settings = services.settings
        self.keyring = services.runtime.keyring
        self.aws = services.runtime.aws
        self.client = self.aws.client("dynamodb")
        self.queue = self.settings.queue_name("default")

    def facts(self, number: int) -> dict[str, Any]:
        return {
            "queue": self.queue, "task": f"load.task{number % 5}", "reason": "rejected",
            "cause": f"http-{400 + number}", "error": "Rejected",
        }  # fmt: skip

    def group(self, number: int) -> str:
        return fingerprint(**self.facts(number), place=None)

    def sealed(self, job: str) -> str:
        context = Context(
            purpose=Purpose.JOB, task="load.task0", job=job, tenant=TENANT, contract=1,
            issued_at=int(time.time()), not_after=2**33,
        )  # fmt: skip
        recipient = self.keyring.recipient("worker", "default")
        return seal(b"{}", context, recipient=recipient, signer=self.keyring.signer)

    def load(self, count: int) -> None:
        """Have the archive hold so many letters; those of the first group can be replayed."""
        now = time.time() - 3_600
        lines: list[bytes] = []
        jobs: list[dict[str, Any]] = []

        def line(values: dict[str, Any], **raw: Any) -> None:
            lines.append(json.dumps({"Item": typed(values) | raw}).encode())

        for n in range(count):
            number, job = n % GROUPS, secrets.token_hex(16)
            at = now + n / 100_000
            line(
                {
                    **self.facts(number), "id": job, "sort": "letter.0", "state": "open",
                    "group": self.group(number), "list": f"open#{self.group(number)}", "at": at,
                    "first": at, "last": at, "generation": 0, "attempts": 1, "copies": 1,
                    "job": job, "bytes": 300, "digest": "0" * 64,
                }
            )  # fmt: skip
            if number == 0:
                body = json.loads(body_of(job, self.sealed(job), task="load.task0"))
                data = base64.b64encode(json.dumps(body).encode()).decode()
                line({"id": job, "sort": "body.0", "attributes": "{}"}, body={"B": data})
                jobs.append(
                    {
                        "id": job, "state": "dead", "task": "load.task0", "tenant": TENANT,
                        "lane": "default", "contract": 1, "created": at, "updated": at,
                        "not_after": int(at) + 9_999, "attempts": 1, "watch": "dead",
                    }
                )  # fmt: skip
        for number in range(GROUPS):
            line(
                {
                    **self.facts(number), "id": f"groups.{number % SHARDS}",
                    "sort": self.group(number), "n_open": count // GROUPS, "first": now,
                    "last": now + 1, "sample": "x",
                }
            )  # fmt: skip
        self._import(lines)
        self._write(jobs)

    def _import(self, lines: list[bytes]) -> None:
        table = self.settings.table_name("letters")
        made = self.client.describe_table(TableName=table)["Table"]
        self.client.delete_table(TableName=table)
        bucket, key = self.settings.bucket_name, f"import/{len(lines)}"
        self.aws.client("s3").put_object(
            Bucket=bucket, Key=key, Body=gzip.compress(b"\n".join(lines), 1)
        )
        indexes = [
            {name: index[name] for name in ("IndexName", "KeySchema", "Projection")}
            for index in made["GlobalSecondaryIndexes"]
        ]
        begun = self.client.import_table(
            S3BucketSource={"S3Bucket": bucket, "S3KeyPrefix": key},
            InputFormat="DYNAMODB_JSON",
            InputCompressionType="GZIP",
            TableCreationParameters={
                "TableName": table,
                "AttributeDefinitions": made["AttributeDefinitions"],
                "KeySchema": made["KeySchema"],
                "BillingMode": "PAY_PER_REQUEST",
                "GlobalSecondaryIndexes": indexes,
            },
        )["ImportTableDescription"]["ImportArn"]

        def imported() -> bool:
            found = self.client.describe_import(ImportArn=begun)["ImportTableDescription"]
            assert found["ImportStatus"] != "FAILED", found
            return found["ImportStatus"] == "COMPLETED"

        wait_for(imported, seconds=300, what="the import")

    def _write(self, jobs: list[dict[str, Any]]) -> None:
        name = self.settings.table_name("jobs")
        for start in range(0, len(jobs), 25):
            rest = {name: [{"PutRequest": {"Item": typed(i)}} for i in jobs[start : start + 25]]}
            while rest:
                rest = self.client.batch_write_item(RequestItems=rest)["UnprocessedItems"]


def resident(pid: int) -> float:
    """Return the resident memory of a process and of its children, the largest, in MB."""
    pids = [pid]
    with contextlib.suppress(OSError):
        pids += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return max(
        int(line.split()[1]) / 1024
        for each in pids
        for line in Path(f"/proc/{each}/status").read_text().splitlines()
        if line.startswith("VmRSS")
    )


@contextlib.contextmanager
def role(*arguments: str) -> Iterator[int]:
    """Run a role of the product; yields its process id."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sealwax", *arguments],
        stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, env=dict(os.environ),
    )  # fmt: skip
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(60)


class Operator:
    """Somebody at the API, by HTTP."""

    def __init__(self, url: str, token: str) -> None:
        self.url = f"{url}/v1/ops/"
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {token}"

    def get(self, path: str) -> Any:
        answer = self.session.get(self.url + path, timeout=60)
        assert answer.ok, answer.text
        return answer.json()

    def post(self, path: str, **document: Any) -> Any:
        answer = self.session.post(self.url + path, json=document, timeout=60)
        assert answer.ok, answer.text
        return answer.json()


def test_a_hundred_thousand_letters_cost_what_a_thousand_do(app, capsys):
    services = app.extensions["sealwax"]
    token = services.tokens.issue(tenant="ops", scopes=["ops:read", "ops:write"]).token
    loader = Loader(app)
    slowest: dict[str, float] = {}
    memory: dict[str, list[float]] = {"API": [], "steward": []}
    plans: list[float] = []
    rate = 0.0

    def say(line: str) -> None:
        with capsys.disabled():
            print(line, flush=True)

    def pages(size: int) -> None:
        for name, path in (
            ("groups", "groups"),
            ("one group", f"letters?group={loader.group(1)}"),
            ("filtered", "letters?task=load.task1&since=1"),
            ("unfiltered", "letters"),
        ):
            times = []
            for _ in range(20):
                begun = time.perf_counter()
                found = operator.get(path)
                times.append(time.perf_counter() - begun)
                assert len(found.get("letters", [])) in (0, 50)
            p95 = statistics.quantiles(times, n=20)[-1]
            slowest[f"{size} {name}"] = p95
            middle = statistics.median(times)
            say(
                f"{size:>7} letters, {name:<10} "
                f"median {middle * 1000:4.0f} ms, p95 {p95 * 1000:4.0f} ms"
            )

    def plan(size: int) -> str:
        begun = time.perf_counter()
        made = operator.post(
            "replays", mode="plan", filter={"group": loader.group(0)}, canary=[], rate=9999
        )
        plans.append(time.perf_counter() - begun)
        say(f"{size:>7} letters, plan of {made['expected']}: {plans[-1] * 1000:.0f} ms")
        assert made["expected"] == size // GROUPS
        return made["id"]

    port = free_port()
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        with contextlib.suppress(requests.ConnectionError):
            return requests.get(f"{url}/healthz", timeout=5).ok
        return False

    with role("api", "--port", str(port), "--health-port", "0") as api:
        wait_for(answers, seconds=120, what="the API")
        operator = Operator(url, token)
        for size in (1_000, 100_000):
            begun = time.perf_counter()
            loader.load(size)
            say(f"{size:>7} letters loaded in {time.perf_counter() - begun:.0f} s")
            pages(size)
            replay_id = plan(size)
            memory["API"].append(resident(api))
            with role("steward") as steward:
                rate = replay(operator, replay_id, min(size // GROUPS, REPLAYED))
                memory["steward"].append(resident(steward))
            say(f"{size:>7} letters, replay: {rate:.0f} letters/s")
            if size < 100_000:
                operator.post(f"replays/{replay_id}/cancel")
    for name, (small, large) in memory.items():
        say(f"memory of the {name}: {small:.0f} MB, then {large:.0f} MB")
    # Judged at the end, so that a slow machine shows all of its figures.
    assert max(slowest.values()) < 1.0, slowest
    assert plans[1] < plans[0] + 0.5
    for small, large in memory.values():
        assert large < 250
        assert large - small < 50
    assert rate >= 100


def replay(operator: Operator, replay_id: str, count: int) -> float:
    """Start a replay; return its letters a second once it is under way."""
    where = f"replays/{replay_id}"
    operator.post(f"{where}/start")

    def sent(least: int) -> int:
        def reached() -> int:
            found = operator.get(where)["sent"]
            return found if found >= least else 0

        return wait_for(reached, seconds=240, what=f"{least} letters sent")

    first = sent(1)
    begun = time.perf_counter()
    last = sent(count)
    return (last - first) / max(time.perf_counter() - begun, 0.001)
