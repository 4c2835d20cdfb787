"""A ledger on both emulators, with a clock that the test turns, and jobs for it.

A room's conftest imports the fixtures that it needs.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from sealwax.aws.clients import Aws
from sealwax.ledger import Ledger, NewJob
from sealwax.provision.apply import ProvisionReport, _provision_table
from sealwax.provision.desired import desired_state
from sealwax.settings import Settings
from support.expiries import FAR

__all__ = ["JOB", "Clock", "atomic_ledger", "clock", "dead", "ledger", "make_ledger", "new_job",
           "numbered", "watched"]  # fmt: skip

JOB = "0123456789abcdef0123456789abcdef"


class Clock:
    def __init__(self) -> None:
        self.now = FAR

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make_ledger(settings: Settings, clock: Callable[[], float]) -> Ledger:
    """Return a ledger on a table of its own: all else of a service would be made for nothing."""
    name, dynamodb = settings.table_name("jobs"), Aws().client("dynamodb")
    (spec,) = [spec for spec in desired_state(settings).tables if spec.name == name]
    _provision_table(spec, dynamodb, ProvisionReport(), time.sleep)
    return Ledger(dynamodb, name, keep=100, clock=clock)


@pytest.fixture(params=["aws_env", "moto_env"])
def ledger(request: pytest.FixtureRequest, clock: Clock) -> Ledger:
    settings: Settings = request.getfixturevalue(request.param)
    return make_ledger(settings, clock)


@pytest.fixture
def atomic_ledger(aws_env: Settings, clock: Clock) -> Ledger:
    """Ministack's only: moto's conditional writes are not atomic between threads.

    Eight threads updating one item of a bare moto under one condition gave more
    than one winner in 15 of 60 rounds.
    """
    return make_ledger(aws_env, clock)


def new_job(
    clock: Clock,
    job_id: str = JOB,
    fingerprint: str | None = None,
    acceptance: str = "a",
    claim_checks: tuple[str, ...] = (),
) -> NewJob:
    return NewJob(
        id=job_id,
        task="demo.greet",
        tenant="ab" * 16,
        lane="default",
        contract=1,
        created=clock.now,
        not_after=int(clock.now + 60),
        expires=int(clock.now + 100),
        fingerprint=fingerprint,
        acceptance=acceptance,
        claim_checks=claim_checks,
    )


def watched(ledger: Ledger, watch: str) -> list[str]:
    return [entry.id for entry in ledger.watching(watch).entries]


def numbered(n: int) -> str:
    return f"{n:032x}"


def dead(ledger: Ledger, clock: Clock) -> None:
    ledger.accept(new_job(clock))
    ledger.claim(JOB, token="t1", lease=30)
    ledger.crash(JOB, token="t1")
    ledger.die(JOB, token=None, reason="crashed", cause="x", error="E")
