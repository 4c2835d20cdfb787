"""The sealed task that is measured: it does nothing with a payload of 1 KiB."""

from __future__ import annotations

import job_common
from pydantic import BaseModel

from sealwax.job import Job

try:
    from sealwax.task_definition import task
except ModuleNotFoundError:  # before the rooms, as in `job_sealwax.py`
    from sealwax.task import task


class Payload(BaseModel):
    """What the other columns send, too."""

    text: str
    #: When it was sent, as `time.time()`; 0 is not noted.
    sent: float = 0.0


@task(name="bench.sealed", contract=Payload)
def sealed(payload: Payload, job: Job) -> None:  # noqa: ARG001 - a task's signature
    """Note when it ran, if asked to."""
    job_common.note(payload.sent)
