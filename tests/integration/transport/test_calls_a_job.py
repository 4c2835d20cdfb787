"""What a job costs in calls to SQS, where receives come back full and where they do not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.sqs_lab import Lab, message, server_state, sqs_server
from support.waiting import wait_for

JOBS = 600


@pytest.mark.long
@pytest.mark.parametrize(("modes", "most"), [("", 0.35), ("short", 0.40)])
def test_a_job_of_a_burst_costs_few_calls(
    make_lab: Callable[..., Lab], modes: str, most: float
) -> None:
    with sqs_server(latency=5, modes=modes) as url:
        lab = make_lab(url)
        before = sum(server_state(url)["calls"].values())
        lab.send_all([message("noop", queue=lab.queue) for _ in range(JOBS)])
        lab.start_worker(pool="threads", concurrency=16)
        wait_for(lambda: not any(server_state(url)["queues"][lab.queue]), seconds=90)
        calls = sum(server_state(url)["calls"].values()) - before

        assert calls / JOBS <= most
