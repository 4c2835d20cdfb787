"""Whether ten times the jobs in one lane take ten times the time, and no more memory."""

from __future__ import annotations

import itertools

import processes
from job_columns import Column
from job_run import Run

#: Jobs in the lane, each a run of its own.
SIZES = (2_000, 20_000, 200_000)
TIMES = ("submit: seconds", "consume: seconds")


def grown(column: Column, pool: str, latency: float, emulator: str, jobs: int) -> dict[str, float]:
    """Submit so many jobs to one lane, then work them off, a steward beside them."""
    with Run(column, pool, latency, emulator) as run:
        steward = [column.python, "-m", "sealwax", "steward"]
        with (
            run.program(steward, run.folder / "steward.log") as process,
            processes.Peak(process.pid) as peak,
        ):
            sent = run.send(column.senders, jobs)
            worked = run.consume(sent["sent"])
            peak.look()
        return {
            "jobs": jobs,
            "submit: seconds": sent["seconds"],
            # Without the worker's start, which is the same for all.
            "consume: seconds": jobs / worked["jobs/s"],
            "API MiB PSS, peak": sent["mib"],
            "worker MiB PSS, peak": worked["worker MiB PSS, peak"],
            "steward MiB PSS, peak": peak.mib,
            "worker CPU ms a job": worked["worker CPU ms a job"],
        }


def ratios(runs: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return each run with its times over those of the run before, a job more or less."""
    found = {f"{runs[0]['jobs']:,.0f} jobs": runs[0]}
    for smaller, larger in itertools.pairwise(runs):
        more = {f"{name}, times the run before": larger[name] / smaller[name] for name in TIMES}
        found[f"{larger['jobs']:,.0f} jobs"] = {**larger, **more}
    return found
