"""Secrets where AWS itself misbehaves: answers over real sockets, read with the real clients."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from moto.dynamodb.models import DynamoDBBackend

from sealwax.aws.clients import Aws, AwsTimeouts
from sealwax.secrets import (
    CredStashSource,
    FileSource,
    SecretAccessDenied,
    SecretCorrupt,
    SecretError,
    SecretNotFound,
    SecretsUnreachable,
    SecretVersionConflict,
)
from sealwax.settings import Settings

CANARY = "canary-b3e7"
ROW = {
    "Items": [{"version": {"S": "0000000000000000001"}}],
    "Count": 1,
    "Item": {
        "name": {"S": "app/x"},
        "version": {"S": "0000000000000000001"},
        "key": {"S": "a2V5"},
        "contents": {"S": "Y29udGVudHM="},
        "hmac": {"B": "MDA="},
        "digest": {"S": "SHA256"},
    },
}


class Stub:
    """Answers DynamoDB's reads well and everything else as told."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, bytes] | str] = {}
        self.requests: list[str] = []
        self._end = threading.Event()
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                operation = self.headers["x-amz-target"].split(".")[1]
                stub.requests.append(operation)
                answer = stub.answers.get(operation, (200, json.dumps(ROW).encode()))
                if answer == "hang":
                    stub._end.wait(20)
                    return
                if isinstance(answer, str):
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self.send_response(answer[0])
                self.send_header("content-type", "application/x-amz-json-1.0")
                self.send_header("content-length", str(len(answer[1])))
                self.end_headers()
                self.wfile.write(answer[1])

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def error(self, operation: str, code: str, status: int = 400) -> None:
        body = {"__type": f"com.amazonaws#{code}", "message": CANARY, "Message": "no"}
        self.answers[operation] = (status, json.dumps(body).encode())

    def close(self) -> None:
        self._end.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _source(aws: Aws, table: str = "secrets", key: str = "alias/k") -> CredStashSource:
    return CredStashSource(
        table=table,
        environment="test",
        kms_client=aws.client("kms"),
        dynamodb_resource=aws.resource("dynamodb"),
        dynamodb_client=aws.client("dynamodb"),
        kms_key_for=lambda _: key,
    )


Sources = tuple[Stub, CredStashSource, CredStashSource]


@pytest.fixture(scope="module")
def _sources() -> Iterator[Sources]:
    """A stub, a source that asks it once and one that asks it twice; clients are slow to make."""
    stub = Stub()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("AWS_REGION", "eu-central-1")
        patch.setenv("AWS_ENDPOINT_URL", stub.url)
        clients = [Aws(AwsTimeouts(connect=1, read=0.5, attempts=n)) for n in (1, 2)]
        once, twice = (_source(aws) for aws in clients)
    yield stub, once, twice
    for aws in clients:
        for service in ("kms", "dynamodb"):
            aws.client(service).close()
        aws.resource("dynamodb").meta.client.close()
    stub.close()


@pytest.fixture
def stub(_sources: Sources) -> Stub:
    found = _sources[0]
    found.answers.clear()
    found.requests.clear()
    return found


@pytest.fixture
def source(_sources: Sources) -> CredStashSource:
    return _sources[1]


@pytest.fixture
def twice(_sources: Sources) -> CredStashSource:
    return _sources[2]


DENIED = ["AccessDeniedException", "UnrecognizedClientException", "DisabledException",
          "KMSInvalidStateException", "InvalidSignatureException"]  # fmt: skip
BUSY = ["ThrottlingException", "ProvisionedThroughputExceededException", "RequestLimitExceeded",
        "InternalServerError", "KMSInternalException", "DependencyTimeoutException",
        "ExpiredTokenException", "SomethingNew"]  # fmt: skip
GONE = ["ResourceNotFoundException", "NotFoundException"]
WRONG = ["InvalidCiphertextException", "IncorrectKeyException"]
KINDS: list[tuple[str, type[SecretError]]] = [
    *((code, SecretAccessDenied) for code in DENIED),
    *((code, SecretsUnreachable) for code in BUSY),
    *((code, SecretNotFound) for code in GONE),
    *((code, SecretCorrupt) for code in WRONG),
]


def _quiet(error: BaseException, capfd: pytest.CaptureFixture[str]) -> None:
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert CANARY not in str(error)
    assert CANARY not in repr(error)


@pytest.mark.parametrize("operation", ["Query", "GetItem", "Decrypt"])
@pytest.mark.parametrize(("code", "kind"), KINDS)
def test_an_error_of_any_call_of_a_read_has_our_name(
    source: CredStashSource,
    stub: Stub,
    operation: str,
    code: str,
    kind: type[SecretError],
    capfd: pytest.CaptureFixture[str],
) -> None:
    stub.error(operation, code)
    with pytest.raises(kind) as caught:
        source.get("app/x")
    assert type(caught.value) is kind
    assert "app/x" in str(caught.value)
    assert code in str(caught.value)
    _quiet(caught.value, capfd)


@pytest.mark.parametrize("operation", ["Query", "GenerateDataKey", "PutItem"])
@pytest.mark.parametrize(("code", "kind"), KINDS[:-2])
def test_an_error_of_any_call_of_a_write_has_our_name(
    source: CredStashSource,
    stub: Stub,
    operation: str,
    code: str,
    kind: type[SecretError],
    capfd: pytest.CaptureFixture[str],
) -> None:
    if operation == "PutItem":
        stub.answers["GenerateDataKey"] = (
            200,
            json.dumps({"Plaintext": "A" * 86 + "==", "CiphertextBlob": "a2V5"}).encode(),
        )
    stub.error(operation, code)
    with pytest.raises(kind) as caught:
        source.put("app/x", CANARY)
    assert type(caught.value) is kind
    _quiet(caught.value, capfd)


@pytest.mark.parametrize("operation", ["Query", "GetItem", "Decrypt"])
@pytest.mark.parametrize(
    "answer",
    ["hang", "close", (500, b"<html>"), (503, b""), (200, b"<html>")],
    ids=["hangs", "closes", "500", "503", "no JSON"],
)
def test_a_call_that_is_not_answered_well_ends_within_its_time_outs(
    twice: CredStashSource,
    stub: Stub,
    operation: str,
    answer: Any,
    capfd: pytest.CaptureFixture[str],
) -> None:
    stub.answers[operation] = answer
    began = time.monotonic()
    with pytest.raises(SecretError) as caught:
        twice.get("app/x")
    # Two attempts of half a second, botocore's pause of at most one between them.
    assert time.monotonic() - began < 6
    if answer != (200, b"<html>"):
        assert type(caught.value) is SecretsUnreachable
        assert stub.requests.count(operation) == 2
    _quiet(caught.value, capfd)


def test_a_port_that_nobody_listens_on_is_unreachable(
    moto_env: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{held.getsockname()[1]}")
        source = _source(Aws(AwsTimeouts(connect=1, read=1, attempts=1)))
        for call in (lambda: source.get("app/x"), lambda: source.put("app/x", CANARY)):
            with pytest.raises(SecretsUnreachable) as caught:
                call()
            assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "item",
    [
        {},
        {"contents": {"N": "1"}},
        {"hmac": {"S": "zz"}},
        {"hmac": {"NULL": True}},
        {"digest": {"S": "MD4"}},
        {"digest": {"N": "256"}},
        {"key": {"L": []}},
        {"key": {"S": "not base64 ü"}},
    ],
    ids=repr,
)
def test_rows_that_credstash_did_not_write_are_corrupt(
    source: CredStashSource, stub: Stub, item: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    row: dict[str, Any] = ROW["Item"] | item if item else {"name": {"S": "app/x"}}  # type: ignore[operator]
    stub.answers["GetItem"] = (200, json.dumps({"Item": row}).encode())
    stub.answers["Decrypt"] = (200, json.dumps({"Plaintext": "A" * 86 + "=="}).encode())
    with pytest.raises(SecretCorrupt) as caught:
        source.get("app/x")
    _quiet(caught.value, capfd)


def test_a_row_that_vanishes_between_the_two_reads_is_not_found(
    source: CredStashSource, stub: Stub
) -> None:
    stub.answers["GetItem"] = (200, b"{}")
    with pytest.raises(SecretNotFound):
        source.get("app/x")


# -- writers at the same time, on moto ---------------------------------------------------


def test_of_writers_at_the_same_time_each_version_has_one(
    aws: Aws, moto_env: Settings, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # DynamoDB does one conditional write of an item after the other; moto now and then two.
    lock, put_item = threading.Lock(), DynamoDBBackend.put_item

    def one_by_one(*arguments: Any, **options: Any) -> Any:
        with lock:
            return put_item(*arguments, **options)

    monkeypatch.setattr(DynamoDBBackend, "put_item", one_by_one)
    key = str(aws.client("kms").create_key()["KeyMetadata"]["KeyId"])
    gate = threading.Barrier(4)

    def write(value: str) -> tuple[int | None, str]:
        source = _source(Aws(), table, key)
        gate.wait(20)
        try:
            return source.put("app/x", value), value
        except SecretVersionConflict:
            return None, value

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(write, ["a", "b", "c", "d"]))
    written = {version: value for version, value in found if version is not None}
    assert len(written) == sum(version is not None for version, _ in found) >= 1
    assert sorted(written) == list(range(1, len(written) + 1))
    assert _source(aws, table, key).get("app/x") == written[max(written)]


def test_what_somebody_wrote_since_the_reading_is_not_lost(aws: Aws, table: str) -> None:
    key = str(aws.client("kms").create_key()["KeyMetadata"]["KeyId"])
    source = _source(aws, table, key)
    assert source.version("app/x") == 0
    assert source.put("app/x", "mine", replacing=0) == 1
    with pytest.raises(SecretVersionConflict):
        source.put("app/x", "theirs", replacing=0)
    source.put("app/x", "theirs")
    assert source.version("app/x") == 2
    with pytest.raises(SecretVersionConflict):
        source.put("app/x", CANARY, replacing=1)
    assert source.get("app/x") == "theirs"
    assert source.put("app/x", "next", replacing=2) == 3


def test_names_and_contents_of_all_kinds_come_back(aws: Aws, table: str) -> None:
    key = str(aws.client("kms").create_key()["KeyMetadata"]["KeyId"])
    source = _source(aws, table, key)
    for name in ("api/keys", "app/webhooks/demo", "ü", "x" * 255):
        for value in ("", "\0", '{"a": 1}', "\U0001f512" * 100):
            source.put(name, value)
            assert source.get(name) == value


# -- the file source ----------------------------------------------------------------------


def test_the_file_source_keeps_versions_and_shows_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    source = FileSource(path)
    with pytest.raises(SecretNotFound):
        source.get("app/x")
    assert [source.put("app/x", "one"), source.put("app/x", CANARY)] == [1, 2]
    assert FileSource(path).get("app/x") == CANARY
    assert FileSource(path).version("app/x") == 2
    with pytest.raises(SecretVersionConflict):
        source.put("app/x", "lost", replacing=1)
    assert source.put("app/x", "kept", replacing=2) == 3
    # Left behind by no write: a half-written file would be read as the store.
    assert [found.name for found in tmp_path.iterdir()] == ["secrets.json"]


@pytest.mark.parametrize("text", ["", f'{{"app/x": ["{CANARY}"', "[]", '"x"', '{"app/x": "x"}',
                                  '{"app/x": [1]}', '{"app/x": {}}'])  # fmt: skip
def test_a_broken_secrets_file_is_corrupt(tmp_path: Path, text: str) -> None:
    path = tmp_path / "secrets.json"
    path.write_text(text)
    calls: list[Callable[[], Any]] = [
        lambda: FileSource(path).get("app/x"),
        lambda: FileSource(path).put("app/x", "v"),
    ]
    for call in calls:
        with pytest.raises(SecretCorrupt) as caught:
            call()
        assert CANARY not in str(caught.value)
