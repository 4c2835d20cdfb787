"""Fixtures of dead letters: the archive on emulated DynamoDB and S3, and messages as they die.

A room's conftest imports those that it needs.
"""

from __future__ import annotations

import json
import secrets
import time
from typing import Any, cast

import pytest

from sealwax.aws.clients import Aws
from sealwax.deadletters import Letters, make_letters
from sealwax.provision import ProvisionReport, apply, desired_state
from sealwax.settings import Settings

__all__ = ["letter_settings", "letters", "message", "put"]


@pytest.fixture
def letter_settings(aws_env: Settings, aws: Aws) -> Settings:
    """What these tests need and no more: making everything takes seconds for each."""
    report = ProvisionReport()
    state = desired_state(aws_env)
    for queue in state.queues:
        apply._provision_queue(queue, aws.client("sqs"), report)
    for table in state.tables:
        if table.name.endswith(("-letters", "-audit", "-jobs")):
            apply._provision_table(table, aws.client("dynamodb"), report, time.sleep)
    aws.client("s3").create_bucket(
        Bucket=aws_env.bucket_name,
        CreateBucketConfiguration={"LocationConstraint": cast("Any", aws.region)},
    )
    return aws_env


@pytest.fixture
def letters(letter_settings, aws) -> Letters:
    return make_letters(letter_settings, aws)


@pytest.fixture
def message(letter_settings):
    """Make a dead message as ReceiveMessage returns it."""

    def make(
        job: str | None = None,
        *,
        task: str = "webhooks.relay",
        reason: str = "rejected",
        cause: str = "http-400",
        generation: int = 0,
        body: str | None = None,
        at: float = 1_000.0,
        **more: Any,
    ) -> dict[str, Any]:
        job = job or secrets.token_hex(16)
        headers: dict[str, Any] = {"task": task, "id": job}
        if generation:
            headers["generation"] = generation
        text = body or json.dumps(
            {
                "headers": headers,
                "properties": {},
                "content-type": "application/json",
                "content-encoding": "utf-8",
                "body": json.dumps([["sealed"], {}, {}]),
            }
        )
        said = {
            "reason": reason, "error": "Rejected", "cause": cause, "job": job, "task": task,
            "queue": "elsewhere", "at": at, "attempts": 1,
            "message_id": f"m{job}", **more,
        }  # fmt: skip
        return {
            "MessageId": secrets.token_hex(8),
            "Body": text,
            "MessageAttributes": {
                "trace": {"DataType": "String", "StringValue": "t1"},
                "sealwax-dead-letter": {"DataType": "String", "StringValue": json.dumps(said)},
            },
        }

    return make


@pytest.fixture
def put(letters, letter_settings):
    """Archive messages; returns the letters."""
    from sealwax.deadletters.letter import read

    def archive(*messages: dict[str, Any], now: float = 2_000.0) -> list[Any]:
        queue = letter_settings.queue_name("default")
        made = [read(each, queue=queue, now=now) for each in messages]
        letters.archive.put(made)
        return [letter for letter, _ in made]

    return archive
