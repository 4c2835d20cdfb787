"""A table that does not answer."""

from __future__ import annotations

import pytest
from support.ledger import JOB

from sealwax.aws.clients import Aws, AwsTimeouts
from sealwax.ledger import (
    Ledger,
    LedgerUnreachable,
)
from sealwax.settings import Settings


def test_an_unreachable_table_is_said_so(
    monkeypatch: pytest.MonkeyPatch, aws_env: Settings
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    aws = Aws(AwsTimeouts(connect=0.5, read=0.5, attempts=1))
    with pytest.raises(LedgerUnreachable):
        Ledger(aws.client("dynamodb"), "jobs").get(JOB)
