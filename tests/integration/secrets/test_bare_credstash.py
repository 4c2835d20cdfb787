"""What the library does by itself, and ours in its place: why only two of its calls are used."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from sealwax.aws.clients import Aws
from sealwax.secrets import CredStashSource, SecretNotFound
from sealwax.settings import Settings

pytestmark = pytest.mark.comparison


@pytest.fixture
def library() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import credstash
    return credstash


def test_a_missing_kms_key_ends_the_process_of_whoever_calls_the_library(
    library: Any, moto_env: Settings, aws: Aws, table: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        library.putSecretAutoversion("app/x", "v", kms_key="alias/none", table=table)
    assert "KMS ERROR" in capsys.readouterr().err

    source = CredStashSource(
        table=table,
        environment="test",
        kms_client=aws.client("kms"),
        dynamodb_resource=aws.resource("dynamodb"),
        dynamodb_client=aws.client("dynamodb"),
        kms_key_for=lambda _: "alias/none",
    )
    with pytest.raises(SecretNotFound, match="sealwax check"):
        source.put("app/x", "v")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")
