from __future__ import annotations

import json


def test_jobs_run_before_and_after_the_worker_is_killed(stack):
    first = stack.relay("r0", {"n": 1})
    assert stack.wait(first)["state"] == "succeeded"

    stack.kill_worker()
    second = stack.relay("r0", {"n": 2})
    stack.start_worker()

    assert stack.wait(second)["state"] == "succeeded"
    assert not {first, second} & {
        json.loads(letter["Body"])["headers"]["id"] for letter in stack.dead_letters()
    }
    assert {item["id"]["S"] for item in stack.items("jobs")} >= {first, second}
