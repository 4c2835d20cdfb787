"""The ledger under any order of events, by hypothesis."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from support.ledger_machine import KEEP, LedgerMachine

from sealwax.aws.clients import Aws
from sealwax.ledger import Ledger
from sealwax.provision import provision
from sealwax.settings import Settings
from sealwax.testing.dynamodb import FakeDynamoDB

Factory = Callable[[Callable[[], float]], Ledger]


def run(factory: Factory, examples: int) -> None:
    class Machine(LedgerMachine):
        ledger_factory = staticmethod(factory)  # type: ignore[assignment]

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def in_memory(clock: Callable[[], float]) -> Ledger:
    return Ledger(FakeDynamoDB(), "jobs", keep=KEEP, clock=clock)


def test_no_order_of_events_breaks_what_the_ledger_promises(aws_env: Settings) -> None:
    """On the emulator's own protocol: a second a run on a loaded machine."""
    aws = Aws()
    provision(aws_env, aws)
    client, table = aws.client("dynamodb"), aws_env.table_name("jobs")
    run(lambda clock: Ledger(client, table, keep=KEEP, clock=clock), 5)


def test_no_order_of_events_breaks_it_in_memory() -> None:
    run(in_memory, 30)


@pytest.mark.slow
def test_no_order_of_events_breaks_it_on_the_emulator_in_100_runs(aws_env: Settings) -> None:
    aws = Aws()
    provision(aws_env, aws)
    client, table = aws.client("dynamodb"), aws_env.table_name("jobs")
    run(lambda clock: Ledger(client, table, keep=KEEP, clock=clock), 100)


@pytest.mark.slow
def test_no_order_of_events_breaks_it_in_2000_runs() -> None:
    run(in_memory, 2_000)
