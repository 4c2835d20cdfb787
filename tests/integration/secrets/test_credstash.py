"""CredStash as wrapped by us, on a KMS that really checks (moto): every failure has our name.

Bare CredStash ends the process, prints or raises bare types in these cases.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from sealwax.aws.clients import Aws, AwsTimeouts
from sealwax.secrets import (
    CredStashSource,
    SecretAccessDenied,
    SecretCorrupt,
    SecretError,
    SecretNotFound,
    SecretsUnreachable,
    SecretTooLarge,
    SecretVersionConflict,
)
from sealwax.secrets.credstash import MAX_BYTES
from sealwax.settings import Settings

CANARY = "canary-8c1f"
Make = Callable[..., CredStashSource]


class Failing:
    """A client whose one operation fails."""

    def __init__(self, inner: Any, operation: str, error: Exception) -> None:
        self._inner, self._operation, self._error = inner, operation, error

    def __getattr__(self, name: str) -> Any:
        if name != self._operation:
            return getattr(self._inner, name)

        def fail(**_: Any) -> None:
            raise self._error

        return fail


def _client_error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "Op")


@pytest.fixture
def key(aws: Aws) -> str:
    return str(aws.client("kms").create_key()["KeyMetadata"]["KeyId"])


@pytest.fixture
def make(aws: Aws, table: str, key: str) -> Make:
    def made(**changes: Any) -> CredStashSource:
        arguments: dict[str, Any] = {
            "table": table,
            "environment": "test",
            "kms_client": aws.client("kms"),
            "dynamodb_resource": aws.resource("dynamodb"),
            "dynamodb_client": aws.client("dynamodb"),
            "kms_key_for": lambda _: key,
        }
        return CredStashSource(**(arguments | changes))

    return made


def _quiet(error: pytest.ExceptionInfo[SecretError], captured: Any) -> None:
    chain: BaseException | None = error.value
    while chain is not None:
        assert CANARY not in str(chain)
        chain = chain.__cause__
    assert captured.out == ""
    assert captured.err == ""


def test_the_newest_version_is_read(make: Make) -> None:
    source = make()
    assert [source.put("app/x", f"v{n}") for n in range(1, 13)] == list(range(1, 13))
    assert source.get("app/x") == "v12"


def test_text_comes_back_whole(make: Make) -> None:
    source = make()
    source.put("app/x", 'ü "\n\U0001f512')
    assert source.get("app/x") == 'ü "\n\U0001f512'


def test_a_read_costs_one_decrypt_and_two_queries(make: Make, aws: Aws) -> None:
    source = make()
    source.put("app/x", "v")
    aws.calls.clear()
    source.get("app/x")
    assert aws.calls["kms.Decrypt"] == 1
    assert sum(aws.calls.values()) <= 3


def test_a_missing_secret_says_what_to_do(make: Make) -> None:
    with pytest.raises(SecretNotFound, match="keys init"):
        make().get("api/keys")


def test_a_missing_table_is_told(make: Make) -> None:
    with pytest.raises(SecretNotFound, match="sealwax check"):
        make(table="nowhere").get("api/keys")


def test_another_environment_does_not_decrypt(make: Make, capfd: Any) -> None:
    make().put("app/x", CANARY)
    with pytest.raises(SecretCorrupt) as caught:
        make(environment="other").get("app/x")
    _quiet(caught, capfd.readouterr())


def test_a_row_copied_under_another_name_does_not_decrypt(make: Make, aws: Aws, table: str) -> None:
    make().put("app/x", CANARY)
    client = aws.client("dynamodb")
    item = client.scan(TableName=table)["Items"][0]
    client.put_item(TableName=table, Item=item | {"name": {"S": "app/y"}})
    with pytest.raises(SecretCorrupt):
        make().get("app/y")


@pytest.mark.parametrize("field", ["contents", "hmac", "key"])
@pytest.mark.parametrize("how", ["changed", "missing", "nonsense"])
def test_a_tampered_row_is_corrupt(
    make: Make, aws: Aws, table: str, field: str, how: str, capfd: Any
) -> None:
    make().put("app/x", CANARY)
    client = aws.client("dynamodb")
    item = dict[str, Any](client.scan(TableName=table)["Items"][0])
    kind, value = next(iter(item[field].items()))
    if how == "missing":
        del item[field]
    elif how == "nonsense":
        item[field] = {"S": "%"}
    else:
        text = value.decode() if isinstance(value, bytes) else str(value)
        changed = text[:-6] + ("0" if text[-6] != "0" else "1") + text[-5:]
        item[field] = {kind: changed.encode() if isinstance(value, bytes) else changed}
    client.put_item(TableName=table, Item=item)
    with pytest.raises(SecretCorrupt) as caught:
        make().get("app/x")
    _quiet(caught, capfd.readouterr())


def test_a_foreign_row_is_corrupt(make: Make, aws: Aws, table: str) -> None:
    aws.client("dynamodb").put_item(
        TableName=table, Item={"name": {"S": "app/x"}, "version": {"S": "latest"}}
    )
    with pytest.raises(SecretCorrupt):
        make().get("app/x")


def test_a_disabled_key_is_access_denied(make: Make, aws: Aws, capfd: Any) -> None:
    # moto decrypts with disabled keys; AWS answers DisabledException.
    make().put("app/x", CANARY)
    for operation in ("decrypt", "generate_data_key"):
        kms = Failing(aws.client("kms"), operation, _client_error("DisabledException"))
        source = make(kms_client=kms)
        with pytest.raises(SecretAccessDenied) as caught:
            source.get("app/x") if operation == "decrypt" else source.put("app/x", CANARY)
        _quiet(caught, capfd.readouterr())


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("AccessDeniedException", SecretAccessDenied),
        ("ThrottlingException", SecretsUnreachable),
        ("KMSInternalException", SecretsUnreachable),
        ("DependencyTimeoutException", SecretsUnreachable),
        ("InvalidCiphertextException", SecretCorrupt),
        ("NotFoundException", SecretNotFound),
    ],
)
def test_kms_errors_have_our_names(
    make: Make, aws: Aws, code: str, kind: type[SecretError], capfd: Any
) -> None:
    make().put("app/x", CANARY)
    failing = make(kms_client=Failing(aws.client("kms"), "decrypt", _client_error(code)))
    with pytest.raises(kind) as caught:
        failing.get("app/x")
    _quiet(caught, capfd.readouterr())


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (_client_error("AccessDeniedException"), SecretAccessDenied),
        (_client_error("ProvisionedThroughputExceededException"), SecretsUnreachable),
        (_client_error("InternalServerError"), SecretsUnreachable),
        (EndpointConnectionError(endpoint_url="http://x"), SecretsUnreachable),
    ],
    ids=repr,
)
def test_dynamodb_errors_have_our_names(
    make: Make, aws: Aws, error: Exception, kind: type[SecretError]
) -> None:
    failing = make(dynamodb_client=Failing(aws.client("dynamodb"), "query", error))
    with pytest.raises(kind):
        failing.get("app/x")
    with pytest.raises(kind):
        failing.put("app/x", "v")


def test_a_store_that_does_not_answer_is_unreachable_soon(
    make: Make, moto_env: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    aws = Aws(AwsTimeouts(connect=1, read=1, attempts=1))
    with pytest.raises(SecretsUnreachable):
        make(
            kms_client=aws.client("kms"),
            dynamodb_resource=aws.resource("dynamodb"),
            dynamodb_client=aws.client("dynamodb"),
        ).get("app/x")


def test_of_two_writers_one_is_told(make: Make, aws: Aws) -> None:
    class Late:
        """Sees nothing of the other writer."""

        def query(self, **_: Any) -> dict[str, Any]:
            return {"Items": []}

    make().put("app/x", "first")
    with pytest.raises(SecretVersionConflict):
        make(dynamodb_client=Late()).put("app/x", CANARY)
    assert make().get("app/x") == "first"


def test_the_largest_secret_fits_and_one_byte_more_is_refused(make: Make, aws: Aws) -> None:
    source = make()
    # The longest name that DynamoDB takes, and text whose UTF-8 is longer than itself.
    name = "n" * 2_048
    source.put(name, "ü" * (MAX_BYTES // 2))
    assert len(source.get(name).encode()) == MAX_BYTES == 300_000
    aws.calls.clear()
    with pytest.raises(SecretTooLarge):
        source.put(name, "x" + "ü" * (MAX_BYTES // 2))
    assert not aws.calls
