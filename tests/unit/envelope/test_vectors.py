"""The published vectors: what opens, and with which cause the others are refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from sealwax.envelope import (
    EnvelopeError,
    Expected,
    PrivateKey,
    Purpose,
    SigningKey,
    Suite,
    open_envelope,
)
from sealwax.keys.keyring import Keyring

FOLDER = Path(__file__).parents[2] / "vectors"
VECTORS = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("x*.json"))}


def _open(vectors: dict[str, Any], case: dict[str, Any]) -> bytes:
    context, documents = vectors["context"], vectors["documents"]
    names = ("purpose", "task", "job", "tenant")
    expect = {name: context[name] for name in names} | case.get("expect", {})
    return open_envelope(
        case["text"],
        keyring=Keyring.load("worker", documents["worker/keys"], documents["shared/keyring"]),
        expect=Expected(**{**expect, "purpose": Purpose(expect["purpose"])}),
        now=case.get("now", context["not_after"]),
    ).plaintext


def _cases(kind: str) -> list[Any]:
    return [
        pytest.param(vectors, case, id=f"{stem}-{case['name']}")
        for stem, vectors in VECTORS.items()
        for case in vectors[kind]
    ]


def test_both_suites_have_vectors() -> None:
    assert set(VECTORS) == {suite.label for suite in Suite}


@pytest.mark.parametrize("vectors", VECTORS.values(), ids=VECTORS)
def test_keys_derive_from_their_seeds(vectors: dict[str, Any]) -> None:
    suite = Suite.by_label(vectors["suite"])
    for key, row in (
        (PrivateKey(suite, bytes.fromhex(vectors["recipient"]["seed"])), vectors["recipient"]),
        (SigningKey(bytes.fromhex(vectors["signer"]["seed"])), vectors["signer"]),
    ):
        assert (key.id, key.public.raw.hex()) == (row["id"], row["public"])


def test_an_x_wing_key_is_the_one_of_the_draft() -> None:
    """First vector of draft-connolly-cfrg-xwing-kem, appendix C: its seed and public key."""
    seed = "7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26"
    public = PrivateKey(Suite.X_WING, bytes.fromhex(seed)).public.raw
    assert len(public) == 1_216
    assert public.hex().startswith("e2236b35a8c24b39b10aa1323a96a919a2ced88400633a7b07131713fc14")
    assert public.hex().endswith("e722f06cc03de5b69859edb06eff389b27dce59844570216223593d4ba32d9aba"
                                 "c8cd049040ef6534")  # fmt: skip
    assert hashlib.sha256(public).hexdigest() == (
        "2e816deebcd76c5c80d0cd2d174478871658e8e2ff42bc9d4a6e486372e856bb"
    )


def test_an_x25519_key_is_the_one_of_rfc_7748() -> None:
    """Section 6.1, Alice's keys; HPKE takes the private key as it is."""
    seed = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"
    assert PrivateKey(Suite.X25519, bytes.fromhex(seed)).public.raw.hex() == (
        "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    )


def test_a_signing_key_is_the_one_of_rfc_8032() -> None:
    """Section 7.1, test 1."""
    key = SigningKey(
        bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    )
    assert key.public.raw.hex() == (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    )


@pytest.mark.parametrize("vectors", VECTORS.values(), ids=VECTORS)
def test_every_cause_has_a_vector(vectors: dict[str, Any]) -> None:
    causes = {kind.cause for kind in EnvelopeError.__subclasses__()}
    assert {case["cause"] for case in vectors["refuse"]} == causes


@pytest.mark.parametrize(("vectors", "case"), _cases("open"))
def test_it_opens(vectors: dict[str, Any], case: dict[str, Any]) -> None:
    assert _open(vectors, case).hex() == case["plaintext"]


@pytest.mark.parametrize(("vectors", "case"), _cases("refuse"))
def test_it_is_refused_for_its_cause(vectors: dict[str, Any], case: dict[str, Any]) -> None:
    with pytest.raises(EnvelopeError) as caught:
        _open(vectors, case)
    assert caught.value.cause == case["cause"]
    assert getattr(caught.value, "field", None) == case.get("field")
