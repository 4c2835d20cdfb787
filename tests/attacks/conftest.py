"""One stack under attack for all tests of this process, with jobs whose messages were stolen.

Its worker was not yet there when they were submitted: an attacker took each
message out of the queue and keeps it. A test puts back what it likes, when it
likes, and how it likes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from support.attacker import Attacker, Message
from support.stack import LiveStack

#: Jobs whose messages are stolen: each has a route of its own.
SMALL, BIG = 28, 3

CONFIGURATION = {
    "top": 'log_level = "DEBUG"',
    "lane": "lease = 3\nprefetch = 4\nfair = true",
    "extra": "[limits]\nunknown_key_seconds = 1\nunknown_task_seconds = 1\n[lanes.other]\n",
}


@dataclass(frozen=True)
class Stolen:
    """A job that was accepted, whose message the attacker took."""

    job: str
    route: str
    message: Message


@dataclass
class Siege:
    """The stack, the attacker, and the stolen messages that no test has used yet."""

    stack: LiveStack
    attacker: Attacker
    small: list[Stolen] = field(default_factory=list)
    big: list[Stolen] = field(default_factory=list)

    def steal(self, *, big: bool = False) -> Stolen:
        """Return a job that no other test has; `big`: its envelope is in the bucket."""
        return (self.big if big else self.small).pop()

    @property
    def bucket(self) -> str:
        """The payloads' bucket."""
        (name,) = [
            item["Name"]
            for item in self.stack.client("s3").list_buckets()["Buckets"]
            if "payload" in item["Name"] or "acceptance" in item["Name"]
        ]
        return str(name)

    def rewrite(self, job: str, values: dict[str, dict[str, str]]) -> None:
        """Set attributes of a job's ledger entry: what happened to it before the attack."""
        self.stack.client("dynamodb").update_item(
            TableName="sealwax-acceptance-jobs",
            Key={"id": {"S": job}},
            UpdateExpression="SET " + ", ".join(f"#{name} = :{name}" for name in values),
            ExpressionAttributeNames={f"#{name}": name for name in values},
            ExpressionAttributeValues={f":{name}": value for name, value in values.items()},
        )


@pytest.fixture(scope="session")
def _siege(make_stack: Callable[..., LiveStack]) -> Siege:
    routes: dict[str, dict[str, Any]] = {f"a{number:02}": {} for number in range(SMALL + BIG)}
    stack = make_stack(routes={"demo": {}, **routes}, steward=True, worker=False, **CONFIGURATION)
    siege = Siege(stack, Attacker(stack))
    jobs = {}
    for number, route in enumerate(routes):
        body = {"n": number} if number < SMALL else {"big": "x" * 300_000}
        jobs[stack.relay(route, body)] = route
    for job, message in siege.attacker.take_all(set(jobs)).items():
        stolen = Stolen(job, jobs[job], message)
        (siege.big if message.argument.startswith("swxc1.") else siege.small).append(stolen)
    stack.start_worker()
    return siege


@pytest.fixture
def siege(_siege: Siege) -> Iterator[Siege]:
    """Check that all roles live and that a genuine job runs, whatever the test has done."""
    yield _siege
    _siege.stack.check()
    after = _siege.stack.relay("demo", {"after": True})
    assert _siege.stack.wait(after, "succeeded", "dead")["state"] == "succeeded"
