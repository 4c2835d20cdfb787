"""Environments of one account share nothing, however their names and lanes' names begin."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from support.account import Account
from support.recorded_calls import read_calls
from support.templates import NAMES, Stack, load

from sealwax.settings import Settings

#: Names that begin like one another, or like a part of another's resources.
ENVIRONMENTS = {
    "prod": ["default", "eu-default", "api", "worker"],
    "prod-eu": ["default", "api"],
    "prod-worker": ["default", "api", "steward"],
    "prod-worker-api": ["default"],
}


@pytest.fixture(scope="module")
def account() -> Account:
    return Account(ENVIRONMENTS)


@pytest.mark.parametrize(("mine", "theirs"), list(permutations(ENVIRONMENTS, 2)))
def test_nobody_touches_anything_of_another_environment(account, mine, theirs):
    """Each principal makes each call of its kind, and of all others, over there."""
    calls = read_calls()
    assert len(calls) > 200
    for who in account.principals[mine].values():
        for call in calls:
            request = call.request(account, theirs)
            for each in (request, *account.behind(theirs, request)):
                assert not account.allows(who, each), (who.name, str(call))


def test_principals_do_touch_their_own(account):
    for environment in ENVIRONMENTS:
        people = account.principals[environment]
        kept = [
            call
            for call in read_calls()
            if account.allows(people[call.who], call.request(account, environment))
        ]
        assert {call.who for call in kept} == {"api", "worker", "steward", "operator", "eraser"}


def names(stack: Stack) -> set[str]:
    """Return the names that a stack gives: nobody else in the account may have them."""
    found = set(stack.exports)
    for resource in stack.resources.values():
        properties: dict[str, Any] = resource["Properties"]
        kind = resource["Type"].rpartition("::")[2]
        found |= {
            f"{kind} {value}"
            for key, value in properties.items()
            if key in NAMING and isinstance(value, str) and kind != "MetricFilter"
        }
    return found


NAMING = {
    "AliasName", "BucketName", "ClusterName", "Family", "LogGroupName", "ManagedPolicyName",
    "PolicyName", "QueueName", "RoleName", "ServiceName", "TableName",
}  # fmt: skip


def test_no_two_stacks_give_one_name(account):
    seen: dict[str, tuple[str, str]] = {}
    for environment, stacks in account.stacks.items():
        for place, stack in stacks.items():
            for name in names(stack):
                owner = seen.setdefault(name, (environment, place))
                assert owner == (environment, place), name
    assert len(seen) > 150


def test_the_settings_derive_the_same_queues(account):
    for environment, lanes in ENVIRONMENTS.items():
        settings = Settings(environment=environment, lanes={lane: {} for lane in lanes})  # type: ignore[misc]
        for lane in lanes:
            arn = account.stacks[environment][f"queues {lane}"].output("QueueArn")
            assert arn.endswith(f":{settings.queue_name(lane)}")


@pytest.mark.parametrize("template", NAMES)
def test_templates_take_plain_names_alone(template):
    parameters = load(template)["Parameters"]
    for name in ("Environment", "Lane"):
        if name in parameters:
            assert parameters[name]["MaxLength"] == 20
            assert parameters[name]["AllowedPattern"].endswith("[a-z][a-z0-9]*(-[a-z0-9]+)*$")
