"""What a team bolts on to come near the promises: encrypted payloads, and idempotency.

Fernet for the payload, Powertools' idempotency with its DynamoDB store around
what the task does. One key for all; the worker can read, and so can the sender.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from typing import Any

import boto3
import job_common
from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)
from cryptography.fernet import Fernet

#: Of the benchmark alone.
FERNET = Fernet(b"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
#: Before the hash in a record's key.
PREFIX = "job"
#: A task's hard limit, in milliseconds: an attempt that died is tried again after it.
LIMIT_MS = 900_000
#: As long as SQS keeps messages, in seconds.
KEPT = 14 * 86_400


class Context:
    """Tells Powertools how long an attempt may take, as Lambda's context does."""

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        return LIMIT_MS


def seal(sent: float) -> str:
    """Return a payload of 1 KiB, encrypted."""
    return FERNET.encrypt(json.dumps({"text": job_common.TEXT, "sent": sent}).encode()).decode()


@cache
def client() -> Any:
    """Return this process's client; made after the fork."""
    return boto3.client("dynamodb")


@cache
def store() -> Any:
    return DynamoDBPersistenceLayer(table_name="idempotency", boto3_client=client())


def _work(*, job: dict[str, str]) -> dict[str, bool]:
    job_common.note(json.loads(FERNET.decrypt(job["payload"]))["sent"])
    return {"done": True}


@cache
def _once() -> Any:
    config = IdempotencyConfig(
        event_key_jmespath="id", expires_after_seconds=KEPT, lambda_context=Context()
    )
    wrap = idempotent_function(
        data_keyword_argument="job", persistence_store=store(), config=config, key_prefix=PREFIX
    )
    return wrap(_work)


def run_once(job_id: str, payload: str) -> Any:
    """Do the job, unless it was done; return its result."""
    return _once()(job={"id": job_id, "payload": payload})


def row(job_id: str) -> str:
    """Return the key of a job's idempotency record, as Powertools makes it."""
    return f"{PREFIX}#{hashlib.md5(json.dumps(job_id).encode(), usedforsecurity=False).hexdigest()}"
