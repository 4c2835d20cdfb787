"""Signed letters: believed as far as a worker's signature goes, and no further."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sealwax.deadletters.signature import (
    CAUSES,
    LetterNotBelieved,
    SignedLetter,
    body_digest,
    check_letter,
    sign_letter,
)
from sealwax.envelope.private_keys import SigningKey
from sealwax.envelope.statement import sign_statement
from sealwax.keys.documents import KeyDocuments
from sealwax.keys.keyring import Keyring
from sealwax.keys.public import PublicKeyring
from sealwax.outcomes import Reason

DOCUMENTS = KeyDocuments.create("x25519", 100, ["default", "slow"])
PLAIN = KeyDocuments.create("x25519", 100)
JOB, QUEUE, BODY = "a" * 32, "sealwax-default", b'{"body": "x"}'
MEMBERS: dict[str, Any] = {
    "reason": "rejected", "cause": "http-400", "error": "Rejected", "attempts": 3, "job": JOB,
    "task": "webhooks.relay", "queue": QUEUE, "at": 1_750_000_000.123, "message_id": "m1",
    "receive_count": 2, "dropped_attributes": ["a", "b"],
}  # fmt: skip


def ring(documents: KeyDocuments, role: Any, lane: str | None = None) -> Keyring:
    found = documents.secrets()
    public = PublicKeyring.load(found["shared/keyring"])
    names = public.private_names(role, lane)
    return Keyring.load(role, {name: found[name] for name in names}, found["shared/keyring"])


PUBLIC = PublicKeyring.load(DOCUMENTS.secrets()["shared/keyring"])
WORKER = ring(DOCUMENTS, "worker", "default").signer


def said(signer: Any = WORKER, *, body: bytes = BODY, own: bool = True, **changes: Any) -> str:
    made = sign_letter(
        MEMBERS | changes, body=body, queue=QUEUE, own=own, generation=2, signer=signer
    )
    return json.dumps(made)


def check(text: str | None, **changes: Any) -> SignedLetter:
    facts: dict[str, Any] = {"body": BODY, "queue": QUEUE, "lane": "default", "verifier": PUBLIC}
    return check_letter(text, **(facts | changes))


def cause_of(text: str | None, **changes: Any) -> str:
    with pytest.raises(LetterNotBelieved) as caught:
        check(text, **changes)
    assert caught.value.cause in CAUSES
    return caught.value.cause


def test_what_a_worker_signed_is_believed() -> None:
    assert check(said()) == SignedLetter(
        reason=Reason.REJECTED, own=True, generation=2, queue=QUEUE, body=body_digest(BODY),
        at=1_750_000_000.123, attempts=3, signer=WORKER.id, job=JOB, task="webhooks.relay",
        cause="http-400", error="Rejected", place=None, message_id="m1",
    )  # fmt: skip


def test_no_member_can_be_changed_added_or_taken_away() -> None:
    members = json.loads(said())
    for name, value in members.items():
        if name in ("sid", "sig"):
            continue
        for changed in ({name: None}, {name: "other"}, {name: 7}):
            if changed[name] != value:
                assert cause_of(json.dumps(members | changed)) == "signature-invalid", name
        without = {each: members[each] for each in members if each != name}
        assert cause_of(json.dumps(without)) == "signature-invalid", name
    assert cause_of(json.dumps(members | {"more": 1})) == "signature-invalid"


@pytest.mark.parametrize(
    "text",
    [
        None, "", "{", "[]", "{}", '{"reason":"rejected"}', '{"sid":"x"}', '{"sig":"x"}',
        '{"sid":"x","sid":"y","sig":"z"}', '{"at":NaN}', "{" * 200, "x" * 200_000,
    ],
)  # fmt: skip
def test_what_bears_no_signature_is_unsigned(text: str | None) -> None:
    assert cause_of(text) == "unsigned"


@pytest.mark.parametrize("sid", [1, None, "", "0" * 15, ["a"]])
def test_a_signer_must_be_a_keys_id(sid: Any) -> None:
    assert cause_of(json.dumps(json.loads(said()) | {"sid": sid})) in (
        "signature-invalid", "unknown-signer",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("signer", "cause"),
    [
        (SigningKey(b"s" * 32), "unknown-signer"),
        (ring(DOCUMENTS, "api").signer, "not-a-worker"),
        (ring(DOCUMENTS, "worker", "slow").signer, "wrong-lane"),
    ],
)
def test_only_a_worker_of_the_queues_lane_may_sign(signer: Any, cause: str) -> None:
    assert cause_of(said(signer)) == cause


def test_a_worker_of_all_lanes_may_sign_for_each() -> None:
    public = PublicKeyring.load(PLAIN.secrets()["shared/keyring"])
    signer = ring(PLAIN, "worker").signer
    for lane in ("default", "slow", None):
        assert check(said(signer), lane=lane, verifier=public).own


def test_a_queue_of_no_lane_believes_no_worker_of_a_lane() -> None:
    assert cause_of(said(), lane=None) == "wrong-lane"


def test_a_letter_speaks_of_its_own_body_and_queue_only() -> None:
    assert cause_of(said(), body=BODY + b" ") == "wrong-body"
    assert cause_of(said(), queue="sealwax-slow") == "wrong-queue"


def test_a_statement_of_another_kind_is_no_letter() -> None:
    members = json.loads(said())
    fields = {name: members[name] for name in members if name not in ("sid", "sig")}
    assert cause_of(json.dumps(sign_statement("reveal", fields, WORKER))) == "signature-invalid"


@pytest.mark.parametrize(
    "changes",
    [{"job": "no job"}, {"job": None}, {"reason": "stray"}, {"reason": "else"}, {"at": 0.0}],
)
def test_an_own_letter_that_could_not_be_one_is_not_believed(changes: dict[str, Any]) -> None:
    assert cause_of(said(**changes)) == "signature-invalid"


def test_a_strays_letter_has_no_generation_and_any_claim() -> None:
    found = check(said(own=False, reason="stray", cause="not-sealed", job="x" * 200))
    assert (found.own, found.generation, found.reason) == (False, 0, "stray")
    assert found.job == "x" * 200


def test_what_cannot_be_signed_raises() -> None:
    with pytest.raises(ValueError, match="details"):
        said(details={"a": 1})
