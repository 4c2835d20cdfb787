"""The ledger under any order of events, by hypothesis."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from support.ledger_machine import KEEP, LedgerMachine

from sealwax.aws import Aws
from sealwax.ledger import Ledger
from sealwax.provision import provision
from sealwax.settings import Settings


def run(environment: Settings, examples: int) -> None:
    aws = Aws()
    provision(environment, aws)

    class Machine(LedgerMachine):
        @staticmethod
        def ledger_factory(clock):
            table = environment.table_name("jobs")
            return Ledger(aws.client("dynamodb"), table, keep=KEEP, clock=clock)

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


def test_no_order_of_events_breaks_what_the_ledger_promises(aws_env: Settings) -> None:
    run(aws_env, 30)


@pytest.mark.slow
def test_no_order_of_events_breaks_it_in_2000_runs(aws_env: Settings) -> None:
    run(aws_env, 2_000)
