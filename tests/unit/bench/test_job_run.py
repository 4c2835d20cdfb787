"""How the benchmark reads what servers and rows tell: growth of counters, quantiles, pace."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[3] / "bench"))
import job_run


@pytest.mark.parametrize(("part", "value"), [(0.0, 1.0), (0.5, 51.0), (0.99, 100.0), (1.0, 100.0)])
def test_a_quantile_is_one_of_the_values(part: float, value: float) -> None:
    assert job_run.quantile([float(n) for n in range(100, 0, -1)], part) == value


def test_a_quantile_of_nothing_is_no_number() -> None:
    assert math.isnan(job_run.quantile([], 0.5))


def test_percentiles_are_told_in_milliseconds() -> None:
    assert job_run.percentiles("send", [0.25]) == {"send: p50 ms": 250.0, "send: p99 ms": 250.0}


def test_jobs_that_ended_before_the_measurement_are_not_counted() -> None:
    ends = [9.0, 10.0, 11.0, 12.0, 14.0]
    assert job_run.pace(ends, began=10.0) == (3, 0.75)
    with pytest.raises(job_run.Failed):
        job_run.pace(ends, began=14.0)


def reading(at: float, calls: int, size: int, cpu: float) -> job_run.Reading:
    counted = {"SendMessage": calls, "ReceiveMessage": calls}
    return job_run.Reading(
        at, {"SQS": counted}, {"SQS": dict.fromkeys(counted, size)}, {"SQS": cpu}
    )


def test_two_readings_give_calls_and_bytes_a_job_and_the_server_s_part_of_a_core() -> None:
    before, after = reading(10.0, 100, 1_000, 2.0), reading(20.0, 150, 3_000, 5.0)
    assert after.since(before, jobs=200) == {
        "SQS calls a job": 0.5,
        "SQS bytes a job": 20.0,
        "SQS server, % of a core": 30.0,
    }
    assert after.since(before, 200, seconds=5.0)["SQS server, % of a core"] == 60.0


def test_a_counter_that_was_not_there_counts_from_nothing() -> None:
    assert job_run.less({"PutItem": 3, "GetItem": 4}, {"PutItem": 1}) == 6
