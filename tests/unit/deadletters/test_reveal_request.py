"""An operator's request: believed as it was signed, by whom, and when; and no other way."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sealwax.deadletters.errors import RevealRefused
from sealwax.deadletters.reveal_request import (
    AGE_MAX,
    REASON_MAX,
    SKEW,
    check_request,
    new_fields,
    read_request,
)
from sealwax.envelope import SigningKey, sign_statement
from sealwax.keys.documents import KeyDocuments
from sealwax.keys.operator import OperatorKey, read_public
from sealwax.keys.public import PublicKeyring

NOW = 1_750_000_000
LETTER = f"{'ab' * 16}.0"
ADA, GRACE, EVE = (OperatorKey.create(name, "x25519", 1) for name in ("ada", "grace", "eve"))


def keyring(*, removed: str | None = None) -> PublicKeyring:
    documents = KeyDocuments.create("x25519", 1)
    for key in (ADA, GRACE):
        documents = documents.enrol(read_public(json.dumps(key.public())))
    if removed:
        documents = documents.dismiss(removed)
    return PublicKeyring.load(documents.secrets()["shared/keyring"])


def fields(**changes: Any) -> dict[str, Any]:
    return new_fields(LETTER, "ticket 71", operator=ADA.id, now=NOW) | changes


def cause(
    statement: Any, *, request_id: str | None = None, now: float = NOW, removed: str | None = None
) -> str:
    with pytest.raises(RevealRefused) as refused:
        check_request(
            statement,
            request_id=request_id or "0" * 32,
            keyring=keyring(removed=removed),
            now=now,
        )
    return refused.value.cause


def test_what_an_operator_signed_is_believed() -> None:
    said = sign_statement("reveal", fields(), ADA.signer)
    request, operator = check_request(
        json.dumps(said), request_id=said["nonce"], keyring=keyring(), now=NOW
    )
    assert (request.letter, request.why, request.operator) == (LETTER, "ticket 71", ADA.id)
    assert operator.name == "ada"
    assert operator.seal.id == ADA.private.id


def test_no_two_requests_have_one_nonce() -> None:
    assert len({fields()["nonce"] for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "change",
    [
        {"letter": f"{'cd' * 16}.0"}, {"why": "because"}, {"at": NOW + 1}, {"nonce": "1" * 32},
        {"operator": GRACE.id}, {"sid": GRACE.id}, {"sig": "00" * 64},
    ],
)  # fmt: skip
def test_a_request_that_was_changed_is_not_believed(change: dict[str, Any]) -> None:
    said = sign_statement("reveal", fields(), ADA.signer) | change
    assert cause(said, request_id=said["nonce"]) == "signature-invalid"


def test_whoever_is_not_enrolled_or_was_removed_asks_in_vain() -> None:
    stranger = sign_statement("reveal", fields(operator=EVE.id), EVE.signer)
    assert cause(stranger, request_id=stranger["nonce"]) == "unknown-signer"
    said = sign_statement("reveal", fields(), ADA.signer)
    assert cause(said, request_id=said["nonce"], removed=ADA.id) == "key-retired"


def test_keys_of_roles_sign_no_request() -> None:
    documents = KeyDocuments.create("x25519", 1).secrets()
    public = PublicKeyring.load(documents["shared/keyring"])
    for name in ("api/keys", "worker/keys"):
        seed = json.loads(documents[name])["signing"][0]["seed"]
        key = SigningKey(bytes.fromhex(seed))
        said = sign_statement("reveal", fields(operator=key.id), key)
        with pytest.raises(RevealRefused, match="unknown-signer"):
            check_request(said, request_id=said["nonce"], keyring=public, now=NOW)


def test_a_statement_of_another_kind_is_no_request() -> None:
    said = sign_statement("letter", fields(), ADA.signer)
    assert cause(said, request_id=said["nonce"]) == "signature-invalid"


def test_it_says_itself_whose_it_is_and_under_which_id_it_lies() -> None:
    said = sign_statement("reveal", fields(operator=GRACE.id), ADA.signer)
    assert cause(said, request_id=said["nonce"]) == "operator-mismatch"
    said = sign_statement("reveal", fields(), ADA.signer)
    assert cause(said, request_id="f" * 32) == "request-mismatch"


def test_it_is_answered_for_ten_minutes() -> None:
    said = sign_statement("reveal", fields(), ADA.signer)
    for now in (NOW - SKEW, NOW, NOW + AGE_MAX):
        assert check_request(said, request_id=said["nonce"], keyring=keyring(), now=now)
    assert cause(said, request_id=said["nonce"], now=NOW + AGE_MAX + 0.1) == "request-too-old"
    early = cause(said, request_id=said["nonce"], now=NOW - SKEW - 0.1)
    assert early == "request-from-the-future"
    assert AGE_MAX == 600


@pytest.mark.parametrize(
    "statement",
    [
        None, "", "{}", "[]", 7, float("nan"), {"a": object()},
        {**sign_statement("reveal", fields(), ADA.signer), "more": 1},
        {k: v for k, v in sign_statement("reveal", fields(), ADA.signer).items() if k != "why"},
        *(
            sign_statement("reveal", fields(**change), ADA.signer)
            for change in (
                {"letter": "x"}, {"letter": None}, {"why": ""}, {"why": "  "}, {"why": 7},
                {"why": "x" * (REASON_MAX + 1)}, {"at": "now"}, {"at": True}, {"nonce": "1"},
                {"nonce": "A" * 32}, {"operator": None},
            )
        ),
    ],
)  # fmt: skip
def test_what_is_not_of_its_form_is_refused_unverified(statement: Any) -> None:
    with pytest.raises(RevealRefused) as refused:
        read_request(statement)
    assert refused.value.cause == "request-malformed"
