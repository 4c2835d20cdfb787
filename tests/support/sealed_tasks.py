"""Sealed tasks for tests with a real worker: they note what they do in a file.

The file is named by LAB_NOTES in the worker's environment.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from pydantic import BaseModel

from sealwax.job import Job
from sealwax.task_definition import task


class Note(BaseModel):
    """What is to be noted."""

    text: str


@task(name="lab.note", contract=Note)
def note(payload: Note, job: Job) -> None:
    """Append a line."""
    line = json.dumps({"job": job.id, "attempt": job.attempt, "text": payload.text}) + "\n"
    with Path(os.environ["LAB_NOTES"]).open("a") as file:
        file.write(line)
