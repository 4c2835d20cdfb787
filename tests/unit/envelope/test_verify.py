"""Verifying needs public keys alone, refuses what opening refuses, and in the same order."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from sealwax.envelope import (
    Context,
    EnvelopeError,
    Expected,
    PrivateKey,
    Purpose,
    SignatureInvalid,
    SignerNotTrusted,
    SigningKey,
    Suite,
    UnknownSigner,
    VerifyKey,
    seal,
    verify_envelope,
)
from sealwax.keys.public import PublicKeyring

FOLDER = Path(__file__).parents[2] / "vectors"
VECTORS = {suite.label: json.loads((FOLDER / f"{suite.label}.json").read_text()) for suite in Suite}
#: Refused only by whoever tries to open: they are genuine as far as public keys tell.
OPENING = {"envelope-expired", "unknown-key", "decryption-failed"}


def _verify(vectors: dict[str, Any], case: dict[str, Any]) -> Any:
    context = vectors["context"]
    names = ("purpose", "task", "job", "tenant")
    expect = {name: context[name] for name in names} | case.get("expect", {})
    ring = PublicKeyring.load(vectors["documents"]["shared/keyring"])
    return verify_envelope(
        case["text"],
        keyring=ring,
        expect=Expected(**{**expect, "purpose": Purpose(expect["purpose"])}),
    )


def _cases(kind: str) -> list[Any]:
    return [
        pytest.param(vectors, case, id=f"{stem}-{case['name']}")
        for stem, vectors in VECTORS.items()
        for case in vectors[kind]
    ]


@pytest.mark.parametrize(("vectors", "case"), _cases("open"))
def test_what_opens_is_verified(vectors: dict[str, Any], case: dict[str, Any]) -> None:
    verified = _verify(vectors, case)
    context = {**vectors["context"], "purpose": Purpose.JOB}
    assert verified.context == Context(**context)
    assert verified.header.recipient == vectors["recipient"]["id"]
    assert verified.signer_id == vectors["signer"]["id"]
    assert verified.digest == hashlib.sha256(case["text"].encode()).hexdigest()


@pytest.mark.parametrize(("vectors", "case"), _cases("refuse"))
def test_what_does_not_verify_is_refused_for_its_cause(
    vectors: dict[str, Any], case: dict[str, Any]
) -> None:
    if case["cause"] in OPENING or case["name"] == "retired recipient":
        assert _verify(vectors, case).signer_id == vectors["signer"]["id"]
        return
    with pytest.raises(EnvelopeError) as caught:
        _verify(vectors, case)
    assert caught.value.cause == case["cause"]
    assert getattr(caught.value, "field", None) == case.get("field")


class Noting:
    """A keyring that notes its questions and may refuse the signer or its trust."""

    def __init__(self, key: VerifyKey, **failures: EnvelopeError) -> None:
        self.calls: list[str] = []
        self._key, self._failures = key, failures

    def verifier(self, signer_id: str) -> VerifyKey:
        self.calls.append("verifier")
        if "verifier" in self._failures:
            raise self._failures["verifier"]
        return self._key

    def check_trust(self, signer_id: str, context: Context) -> None:
        self.calls.append("trust")
        if "trust" in self._failures:
            raise self._failures["trust"]


CONTEXT = Context(
    purpose=Purpose.JOB, task="mails.send", job="1" * 32, tenant="2" * 32, contract=1,
    issued_at=1, not_after=2,
)  # fmt: skip
SIGNER, STRANGER = SigningKey(b"s" * 32), SigningKey(b"t" * 32)
TEXT = seal(
    b"x", CONTEXT, recipient=PrivateKey(Suite.X25519, b"k" * 32).public, signer=SIGNER
)  # fmt: skip
WRONG = Expected(purpose=Purpose.RESULT)


@pytest.mark.parametrize(
    ("ring", "error", "calls"),
    [
        (Noting(SIGNER.public, verifier=UnknownSigner(), trust=SignerNotTrusted()),
         UnknownSigner, ["verifier"]),
        (Noting(STRANGER.public, trust=SignerNotTrusted()), SignatureInvalid, ["verifier"]),
        (Noting(SIGNER.public, trust=SignerNotTrusted()), SignerNotTrusted,
         ["verifier", "trust"]),
    ],
)  # fmt: skip
def test_the_first_failure_ends_it(
    ring: Noting, error: type[EnvelopeError], calls: list[str]
) -> None:
    """Each has every later fault too: the context is wrong in all."""
    with pytest.raises(error):
        verify_envelope(TEXT, keyring=ring, expect=WRONG)
    assert ring.calls == calls


def test_what_is_not_expected_is_not_compared() -> None:
    ring = Noting(SIGNER.public)
    found = verify_envelope(TEXT, keyring=ring, expect=Expected(purpose=Purpose.JOB))
    assert found.context == CONTEXT
