"""The story of dead letters at its full size: a downstream breaks, is mended, and all ends well."""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from support.dead_jobs import multiply
from support.stack import LiveStack
from support.waiting import wait_for

pytestmark = pytest.mark.slow

JOBS = 500
MANY = 2_000

#: Letters that the steward sends in one batch.
SENT_BATCH = 40


@pytest.fixture(scope="module")
def stack(make_stack) -> LiveStack:
    return make_stack(steward=True, routes={"good": {}, "bad": {}}, lane="concurrency = 4")


@pytest.fixture(scope="module")
def key(stack: LiveStack) -> str:
    """The file of an enrolled operator's key."""
    path = str(stack.state / "ada.json")
    stack.cli("operators", "add", "ada", "--key", path)
    return path


@pytest.fixture(scope="module")
def operator(stack: LiveStack) -> str:
    return stack.token_for("operations", "ops:read", "ops:write", "ops:reveal")


def ops(stack: LiveStack, token: str, method: str, path: str, **more: Any) -> dict[str, Any]:
    answer = stack.request(method, f"/v1/ops/{path}", token=token, **more)
    assert answer.ok, answer.text
    return answer.json()


def break_route(stack: LiveStack, status: int | None) -> None:
    url = f"{stack.sandbox_url}/control/bad"
    answer = (
        requests.put(url, json={"fail": {"status": status}}, timeout=10)
        if status
        else requests.delete(url, timeout=10)
    )
    assert answer.ok, answer.text


def open_groups(stack: LiveStack, token: str) -> list[dict[str, Any]]:
    return ops(stack, token, "GET", "groups")["groups"]


def submit(stack: LiveStack, count: int, routes: tuple[str, ...] = ("good", "bad")) -> list[str]:
    keys = [(routes[n % len(routes)], n) for n in range(count)]
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda key: stack.relay(key[0], {"n": key[1]}), keys))


def settled(stack: LiveStack, token: str, replay_id: str, *states: str) -> dict[str, Any]:
    def reached() -> dict[str, Any] | None:
        stack.check()
        found = ops(stack, token, "GET", f"replays/{replay_id}")
        return found if found["state"] in states else None

    return wait_for(reached, seconds=400, what=f"the replay is {states}")


def start(stack: LiveStack, token: str, **choice: Any) -> str:
    return ops(
        stack, token, "POST", "replays", json={"mode": "start", "reason": "mended", **choice},
        headers={"Idempotency-Key": secrets.token_hex(8)},
    )["id"]  # fmt: skip


def command(stack: LiveStack, token: str, *arguments: str, check: bool = True) -> str:
    """Run the command line as an operator; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "sealwax", *arguments],
        env=stack.variables | {"SEALWAX_TOKEN": token},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stderr
    return done.stdout + ("" if check else done.stderr)


def deliveries(stack: LiveStack) -> Counter[int]:
    """Return how often each body reached the sandbox and was taken."""
    found: Counter[int] = Counter()
    after = 0
    while True:
        page = requests.get(
            f"{stack.sandbox_url}/deliveries",
            params={"path": "/hooks/bad", "limit": 1000, "after": after},
            timeout=10,
        ).json()["deliveries"]
        if not page:
            return found
        found.update(json.loads(each["body"])["n"] for each in page if each["answered"] == "ok")
        after = page[-1]["n"]


def test_a_downstream_breaks_is_mended_and_all_jobs_succeed(stack, operator, key):
    break_route(stack, 400)
    jobs = submit(stack, JOBS)
    wait_for(
        lambda: [group["open"] for group in open_groups(stack, operator)] == [JOBS // 2],
        seconds=400,
        what="one group of the right size",
    )
    (group,) = open_groups(stack, operator)
    assert (group["reason"], group["task"]) == ("rejected", "webhooks.relay")

    # The command line previews, shows and reveals the same.
    assert f"touch {JOBS // 2} letters" in command(
        stack, operator, "letters", "replay", "--group", group["group"]
    )
    (listed,) = json.loads(command(stack, operator, "groups", "--json"))
    assert listed["group"] == group["group"]
    shown = command(stack, operator, "letters", "list", "--limit", "3", "--json")
    letter = json.loads(shown)[0]["id"]
    body = command(stack, operator, "letters", "body", letter)
    assert json.loads(body)["headers"]["task"] == "webhooks.relay"
    revealed = command(
        stack, operator, "letters", "reveal", letter, "--why", "test", "--key", key, "--yes"
    )
    assert json.loads(revealed)["route"] == "bad"
    reader = stack.token_for("operations", "ops:read")
    refused = command(
        stack, reader, "letters", "discard", "--all", "--why", "no", "--yes", check=False
    )
    assert "403" in refused

    # Too early: the canary dies, and nothing else is sent.
    early = start(stack, operator, filter={"group": group["group"]})
    stopped = settled(stack, operator, early, "stopped")
    assert (stopped["sent"], stopped["died"]) == (1, 1)
    ops(stack, operator, "POST", f"replays/{early}/cancel")

    break_route(stack, None)
    wait_for(
        lambda: sum(group["open"] for group in open_groups(stack, operator)) == JOBS // 2,
        seconds=60,
        what="the letter of the canary is archived",
    )
    done = settled(stack, operator, start(stack, operator, filter={}, rate=500), "done")
    assert (done["succeeded"], done["died"]) == (JOBS // 2, 0)
    assert open_groups(stack, operator) == []
    assert {stack.job(job)["state"] for job in jobs} == {"succeeded"}
    lines = json.loads(command(stack, operator, "audit", "list", "--json"))
    verbs = {each["verb"] for each in lines}
    assert verbs >= {"replay.plan", "replay.start", "replay.stop", "replay.cancel"}


def wait_open(stack: LiveStack, token: str, count: int) -> None:
    wait_for(
        lambda: sum(group["open"] for group in open_groups(stack, token)) == count,
        seconds=300,
        what=f"{count} letters are open",
    )


def doubles(stack: LiveStack) -> int:
    """Return how many messages of a replay its workers refused: sent twice, run once."""
    log = stack.log("worker")
    return sum("not run" in line or "superseded by a replay" in line for line in log.splitlines())


def test_a_steward_killed_in_a_replay_is_followed_and_each_job_succeeds_once(
    stack, operator, capsys
):
    break_route(stack, 400)
    first = stack.relay("bad", {"n": -1})
    wait_open(stack, operator, 1)
    break_route(stack, None)
    jobs = [first, *multiply(stack, first, MANY - 1)]
    wait_open(stack, operator, MANY)
    before, refused = deliveries(stack), doubles(stack)
    begun = time.monotonic()
    replay_id = start(stack, operator, filter={}, rate=500, canary=[1])

    def sent() -> int:
        return ops(stack, operator, "GET", f"replays/{replay_id}")["sent"]

    wait_for(lambda: sent() > 400, seconds=240, what="the replay is under way")
    supervisor = stack._supervisor
    running = supervisor["steward"]
    running.process.send_signal(signal.SIGKILL)
    running.process.wait()
    supervisor.end("steward")
    killed_at = sent()
    assert killed_at < MANY
    supervisor.start(stack._role("steward"))
    done = settled(stack, operator, replay_id, "done")
    took = time.monotonic() - begun
    again = deliveries(stack) - before
    refused = doubles(stack) - refused
    with capsys.disabled():
        print(
            f"\nkilled after {killed_at} of {MANY} were sent; all had succeeded {took:.0f} s after "
            f"the start; {refused} messages were refused; each payload was delivered "
            f"{max(again.values())} time(s) at most"
        )
    assert (done["sent"], done["succeeded"], done["died"]) == (MANY, MANY, 0)
    assert (done["skipped"], done["other"]) == (0, 0)
    with ThreadPoolExecutor(8) as pool:
        assert {each["state"] for each in pool.map(stack.job, jobs)} == {"succeeded"}
    assert (len(again), max(again.values())) == (MANY, 1)
    assert refused <= SENT_BATCH
    assert open_groups(stack, operator) == []
