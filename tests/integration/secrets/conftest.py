"""One set of moto's clients for a module: making them takes longer than the tests."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from support.aws import CLIENT_VARIABLES

from sealwax.aws.clients import Aws


@pytest.fixture(scope="module")
def aws(moto_server: str) -> Iterator[Aws]:
    """Clients of moto; `moto_env` besides, where a test makes its own."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CLIENT_VARIABLES.items():
            patch.setenv(name, value)
        patch.setenv("AWS_ENDPOINT_URL", moto_server)
        made = Aws()
        clients = [made.client("dynamodb"), made.client("kms"),
                   made.resource("dynamodb").meta.client]  # fmt: skip
    yield made
    for client in clients:
        client.close()


@pytest.fixture
def table(aws: Aws) -> str:
    """A table of CredStash's own form, empty."""
    name = f"secrets-{uuid.uuid4().hex[:8]}"
    aws.client("dynamodb").create_table(
        TableName=name,
        KeySchema=[
            {"AttributeName": "name", "KeyType": "HASH"},
            {"AttributeName": "version", "KeyType": "RANGE"},
        ],
        AttributeDefinitions=[
            {"AttributeName": "name", "AttributeType": "S"},
            {"AttributeName": "version", "AttributeType": "S"},
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    return name
