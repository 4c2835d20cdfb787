"""Times that make sense alone and not together are named by `sealwax check`."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel
from structlog.testing import capture_logs

from sealwax.job import Job
from sealwax.provision.preflight import configuration_checks, log_warnings
from sealwax.retry import RetryPolicy
from sealwax.settings import Settings
from sealwax.task_definition import TaskDefinition, task


class Nothing(BaseModel):
    pass


def defined(**options: Any) -> dict[str, TaskDefinition[Any]]:
    @task(name="test.any", contract=Nothing, **options)
    def any_task(payload: Nothing, job: Job) -> None:
        pass

    return {"test.any": any_task}


def problems(limits: dict[str, Any], **options: Any) -> list[str]:
    settings = Settings.model_validate({"limits": limits})
    return [
        check.name for check in configuration_checks(settings, defined(**options)) if not check.ok
    ]


@pytest.mark.parametrize(
    ("limits", "options", "found"),
    [
        ({}, {}, []),
        ({"retention_seconds": 14 * 86_400 - 1}, {}, ["retention_seconds"]),
        ({"max_age_seconds": 900}, {}, ["test.any"]),
        ({"max_age_seconds": 901}, {}, []),
        ({}, {"time_limit": 60, "retry": RetryPolicy(max_age=60)}, ["test.any"]),
        ({}, {"time_limit": 60, "retry": RetryPolicy(max_age=61)}, []),
        ({}, {"retry": RetryPolicy(max_age=5 * 86_400)}, ["test.any"]),
    ],
)
def test_what_does_not_fit_is_named(
    limits: dict[str, Any], options: dict[str, Any], found: list[str]
) -> None:
    assert problems(limits, **options) == found


def test_a_role_says_at_its_start_what_does_not_fit_and_what_to_do() -> None:
    settings = Settings.model_validate({"limits": {"max_age_seconds": 900}})
    with capture_logs() as logs:
        log_warnings(configuration_checks(settings, defined()))
    assert [(line["log_level"], line["name"]) for line in logs] == [("warning", "test.any")]
    assert "max_age_seconds" in logs[0]["remedy"]
