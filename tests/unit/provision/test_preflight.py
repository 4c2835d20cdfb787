"""Times that make sense alone and not together are named by `sealwax check`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from structlog.testing import capture_logs

from sealwax.job import Job
from sealwax.keys.documents import KeyDocuments
from sealwax.keys.lifecycle import init_keys, rotate_keys
from sealwax.provision.preflight import (
    Check,
    _check_secrets,
    clock_check,
    configuration_checks,
    log_warnings,
)
from sealwax.retry import RetryPolicy
from sealwax.secrets import FileSource
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


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        # Ten seconds of enrichment, three for SQS, seven for a call by default.
        ({"web": {"request_seconds": 20}}, ["web.request_seconds"]),
        ({"web": {"request_seconds": 20.1}}, []),
        ({"limits": {"enrich_seconds": 60, "send_seconds": 30}}, []),
        ({"limits": {"enrich_seconds": 60}, "web": {"request_seconds": 70}},
         ["web.request_seconds"]),
        ({"lanes": {"a": {"lease": 7}, "b": {"lease": 8}}}, ["lanes.a.lease"]),
        ({"lanes": {"a": {"lease": 7}}, "aws": {"connect": 1}}, []),
        ({"steward": {"lease": 7}}, ["steward.lease"]),
        ({"steward": {"lease": 7.1}}, []),
        ({"steward": {"sweep_after": 60}, "lanes": {"a": {"lease": 60}}},
         ["steward.sweep_after"]),
        ({"steward": {"sweep_after": 61}, "lanes": {"a": {"lease": 60}}}, []),
        ({"lanes": {"a": {"lease": 43_200}}}, ["steward.sweep_after"]),
    ],
)  # fmt: skip
def test_times_that_wait_for_each_other_are_compared(
    settings: dict[str, Any], found: list[str]
) -> None:
    checks = configuration_checks(Settings.model_validate(settings), defined())
    assert [check.name for check in checks if not check.ok] == found


def test_a_role_says_at_its_start_what_does_not_fit_and_what_to_do() -> None:
    settings = Settings.model_validate({"limits": {"max_age_seconds": 900}})
    with capture_logs() as logs:
        log_warnings(configuration_checks(settings, defined()))
    assert [(line["log_level"], line["name"]) for line in logs] == [("warning", "test.any")]
    assert "max_age_seconds" in logs[0]["remedy"]


# -- keys of each lane -------------------------------------------------------------------


def lanes(*names: str, per_lane: bool = True) -> Settings:
    return Settings(
        suite="x25519", lanes={name: {} for name in names}, keys={"per_lane": per_lane}
    )  # fmt: skip


@pytest.fixture
def source(tmp_path: Path) -> FileSource:
    return FileSource(tmp_path / "secrets.json")


def bad(settings: Settings, source: FileSource) -> list[Check]:
    return [check for check in _check_secrets(settings, source, set()) if not check.ok]


@pytest.mark.parametrize("per_lane", [True, False])
def test_an_environment_with_its_keys_passes_whatever_new_ones_would_get(
    source: FileSource, per_lane: bool
) -> None:
    init_keys(lanes("default", "slow", per_lane=per_lane), source)
    checks = list(_check_secrets(lanes("default", "slow"), source, set()))
    assert [check for check in checks if not check.ok] == []
    assert [check.name for check in checks if check.kind == "keys"] == [
        "api", "worker, lane default", "worker, lane slow",
    ]  # fmt: skip


def test_a_lane_without_a_key_is_named_with_the_command_that_makes_it(source: FileSource) -> None:
    init_keys(lanes("default"), source)
    more = lanes("default", "new")
    (check,) = bad(more, source)
    assert (check.kind, check.name) == ("keys", "worker, lane new")
    assert check.remedy == "run `sealwax keys rotate --lane new`"
    rotate_keys(more, source, "worker", lanes=["new"])
    assert bad(more, source) == []


def test_a_lane_s_key_without_its_private_half_is_named(source: FileSource) -> None:
    settings = lanes("default", "slow")
    init_keys(settings, source)
    before = source.get("worker/slow/keys")
    rotate_keys(settings, source, "worker", lanes=["slow"])
    source.put("worker/slow/keys", before)
    (check,) = bad(settings, source)
    assert check.name == "worker, lane slow"
    other = KeyDocuments.create("x25519", 1, ["slow"]).secrets()["worker/slow/keys"]
    source.put("worker/slow/keys", other)
    (check,) = bad(settings, source)
    assert check.name == "worker, lane slow"


def test_a_lane_s_missing_document_is_named(source: FileSource) -> None:
    settings = lanes("default", "slow")
    for name, text in KeyDocuments.create("x25519", 1, ["default", "slow"]).secrets().items():
        if name != "worker/slow/keys":
            source.put(name, text)
    (check,) = bad(settings, source)
    assert (check.kind, check.name) == ("secret", "worker/slow/keys")


def test_before_there_are_keys_each_document_is_named(source: FileSource) -> None:
    found = bad(lanes("default", "slow"), source)
    assert {check.name for check in found} == {
        "worker/default/keys", "worker/slow/keys", "api/keys", "shared/hmac", "api/token-key",
        "shared/keyring",
    }  # fmt: skip
    assert {check.remedy for check in found} == {"run `sealwax keys init`"}


@pytest.mark.parametrize(
    ("off", "ok"), [(0, True), (5, True), (-5, True), (5.1, False), (-600, False)]
)
def test_a_clock_more_than_five_seconds_off_is_named(off: float, ok: bool) -> None:
    found = clock_check(off)
    assert found.ok is ok
    assert ok or f"{off:+.0f} s" in str(found.problem)
