"""The public keyring: enough to seal and verify, and nothing in it that opens."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sealwax.envelope import (
    Context,
    KeyRetired,
    Purpose,
    SignatureInvalid,
    SignerNotTrusted,
    SigningKey,
    UnknownSigner,
    check_statement,
    sign_statement,
)
from sealwax.keys.documents import KeyDocuments
from sealwax.keys.keyring import Keyring
from sealwax.keys.operator import OperatorKey, read_public
from sealwax.keys.public import KeyringInvalid, PublicKeyring

LANES = KeyDocuments.create("x25519", 100, ["default", "slow"])
PLAIN = KeyDocuments.create("x25519", 100)
OPERATOR = OperatorKey.create("ada", "x25519", 1)


def _public(documents: KeyDocuments) -> PublicKeyring:
    return PublicKeyring.load(documents.secrets()["shared/keyring"])


def _ring(documents: KeyDocuments, role: Any, lane: str | None = None) -> Keyring:
    found = documents.secrets()
    names = _public(documents).private_names(role, lane)
    return Keyring.load(role, {name: found[name] for name in names}, found["shared/keyring"])


def _enrolled(documents: KeyDocuments = LANES) -> KeyDocuments:
    return documents.enrol(read_public(json.dumps(OPERATOR.public())))


def test_it_knows_the_signers_role_and_lane() -> None:
    public = _public(LANES)
    for role, lane in (("api", None), ("worker", "default"), ("worker", "slow")):
        signer = _ring(LANES, role, lane).signer
        assert (public.signer_role(signer.id), public.signer_lane(signer.id)) == (role, lane)
        assert public.verifier(signer.id).raw == signer.public.raw
    worker = _ring(PLAIN, "worker", "default").signer
    assert _public(PLAIN).signer_lane(worker.id) is None


@pytest.mark.parametrize("ask", ["signer_role", "signer_lane", "letter_signer", "verifier"])
def test_a_retired_signer_is_told_from_one_never_heard_of(ask: str) -> None:
    old = _ring(PLAIN, "worker").signer.id
    public = _public(PLAIN.rotate("worker", "x25519", 2).retire(old))
    with pytest.raises(KeyRetired):
        getattr(public, ask)(old)
    with pytest.raises(UnknownSigner):
        getattr(public, ask)("0" * 16)


def test_trust_is_asked_of_known_signers_only() -> None:
    context = Context(
        purpose=Purpose.JOB, task="a.b", job="1" * 32, tenant="2" * 32, contract=1,
        issued_at=1, not_after=2,
    )  # fmt: skip
    with pytest.raises(UnknownSigner):
        _public(PLAIN).check_trust("0" * 16, context)


# -- statements -------------------------------------------------------------------------


def test_letters_are_believed_of_workers_alone() -> None:
    said = {"job": "1" * 32}
    public = _public(_enrolled())
    worker = _ring(LANES, "worker", "slow").signer
    assert check_statement("letter", sign_statement("letter", said, worker), public) == worker.id
    api = _ring(LANES, "api").signer
    with pytest.raises(SignerNotTrusted):
        check_statement("letter", sign_statement("letter", said, api), public)
    with pytest.raises(UnknownSigner):
        check_statement("letter", sign_statement("letter", said, OPERATOR.signer), public)
    with pytest.raises(UnknownSigner):
        check_statement("letter", sign_statement("letter", said, SigningKey(b"e" * 32)), public)


def test_a_letter_of_a_lane_is_not_believed_of_another_lanes_worker() -> None:
    public = _public(LANES)
    signer = _ring(LANES, "worker", "slow").signer
    assert public.letter_signer(signer.id, "slow").id == signer.id
    with pytest.raises(SignerNotTrusted):
        public.letter_signer(signer.id, "default")
    everywhere = _ring(PLAIN, "worker").signer
    assert _public(PLAIN).letter_signer(everywhere.id, "slow").id == everywhere.id


def test_requests_to_reveal_are_believed_of_enrolled_operators_alone() -> None:
    request = sign_statement("reveal", {"letter": "x"}, OPERATOR.signer)
    with pytest.raises(UnknownSigner):
        check_statement("reveal", request, _public(LANES))
    public = _public(_enrolled())
    assert check_statement("reveal", request, public) == OPERATOR.id
    with pytest.raises(SignatureInvalid):
        check_statement("reveal", {**request, "letter": "y"}, public)
    for role, lane in (("api", None), ("worker", "slow")):
        signer = _ring(LANES, role, lane).signer
        with pytest.raises(UnknownSigner):
            check_statement("reveal", sign_statement("reveal", {}, signer), public)


def test_a_removed_operator_is_not_believed_and_keeps_the_name() -> None:
    public = _public(_enrolled().dismiss(OPERATOR.id))
    with pytest.raises(KeyRetired):
        check_statement("reveal", sign_statement("reveal", {}, OPERATOR.signer), public)
    (row,) = public.describe_operators()
    assert (row["id"], row["name"], row["state"]) == (OPERATOR.id, "ada", "removed")


def test_an_operator_s_key_signs_no_envelope() -> None:
    with pytest.raises(UnknownSigner):
        _public(_enrolled()).verifier(OPERATOR.id)


def test_nobody_vouches_for_an_operator_s_public_half() -> None:
    public = _public(_enrolled())
    with pytest.raises(SignerNotTrusted):
        check_statement("operator", OPERATOR.public(), public)


# -- documents -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [{"id": "0" * 16}, {"signing": "00" * 32}, {"seal": "00" * 31}, {"seal": ""}, {"name": ""},
     {"state": "open"}, {"suite": "x-wing"}, {"lane": "default"}],
    ids=repr,
)  # fmt: skip
def test_an_operator_s_row_that_does_not_fit_is_refused(change: dict[str, Any]) -> None:
    shared = json.loads(_enrolled().secrets()["shared/keyring"])
    shared["operators"][0].update(change)
    with pytest.raises(KeyringInvalid, match=r"operators\.0"):
        PublicKeyring.load(json.dumps(shared))


@pytest.mark.parametrize("lane", ["", "a/b", "*", "a b", "-a", "x" * 81, 7])
@pytest.mark.parametrize("kind", ["recipients", "signers"])
def test_a_lane_that_a_policy_could_misread_is_refused(kind: str, lane: Any) -> None:
    shared = json.loads(LANES.secrets()["shared/keyring"])
    shared[kind][0]["lane"] = lane
    with pytest.raises(KeyringInvalid, match=rf"{kind}\.0\.lane"):
        PublicKeyring.load(json.dumps(shared))
    with pytest.raises(KeyringInvalid):
        KeyDocuments.create("x25519", 1, [lane])


def test_without_lanes_and_operators_older_releases_read_the_documents() -> None:
    """They refuse members that they do not know."""
    found = PLAIN.secrets()
    assert "lane" not in found["worker/keys"]
    assert "lane" not in found["shared/keyring"]
    assert set(json.loads(found["shared/keyring"])) == {"recipients", "signers", "retired"}


def test_it_holds_nothing_private() -> None:
    seeds = [
        key["seed"]
        for name, text in LANES.secrets().items() if name.endswith("/keys")
        for kind in ("hpke", "signing") for key in json.loads(text)[kind]
    ]  # fmt: skip
    public = _public(LANES)
    shown = repr(vars(public)) + repr(public.describe()) + LANES.secrets()["shared/keyring"]
    assert len(seeds) == 6
    assert not any(seed in shown for seed in seeds)
    assert not hasattr(public, "private")
    assert not hasattr(public, "signer")
