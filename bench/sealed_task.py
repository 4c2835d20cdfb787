"""The task of `bench/ledger.py`: does nothing with a payload of 1 KiB."""

from __future__ import annotations

from pydantic import BaseModel

from sealwax.job import Job
from sealwax.task_definition import task


class Payload(BaseModel):
    """What the benchmark of the transport sends, too."""

    text: str


@task(name="bench.sealed", contract=Payload)
def sealed(payload: Payload, job: Job) -> None:
    """Do nothing."""
