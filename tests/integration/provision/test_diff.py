"""What differs from the desired state."""

from __future__ import annotations

import json

import pytest

from sealwax.aws.clients import Aws
from sealwax.provision import audit, desired_state, provision
from sealwax.provision.diff import _audit_redrive
from sealwax.settings import Lane, Settings


@pytest.fixture(params=["aws_env", "moto_env"])
def settings(request: pytest.FixtureRequest) -> Settings:
    base: Settings = request.getfixturevalue(request.param)
    lanes = {"default": Lane.model_validate({}), "ordered.fifo": Lane.model_validate({"lease": 45})}
    return base.model_copy(update={"lanes": lanes})


@pytest.fixture
def clients(settings: Settings) -> Aws:
    return Aws()


def everything(settings: Settings) -> list[str]:
    state = desired_state(settings)
    return [
        *(queue.name for queue in state.queues),
        *(table.name for table in state.tables),
        *(key.alias for key in state.keys),
        *state.buckets,
    ]


def problems(settings: Settings, clients: Aws) -> dict[str, str | None]:
    return {item.name: item.problem for item in audit(settings, clients) if not item.ok}


def test_audit_of_nothing_names_everything(settings, clients):
    assert set(problems(settings, clients)) == set(everything(settings))
    assert all(item.remedy for item in audit(settings, clients))


def test_audit_names_a_disabled_key(settings, clients):
    provision(settings, clients)
    kms = clients.client("kms")
    alias = settings.kms_alias("worker")
    kms.disable_key(KeyId=kms.describe_key(KeyId=alias)["KeyMetadata"]["KeyId"])

    assert problems(settings, clients) == {alias: "its state is Disabled"}


@pytest.mark.parametrize("account", ["444455556666", "999999999999", "000000000001", "", "x"])
def test_audit_names_a_dead_letter_queue_of_another_account(account: str) -> None:
    spec = desired_state(Settings()).queues
    queue = next(each for each in spec if each.dead_letter_queue)
    found = {
        "QueueArn": f"arn:aws:sqs:eu-central-1:111122223333:{queue.name}",
        "RedrivePolicy": json.dumps(
            {
                "deadLetterTargetArn": f"arn:aws:sqs:eu-central-1:{account}:"
                f"{queue.dead_letter_queue}",
                "maxReceiveCount": 1000,
            }
        ),
    }
    problem = _audit_redrive(queue, found).problem
    assert problem == f"its dead-letter queue is in account {account}, not in 111122223333"
    found["RedrivePolicy"] = found["RedrivePolicy"].replace(f":{account}:", ":111122223333:")
    assert _audit_redrive(queue, found).ok
