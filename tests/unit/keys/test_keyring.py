"""Making, rotating, retiring and loading keys."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from sealwax.envelope import (
    Context,
    Expected,
    KeyRetired,
    Purpose,
    SignerNotTrusted,
    UnknownKey,
    UnknownSigner,
    open_envelope,
    seal,
)
from sealwax.keys.documents import KeyDocuments, KeyInUse, NoSuchKey
from sealwax.keys.keyring import Keyring
from sealwax.keys.public import KeyringInvalid, PublicKeyring, Role

CONTEXT = Context(
    purpose=Purpose.JOB,
    task="webhooks.relay",
    job="a" * 32,
    tenant="ab" * 16,
    contract=1,
    issued_at=1,
    not_after=10,
)


def _ring(documents: KeyDocuments, role: Role) -> Keyring:
    found = documents.secrets()
    return Keyring.load(role, found[f"{role}/keys"], found["shared/keyring"])


def _seal(ring: Keyring) -> str:
    return seal(b"x", CONTEXT, recipient=ring.recipient("worker"), signer=ring.signer)


def _open(ring: Keyring, text: str) -> bytes:
    expect = Expected(purpose=Purpose.JOB)
    return open_envelope(text, keyring=ring, expect=expect, now=5).plaintext


@pytest.fixture
def first() -> KeyDocuments:
    return KeyDocuments.create("x-wing", 100)


def _id(documents: KeyDocuments, role: str, kind: str, state: str) -> str:
    rows = PublicKeyring.load(documents.secrets()["shared/keyring"]).describe()
    (row,) = [r for r in rows if (r["role"], r["kind"], r["state"]) == (role, kind, state)]
    return str(row["id"])


@pytest.mark.parametrize("suite", ["x-wing", "x25519"])
@pytest.mark.parametrize("which", ["api", "worker"])
def test_rotation_needs_no_drain(first: KeyDocuments, which: Role, suite: str) -> None:
    before = _seal(_ring(first, "api"))
    second = first.rotate(which, suite, 200)
    after = _seal(_ring(second, "api"))
    assert [_open(_ring(second, "worker"), text) for text in (before, after)] == [b"x", b"x"]
    assert _ring(second, "api").recipient(which).id != _ring(first, "api").recipient(which).id
    assert _ring(second, which).signer.id != _ring(first, which).signer.id


def test_a_worker_that_has_not_refreshed_asks_for_it(first: KeyDocuments) -> None:
    old_worker = _ring(first, "worker")
    with pytest.raises(UnknownKey):
        _open(old_worker, _seal(_ring(first.rotate("worker", "x-wing", 200), "api")))
    with pytest.raises(UnknownSigner):
        _open(old_worker, _seal(_ring(first.rotate("api", "x-wing", 200), "api")))


def test_between_the_two_writes_of_a_rotation_the_published_key_signs(first: KeyDocuments) -> None:
    second = first.rotate("api", "x-wing", 200)
    halfway = Keyring.load("api", second.secrets()["api/keys"], first.secrets()["shared/keyring"])
    assert _open(_ring(first, "worker"), _seal(halfway)) == b"x"


def test_a_retired_key_is_told_from_an_unknown_one(first: KeyDocuments) -> None:
    text = _seal(_ring(first, "api"))
    second = first.rotate("worker", "x-wing", 200)
    third = second.retire(_id(second, "worker", "seal", "open"))
    with pytest.raises(KeyRetired):
        _open(_ring(third, "worker"), text)
    assert _open(_ring(third, "worker"), _seal(_ring(third, "api"))) == b"x"


def test_what_a_retired_signer_signed_is_refused(first: KeyDocuments) -> None:
    text = _seal(_ring(first, "api"))
    second = first.rotate("api", "x-wing", 200)
    third = second.retire(_id(second, "api", "sign", "open"))
    with pytest.raises(KeyRetired):
        _open(_ring(third, "worker"), text)


def test_a_retired_private_key_is_gone_from_the_documents(first: KeyDocuments) -> None:
    seed = json.loads(first.secrets()["worker/keys"])["hpke"][0]["seed"]
    second = first.rotate("worker", "x-wing", 200)
    third = second.retire(_id(second, "worker", "seal", "open"))
    assert seed in second.secrets()["worker/keys"]
    assert seed not in json.dumps(third.secrets())


def test_the_active_key_and_unknown_ids_are_not_retired(first: KeyDocuments) -> None:
    with pytest.raises(KeyInUse):
        first.retire(_id(first, "worker", "seal", "active"))
    with pytest.raises(NoSuchKey):
        first.retire("0" * 16)


def test_changes_leave_the_original_documents_alone(first: KeyDocuments) -> None:
    before = first.secrets()
    first.rotate("worker", "x-wing", 200)
    assert first.secrets() == before


@pytest.mark.parametrize(
    ("change", "allowed"),
    [
        ({"tasks": ["webhooks.*"]}, True),
        ({"tasks": ["exports.*"]}, False),
        ({"tasks": []}, False),
        ({"tenants": ["ab" * 16]}, True),
        ({"tenants": ["cd" * 16]}, False),
        ({"purposes": ["result"]}, False),
    ],
    ids=repr,
)
def test_the_trust_list_narrows_what_a_key_may_sign(
    first: KeyDocuments, change: dict[str, Any], allowed: bool
) -> None:
    found = first.secrets()
    shared = json.loads(found["shared/keyring"])
    for row in shared["signers"]:
        row.update(change)
    worker = Keyring.load("worker", found["worker/keys"], json.dumps(shared))
    text = _seal(_ring(first, "api"))
    if allowed:
        assert _open(worker, text) == b"x"
    else:
        with pytest.raises(SignerNotTrusted):
            _open(worker, text)


def test_a_public_key_under_a_foreign_id_is_refused(first: KeyDocuments) -> None:
    found = first.secrets()
    shared = json.loads(found["shared/keyring"])
    shared["signers"][0]["id"], shared["signers"][1]["id"] = (
        shared["signers"][1]["id"],
        shared["signers"][0]["id"],
    )
    with pytest.raises(KeyringInvalid):
        Keyring.load("api", found["api/keys"], json.dumps(shared))


def test_the_other_roles_document_is_refused(first: KeyDocuments) -> None:
    found = first.secrets()
    with pytest.raises(KeyringInvalid, match="another role"):
        Keyring.load("api", found["worker/keys"], found["shared/keyring"])


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '{"role": "api"}', '"x"'])
def test_malformed_documents_name_the_secret_and_never_a_value(
    first: KeyDocuments, text: str
) -> None:
    found = first.secrets()
    with pytest.raises(KeyringInvalid, match="api/keys"):
        Keyring.load("api", text, found["shared/keyring"])
    with pytest.raises(KeyringInvalid, match="shared/keyring"):
        Keyring.load("api", found["api/keys"], text)


def test_a_broken_seed_is_named_but_not_shown(first: KeyDocuments) -> None:
    found = first.secrets()
    seed = json.loads(found["api/keys"])["hpke"][0]["seed"]
    broken = found["api/keys"].replace(seed, seed[:-1] + "g")
    with pytest.raises(KeyringInvalid) as caught:
        Keyring.load("api", broken, found["shared/keyring"])
    assert "hpke.0.seed" in str(caught.value)
    assert seed[:16] not in str(caught.value)


def test_descriptions_and_reprs_hold_no_private_material(first: KeyDocuments) -> None:
    found = first.secrets()
    seeds = re.findall(r"[0-9a-f]{64}", found["api/keys"] + found["worker/keys"])
    described = repr(PublicKeyring.load(found["shared/keyring"]).describe())
    shown = described + repr(first) + repr(_ring(first, "api")) + repr(_ring(first, "worker"))
    assert len(seeds) == 4
    assert not any(seed in shown for seed in seeds)
